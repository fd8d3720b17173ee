package joiner

import (
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/receipts"
	"github.com/bttnet/btt/internal/session"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/tracker"
)

// newJoiner makes a Joiner over a session without peers.
func newJoiner(t *testing.T, dir string, k *market.Node) *Joiner {
	t.Helper()
	s, err := session.Open(session.Config{StateDir: t.TempDir(), Market: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	j, err := New(Config{Trackers: []string{"http://127.0.0.1:1/announce"}, Dir: dir, MaxBytes: 1 << 20, MaxSpend: 100, MinPrice: 1},
		s, k, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestHold: what an earlier run joined spends nothing until it is weighed, and what the
// user has elsewhere is not held.
func TestHold(t *testing.T) {
	dir, k := t.TempDir(), new(market.Node)
	gone, own, file, other := [20]byte{1}, [20]byte{2}, [20]byte{3}, [20]byte{4}
	name := func(hash [20]byte) string { return filepath.Join(dir, prefix+hex.EncodeToString(hash[:])) }
	for _, path := range []string{name(gone), name(own), filepath.Join(dir, prefix+"beef"), filepath.Join(dir, hex.EncodeToString(other[:]))} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name(file), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Hold(dir, k); err != nil {
		t.Fatal(err)
	}
	for hash, want := range map[[20]byte]bool{gone: true, own: true, file: false, other: false} {
		if most, held := k.Staked(hash); held != want || most != 0 {
			t.Errorf("%x: held %v with %v, want %v", hash[:1], held, most, want)
		}
	}
	j := newJoiner(t, dir, k)
	if _, err := j.session.Add(session.Add{InfoHash: own, Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	j.sweep()
	for _, hash := range [][20]byte{gone, own} {
		if _, held := k.Staked(hash); held {
			t.Errorf("%x is held still", hash[:1])
		}
	}
	if _, err := os.Stat(name(gone)); !os.IsNotExist(err) {
		t.Errorf("the folder of no torrent: %v", err)
	}
	if _, err := os.Stat(name(own)); err != nil {
		t.Errorf("a folder of what the user has: %v", err)
	}
	if err := Hold(filepath.Join(dir, "none"), k); err != nil {
		t.Errorf("the first run: %v", err)
	}
	if err := Hold(name(file), k); err == nil {
		t.Error("no error of a folder that cannot be read")
	}
}

// TestRemovedByTheUser: what a joined torrent cost counts as lost also when it was not the
// joiner who removed it, over a restart too; nor is the user's own held who has it elsewhere then.
func TestRemovedByTheUser(t *testing.T) {
	for name, again := range map[string]bool{"removed": false, "elsewhere": true} {
		t.Run(name, func(t *testing.T) { removedByTheUser(t, again) })
	}
}

func removedByTheUser(t *testing.T, again bool) {
	dir, k, hash := t.TempDir(), new(market.Node), [20]byte{1}
	j := newJoiner(t, dir, k)
	add := session.Add{InfoHash: hash, Dir: j.folder(hash)}
	tt, err := j.session.Add(add)
	if err != nil {
		t.Fatal(err)
	}
	j.weigh(t.Context())
	if most, held := k.Staked(hash); !held || most != 100/probeShare {
		t.Errorf("held %v with %v", held, most)
	}
	v := j.last[hash]
	v.Spent, v.Earned = 5, 2
	j.last[hash] = v
	if err := tt.Remove(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if again {
		if _, err := j.session.Add(session.Add{InfoHash: hash, Dir: t.TempDir()}); err != nil {
			t.Fatal(err)
		}
	}
	j.weigh(t.Context())
	if _, held := k.Staked(hash); held || j.stakes.Lost() != 3 || len(j.last) != 0 {
		t.Errorf("held %v, lost %v", held, j.stakes.Lost())
	}
	if a, err := readAccount(dir); err != nil || a.Lost != 3 || len(a.Before) != 0 {
		t.Errorf("kept: %+v, %v", a, err)
	}
}

// TestJoinedAgain: what a torrent moved before it was joined, in another run or for the
// user, is none of its account: neither lost again nor a gain again. What it cost is lost
// also when it ends with its process.
func TestJoinedAgain(t *testing.T) {
	dir, hash := t.TempDir(), [20]byte{1}
	book, err := receipts.Open(t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	k := &market.Node{Receipts: book}
	moves := func(role receipts.Role, sum amount.Amount) {
		book.Moved(hash, role, ledger.Address{1}, channel.ID{byte(len(role))}, sum, 1)
	}
	joins := func() *Joiner {
		j := newJoiner(t, dir, k)
		j.sweep()
		j.join(j.cfg.Trackers[0], &tracker.BidSwarm{Swarm: tracker.Swarm{InfoHash: hash}, Bid: 1 << 40}, time.Now())
		if err := j.session.Get(hash).Stop(); err != nil { // so that the receipts tell what it moved
			t.Fatal(err)
		}
		return j
	}
	weighed := func(j *Joiner, want Venture, held amount.Amount) {
		t.Helper()
		j.weigh(t.Context())
		most, _ := k.Staked(hash)
		if v := j.last[hash]; v.Spent != want.Spent || v.Earned != want.Earned || most != held {
			t.Errorf("%v paid, %v earned, at most %v; want %v, %v, %v", v.Spent, v.Earned, most, want.Spent, want.Earned, held)
		}
	}
	moves(receipts.Paid, 70)
	moves(receipts.Earned, 100)
	j := joins()
	weighed(j, Venture{}, 70+100/probeShare)
	moves(receipts.Paid, 5)
	moves(receipts.Earned, 1)
	weighed(j, Venture{Spent: 5, Earned: 1}, 70+1+100/probeShare)
	j = joins() // the process ended, and with it its torrents
	if j.stakes.Lost() != 4 {
		t.Errorf("lost %v", j.stakes.Lost())
	}
	weighed(j, Venture{}, 75+100/probeShare)
	if err := j.session.Get(hash).Remove(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if j.weigh(t.Context()); j.stakes.Lost() != 4 {
		t.Errorf("lost %v when it was joined again", j.stakes.Lost())
	}
	if j = newJoiner(t, dir, k); j.stakes.Lost() != 4 || len(j.before) != 0 {
		t.Errorf("kept: lost %v, %d joined", j.stakes.Lost(), len(j.before))
	}
}

// TestLostReceipts: where receipts were lost a torrent's limit is not what they had told.
func TestLostReceipts(t *testing.T) {
	j, hash := newJoiner(t, t.TempDir(), new(market.Node)), [20]byte{1}
	j.before[hash] = sums{70, 100}
	if v := j.account(hash, sums{20, 0}); v.Spent != 0 || v.Earned != 0 || j.before[hash] != (sums{20, 0}) || !j.unsaved {
		t.Errorf("%+v beside %+v", v, j.before[hash])
	}
}

// TestAccountFile: what earlier versions wrote is read, and nothing is made of what cannot be.
func TestAccountFile(t *testing.T) {
	for text, good := range map[string]bool{
		`{"Lost":"0.000003"}`:               true,
		`{"Lost":"0.000003","Before":null}`: true,
		`{"Lost":"0.000003","Before":{"0101010101010101010101010101010101010101":{"Paid":"1","Earned":"0"}}}`:  true,
		`{"Lost":"0.000003","Before":{"0101":{"Paid":"1","Earned":"0"}}}`:                                      false,
		`{"Lost":"0.000003","Before":{"0101010101010101010101010101010101010101":{"Paid":"-1","Earned":"0"}}}`: false,
		`{"Lost":`: false,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, accountFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := readAccount(dir)
		if (err == nil) != good || good && (a.Lost != 3 || a.Before == nil) {
			t.Errorf("%s: %+v, %v", text, a, err)
		}
		if err := Hold(dir, new(market.Node)); (err == nil) != good {
			t.Errorf("%s: held: %v", text, err)
		}
	}
}

// FuzzAccount: whatever an account's file says, it is refused, or holds and reads the same
// when it is written again.
func FuzzAccount(f *testing.F) {
	f.Add([]byte(`{"Lost":"0.000003"}`))
	f.Add([]byte(`{"Lost":"1","Before":{"0101010101010101010101010101010101010101":{"Paid":"1","Earned":"0.5"}}}`))
	f.Add([]byte(`{"Lost":"-1","Before":{"":{}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var a, again account
		if a.parse(text) != nil {
			return
		}
		for hash, s := range a.Before {
			if !s.Paid.Valid() || !s.Earned.Valid() {
				t.Fatalf("%x: %+v", hash, s)
			}
		}
		b, err := json.Marshal(a)
		if err == nil {
			err = again.parse(b)
		}
		if err != nil || again.Lost != a.Lost || !maps.Equal(again.Before, a.Before) {
			t.Fatalf("%+v, then %+v: %v", a, again, err)
		}
	})
}

// TestHeldWithoutData: a joined torrent of which nothing came yet is held too.
func TestHeldWithoutData(t *testing.T) {
	dir, hash, k := t.TempDir(), [20]byte{1}, new(market.Node)
	j := newJoiner(t, dir, new(market.Node))
	j.join(j.cfg.Trackers[0], &tracker.BidSwarm{Swarm: tracker.Swarm{InfoHash: hash}, Bid: 1 << 40}, time.Now())
	if err := Hold(dir, k); err != nil {
		t.Fatal(err)
	}
	if most, held := k.Staked(hash); !held || most != 0 {
		t.Errorf("held %v with %v", held, most)
	}
}
