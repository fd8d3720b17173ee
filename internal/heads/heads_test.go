package heads

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// pay pays from the faucet, to be submitted through a client.
func pay(t *testing.T, m *ledgertest.Memory, to string) []byte {
	t.Helper()
	key := ledgertest.FaucetKey()
	coins, err := m.Unspent(t.Context(), key.Address(), ledger.OutPoint{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	status, _ := m.Status(t.Context())
	tx := ledger.NewTransfer([]ledger.OutPoint{coins[0].OutPoint}, []ledger.Output{
		{Amount: amount.BTT, Lock: ledger.PayTo(ledgertest.Key(to).Address())}, {Amount: coins[0].Amount - amount.BTT, Lock: coins[0].Lock}})
	if err := ledger.Sign(tx, status.Network, coins[0].Lock, key); err != nil {
		t.Fatal(err)
	}
	return tx.Encode()
}

func TestHonestLedger(t *testing.T) {
	dir := t.TempDir()
	w := &wire{Memory: ledgertest.New()}
	w.Advance(60)
	for run := range 3 {
		c, r := open(t, dir, w)
		for i := range 5 {
			if _, err := c.Submit(t.Context(), pay(t, w.Memory, strings.Repeat("x", i+1))); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(); err != nil || c.Err() != nil || len(r.all()) != 0 {
			t.Fatalf("run %d: %v, %v", run, err, r.all())
		}
		if w.asked != 5*(run+1) {
			t.Fatalf("run %d: %d proofs asked for", run, w.asked)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, w.network(t).String()+".heads"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFile(text)
	if err != nil || f.Operator != ledgertest.OperatorKey().PublicKey() || len(f.Heads) < 3 {
		t.Errorf("%+v, %v", f, err)
	}
}

func (w *wire) network(t *testing.T) ledger.Network {
	s, err := w.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.Network
}

// TestFork lets a ledger show another history: at the next start, and while a
// client runs.
func TestFork(t *testing.T) {
	twins := func(t *testing.T) (a, b *wire, dir string) {
		a, b, dir = &wire{Memory: ledgertest.New()}, &wire{Memory: ledgertest.New()}, t.TempDir()
		for i, w := range []*wire{a, b} {
			if _, err := w.Fund(ledgertest.Key([]string{"a", "b"}[i]).Address(), amount.BTT); err != nil {
				t.Fatal(err)
			}
			w.Advance(90)
		}
		return a, b, dir
	}
	check := func(t *testing.T, c *Client, dir string, m *ledgertest.Memory) {
		t.Helper()
		if _, fork := errors.AsType[*books.ForkError](c.Err()); !fork {
			t.Fatalf("%v, want a fork", c.Err())
		}
		text, err := os.ReadFile(c.Evidence())
		if err != nil {
			t.Fatal(err)
		}
		d, err := books.ParseDocument(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Check(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Submit(t.Context(), pay(t, m, "x")); !errors.Is(err, ErrUnsafe) {
			t.Errorf("a payment through a forked ledger: %v", err)
		}
		closing := &ledger.Tx{Kind: ledger.Transfer, Inputs: make([]ledger.OutPoint, 1), Witnesses: []ledger.Witness{{Signatures: make([]ledger.Signature, 2)}}}
		if _, err := c.Submit(t.Context(), closing.Encode()); errors.Is(err, ErrUnsafe) || err == nil {
			t.Errorf("a close is kept from the ledger: %v", err)
		}
		if err := c.Close(); err == nil {
			t.Error("Close says nothing")
		}
	}
	t.Run("start", func(t *testing.T) {
		a, b, dir := twins(t)
		c, _ := open(t, dir, a)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c, r := open(t, dir, b)
		check(t, c, dir, b.Memory)
		if len(r.all()) != 1 {
			t.Errorf("reported %v", r.all())
		}
		c, _ = open(t, dir, b) // and again
		check(t, c, dir, b.Memory)
		c, _ = open(t, dir, a) // the first history goes on: what is remembered is of it
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
	t.Run("look", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b, dir := twins(t)
			c, r := open(t, dir, a)
			b.Advance(300)
			a.set(func(p *books.Proof, _ error) error {
				x, err := b.Memory.Head(t.Context(), c.size())
				p.Extension = x
				return err
			})
			time.Sleep(2 * DefaultEvery)
			synctest.Wait()
			check(t, c, dir, a.Memory)
			if len(r.all()) != 1 {
				t.Errorf("reported %v", r.all())
			}
		})
	})
}

// TestLies: what proves nothing stops payments until it is put right, a hidden
// transaction for good.
func TestLies(t *testing.T) {
	for name, lie := range map[string]struct {
		bend func(*books.Proof, error) error
		want error
		ends bool
	}{
		"hidden":            {func(p *books.Proof, _ error) error { return ledger.ErrNotFound }, ErrHidden, false},
		"bad proof":         {func(p *books.Proof, err error) error { p.Branch = nil; p.Index = 99; return err }, books.ErrProof, true},
		"another operator":  {func(p *books.Proof, err error) error { p.Operator = ledgertest.Key("z").PublicKey(); return err }, ErrOperator, true},
		"a head of nobody":  {func(p *books.Proof, err error) error { p.Head = "nonsense"; return err }, books.ErrHead, true},
		"suddenly no proof": {func(p *books.Proof, err error) error { return books.ErrNoProofs }, books.ErrNoProofs, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &wire{Memory: ledgertest.New()}
				w.Advance(30)
				c, r := open(t, t.TempDir(), w)
				w.set(lie.bend)
				if _, err := c.Submit(t.Context(), pay(t, w.Memory, "x")); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if !errors.Is(c.Err(), lie.want) || len(r.all()) != 1 {
					t.Fatalf("%v, reported %v; want %v", c.Err(), r.all(), lie.want)
				}
				if _, err := c.Submit(t.Context(), pay(t, w.Memory, "y")); !errors.Is(err, ErrUnsafe) {
					t.Errorf("a payment: %v", err)
				}
				w.set(nil)
				time.Sleep(2 * DefaultEvery)
				synctest.Wait()
				if got := c.Err() == nil; got != lie.ends {
					t.Errorf("after the lie: %v", c.Err())
				}
				if err := c.Close(); (err == nil) != lie.ends {
					t.Errorf("Close: %v", err)
				}
			})
		})
	}
}

// TestOutage: proofs that cannot be had are asked for again; what is still
// missing in the end is said.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{Memory: ledgertest.New()}
		c, r := open(t, t.TempDir(), w)
		down := func(*books.Proof, error) error { return errors.New("down") }
		w.set(down)
		for _, to := range []string{"a", "b", "c"} {
			if _, err := c.Submit(t.Context(), pay(t, w.Memory, to)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		w.set(nil)
		time.Sleep(retryEvery) // one look: after two the file may be in the first one's place
		synctest.Wait()
		if c.Err() != nil || len(c.pending) != 0 || len(r.all()) != 0 {
			t.Errorf("%v, %d pending, %v", c.Err(), len(c.pending), r.all())
		}
		w.set(down)
		if _, err := c.Submit(t.Context(), pay(t, w.Memory, "d")); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); !errors.Is(err, ErrUnproved) {
			t.Errorf("Close: %v", err)
		}
	})
}

// plain is a ledger without proofs.
type plain struct{ ledger.Client }

func TestLedgerWithoutProofs(t *testing.T) {
	m := ledgertest.New()
	dir := t.TempDir()
	c, r := open(t, dir, plain{m})
	if _, err := c.Submit(t.Context(), pay(t, m, "a")); err != nil || c.Err() != nil || c.Note() != "" {
		t.Error(err, c.Err())
	}
	if err := c.Close(); err != nil || len(r.all()) != 0 {
		t.Error(err, r.all())
	}
	c, _ = open(t, dir, m)
	if err := c.Close(); err != nil || c.Note() == "" {
		t.Fatal(err)
	}
	c, _ = open(t, dir, plain{m}) // it gave proofs before
	if !errors.Is(c.Err(), books.ErrNoProofs) {
		t.Errorf("%v", c.Err())
	}
}

func TestOpenRefuses(t *testing.T) {
	m := ledgertest.New()
	dir := t.TempDir()
	c, _ := open(t, dir, m)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Dir: dir, Ledger: m, Operator: ledgertest.Key("q").PublicKey()}); !errors.Is(err, ErrOperator) {
		t.Errorf("a wanted key that is not the remembered one: %v", err)
	}
	c, err := Open(t.Context(), Config{Dir: t.TempDir(), Ledger: m, Operator: ledgertest.Key("q").PublicKey()})
	if err != nil || !errors.Is(c.Err(), ErrOperator) {
		t.Errorf("a wanted key that does not sign: %v", err)
	}
	c.Close() //nolint:errcheck // it says the same again
	m.SetOutage(errors.New("down"))
	if _, err := Open(t.Context(), Config{Dir: dir, Ledger: m}); err == nil {
		t.Error("no ledger, no error")
	}
	m.SetOutage(nil)
	path := filepath.Join(dir, c.name())
	for _, text := range []string{"", "{}", `{"heads":["x"]}`, strings.Repeat(" ", MaxFileBytes+1)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Config{Dir: dir, Ledger: m}); err == nil {
			t.Errorf("%.20q is taken for heads", text)
		}
	}
}

