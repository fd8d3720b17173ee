package swarm

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/reserve"
	"github.com/bttnet/btt/wire"
)

// TestFloods: a peer that sends any message of the market faster than the
// protocol allows is disconnected; others are served on, and what it made us
// read of the disk is bounded.
func TestFloods(t *testing.T) {
	for name, message := range map[string]func(i int, p *stranger) speed.Message{
		"bids": func(i int, p *stranger) speed.Message {
			return speed.Bid{Price: amount.Price(i + 1), Account: p.account}
		},
		"reserve prices": func(i int, _ *stranger) speed.Message {
			return speed.Reserve{Price: amount.Price(i), Nonce: [16]byte{byte(i), byte(i >> 8), 1}}
		},
		"proofs": func(_ int, p *stranger) speed.Message {
			r := p.asked()
			return speed.Proof{Piece: r.Piece, Chunk: r.Chunk, Hash: [32]byte{1}}
		},
		"accepts": func(int, *stranger) speed.Message { return speed.Accept{Price: 1} },
		"responses": func(int, *stranger) speed.Message {
			return speed.BidResponse{Price: 1, Terms: []byte{1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 10*testPiece, func(t *testing.T, w *world) {
				s := w.seed(growing(w), nil)
				p, honest := w.visit(s), w.visit(s)
				for i := 0; i < 200 && len(s.Status().Peers) == 2; i++ {
					p.send(message(i, p))
				}
				if honest.gone() || len(s.Status().Peers) != 1 {
					t.Errorf("%d peers are left, the honest one gone: %v", len(s.Status().Peers), honest.gone())
				}
				honest.send(speed.Bid{Price: btt, Account: honest.account})
				if got := s.Status().Peers[0].TheirBid; got != btt {
					t.Errorf("the honest peer's bid is %v", got)
				}
			})
		})
	}
}

// TestResetAbuse: a buyer's friends that have the torrent answer each challenge
// at once, over new connections too. They lower the price once in a quarantine,
// not more, and between that it grows.
func TestResetAbuse(t *testing.T) {
	bubble(t, 40*testPiece, func(t *testing.T, w *world) {
		k := growing(w)
		k.Reserve.Growth = reserve.Growth{Slope: 144 * btt, Step: btt / 10} // 1 BTT/GiB in a quarantine
		s := w.seed(k, nil)
		const hours = 3
		var top amount.Price
		began := time.Now()
		for time.Since(began) < hours*time.Hour {
			friend := w.visit(s)
			for range 2 { // and the question that follows
				friend.send(w.proof(friend.asked()))
				after(31 * time.Second)
				top = max(top, s.Status().Reserve)
			}
			friend.net.Close()
			synctest.Wait()
		}
		st := s.Status()
		if most := int64(hours*time.Hour/reserve.Quarantine) + 1; st.Proofs == 0 || st.Proofs > most {
			t.Errorf("%d proofs counted in %d hours, at most %d", st.Proofs, hours, most)
		}
		if top < 9*btt/10 {
			t.Errorf("between proofs the price rose to %v only", top)
		}
	})
}

// TestStrangersBids: who does not take part on our network is heard by nobody:
// its bid makes it no bidder, and it is served as any plain peer.
func TestStrangersBids(t *testing.T) {
	for name, hello := range map[string]wire.ExtendedHandshake{
		"no extension":      {},
		"another network":   {Speed: wire.SubSpeed, SpeedVersion: speed.Version, SpeedNetwork: []byte("12345678"), SpeedNonce: make([]byte, speed.NonceLen)},
		"no nonce":          {Speed: wire.SubSpeed, SpeedVersion: speed.Version, SpeedNetwork: []byte("network?")},
		"version 1":         {Speed: wire.SubSpeed, SpeedVersion: 1, SpeedNonce: make([]byte, speed.NonceLen)},
		"no extension bits": {Speed: wire.SubSpeed},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 10*testPiece, func(t *testing.T, w *world) {
				k := growing(w)
				s := w.seed(k, nil)
				if name != "another network" {
					hello.SpeedNetwork = k.Network()
				}
				p := w.visitWith(s, hello, wire.HaveNone, true)
				p.send(speed.Bid{Price: 100 * btt, Account: [20]byte{1}})
				c := s.Candidates(nil, false)
				if len(c) != 1 || c[0].Speed || c[0].Bid != 0 || !c[0].Interested {
					t.Errorf("candidates %+v", c)
				}
				if st := s.Status().Peers; len(st) != 1 || st[0].TheirBid != 0 || st[0].Account != "" {
					t.Errorf("peers %+v", st)
				}
			})
		})
	}
}

// TestSpoofedBid: who proved to be one account cannot bid as another, nor say a
// word without a proof; a banned account is sent away as soon as it proves to be
// it, before any bid, and from any address (R12.3).
func TestSpoofedBid(t *testing.T) {
	bubble(t, 10*testPiece, func(t *testing.T, w *world) {
		k := growing(w)
		s := w.seed(k, nil)
		p := w.visit(s)
		p.send(speed.Bid{Price: btt, Account: p.account})
		if p.gone() || s.Status().Peers[0].TheirBid != btt || s.Status().Peers[0].Account != p.account.String() {
			t.Fatalf("the bid of its own account: %+v", s.Status().Peers)
		}
		after(time.Minute)
		p.send(speed.Bid{Price: 2 * btt, Account: [20]byte{8}})
		if !p.gone() {
			t.Error("one connection speaks for two accounts")
		}
		id := speed.NetworkID(k.Net)
		mute := w.visitWith(s, wire.ExtendedHandshake{Speed: wire.SubSpeed, SpeedVersion: speed.Version, SpeedNetwork: id[:]}, wire.HaveNone, true)
		if mute.gone() || mute.session != nil {
			t.Error("who takes no part is sent away")
		}
		banned := ledgertest.Key(fmt.Sprintf("stranger %d", w.nodes+1)).Address()
		for range speed.BanAfter {
			k.Fail(banned, netip.MustParseAddr("203.0.113.9"), time.Now())
		}
		p = w.visit(s)
		if p.account != banned || !p.gone() {
			t.Error("a banned account is let in until it bids")
		}
	})
}

// TestPlainWire: with BTT switched off, for the node or the torrent, nothing on
// the wire tells of it, whatever the peer says (R1.9, R9.1, R15.3).
func TestPlainWire(t *testing.T) {
	for name, on := range map[string]bool{"off": false, "on": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 10*testPiece, func(t *testing.T, w *world) {
				var k *market.Node
				if on {
					k = growing(w)
				}
				s := w.seed(k, nil)
				p := w.visit(s)
				p.send(speed.Bid{Price: btt, Account: p.account})
				after(2 * time.Minute)
				if got := bytes.Contains(p.hello, []byte("btt_speed")); got != on || (p.speeds > 0) != on {
					t.Errorf("handshake %q, then %d messages", p.hello, p.speeds)
				}
				if !on && bytes.Contains(p.hello, []byte("network")) {
					t.Errorf("handshake %q", p.hello)
				}
				if p.gone() {
					t.Error("a peer is sent away for its bid")
				}
			})
		})
	}
}
