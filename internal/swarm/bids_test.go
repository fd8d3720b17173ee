package swarm

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/receipts"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/tracker"
	"github.com/bttnet/btt/wire"
)

// What bids of 10 and 1 BTT/GiB are rounded down to for a tracker.
const rounded10, rounded1 = 8_388_608, 741_455

// rich is a market that bids 10 BTT/GiB and tells trackers.
func rich(w *world) *market.Node {
	k := w.market()
	k.Balance = func() amount.Amount { return 1_000_000 * amount.BTT }
	k.Bid.Cap, k.TrackerBids = 10*btt, true
	return k
}

// TestBidStats: what an announce says of our bid (R6.1, R6.2).
func TestBidStats(t *testing.T) {
	stats := func(s *Swarm) (st tracker.Stats) {
		_ = s.do(func() { s.market.Stats(&st) })
		return st
	}
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := rich(w)
		s := w.node(k, w.t.TempDir(), nil)
		if got := stats(s); got.Bid != rounded10 || got.Top != market.TrackerTop {
			t.Errorf("alone in the swarm: %+v", got)
		}
		w.visitAs(s, wire.HaveAll, true)
		k.SetSpending(market.Spending{Bid: autobid.Config{SpendRate: autobid.PPM, Cap: 100 * btt}})
		if got := stats(s).Bid; got != rounded10 {
			t.Errorf("the tracker knows %d, more than the peer", got)
		}
		k.SetSpending(market.Spending{Bid: autobid.Config{SpendRate: autobid.PPM, Cap: btt}})
		if got := stats(s).Bid; got != rounded1 {
			t.Errorf("after a fall the tracker knows %d", got)
		}
		k.Buy = false
		if got := stats(s); got.Bid != 0 || got.Top != market.TrackerTop {
			t.Errorf("of a node that only earns: %+v", got)
		}
		if got := stats(w.seed(rich(w), nil)); got.Bid != 0 || got.Top != market.TrackerTop {
			t.Errorf("of a seed: %+v", got)
		}
		off := rich(w)
		off.TrackerBids = false
		if got := stats(w.node(off, w.t.TempDir(), nil)); got != (tracker.Stats{}) {
			t.Errorf("switched off: %+v", got)
		}
		if got := stats(w.node(nil, w.t.TempDir(), nil)); got != (tracker.Stats{}) {
			t.Errorf("without the market: %+v", got)
		}
	})
}

// answer is a tracker's reply that tells bids.
func answer(pause time.Duration, peers ...tracker.Peer) announce.Result {
	return announce.Result{Tracker: "http://tracker/announce", Bids: peers,
		Response: &tracker.Response{SpeaksBids: true, BidInterval: pause, Peers: peers}}
}

func tell(s *Swarm, r announce.Result) {
	_ = s.do(func() {
		r.Peers = r.Response.AddrPorts()
		s.onTracker(r)
	})
}

// TestBidDue: a changed bid is told when the tracker wants to hear it, and
// never twice in a minute.
func TestBidDue(t *testing.T) {
	for _, tt := range []struct{ told, want time.Duration }{{0, market.BidPause}, {10 * time.Minute, 10 * time.Minute}, {time.Second, time.Minute}} {
		bubble(t, 10*testPiece, func(t *testing.T, w *world) {
			k := rich(w)
			s := w.node(k, w.t.TempDir(), nil)
			due := func() (ok bool) {
				_ = s.do(func() { ok = s.market.BidDue() })
				return ok
			}
			_ = s.do(func() { s.market.Stats(&tracker.Stats{}) })
			after(time.Hour)
			if due() {
				t.Fatal("due at a tracker that knows no bids")
			}
			tell(s, answer(tt.told))
			k.SetSpending(market.Spending{Bid: autobid.Config{SpendRate: autobid.PPM, Cap: 20 * btt}})
			if after(tt.want - time.Second); due() {
				t.Errorf("pause %v: due too soon", tt.told)
			}
			if after(2 * time.Second); !due() {
				t.Errorf("pause %v: not due", tt.told)
			}
			k.SetSpending(market.Spending{Bid: autobid.Config{SpendRate: autobid.PPM, Cap: 10 * btt}})
			if due() {
				t.Errorf("pause %v: due without a change", tt.told)
			}
		})
	}
}

// phone is a dialer that notes who was called and reaches nobody.
type phone struct {
	mu     sync.Mutex
	called map[netip.AddrPort]bool
}

func (p *phone) Dial(ctx context.Context, a netip.AddrPort, _ wire.Handshake) (*Incoming, error) {
	p.mu.Lock()
	p.called[a] = true
	p.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
	}
	return nil, errors.New("nobody there")
}

