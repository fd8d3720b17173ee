package btt_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
)

// joining is a node that joins what trackers tell bids of 3 BTT/GiB for.
func joining(t *testing.T, l *ledgertest.Memory, change func(*btt.Join), trackers ...string) (*btt.Node, string) {
	t.Helper()
	dir := t.TempDir()
	j := btt.Join{Trackers: trackers, Dir: dir, MaxBytes: 64 << 20, MaxSpend: amount.BTT, MinPrice: 3 * perGiB,
		Every: 250 * time.Millisecond, Stay: 3 * time.Second}
	if change != nil {
		change(&j)
	}
	n := open(t, &btt.SpeedConfig{Ledger: l, Join: &j}, func(c *btt.Config) { c.ChokeEvery = 250 * time.Millisecond })
	rich(t, l, n)
	return n, dir
}

// left says whether nothing of any joined torrent is there any more.
func left(t *testing.T, n *btt.Node, dir string) bool {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "joined-*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(n.Torrents()) == 0 && len(found) == 0
}

// TestJoin: a node that knows nothing of a torrent finds by bid scrape that
// somebody bids for it, joins, fetches it from peers by its hash alone, sells it to
// the bidder, and rests when nobody pays any more (R6.6).
func TestJoin(t *testing.T) {
	l := ledgertest.New()
	tr, _, _ := openTracker(t)
	dir, torrent := film(t, 8<<20, tr) // three minutes at the payer's limit: enough for a slow machine to begin the sale
	seed := open(t, &btt.SpeedConfig{Ledger: l}, nil)
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the seed", func() bool { return s.Status().State == btt.Seeding })
	payer := open(t, &btt.SpeedConfig{Ledger: l, PriceCap: 9 * perGiB}, nil)
	rich(t, l, payer)
	g := add(t, payer, btt.Add{Torrent: torrent, Dir: t.TempDir(), DownLimit: 48 << 10}) // so that there is somebody to sell to
	n, home := joining(t, l, nil, tr)
	var j *btt.Torrent
	eventually(t, "the join", func() bool { j = n.Torrent(torrent.InfoHash); return j != nil })
	if want := filepath.Join(home, "joined-"+torrent.InfoHash.String()); j.Dir() != want {
		t.Errorf("it is in %s, want %s", j.Dir(), want)
	}
	eventually(t, "a sale", func() bool { return j.Status().Earned > 0 })
	if err := g.SetLimits(0, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both downloads", func() bool {
		return g.Status().State == btt.Seeding && (j.Status().State == btt.Seeding || j.Status().Resting)
	})
	st := j.Status()
	if st.Earned == 0 || st.Paid > amount.BTT {
		t.Errorf("it paid %v and earned %v", st.Paid, st.Earned)
	}
	for _, p := range j.Status().Peers {
		t.Logf("%v bids %v, backed %v, seed %v", p.Addr, p.TheirBid, p.Backed, p.Seed)
	}
	eventually(t, "a rest", func() bool { return j.Status().Resting })
	for range 8 { // looks at it while it rests
		if st := j.Status(); n.Torrent(torrent.InfoHash) == nil || !st.WhenPaid || st.Left != 0 || st.Earned == 0 {
			t.Fatalf("a torrent that paid is not kept: %+v", st)
		}
		time.Sleep(250 * time.Millisecond)
	}
}

// lies is a tracker that tells of high bids for torrents by their hashes.
func lies(t *testing.T, hashes ...[20]byte) (url string, asked func() int64) {
	t.Helper()
	u, n := oldTracker(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "d5:filesd")
		for _, h := range hashes {
			fmt.Fprintf(w, "20:%sd3:bidi1099511627776e4:bid5i1099511627776e7:biddersi9e8:completei0e10:downloadedi0e10:incompletei9ee", h[:])
		}
		fmt.Fprint(w, "ee")
	})
	return u, n.Load
}

// TestJoinLies: a tracker that tells of bids for torrents that nobody has, or nobody
// bids for, costs the node a little time each, no money and no disk; after three
// lies it is not asked any more (R6.3, R6.4).
func TestJoinLies(t *testing.T) {
	dir, torrent := film(t, 2<<20)
	seed := open(t, nil, nil) // the third has peers, and none of them bids
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the seed", func() bool { return s.Status().State == btt.Seeding })
	// The three are joined together, and data comes of one: time enough on this machine.
	for stay := 3 * time.Second; !believes(t, torrent, seed, stay); stay *= 4 {
		if stay > time.Minute {
			t.Fatal("the torrents are left before anything of them comes")
		}
	}
}

// believes is a node that keeps what lies are told of so long. It says whether all were
// there at once, and data of the one that a seed has.
func believes(t *testing.T, torrent *metainfo.Torrent, seed *btt.Node, stay time.Duration) bool {
	t.Helper()
	url, asked := lies(t, [20]byte{1: 'a'}, [20]byte{1: 'b'}, torrent.InfoHash)
	n, home := joining(t, ledgertest.New(), func(j *btt.Join) { j.Stay = stay }, url)
	var joined *btt.Torrent
	all, data := false, false
	eventually(t, "the joins", func() bool {
		all = all || len(n.Torrents()) == 3
		if joined == nil {
			joined = n.Torrent(torrent.InfoHash)
		}
		if joined != nil {
			joined.AddPeers(seed.Addr())
			data = data || joined.Status().Totals.Downloaded > 0
		}
		return all && data || asked() > 0 && joined != nil && left(t, n, home)
	})
	if !all || !data {
		return false
	}
	eventually(t, "the end of all", func() bool { return left(t, n, home) })
	if st := joined.Status(); st.Paid != 0 {
		t.Errorf("a lie cost %v", st.Paid)
	}
	at := asked()
	time.Sleep(time.Second)
	if more := asked() - at; more > 1 {
		t.Errorf("after three lies it was asked %d times more", more)
	}
	if len(n.Torrents()) != 0 {
		t.Error("a lie is believed again")
	}
	return true
}

