package btt_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/trackerd"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/tracker"
)

const perGiB = amount.Price(amount.BTT)

// open starts a node that ends with the test.
func open(t *testing.T, speed *btt.SpeedConfig, f func(*btt.Config)) *btt.Node {
	t.Helper()
	cfg := btt.Config{Home: t.TempDir(), NoResume: true, Listen: "127.0.0.1:0", ChokeEvery: 100 * time.Millisecond, Speed: speed,
		Announce: announce.Config{Floor: 200 * time.Millisecond}}
	if f != nil {
		f(&cfg)
	}
	return btt.Opened(t, cfg)
}

func add(t *testing.T, n *btt.Node, a btt.Add) *btt.Torrent {
	t.Helper()
	s, err := n.Add(a)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What tests inside and outside of the package share.
const patience = btt.Patience

var film, eventually = btt.Film, btt.Eventually

// rich pays money into a node's wallet and waits until it bids with it.
func rich(t *testing.T, l *ledgertest.Memory, n *btt.Node) {
	t.Helper()
	if _, err := l.Fund(n.Purse().Address(), 1000*amount.BTT); err != nil {
		t.Fatal(err)
	}
}

// TestSetSpending: what the user changes is bid at once (R8.8).
func TestSetSpending(t *testing.T) {
	if err := open(t, nil, nil).SetSpending(btt.Spending{}); !errors.Is(err, btt.ErrNoSpeed) {
		t.Errorf("a plain node: %v", err)
	}
	l := ledgertest.New()
	dir, torrent := film(t, 4<<20)
	seed := open(t, &btt.SpeedConfig{Ledger: l}, func(c *btt.Config) { c.UploadRate = 24 << 10 }) // nothing ends before the test
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the seed", func() bool { return s.Status().State == btt.Seeding })
	leech := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 5 * perGiB}, nil)
	rich(t, l, leech)
	if set, err := leech.Spending(); err != nil || set != (btt.Spending{Rate: 1_000_000, PriceCap: 5 * perGiB}) {
		t.Errorf("spends %+v, %v", set, err)
	}
	if err := leech.SetSpending(btt.Spending{PriceCap: 5 * perGiB}); err != nil { // a rate of 0
		t.Fatal(err)
	}
	g := add(t, leech, btt.Add{Torrent: torrent, Dir: t.TempDir()})
	g.AddPeers(seed.Addr())
	eventually(t, "the connection", func() bool { return len(s.Status().Peers) == 1 && s.Status().Peers[0].Interested })
	time.Sleep(100 * time.Millisecond)
	if b := s.Status().Peers[0].TheirBid; b != 0 {
		t.Fatalf("with a rate of 0 it bids %v", b)
	}
	eventually(t, "a bid", func() bool { // the balance counts after some seconds
		if err := leech.SetSpending(btt.Spending{Rate: 2_000_000, PriceCap: 3 * perGiB}); err != nil {
			t.Fatal(err)
		}
		return s.Status().Peers[0].TheirBid == 3*perGiB
	})
	if set, _ := leech.Spending(); set.Rate != 1_000_000 || set.PriceCap != 3*perGiB {
		t.Errorf("spends %+v", set)
	}
	if err := leech.SetSpending(btt.Spending{Rate: 1_000_000, TorrentBudget: 1}); err != nil {
		t.Fatal(err)
	}
	if b := g.Status().Bid; b > perGiB {
		t.Errorf("with a budget of 1 µBTT it bids %v", b)
	}
}