// TestContacts: a seller calls those first who were told to bid most, but
// leaves room for others (R6.2, R6.6).
func TestContacts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		set   func(*market.Node)
		first int
	}{
		{"seller", func(*market.Node) {}, market.MaxBidders},
		{"no seller", func(k *market.Node) { k.Sell = false }, -1},
		{"switched off", func(k *market.Node) { k.TrackerBids = false }, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, 10*testPiece, func(t *testing.T, w *world) {
				k := rich(w)
				tt.set(k)
				p := &phone{called: map[netip.AddrPort]bool{}}
				s := w.seed(k, func(c *Config) { c.Dialer = p })
				var peers []tracker.Peer
				for i := range 1000 {
					x := tracker.Peer{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 6881)}
					if i >= 980 {
						x.HasBid, x.Bid = true, uint64(i)
					}
					peers = append(peers, x)
				}
				r := answer(0, peers...)
				r.Bids = peers[980:]
				tell(s, r)
				synctest.Wait()
				bidders := 0
				for i, x := range peers {
					if p.called[x.Addr] && i >= 980 {
						bidders++
					}
					if tt.first > 0 && i >= 1000-tt.first && !p.called[x.Addr] {
						t.Errorf("bidder %d was not called", i)
					}
				}
				if len(p.called) != maxHalfOpen || tt.first > 0 && bidders == maxHalfOpen || tt.first < 0 && bidders > 10 {
					t.Errorf("%d calls, %d of them to bidders", len(p.called), bidders)
				}
			})
		})
	}
}

// TestFirstBidWaits: where layers are to come from a peer, the first bid of a torrent with
// pieces that are paid by parts waits for them, and not for long; where pieces are paid
// as a whole it does not.
func TestFirstBidWaits(t *testing.T) {
	for _, c := range []struct {
		piece   int64
		quantum int64
		waits   bool
	}{{1 << 20, 0, true}, {256 << 10, 0, false}, {1 << 20, -1, false}} {
		t.Run(fmt.Sprint(c.piece, c.quantum), func(t *testing.T) {
			bubbleV2(t, 4<<20, c.piece, metainfo.Hybrid, func(t *testing.T, w *world) {
				k := rich(w)
				k.Quantum = c.quantum
				s := w.bareWith(t.TempDir(), nil, func(cfg *Config) { cfg.Market = k })
				p := w.visitAs(s, wire.HaveAll, false)
				bids := func() int {
					synctest.Wait()
					p.mu.Lock()
					defer p.mu.Unlock()
					return len(p.bids)
				}
				if after(layersWait / 2); (bids() == 0) != c.waits {
					t.Errorf("%d bids at first", bids())
				}
				if after(layersWait); bids() == 0 {
					t.Error("no bid")
				}
			})
		})
	}
}

// TestFarBelow: a peer whose own first bid is less than half of what a tracker
// told is disconnected, and the tracker is blamed (R6.4, A9).
func TestFarBelow(t *testing.T) {
	const honest, lie, silent = "honest", "lie", ""
	for _, tt := range []struct {
		name     string
		age      time.Duration // of the bid, in the tracker's answer
		later    time.Duration // until the peer bids
		own      []amount.Price
		outgoing bool
		want     string
	}{
		{"far below", 0, 0, []amount.Price{4 * btt}, true, lie},
		{"far below, and it called us", 0, 0, []amount.Price{4 * btt}, false, lie},
		{"half is enough", 0, 0, []amount.Price{5 * btt}, true, honest},
		{"more", 9 * time.Minute, 0, []amount.Price{50 * btt}, true, honest},
		{"told long ago", 10 * time.Minute, 0, []amount.Price{btt}, true, silent},
		{"told long ago by now", 8 * time.Minute, 3 * time.Minute, []amount.Price{btt}, true, silent},
		{"later bids are free to fall", 0, 0, []amount.Price{9 * btt, btt}, true, honest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, 10*testPiece, func(t *testing.T, w *world) {
				s := w.seed(rich(w), nil)
				var verdicts []string
				_ = s.do(func() {
					s.reportBid = func(url string, ok bool) {
						verdicts = append(verdicts, map[bool]string{true: honest, false: lie}[ok])
						if url != "http://tracker/announce" {
							t.Errorf("%s is blamed", url)
						}
					}
				})
				tell(s, answer(0, tracker.Peer{Addr: w.address(w.nodes + 1), HasBid: true, Bid: uint64(10 * btt), BidAge: tt.age}))
				p := w.visitAs(s, wire.HaveNone, tt.outgoing)
				after(tt.later)
				for _, b := range tt.own {
					p.send(speed.Bid{Price: b, Account: p.account})
				}
				switch {
				case tt.want == silent && len(verdicts) != 0, tt.want != silent && (len(verdicts) != 1 || verdicts[0] != tt.want):
					t.Errorf("verdicts %q", verdicts)
				case p.gone() != (tt.want == lie):
					t.Errorf("disconnected: %v", p.gone())
				}
				_ = s.do(func() { // the same bid is not compared again
					kept := s.market.Bidders(func(netip.AddrPort) bool { return true })
					if tt.want != silent && len(kept) != 0 {
						t.Error("the told bid is kept")
					} else if tt.want == lie && s.known[w.address(w.nodes)].failures < maxRetryShift {
						t.Error("the peer is called again soon")
					}
				})
			})
		})
	}
}