// TestJoinLimits: no more torrents are joined than the user said, and none that is
// larger than what they may hold is fetched.
func TestJoinLimits(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := film(t, 2<<20)
	seed := open(t, nil, nil)
	s := add(t, seed, btt.Add{Torrent: torrent, Dir: dir})
	eventually(t, "the seed", func() bool { return s.Status().State == btt.Seeding })
	url, _ := lies(t, torrent.InfoHash)
	n, home := joining(t, l, func(j *btt.Join) { j.MaxBytes, j.Stay = 2<<20-1, time.Minute }, url)
	eventually(t, "the join", func() bool { return len(n.Torrents()) == 1 })
	j := n.Torrents()[0]
	eventually(t, "the size", func() bool {
		j.AddPeers(seed.Addr())
		return left(t, n, home)
	})
	if sent := s.Status().Totals.Uploaded; sent >= 1<<20 {
		t.Errorf("%d bytes of a torrent that is too large were fetched", sent)
	}

	var many [][20]byte
	for i := range byte(9) {
		many = append(many, [20]byte{1: 'x', 2: i})
	}
	url, asked := lies(t, many...)
	n, _ = joining(t, l, func(j *btt.Join) { j.MaxTorrents, j.Stay = 2, time.Minute }, url)
	eventually(t, "the joins", func() bool { return len(n.Torrents()) > 0 })
	eventually(t, "more questions", func() bool { return asked() > 3 })
	if got := len(n.Torrents()); got != 2 {
		t.Errorf("%d torrents are joined, want 2", got)
	}
}

// TestJoinChecks: a node does not begin to join without its limits, and removes what
// an earlier run left of joined torrents, and nothing else.
func TestJoinChecks(t *testing.T) {
	l := ledgertest.New()
	dir := t.TempDir()
	good := btt.Join{Trackers: []string{"http://127.0.0.1:1/announce"}, Dir: dir, MaxBytes: 1, MinPrice: 1}
	for name, spoil := range map[string]func(*btt.Join){
		"tracker":  func(j *btt.Join) { j.Trackers = nil },
		"a URL":    func(j *btt.Join) { j.Trackers = []string{"here"} },
		"folder":   func(j *btt.Join) { j.Dir = "" },
		"size":     func(j *btt.Join) { j.MaxBytes = 0 },
		"price":    func(j *btt.Join) { j.MinPrice = 0 },
		"torrents": func(j *btt.Join) { j.MaxTorrents = -1 },
		"spending": func(j *btt.Join) { j.MaxSpend = -1 },
	} {
		j := good
		spoil(&j)
		if _, err := btt.Open(t.Context(), btt.Config{Home: t.TempDir(), Speed: &btt.SpeedConfig{Ledger: l, Join: &j}}); !errors.Is(err, btt.ErrJoin) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	old := filepath.Join(dir, "joined-"+fmt.Sprintf("%040x", 7))
	mine := filepath.Join(dir, "joined-by-me")
	for _, d := range []string{old, mine} {
		if err := os.MkdirAll(filepath.Join(d, "films"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	open(t, &btt.SpeedConfig{Ledger: l, Join: &good}, nil)
	eventually(t, "the sweep", func() bool { _, err := os.Stat(old); return errors.Is(err, os.ErrNotExist) })
	if _, err := os.Stat(mine); err != nil {
		t.Errorf("what is not ours is gone: %v", err)
	}
}

// TestJoinBars: a torrent that the user keeps out of Speed is not joined, whatever is bid
// for it (R9.2).
func TestJoinBars(t *testing.T) {
	out, in := [20]byte{1: 'a'}, [20]byte{1: 'b'}
	url, asked := lies(t, out, in)
	n, _ := joining(t, ledgertest.New(), func(j *btt.Join) {
		j.Stay = time.Hour // nobody bids for it really
		j.Bars = func(hash [20]byte) bool { return hash == out }
	}, url)
	eventually(t, "the join", func() bool { return n.Torrent(in) != nil })
	eventually(t, "more questions", func() bool { return asked() > 2 })
	if len(n.Torrents()) != 1 || n.Torrent(out) != nil {
		t.Error("a torrent that stays out of Speed was joined")
	}
}

// TestJoinOutside: while the node is out of Speed nothing is joined, for nobody could pay;
// back in it joins again.
func TestJoinOutside(t *testing.T) {
	hash := [20]byte{1: 'a'}
	var bids atomic.Bool
	url, asked := oldTracker(t, func(w http.ResponseWriter, _ *http.Request) {
		if !bids.Load() {
			fmt.Fprint(w, "d5:filesdee")
			return
		}
		fmt.Fprintf(w, "d5:filesd20:%sd3:bidi1099511627776e4:bid5i1099511627776e7:biddersi9e8:completei0e10:downloadedi0e10:incompletei9eeee", hash[:])
	})
	n, _ := joining(t, ledgertest.New(), func(j *btt.Join) { j.Stay = time.Minute }, url)
	eventually(t, "a question", func() bool { return asked.Load() > 0 })
	if err := n.SetSpeed(false); err != nil {
		t.Fatal(err)
	}
	last := int64(-1)
	for n := 0; n < 5 && last != asked.Load(); n++ { // one may be on its way
		last = asked.Load()
		time.Sleep(time.Second)
	}
	bids.Store(true)
	time.Sleep(time.Second)
	if len(n.Torrents()) > 0 {
		t.Error("a torrent was joined out of Speed")
	}
	if err := n.SetSpeed(true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the join", func() bool { return n.Torrent(hash) != nil })
}