// TestReserveConfig: a reserve price is fixed or grows.
func TestReserveConfig(t *testing.T) {
	_, err := btt.Open(t.Context(), btt.Config{Home: t.TempDir(), Speed: &btt.SpeedConfig{Ledger: ledgertest.New(), Reserve: 1, ReserveGrowth: 1}})
	if !errors.Is(err, btt.ErrReserve) {
		t.Errorf("both: %v", err)
	}
	dir, torrent := film(t, 1<<20)
	n := open(t, &btt.SpeedConfig{Ledger: ledgertest.New(), ReserveGrowth: 864_000 * perGiB, ReserveCap: 7 * perGiB}, nil)
	s := add(t, n, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the price to grow to its cap", func() bool { return s.Status().Reserve == 7*perGiB })
}

// TestProofOverLoopback: a second node with the files lowers the first one's
// price, the first one's only customer does not (R7.10, R7.11).
func TestProofOverLoopback(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := film(t, 1<<20)
	first := open(t, &btt.SpeedConfig{Ledger: l, ReserveGrowth: 864_000 * perGiB, ReserveCap: 5 * perGiB}, nil) // half a second
	s := add(t, first, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the price to grow", func() bool { return s.Status().Reserve > 0 })
	customer := open(t, &btt.SpeedConfig{Ledger: l}, nil)
	g := add(t, customer, btt.Add{Torrent: torrent, Dir: t.TempDir(), Peers: []netip.AddrPort{first.Addr()}})
	eventually(t, "the download", func() bool { return g.Status().State == btt.Seeding })
	if n := s.Status().Proofs; n != 0 {
		t.Errorf("the customer proved possession %d times", n)
	}
	before := s.Status().Reserve
	second := open(t, &btt.SpeedConfig{Ledger: l, ReserveGrowth: perGiB}, nil)
	add(t, second, btt.Add{Torrent: torrent, Dir: dir, Peers: []netip.AddrPort{first.Addr()}})
	eventually(t, "a proof", func() bool { return s.Status().Proofs == 1 })
	if st := s.Status(); before == 0 || time.Since(st.Proved) > time.Minute {
		t.Errorf("the price was %v, proved at %v", before, st.Proved)
	}
}

// notes keeps what announces said of bids, by listening port.
type notes struct {
	mu   sync.Mutex
	last map[string]url.Values
}

func (n *notes) of(node *btt.Node) url.Values {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last[strconv.Itoa(int(node.Addr().Port()))]
}

// openTracker starts a tracker, before it one that takes notes.
func openTracker(t *testing.T) (announceURL, udp string, n *notes) {
	t.Helper()
	s, err := trackerd.New(trackerd.Config{Listen: "127.0.0.1:0", Interval: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }() // ends with stop
	n = &notes{last: map[string]url.Values{}}
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Addr().String()})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); q.Get("event") != "stopped" && q.Get("event") != "completed" {
			n.mu.Lock()
			n.last[q.Get("port")] = q
			n.mu.Unlock()
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		front.Close()
		stop()
		<-done
	})
	return front.URL + "/announce", "udp://" + s.Addr().String() + "/announce", n
}

// TestTrackerBids: a tracker brings bidder and seller together, knows no more
// than the rounded bid, and tells it by bid scrape (R6).
func TestTrackerBids(t *testing.T) {
	l := ledgertest.New()
	tr, _, heard := openTracker(t)
	dir, torrent := film(t, 2<<20, tr)
	leech := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 5 * perGiB}, nil)
	rich(t, l, leech)
	shy := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 5 * perGiB, NoTrackerBids: true}, nil)
	rich(t, l, shy)
	eventually(t, "the balance to count", func() bool { return leech.BidsWith() > 0 && shy.BidsWith() > 0 })
	g := add(t, leech, btt.Add{Torrent: torrent, Dir: t.TempDir()})
	h := add(t, shy, btt.Add{Torrent: torrent, Dir: t.TempDir()})
	a, err := announce.New(announce.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	const rounded = 1 << 22 // the greatest power of √2 up to 5,000,000
	eventually(t, "the bid on the tracker", func() bool {
		page, err := a.BidScrape(t.Context(), tr, "", &tracker.BidQuery{Hashes: [][20]byte{torrent.InfoHash}})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Torrents) == 1 && page.Torrents[0].Bid == rounded && page.Torrents[0].Bidders == 1
	})
	if q := heard.of(leech); q.Get("btt_bid") != strconv.Itoa(rounded) || q.Get("btt_top") == "" {
		t.Errorf("the bidder announced %v", q)
	}
	seed := open(t, &btt.SpeedConfig{Ledger: l, EarnOnly: true, Reserve: 2 * perGiB}, nil)
	add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the downloads", func() bool {
		return g.Status().State == btt.Seeding && h.Status().State == btt.Seeding
	})
	if q := heard.of(seed); q.Get("btt_top") == "" || q.Has("btt_bid") && q.Get("btt_bid") != "0" {
		t.Errorf("the seller announced %v", q)
	}
	if q := heard.of(shy); q == nil || q.Has("btt_bid") || q.Has("btt_top") {
		t.Errorf("with bids switched off it announced %v", q)
	}
	if g.Status().Paid == 0 {
		t.Error("nothing was paid")
	}
}