func FuzzParseFile(f *testing.F) {
	text, err := json.Marshal(file{Operator: ledgertest.OperatorKey().PublicKey(), Heads: []string{"a"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := parseFile(text); err == nil && len(got.Heads) == 0 {
			t.Fatal("no head")
		}
	})
}

// stored are the heads in the folder.
func stored(t *testing.T, dir string, w *wire) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, w.network(t).String()+".heads"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFile(text)
	if err != nil {
		t.Fatal(err)
	}
	return f.Heads
}

// TestBeside: of two clients with one folder neither forgets what the other saw, and a
// ledger that shows them two histories is found out.
func TestBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, w := t.TempDir(), &wire{Memory: ledgertest.New()}
		w.Advance(60)
		a, _ := open(t, dir, w)
		b, _ := open(t, dir, w)
		seen := map[string]bool{a.Note(): true}
		for range 4 {
			for _, c := range []*Client{a, b} {
				w.Advance(10)
				c.look()
				seen[c.Note()] = true
			}
		}
		list := stored(t, dir, w)
		for note := range seen {
			if !slices.Contains(list, note) {
				t.Errorf("of %d heads seen one is forgotten: %d are kept", len(seen), len(list))
			}
		}
		if list[len(list)-1] != b.Note() || a.Err() != nil || b.Err() != nil {
			t.Errorf("the newest is another: %v, %v", a.Err(), b.Err())
		}
		if _, err := a.Submit(t.Context(), pay(t, w.Memory, "x")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // a has seen a head with its proof
		w.Advance(10)
		b.look()
		time.Sleep(retryEvery + time.Second)
		file := func() os.FileInfo {
			info, err := os.Stat(filepath.Join(dir, w.network(t).String()+".heads"))
			if err != nil {
				t.Fatal(err)
			}
			return info
		}
		before := file()
		time.Sleep(retryEvery) // one look: after two the file may be in the first one's place
		if !os.SameFile(before, file()) {
			t.Error("what is stored already was written again, since the newest is the other's")
		}
		if err := errors.Join(a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	x, y, dir := &wire{Memory: ledgertest.New()}, &wire{Memory: ledgertest.New()}, t.TempDir()
	a, _ := open(t, dir, x) // both begin with the same block
	b, _ := open(t, dir, y)
	for i, w := range []*wire{x, y} {
		if _, err := w.Fund(ledgertest.Key([]string{"a", "b"}[i]).Address(), amount.BTT); err != nil {
			t.Fatal(err)
		}
		w.Advance(90)
	}
	a.look()
	b.look()
	if _, fork := errors.AsType[*books.ForkError](b.Err()); !fork {
		t.Errorf("two processes were shown two histories: %v", b.Err())
	}
}
