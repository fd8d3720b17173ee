package ledgerd

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// source returns a server's proofs.
func source(t testing.TB, s *Server) books.Source {
	t.Helper()
	b, ok := s.Client().(books.Source)
	if !ok {
		t.Fatal("the client gives no proofs")
	}
	return b
}

func follower(t testing.TB, s *Server) *books.Follower {
	t.Helper()
	f, err := books.NewFollower(s.Network(), s.Operator(), "")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// prove asks for a proof and has the follower check it.
func prove(t testing.TB, s *Server, f *books.Follower, id ledger.TxID) ledger.Header {
	t.Helper()
	p, err := source(t, s).Proof(t.Context(), id, f.Head().Size)
	if err != nil {
		t.Fatal(err)
	}
	h, err := f.Include(&p, id)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// transactions lists all that a server has taken, in order.
func transactions(t *testing.T, s *Server) (ids []ledger.TxID) {
	t.Helper()
	for from := uint64(0); ; {
		list, _, err := s.since(from, watchBatch)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return ids
		}
		for _, e := range list {
			if !slices.Contains(ids, e.TxID) {
				ids = append(ids, e.TxID)
			}
			from = e.Cursor
		}
	}
}

// TestProofs proves every sort of transaction at once and later, also one that
// was parked, displaced or matured.
func TestProofs(t *testing.T) {
	dir := t.TempDir()
	s, _ := varied(t, dir)
	f, late := follower(t, s), follower(t, s)
	ids := transactions(t, s)
	for _, id := range ids {
		prove(t, s, f, id)
	}
	coin := coinOf(t, s.Client(), key(1).Address(), amount.BTT)
	r := mustSubmit(t, s.Client(), transfer(s.Network(), key(1), coin, ledger.PayTo(key(9).Address()), amount.BTT))
	if h := prove(t, s, f, r.TxID); h.Height != r.Height {
		t.Errorf("proved in block %d, committed in %d", h.Height, r.Height)
	}
	if _, err := source(t, s).Proof(t.Context(), ledger.TxID{1}, 0); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("unknown transaction: %v", err)
	}
	x, err := source(t, s).Head(t.Context(), f.Head().Size+7)
	if err != nil || len(x.Prefix) != 0 {
		t.Errorf("a client that is ahead: %+v, %v", x, err)
	}
	for _, id := range ids { // from another client's first contact on
		prove(t, s, late, id)
	}
}

// TestTreeSurvives opens the ledger again with its tree, without it, with one
// that is behind, and with one of another log: the heads go on.
func TestTreeSurvives(t *testing.T) {
	dir := t.TempDir()
	s, _ := varied(t, dir)
	f := follower(t, s)
	first := transactions(t, s)[0]
	prove(t, s, f, first)
	cfg := Config{Dir: dir, OperatorKey: key(200), Heartbeat: -1}
	tree := []string{"tree.hashes", "tree.offsets", "tree.mark"}
	kept := map[string][]byte{}
	for _, c := range []struct {
		name   string
		change func() error
	}{
		{"as it was", func() error { return nil }},
		{"without", func() error {
			for _, n := range tree {
				data, err := os.ReadFile(filepath.Join(dir, n))
				if err != nil {
					return err
				}
				kept[n] = data
				if err := os.Remove(filepath.Join(dir, n)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"behind", func() error {
			for n, data := range kept {
				if err := os.WriteFile(filepath.Join(dir, n), data, 0o600); err != nil {
					return err
				}
			}
			return nil
		}},
		{"of another log", func() error {
			other := t.TempDir()
			o, _ := varied(t, other)
			if err := o.Close(); err != nil {
				return err
			}
			for _, n := range tree {
				data, err := os.ReadFile(filepath.Join(other, n))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, n), data, 0o600); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		s = openServer(t, cfg)
		if got := s.prover.tree.Head(); got.Size < f.Head().Size {
			t.Fatalf("%s: the tree has %d blocks", c.name, got.Size)
		}
		prove(t, s, f, first)
		coin := coinOf(t, s.Client(), key(1).Address(), amount.BTT)
		prove(t, s, f, mustSubmit(t, s.Client(), transfer(s.Network(), key(1), coin, ledger.PayTo(key(9).Address()), amount.BTT)).TxID)
	}
}

// TestOperatorThatForks runs two histories with one key. Whoever sees heads of
// both has evidence.
func TestOperatorThatForks(t *testing.T) {
	dir, twin := t.TempDir(), t.TempDir()
	s, _ := varied(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{genesisFile, blocksFile} {
		data, err := os.ReadFile(filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(twin, n), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Dir: dir, OperatorKey: key(200), Heartbeat: -1}
	a := openServer(t, cfg)
	cfg.Dir = twin
	b := openServer(t, cfg)
	f, g := follower(t, a), follower(t, a)
	prove(t, a, f, transactions(t, a)[0])
	prove(t, b, f, transactions(t, a)[0]) // still one history
	prove(t, b, g, transactions(t, a)[0])

	// One coin is spent twice, each time before other witnesses.
	coin := coinOf(t, a.Client(), key(1).Address(), amount.BTT)
	one := mustSubmit(t, a.Client(), transfer(a.Network(), key(1), coin, ledger.PayTo(key(8).Address()), amount.BTT))
	two := mustSubmit(t, b.Client(), transfer(a.Network(), key(1), coin, ledger.PayTo(key(9).Address()), amount.BTT))
	prove(t, a, f, one.TxID)
	prove(t, b, g, two.TxID)
	check := func(f *books.Follower, s *Server, id ledger.TxID) {
		t.Helper()
		p, err := source(t, s).Proof(t.Context(), id, f.Head().Size)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Include(&p, id)
		fork, ok := errors.AsType[*books.ForkError](err)
		if !ok {
			t.Fatalf("the fork is not seen: %v", err)
		}
		text, err := fork.Evidence.Encode()
		if err != nil {
			t.Fatal(err)
		}
		d, err := books.ParseDocument(text)
		if err != nil {
			t.Fatal(err)
		}
		if finding, err := d.Check(); err != nil || d.Operator != a.Operator() {
			t.Fatalf("%q, %v", finding, err)
		}
	}
	check(f, b, two.TxID) // heads of one size
	check(g, a, one.TxID)
	for range 3 { // and of different sizes
		if err := b.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check(f, b, two.TxID)
}

// BenchmarkProof is the server's cost of one proof of a transaction in a block
// that was asked for before, under a head that is signed already.
func BenchmarkProof(b *testing.B) {
	s := openServer(b, testConfig(b, b.TempDir(), newClock()))
	coin := coinOf(b, s.Client(), key(1).Address(), amount.BTT)
	r := mustSubmit(b, s.Client(), transfer(s.Network(), key(1), coin, ledger.PayTo(key(9).Address()), amount.BTT))
	for range 1000 {
		if err := s.Beat(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	src := source(b, s)
	for b.Loop() {
		if _, err := src.Proof(b.Context(), r.TxID, 100); err != nil {
			b.Fatal(err)
		}
	}
}
