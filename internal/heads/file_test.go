package heads

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// unstored has a client see a head with a proof, which it will store at its next look.
func unstored(t *testing.T, c *Client, w *wire) {
	t.Helper()
	w.Advance(10)
	before := c.Note()
	if _, err := c.Submit(t.Context(), pay(t, w.Memory, "x")); err != nil {
		t.Fatal(err)
	}
	if synctest.Wait(); c.Note() == before {
		t.Fatal("no new head")
	}
}

// marked marks the file of the heads so that it still says the same, and returns whether
// it is there unchanged.
func marked(t *testing.T, dir string, w *wire) (still func() bool) {
	t.Helper()
	path := filepath.Join(dir, w.network(t).String()+".heads")
	text, err := os.ReadFile(path)
	if err == nil {
		text = append(text, ' ')
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() bool { now, err := os.ReadFile(path); return err == nil && bytes.Equal(now, text) }
}

// TestStoredOnce: a head is stored once, also when other processes with the folder stored
// it, or so many newer ones that it has no place.
func TestStoredOnce(t *testing.T) {
	for name, after := range map[string]int{"same": 0, "newer": MaxKept} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, w := t.TempDir(), &wire{Memory: ledgertest.New()}
				w.Advance(60)
				a, r := open(t, dir, w)
				b, _ := open(t, dir, w)
				unstored(t, a, w)
				b.look()
				f := file{Network: a.network, Operator: ledgertest.OperatorKey().PublicKey()}
				for range after {
					w.Advance(10)
					x, err := w.Memory.Head(t.Context(), 0)
					if err != nil {
						t.Fatal(err)
					}
					f.Heads = append(f.Heads, x.Head)
				}
				if text, err := json.Marshal(f); err != nil || after > 0 && os.WriteFile(filepath.Join(dir, a.name()), text, 0o600) != nil {
					t.Fatal("cannot store other heads")
				}
				still := marked(t, dir, w)
				time.Sleep(3*retryEvery + time.Second)
				if synctest.Wait(); !still() {
					t.Error("the file was written again and says the same")
				}
				if len(r.all()) != 0 {
					t.Errorf("reported %v", r.all())
				}
			})
		})
	}
}

// TestStoreFails: of a file that cannot be used a client says once that it cannot, tries on,
// and stores its head when it can; one that remembers another operator stops payments.
func TestStoreFails(t *testing.T) {
	key, err := json.Marshal(file{Operator: ledgertest.Key("z").PublicKey(), Heads: []string{"x"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"damaged": []byte("nonsense"), "operator": key} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, w := t.TempDir(), &wire{Memory: ledgertest.New()}
				w.Advance(60)
				c, r := open(t, dir, w)
				path := filepath.Join(dir, c.name())
				for n := range 2 {
					good, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					unstored(t, c, w)
					if err := os.WriteFile(path, text, 0o600); err != nil {
						t.Fatal(err)
					}
					time.Sleep(4 * retryEvery)
					if synctest.Wait(); len(r.all()) != n+1 {
						t.Fatalf("%d reports of %d failures: %v", len(r.all()), n+1, r.all())
					}
					if wrong := c.Err() != nil; wrong != (name == "operator") {
						t.Fatalf("what does not hold: %v", c.Err())
					}
					if err := os.WriteFile(path, good, 0o600); err != nil {
						t.Fatal(err)
					}
					time.Sleep(DefaultEvery + retryEvery)
					if synctest.Wait(); c.Err() != nil {
						t.Fatalf("when it is put back: %v", c.Err())
					}
					if list := stored(t, dir, w); list[len(list)-1] != c.Note() {
						t.Error("the head is not stored")
					}
				}
			})
		})
	}
}

// TestForkStays: a fork is told and stops payments for good, whatever less was told before
// it and comes after, a hidden transaction too.
func TestForkStays(t *testing.T) {
	for _, before := range []error{books.ErrOlder, fmt.Errorf("transaction x: %w", ErrHidden)} {
		c := &Client{cfg: Config{Dir: t.TempDir()}, network: ledger.Network{1}}
		r := &reports{}
		c.cfg.Report = r.add
		c.breakOff(before)
		c.breakOff(&books.ForkError{})
		c.breakOff(books.ErrHead)
		c.breakOff(ErrHidden)
		c.mend()
		if _, fork := errors.AsType[*books.ForkError](c.Err()); !fork || len(r.all()) != 2 {
			t.Errorf("after %v: %v, reported %v", before, c.Err(), r.all())
		}
	}
}
