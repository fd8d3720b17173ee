package btt_test

import (
	"context"
	"fmt"
	"math/bits"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
)

// stays is how long a demanding node waits for somebody who pays.
const stays = 2500 * time.Millisecond

// demanding is a node that seeds only for 3 BTT/GiB or more, and looks for bids
// four times a second.
func demanding(t *testing.T, l *ledgertest.Memory) *btt.Node {
	return open(t, &btt.SpeedConfig{Ledger: l, EarnOnly: true, Reserve: 3 * perGiB,
		Demand: &btt.Demand{Every: 250 * time.Millisecond, Stay: stays}}, nil)
}

// retire seeds a torrent until the node lets it rest.
func retire(t *testing.T, n *btt.Node, torrent *metainfo.Torrent, dir string) *btt.Torrent {
	t.Helper()
	s := add(t, n, btt.Add{Torrent: torrent, Dir: dir, WhenPaid: true})
	eventually(t, "the files to be checked", func() bool { return s.Status().State == btt.Seeding })
	eventually(t, "a rest", func() bool { return s.Status().Resting && s.Status().State != btt.Seeding })
	return s
}

// TestDyingSwarm: no seed is left. A bid under the past completer's reserve
// price moves nobody; one of that price, told by bid scrape, brings it back:
// the download ends, is paid for, and the seed rests again (R6.5, R6.6, R17.1).
func TestDyingSwarm(t *testing.T) {
	l := ledgertest.New()
	tr, _, heard := openTracker(t)
	dir, torrent := film(t, 2<<20, tr)
	past := demanding(t, l)
	s := retire(t, past, torrent, dir)
	bidder := func(most amount.Price) (*btt.Node, *btt.Torrent) {
		n := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: most}, func(c *btt.Config) { c.UploadRate = 16 << 10 }) // so that most is bought of the seed
		rich(t, l, n)
		return n, add(t, n, btt.Add{Torrent: torrent, Dir: t.TempDir()})
	}
	poor, g := bidder(1 * perGiB)
	eventually(t, "a bid on the tracker", func() bool { return heard.of(poor).Get("btt_bid") == "741455" }) // 1 BTT, rounded
	time.Sleep(time.Second)
	if st := s.Status(); !st.Resting || g.Status().Left != 2<<20 {
		t.Fatalf("for a bid under its price it returned: %+v", st)
	}
	payer, h := bidder(5 * perGiB)
	eventually(t, "the return", func() bool { return !s.Status().Resting })
	eventually(t, "the paid download", func() bool { return h.Status().State == btt.Seeding })
	if h.Status().Paid == 0 {
		t.Error("nothing was paid")
	}
	payer.SetLimits(0, 0) // what the poor one lacks would take two minutes
	eventually(t, "the other download", func() bool { return g.Status().State == btt.Seeding })
	eventually(t, "the next rest", func() bool { return s.Status().Resting })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := payer.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := past.Close(ctx); err != nil {
		t.Fatal(err)
	}
	list := past.Receipts()
	if len(list) != 1 || list[0].Totals().Earned == 0 || list[0].InfoHash.String() != torrent.InfoHash.String() {
		t.Errorf("%d receipts, the poor one uploaded %d bytes", len(list), g.Status().Totals.Uploaded)
		for _, r := range list {
			t.Errorf("%v: %+v", r.InfoHash, r.Totals())
		}
	}
}

// oldTracker answers announces, and bid scrapes by f.
func oldTracker(t *testing.T, f http.HandlerFunc) (announce string, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/bidscrape") {
			asked.Add(1)
			f(w, r)
			return
		}
		fmt.Fprint(w, "d8:intervali60e5:peers0:e")
	}))
	t.Cleanup(srv.Close)
	return srv.URL + "/announce", asked
}

// TestLyingBidScrape: a tracker that tells of bids that nobody makes brings the
// torrent back rarer and rarer; one without bid scrape is asked rarer and does
// no harm (R6.3).
func TestLyingBidScrape(t *testing.T) {
	l := ledgertest.New()
	lies, asked := oldTracker(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "d5:filesd20:%sd3:bidi1099511627776e7:biddersi9e8:completei0e10:downloadedi0e10:incompletei9eeee",
			r.URL.Query().Get("info_hash"))
	})
	old, oldAsked := oldTracker(t, http.NotFound)
	dir, torrent := film(t, 1<<20, lies)
	torrent.AnnounceList = append(torrent.AnnounceList, []string{old})
	began := time.Now()
	s := retire(t, demanding(t, l), torrent, dir)
	eventually(t, "a call for nothing", func() bool { return !s.Status().Resting })
	var awake time.Time // last seen before its rest, from which on it is not called for twice its stay
	eventually(t, "a rest", func() bool {
		now := time.Now()
		if s.Status().Resting {
			return true
		}
		awake = now
		return false
	})
	before := asked.Load()
	time.Sleep(2 * time.Second)
	if !s.Status().Resting && time.Since(awake) < 2*stays {
		t.Error("called again at once by the same lie")
	}
	eventually(t, "a question after one lie", func() bool { return asked.Load() > before })
	n := oldAsked.Load() // each time waits twice as long, half a second at first
	if most := 1 + bits.Len64(uint64(time.Since(began)/(500*time.Millisecond))); n == 0 || n > int64(most) {
		t.Errorf("a tracker without bid scrape was asked %d times, at most %d are right", n, most)
	}
}

