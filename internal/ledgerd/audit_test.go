package ledgerd

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// varied fills a directory with a block of every sort and returns its status.
func varied(t *testing.T, dir string) (*Server, ledger.Status) {
	t.Helper()
	clk := newClock()
	cfg := testConfig(t, dir, clk)
	for _, k := range ledgertest.OperatorKeys() {
		cfg.Genesis.Params.Operators = append(cfg.Genesis.Params.Operators, k.PublicKey())
	}
	cfg.Genesis.Params.Threshold = 2
	s := openServer(t, cfg)
	c := s.Client()
	status, _ := c.Status(t.Context())
	_, t2, _ := channelTxs(t, s, c, status.LedgerTime+40)
	mustSubmit(t, c, t2)
	for range 2 { // matures in the second
		clk.advance(30 * time.Second)
		if err := s.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, t2, t3 := channelTxs(t, s, c, status.LedgerTime+400)
	mustSubmit(t, c, t2)
	mustSubmit(t, c, t3)
	coin := coinOf(t, c, key(4).Address(), amount.BTT)
	redeem := ledger.RedeemTx([]ledger.OutPoint{coin.OutPoint}, key(9).Address(), 7*amount.BTT, ledger.Output{Amount: coin.Amount - 7*amount.BTT, Lock: coin.Lock})
	sign(s.Network(), redeem, coin.Lock, key(4))
	mustSubmit(t, c, redeem)
	mint := ledger.MintTx(ledger.Deposit{Chain: [32]byte{5}}, []ledger.Output{{Amount: 3 * amount.BTT, Lock: ledger.PayTo(key(9).Address())}})
	if err := ledger.Sign(mint, s.Network(), ledger.Lock{Kind: ledger.OperatorLock}, ledgertest.OperatorKeys()[:2]...); err != nil {
		t.Fatal(err)
	}
	mustSubmit(t, c, mint)
	status, _ = c.Status(t.Context())
	return s, status
}

func TestAuditAgreesWithServer(t *testing.T) {
	dir := t.TempDir()
	s, status := varied(t, dir)
	r, err := Audit(dir) // while the server runs
	if err != nil {
		t.Fatal(err)
	}
	if r.Network != status.Network || r.Blocks != status.Height || r.AppHash != status.AppHash || r.LedgerTime != status.LedgerTime ||
		r.Minted != status.Totals.Minted || r.Burned != status.Totals.Burned || r.Unspent != status.Totals.Unspent ||
		r.Operator != s.Operator() || r.Head != s.writer.previous || r.Tree != s.prover.tree.Head() || r.Unfinished != 0 {
		t.Errorf("report %+v, status %+v", r, status)
	}
	if r.Unspent != amount.Supply-4*amount.BTT || r.Parked != 0 || r.Transactions != 7 || r.Coins != int(s.db.Position().Coins) {
		t.Errorf("report %+v", r)
	}
}

// TestAuditComparesHeldHeads: a log that is right in itself but not the one that
// was signed before is found by whoever kept a head.
func TestAuditComparesHeldHeads(t *testing.T) {
	dir := t.TempDir()
	s, _ := varied(t, dir)
	held := func(h books.Head) string {
		text, err := books.SignHead(h, s.Network(), key(200))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	whole := s.prover.tree.Head()
	x, err := s.Client().(books.Source).Head(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	four, err := tlog.TreeHash(4, s.prover.tree)
	if err != nil {
		t.Fatal(err)
	}
	good := []string{x.Head, held(books.Head{Size: 4, Root: four}), held(books.Head{Root: sha256.Sum256(nil)})}
	if r, err := Audit(dir, good...); err != nil || r.Held != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	for name, bad := range map[string]string{
		"another history":         held(books.Head{Size: 4, Root: books.Hash{1}}),
		"another empty history":   held(books.Head{}),
		"another whole history":   held(books.Head{Size: whole.Size, Root: books.Hash{1}}),
		"blocks that are missing": held(books.Head{Size: whole.Size + 1, Root: whole.Root}),
		"a head of nobody":        "x\n",
	} {
		if _, err := Audit(dir, x.Head, bad); !errors.Is(err, ErrAudit) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAuditFindsEveryAlteredByte alters each byte of the log and then again with
// the checksum put right, as a forger would.
func TestAuditFindsEveryAlteredByte(t *testing.T) {
	dir := t.TempDir()
	s, _ := varied(t, dir)
	s.Close()
	whole, err := os.ReadFile(filepath.Join(dir, blocksFile))
	if err != nil {
		t.Fatal(err)
	}
	g, err := readGenesis(dir)
	if err != nil {
		t.Fatal(err)
	}
	root := s.prover.tree.Head().Root
	run := func(log []byte) error {
		a, err := newAuditor(g)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.read(bytes.NewReader(log)); err != nil {
			return err
		}
		if a.report.Operator != s.Operator() { // the reader of a report compares it
			return ErrOperator
		}
		if a.report.Tree.Root != root {
			return ErrAnchor // whoever holds a head sees it
		}
		return a.balance()
	}
	if err := run(whole); err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		if run(bad) == nil {
			t.Fatalf("byte %d altered: the audit passes", i)
		}
	}
	forged := 0
	for i := 0; i < len(whole); i += 3 {
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		if !repair(bad) || bytes.Equal(bad, whole) {
			continue
		}
		forged++
		if run(bad) == nil {
			t.Fatalf("byte %d altered and checksums repaired: the audit passes", i)
		}
	}
	if forged < len(whole)/4 {
		t.Fatalf("only %d forgeries tried", forged)
	}
}

// repair recomputes all checksums; false when the framing does not hold.
func repair(log []byte) bool {
	for at := 0; at < len(log); {
		size := int(binary.BigEndian.Uint32(log[at+4:]))
		if at+frameLead+size+frameTail > len(log) {
			return false
		}
		binary.BigEndian.PutUint32(log[at+8:], crc32.Checksum(log[at:at+8], castagnoli))
		body := log[at+frameLead : at+frameLead+size]
		binary.BigEndian.PutUint32(log[at+frameLead+size:], crc32.Checksum(body, castagnoli))
		at += frameLead + size + frameTail
	}
	return true
}

// TestDamagedLogIsRefused opens a server on logs with one altered byte, with the
// database that belongs to the log and without.
func TestDamagedLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, status := varied(t, dir)
	s.Close()
	path := filepath.Join(dir, blocksFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: dir, OperatorKey: key(200), Heartbeat: -1}
	forget := func() {
		if err := os.RemoveAll(filepath.Join(dir, cacheDir)); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(whole); i += 37 {
		if i > len(whole)/2 {
			forget()
		}
		bad := bytes.Clone(whole)
		bad[i] ^= 1 << (i % 8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(cfg); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d altered: %v, %v", i, s, err)
		}
		if repair(bad) && !bytes.Equal(bad, whole) {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			if s, err := Open(cfg); err == nil {
				t.Fatalf("byte %d forged: opened at height %d", i, s.head().Height)
			}
		}
	}
	// A crash in the middle of the last record, before the tree was marked. With
	// the mark the missing block is known to have been durable.
	if err := os.WriteFile(path, whole[:len(whole)-9], 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Audit(dir)
	if err != nil || r.Unfinished == 0 || r.Blocks != status.Height-1 {
		t.Errorf("audit of an unfinished log: %+v, %v", r, err)
	}
	if s, err := Open(cfg); !errors.Is(err, ErrAnchor) {
		t.Fatalf("a log that lost a durable block: %v, %v", s, err)
	}
	if err := os.Remove(filepath.Join(dir, "tree.mark")); err != nil {
		t.Fatal(err)
	}
	forget()
	s = openServer(t, cfg)
	if h := s.head().Height; h != status.Height-1 {
		t.Errorf("height %d after a torn record, want %d", h, status.Height-1)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != s.writer.size {
		t.Errorf("the unfinished record was not cut: %v, %v", info, err)
	}
}
