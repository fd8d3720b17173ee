package joiner

import (
	"encoding/hex"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/session"
)

// newJoiner makes a Joiner over a session without peers.
func newJoiner(t *testing.T, dir string, k *market.Node) *Joiner {
	t.Helper()
	s, err := session.Open(session.Config{StateDir: t.TempDir()})
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
// joiner who removed it, over a restart too.
func TestRemovedByTheUser(t *testing.T) {
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
	j.weigh(t.Context())
	if _, held := k.Staked(hash); held || j.stakes.Lost() != 3 || len(j.last) != 0 {
		t.Errorf("held %v, lost %v", held, j.stakes.Lost())
	}
	if lost, err := j.readAccount(); err != nil || lost != amount.Amount(3) {
		t.Errorf("kept: %v lost, %v", lost, err)
	}
}
