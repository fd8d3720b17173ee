package ledgerdb

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestModel runs random blocks, restarts and crashes against books kept by hand.
// After a crash the store is at some earlier block, whole, and the log does the
// rest.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 8).Draw(t, "rounds") {
			for range rapid.IntRange(1, 12).Draw(t, "blocks") {
				w.block()
			}
			w.check()
			switch rapid.IntRange(0, 3).Draw(t, "end") {
			case 0:
				if err := w.db.Close(); err != nil {
					t.Fatal(err)
				}
				w.open()
				if w.db.Position() != w.log[len(w.log)-1].position(w) {
					t.Fatal("a closed database is behind")
				}
			case 1:
				after := w.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, rapid.Uint64().Draw(t, "seed")))})
				w.db.Abandon()
				w.fs = after
				w.open()
			}
			w.check()
		}
		if err := w.db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.db.Row(ledger.TxID{1}); !errors.Is(err, ErrClosed) {
			t.Fatalf("read after Close: %v", err)
		}
	})
}

// position is where the DB must be after the block.
func (b *Block) position(w *world) Position {
	p := w.db.Position()
	p.Head, p.Place = b.Delta.Head, b.Place
	return p
}

// TestDamageIsRebuilt alters one byte of each file of a store: Open never fails
// and never shows something wrong; it starts anew if it must.
func TestDamageIsRebuilt(t *testing.T) {
	fs := vfs.NewMem()
	cfg := Config{Dir: "db", FS: fs, Genesis: ledgertest.Genesis(), FlushPeriod: -1}
	db, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("db")
	if err != nil {
		t.Fatal(err)
	}
	rebuilt := 0
	for _, name := range names {
		other := vfs.NewMem()
		if ok, err := vfs.Clone(fs, other, "db", "db"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		path := other.PathJoin("db", name)
		f, err := other.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) == 0 {
			continue
		}
		raw[len(raw)/3] ^= 0x10
		out, err := other.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write(raw); err != nil {
			t.Fatal(err)
		}
		cfg.FS = other
		db, err := Open(cfg)
		if err != nil {
			t.Errorf("%s damaged: %v", name, err)
			continue
		}
		if db.Rebuilt() != nil {
			rebuilt++
		}
		for _, c := range cfg.Genesis.Coins() {
			if got, ok, err := db.Coin(c.OutPoint); err != nil || !ok || got != c {
				t.Errorf("%s damaged: coin %+v, %v, %v", name, got, ok, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if rebuilt == 0 {
		t.Errorf("no damage among %d files was found", len(names))
	}
}

// TestBusyFlusher takes the moment at which the flusher is busy and ends before
// the committer waits: the committer must not wait for the flush after it, which
// only its own next block would begin.
func TestBusyFlusher(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer w.db.Abandon()
		close(w.db.quit) // no flusher but this test
		w.db.ended.Wait()
		w.db.quit = make(chan struct{})
		w.db.cfg.FlushSize = 1 << 20
		for !w.db.live.active() {
			w.block()
		}
		if frozen, _ := w.db.freeze(false); !frozen {
			t.Fatal("an idle flusher took nothing")
		}
		for !w.db.live.active() {
			w.block()
		}
		frozen, drained := w.db.freeze(false)
		if frozen {
			t.Fatal("a busy flusher took another layer")
		}
		if err := w.db.flush(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-drained:
		default:
			t.Fatal("the flush ended, and who waits for it goes on waiting")
		}
	})
}