// TestSetSpeed: a node leaves the market and comes back while its torrents run
// (R9.1, R15.4).
func TestSetSpeed(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := film(t, 4<<20)
	seed := open(t, &btt.SpeedConfig{Ledger: l, Reserve: perGiB}, func(c *btt.Config) { c.UploadRate = 24 << 10 }) // nothing ends before the test
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the seed", func() bool { return s.Status().State == btt.Seeding })
	leech := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 5 * perGiB}, nil)
	rich(t, l, leech)
	g := add(t, leech, btt.Add{Torrent: torrent, Dir: t.TempDir()})
	bid := func() bool {
		g.AddPeers(seed.Addr())
		p := s.Status().Peers
		return len(p) == 1 && p[0].TheirBid > 0
	}
	eventually(t, "a bid", bid)
	if err := leech.SetSpeed(false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the same peer without bids", func() bool {
		g.AddPeers(seed.Addr())
		p := s.Status().Peers
		return len(p) == 1 && p[0].TheirBid == 0 && p[0].Account == "" && p[0].Sent > 0
	})
	if st := g.Status(); st.Bid != 0 {
		t.Errorf("outside the market it bids %v", st.Bid)
	}
	if err := leech.SetSpeed(true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a bid again", bid)
	if err := open(t, nil, nil).SetSpeed(true); err == nil {
		t.Error("a plain node enters the market")
	}
}

// TestSetReserve: a torrent's own reserve price goes before that of the node,
// may change while it runs, and the default grows from 0 (R7.3, R7.19, R9.4).
func TestSetReserve(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := film(t, 1<<20)
	n := open(t, &btt.SpeedConfig{Ledger: l, Reserve: 2 * perGiB}, nil)
	s := add(t, n, btt.Add{Torrent: torrent, Dir: dir, Reserve: &btt.Reserve{Fixed: 5 * perGiB}})
	asks := func(want amount.Price) {
		t.Helper()
		eventually(t, fmt.Sprintf("a reserve price of %v", want), func() bool {
			st := s.Status()
			return st.State == btt.Seeding && st.Reserve == want
		})
	}
	asks(5 * perGiB)
	if err := s.SetReserve(&btt.Reserve{Fixed: 9 * perGiB}); err != nil {
		t.Fatal(err)
	}
	asks(9 * perGiB)
	if err := s.SetReserve(nil); err != nil {
		t.Fatal(err)
	}
	asks(2 * perGiB)
	other := open(t, &btt.SpeedConfig{Ledger: l}, nil)
	s = add(t, other, btt.Add{Torrent: torrent, Dir: dir})
	asks(0) // and grows from here
	p := open(t, &btt.SpeedConfig{Ledger: l, NoReserve: true}, nil)
	s = add(t, p, btt.Add{Torrent: torrent, Dir: dir})
	asks(0)
}

// TestRestOutside: a torrent that rests until it is paid for runs as others do while it,
// or the whole node, is out of Speed: nobody could pay for it. Back in it rests again.
func TestRestOutside(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := film(t, 64<<10)
	n := demanding(t, l)
	s := retire(t, n, torrent, dir)
	state := func(what string, resting bool) {
		t.Helper()
		eventually(t, what, func() bool {
			st := s.Status()
			return st.Resting == resting && (st.State == btt.Seeding) == !resting
		})
	}
	for range 2 {
		if err := s.SetSpeed(false); err != nil {
			t.Fatal(err)
		}
		state("the torrent's leave", false)
		if err := s.SetSpeed(true); err != nil {
			t.Fatal(err)
		}
		state("its rest", true)
	}
	if err := n.SetSpeed(false); err != nil {
		t.Fatal(err)
	}
	state("the node's leave", false)
	if err := n.SetSpeed(true); err != nil {
		t.Fatal(err)
	}
	state("its rest", true)
}