// TestRebid: a change by the user is bid at once, whatever its size, but not
// twice in a minute; others only beyond a tenth (R8.5, R8.7, R8.8, A8).
func TestRebid(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := rich(w)
		s := w.node(k, w.t.TempDir(), nil)
		p := w.visitAs(s, wire.HaveAll, true)
		set := func(c amount.Price) {
			k.SetSpending(market.Spending{Bid: autobid.Config{SpendRate: autobid.PPM, Cap: c}})
		}
		p.heard(t, "at first", 10*btt)
		after(10 * time.Second)
		set(105 * btt / 10)
		s.Rebid()
		p.heard(t, "a change in the first minute", 10*btt)
		after(51 * time.Second)
		p.heard(t, "a minute later", 10*btt, 105*btt/10)
		after(2 * time.Minute)
		set(11 * btt)
		after(2 * time.Minute)
		p.heard(t, "less than a tenth, unasked", 10*btt, 105*btt/10)
		s.Rebid()
		p.heard(t, "less than a tenth, by the user", 10*btt, 105*btt/10, 11*btt)
		after(2 * time.Minute)
		set(20 * btt)
		after(2 * time.Second)
		p.heard(t, "twice", 10*btt, 105*btt/10, 11*btt, 20*btt)
		after(2 * time.Minute)
		k.SetSpending(market.Spending{}) // no more bids: the last one is withdrawn
		s.Rebid()
		p.heard(t, "nothing to spend", 10*btt, 105*btt/10, 11*btt, 20*btt, 0)
		if st := s.Status(); st.Bid != 0 {
			t.Errorf("still bids %v", st.Bid)
		}
	})
}

// TestUserWithdraws: who stops bidding by its user's will is sold nothing more at the
// former bid: the peers hear it at once, in the minute after a bid too. The next bid waits.
func TestUserWithdraws(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := rich(w)
		s := w.node(k, w.t.TempDir(), nil)
		p := w.visitAs(s, wire.HaveAll, true)
		after(2 * time.Second)
		first := k.Spending()
		k.SetSpending(market.Spending{})
		s.Rebid()
		p.heard(t, "withdrawn", 10*btt, 0)
		k.SetSpending(first)
		s.Rebid()
		after(119 * time.Second)
		p.heard(t, "a change in the first minute", 10*btt, 0)
		after(2 * time.Second)
		p.heard(t, "a minute later", 10*btt, 0, 10*btt)
		if p.gone() {
			t.Error("the peer counts it as a flood")
		}
	})
}

// TestTorrentBudget: what was spent counts against a budget set later.
func TestTorrentBudget(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := rich(w)
		var err error
		if k.Receipts, err = receipts.Open(w.t.TempDir(), time.Now); err != nil {
			t.Fatal(err)
		}
		k.Receipts.Moved(w.torrent.InfoHash, receipts.Paid, ledger.Address{1}, channel.ID{1}, 3*amount.BTT, 1) // in an earlier run
		s := w.node(k, w.t.TempDir(), nil)
		for _, tt := range []struct {
			budget amount.Amount
			bids   bool
		}{{0, true}, {2 * amount.BTT, false}, {3 * amount.BTT, false}, {4 * amount.BTT, true}} {
			k.SetSpending(market.Spending{Bid: k.Bid, TorrentBudget: tt.budget})
			if got := s.Status().Bid; got > 0 != tt.bids {
				t.Errorf("budget %v: bids %v", tt.budget, got)
			}
		}
	})
}

// TestBidToEach: a requester bids to each peer that has what it wants, and to no
// other (R5.4, R5.6).
func TestBidToEach(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		s := w.node(rich(w), w.t.TempDir(), nil)
		providers := []*stranger{w.visitAs(s, wire.HaveAll, true), w.visitAs(s, wire.HaveAll, false), w.visitAs(s, wire.HaveAll, true)}
		empty := w.visitAs(s, wire.HaveNone, true)
		after(2 * time.Second)
		for _, p := range providers {
			p.heard(t, "a provider", 10*btt)
		}
		empty.heard(t, "one that has nothing")
	})
}
