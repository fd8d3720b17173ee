package ledgerd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/ledger"
)

// TestTornLastRecord starts a server on a log whose last record was cut at each
// of its bytes, with the database as it was before that record. What was
// acknowledged before is there, the rest of the record is gone from the file, and
// the lost payment can be made again.
func TestTornLastRecord(t *testing.T) {
	dir, kept := t.TempDir(), t.TempDir()
	clk := newClock()
	cfg := testConfig(t, dir, clk)
	fs, keptFS := vfs.NewMem(), vfs.NewMem() // the database, out of the disk's way
	cfg.database = func(c *ledgerdb.Config) { c.Dir, c.FS = "cache", fs }
	s := openServer(t, cfg)
	pay := func(s *Server, from byte) *ledger.Tx {
		coin := coinOf(t, s.Client(), key(from).Address(), amount.BTT)
		return transfer(s.Network(), key(from), coin, ledger.PayTo(key(9).Address()), amount.BTT)
	}
	first := mustSubmit(t, s.Client(), pay(s, 1))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if ok, err := vfs.Clone(fs, keptFS, "cache", "cache"); !ok || err != nil {
		t.Fatal(ok, err)
	}
	s = openServer(t, cfg)
	last := pay(s, 2)
	mustSubmit(t, s.Client(), last)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, blocksFile))
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(filepath.Join(kept, blocksFile))
	if err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() {
		step = 29
	}
	for cut := int(before.Size()); cut < len(log); cut += step {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		fs = vfs.NewMem()
		if ok, err := vfs.Clone(keptFS, fs, "cache", "cache"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, blocksFile), log[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(cfg)
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", cut, len(log), err)
		}
		if r, ok, err := s.db.Receipt(first.TxID); !ok || err != nil || r != first {
			t.Fatalf("cut at %d: receipt %+v %v", cut, r, err)
		}
		if info, err := os.Stat(filepath.Join(dir, blocksFile)); err != nil || info.Size() != before.Size() {
			t.Fatalf("cut at %d: the rest of the record is still there: %v %v", cut, info, err)
		}
		if r := mustSubmit(t, s.Client(), last); r.Height != first.Height+1 {
			t.Fatalf("cut at %d: receipt %+v", cut, r)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