// TestTrackerBidsUDP: the same by UDP, where bids go to trackers that answered
// before.
func TestTrackerBidsUDP(t *testing.T) {
	l := ledgertest.New()
	tr, udp, _ := openTracker(t)
	_, torrent := film(t, 1<<20, udp)
	leech := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 5 * perGiB}, nil)
	rich(t, l, leech)
	add(t, leech, btt.Add{Torrent: torrent, Dir: t.TempDir()})
	a, err := announce.New(announce.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	eventually(t, "the bid on the tracker", func() bool {
		page, err := a.BidScrape(t.Context(), tr, "", &tracker.BidQuery{Hashes: [][20]byte{torrent.InfoHash}})
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Torrents) == 1 && page.Torrents[0].Bid == 1<<22
	})
}

// TestOpenSpeed: a node that was opened without Speed gets its part while it runs. Its
// torrents stay out until they are let in, those that are plain for good; what cannot
// be opened leaves a plain node, and a closed one opens nothing.
func TestOpenSpeed(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := film(t, 8<<20) // two minutes at its limit: enough for a slow machine to begin the sale
	seed := open(t, nil, nil)
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir, Reserve: &btt.Reserve{Fixed: perGiB}})
	payer := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 9 * perGiB}, nil)
	rich(t, l, payer)
	g := add(t, payer, btt.Add{Torrent: torrent, Dir: t.TempDir(), DownLimit: 64 << 10})
	meet := func() { g.AddPeers(seed.Addr()) }
	eventually(t, "some data", func() bool { meet(); return g.Status().Totals.Downloaded > 0 })
	if err := seed.SetSpeed(true); !errors.Is(err, btt.ErrNoSpeed) {
		t.Errorf("without a part in it: %v", err)
	}
	if err := seed.OpenSpeed(t.Context(), btt.SpeedConfig{Ledger: l, Quantum: 3}); !errors.Is(err, btt.ErrQuantum) {
		t.Errorf("with a wrong quantum: %v", err)
	}
	if err := seed.OpenSpeed(t.Context(), btt.SpeedConfig{Ledger: l}); err != nil {
		t.Fatal(err)
	}
	if err := seed.OpenSpeed(t.Context(), btt.SpeedConfig{Ledger: l}); !errors.Is(err, btt.ErrSpeedOpen) {
		t.Errorf("twice: %v", err)
	}
	if got := s.Status().Totals.Uploaded; s.Status().Earned != 0 || got == 0 {
		t.Errorf("before its torrents are let in it earned %v for %d bytes", s.Status().Earned, got)
	}
	if err := seed.SetSpeed(true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a sale", func() bool { meet(); return s.Status().Earned > 0 })

	closed := open(t, nil, nil)
	if err := closed.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := closed.OpenSpeed(t.Context(), btt.SpeedConfig{Ledger: l}); err == nil {
		t.Error("a closed node opened a wallet")
	}
	nowhere := open(t, nil, func(c *btt.Config) { c.Home = "" })
	if err := nowhere.OpenSpeed(t.Context(), btt.SpeedConfig{Ledger: l}); !errors.Is(err, btt.ErrNoHome) {
		t.Errorf("without a home: %v", err)
	}
}
