package books

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/bttnet/btt/ledger"
)

// testKey is a key that everybody knows.
func testKey(name string) *ledger.PrivateKey {
	k, err := ledger.NewPrivateKey(sha256.Sum256([]byte(name)))
	if err != nil {
		panic(err) // a hash outside the group order: never seen
	}
	return k
}

var (
	testNet  = ledger.Network{1, 2, 3}
	operator = testKey("operator")
)

// history is an operator's log for tests: blocks with a few transactions each.
type history struct {
	Tree
	leaves [][]byte
	blocks []Tree
	ids    [][]ledger.TxID
}

func txid(block, i, story byte) ledger.TxID { return ledger.TxID{block, i, story, 9} }

// grow appends a block of n transactions.
func (h *history) grow(n int, story byte) {
	var b Tree
	var ids []ledger.TxID
	for i := range n {
		id := txid(byte(len(h.leaves)), byte(i), story)
		ids = append(ids, id)
		b.Append(id[:])
	}
	header := ledger.Header{Height: uint64(len(h.leaves)) + 1, Time: 5, LedgerTime: 5, TxRoot: ledger.MerkleRoot(ids), AppHash: [32]byte{story}}
	leaf := Leaf(&header, [32]byte{7})
	h.Append(leaf)
	h.leaves, h.blocks, h.ids = append(h.leaves, leaf), append(h.blocks, b), append(h.ids, ids)
}

func story(blocks int, same int, which byte) *history {
	h := &history{}
	for i := range blocks {
		if i < same {
			h.grow(i%4, 0)
		} else {
			h.grow(i%4, which)
		}
	}
	return h
}

// at returns the head of the first n blocks.
func (h *history) at(t testing.TB, n uint64) Head {
	t.Helper()
	root, err := tlog.TreeHash(int64(n), &h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	return Head{Size: n, Root: root}
}

func (h *history) extension(t testing.TB, from, size uint64) Extension {
	t.Helper()
	text, err := SignHead(h.at(t, size), testNet, operator)
	if err != nil {
		t.Fatal(err)
	}
	prefix, err := ProvePrefix(min(from, size), size, &h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	return Extension{Operator: operator.PublicKey(), Head: string(text), From: from, Prefix: prefix}
}

func (h *history) proof(t testing.TB, height uint64, index uint32, from, size uint64) Proof {
	t.Helper()
	p := Proof{Extension: h.extension(t, from, size), TxID: h.ids[height-1][index], Leaf: h.leaves[height-1], Index: index, Count: uint32(len(h.ids[height-1]))}
	if err := p.ProveInclusion(h.at(t, size), height, &h.blocks[height-1], &h.Tree); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPrefixProofs compares every proof of small trees with the proofs of
// package tlog.
func TestPrefixProofs(t *testing.T) {
	h := story(70, 70, 0)
	for size := uint64(1); size <= 70; size++ {
		for from := uint64(1); from < size; from++ {
			prefix, err := ProvePrefix(from, size, &h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			old, root, err := CheckPrefix(prefix, from, size)
			if err != nil || old != h.at(t, from).Root || root != h.at(t, size).Root {
				t.Fatalf("%d to %d: %v, wrong roots", from, size, err)
			}
			theirs, err := tlog.ProveTree(int64(size), int64(from), &h.Tree)
			if err != nil || tlog.CheckTree(theirs, int64(size), root, int64(from), old) != nil {
				t.Fatalf("%d to %d: tlog disagrees: %v", from, size, err)
			}
			if _, _, err := CheckPrefix(prefix[:len(prefix)-1], from, size); !errors.Is(err, ErrProof) {
				t.Fatalf("a proof cut short: %v", err)
			}
			if _, _, err := CheckPrefix(append(prefix, Hash{}), from, size); !errors.Is(err, ErrProof) {
				t.Fatalf("a proof too long: %v", err)
			}
		}
	}
	if _, err := ProvePrefix(3, 2, &h.Tree); !errors.Is(err, ErrProof) {
		t.Errorf("backwards: %v", err)
	}
	for _, pair := range [][2]uint64{{0, 5}, {5, 5}, {6, 5}, {1, MaxSize + 1}} {
		if _, _, err := CheckPrefix(nil, pair[0], pair[1]); !errors.Is(err, ErrProof) {
			t.Errorf("%v: %v", pair, err)
		}
	}
}

func TestHeads(t *testing.T) {
	head := Head{Size: 12, Root: Hash{4}}
	text, err := SignHead(head, testNet, operator)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := OpenHead(string(text), testNet, operator.PublicKey()); err != nil || got != head {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := OpenHead(string(text), ledger.Network{9}, operator.PublicKey()); !errors.Is(err, ErrHead) {
		t.Errorf("another network: %v", err)
	}
	if _, err := OpenHead(string(text), testNet, testKey("other").PublicKey()); !errors.Is(err, ErrHead) {
		t.Errorf("another key: %v", err)
	}
	if _, err := OpenHead(strings.Repeat("x", MaxNoteBytes+1), testNet, operator.PublicKey()); !errors.Is(err, ErrHead) {
		t.Errorf("too long: %v", err)
	}
	for i := range text { // every altered byte
		bad := bytes.Clone(text)
		bad[i] ^= 1
		if got, err := OpenHead(string(bad), testNet, operator.PublicKey()); err == nil && got != head {
			t.Fatalf("byte %d altered: %+v", i, got)
		}
	}
	for _, body := range []string{"x\n1\n\n", Origin(testNet) + "\n01\nAAAA\n", Origin(testNet) + "\n-1\n\n", Origin(testNet) + "\n1\nAAAA\n",
		Origin(testNet) + "\n" + "281474976710657\n" + strings.Repeat("A", 43) + "=\n"} {
		if _, err := parseText(body, testNet); !errors.Is(err, ErrHead) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// TestFollower lets a follower see heads of an honest operator in random steps,
// with proofs for random transactions.
func TestFollower(t *testing.T) {
	h := story(64, 64, 0)
	rapid.Check(t, func(r *rapid.T) {
		f, err := NewFollower(testNet, operator.PublicKey(), "")
		if err != nil {
			r.Fatal(err)
		}
		for size := uint64(0); size < 64; {
			size = rapid.Uint64Range(max(size, 1), 64).Draw(r, "size")
			height := rapid.Uint64Range(1, size).Draw(r, "height")
			if n := len(h.ids[height-1]); n > 0 {
				p := h.proof(t, height, uint32(rapid.IntRange(0, n-1).Draw(r, "index")), f.Head().Size, size)
				if header, err := f.Include(&p, p.TxID); err != nil || header.Height != height {
					r.Fatalf("block %d of %d: %v", height, size, err)
				}
			} else {
				x := h.extension(t, f.Head().Size, size)
				if err := f.Extend(&x); err != nil {
					r.Fatal(err)
				}
			}
			again, err := NewFollower(testNet, operator.PublicKey(), f.Note())
			if err != nil || again.Head() != f.Head() || f.Head().Size != size {
				r.Fatalf("kept head: %v", err)
			}
			f = again
		}
	})
}

// TestForks shows a follower every pair of heads of two histories and checks that
// what it calls a fork convinces a stranger, and what is none does not.
func TestForks(t *testing.T) {
	const same, blocks = 5, 20
	a, b := story(blocks, same, 1), story(blocks, same, 2)
	for from := uint64(1); from <= blocks; from++ {
		for size := uint64(1); size <= blocks; size++ {
			f, err := NewFollower(testNet, operator.PublicKey(), a.extension(t, 0, from).Head)
			if err != nil {
				t.Fatal(err)
			}
			before := f.Head()
			x := b.extension(t, from, size)
			err = f.Extend(&x)
			fork, forked := errors.AsType[*ForkError](err)
			switch {
			case size < from:
				if !errors.Is(err, ErrOlder) {
					t.Fatalf("%d after %d: %v", size, from, err)
				}
			case from <= same:
				if err != nil {
					t.Fatalf("%d after %d, one history: %v", size, from, err)
				}
				continue
			case !forked:
				t.Fatalf("%d after %d: %v, want a fork", size, from, err)
			}
			if f.Head() != before {
				t.Fatal("a refused head was kept")
			}
			if !forked {
				continue
			}
			text, err := fork.Evidence.Encode()
			if err != nil {
				t.Fatal(err)
			}
			d, err := ParseDocument(text)
			if err != nil {
				t.Fatal(err)
			}
			if finding, err := d.Check(); err != nil || !strings.Contains(finding, "histor") {
				t.Fatalf("%q, %v", finding, err)
			}
			d.Operator = testKey("innocent").PublicKey()
			if _, err := d.Check(); !errors.Is(err, ErrDocument) {
				t.Fatalf("evidence against another key: %v", err)
			}
		}
	}
}

// TestNoFalseEvidence: nobody can make evidence out of an honest operator's
// heads.
func TestNoFalseEvidence(t *testing.T) {
	h := story(20, 20, 0)
	older, newer := h.extension(t, 0, 9), h.extension(t, 9, 20)
	for name, fork := range map[string]Fork{
		"the same head":      {Old: older.Head, New: older.Head},
		"two good heads":     {Old: older.Head, New: newer.Head, Prefix: newer.Prefix},
		"no proof":           {Old: older.Head, New: newer.Head},
		"backwards":          {Old: newer.Head, New: older.Head, Prefix: newer.Prefix},
		"one altered hash":   {Old: older.Head, New: newer.Head, Prefix: append([]Hash{{1}}, newer.Prefix[1:]...)},
		"another proof":      {Old: older.Head, New: newer.Head, Prefix: h.extension(t, 10, 20).Prefix},
		"an unsigned head":   {Old: older.Head, New: Head{Size: 9}.Text(testNet)},
		"a head with no end": {Old: older.Head, New: ""},
	} {
		d := Document{Kind: KindFork, Network: testNet, Operator: operator.PublicKey(), Fork: &fork}
		if finding, err := d.Check(); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %q, %v", name, finding, err)
		}
	}
}

// TestProofsAreTight alters each field of a proof.
func TestProofsAreTight(t *testing.T) {
	h := story(40, 40, 0)
	good := func() Proof { return h.proof(t, 20, 1, 0, 40) } // block 20 has 3 transactions
	if p := good(); len(p.Path) == 0 {
		t.Fatal("nothing to alter")
	}
	if p := good(); func() error { _, err := p.Check(testNet, operator.PublicKey()); return err }() != nil {
		t.Fatal("a good proof is refused")
	}
	for name, spoil := range map[string]func(*Proof){
		"transaction":       func(p *Proof) { p.TxID[5] ^= 1 },
		"index":             func(p *Proof) { p.Index = 2 },
		"index at the end":  func(p *Proof) { p.Index = p.Count },
		"height":            func(p *Proof) { binary.BigEndian.PutUint64(p.Leaf, 21) },
		"height 0":          func(p *Proof) { binary.BigEndian.PutUint64(p.Leaf, 0) },
		"height beyond":     func(p *Proof) { binary.BigEndian.PutUint64(p.Leaf, 41) },
		"leaf":              func(p *Proof) { p.Leaf = p.Leaf[:LeafSize-1] },
		"raws":              func(p *Proof) { p.Leaf[LeafSize-1] ^= 1 },
		"path":              func(p *Proof) { p.Path[0][0] ^= 1 },
		"path cut":          func(p *Proof) { p.Path = p.Path[1:] },
		"branch":            func(p *Proof) { p.Branch[0][0] ^= 1 },
		"branch cut":        func(p *Proof) { p.Branch = p.Branch[1:] },
		"head of elsewhere": func(p *Proof) { p.Head = story(40, 39, 1).extension(t, 0, 40).Head },
	} {
		p := good()
		p.Leaf, p.Path, p.Branch = bytes.Clone(p.Leaf), append([]Hash{}, p.Path...), append([]Hash{}, p.Branch...)
		spoil(&p)
		if _, err := p.Check(testNet, operator.PublicKey()); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := good()
	f, _ := NewFollower(testNet, operator.PublicKey(), "")
	if _, err := f.Include(&p, ledger.TxID{1}); !errors.Is(err, ErrProof) {
		t.Errorf("a proof for another transaction: %v", err)
	}
	d := Document{Kind: KindInclusion, Network: testNet, Operator: operator.PublicKey(), Proof: &p}
	text, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	if finding, err := back.Check(); err != nil || !strings.Contains(finding, "block 20") {
		t.Errorf("%q, %v", finding, err)
	}
}

func TestExtensionsThatProveNothing(t *testing.T) {
	h := story(30, 30, 0)
	f, err := NewFollower(testNet, operator.PublicKey(), h.extension(t, 0, 11).Head)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]Extension{
		"from elsewhere": h.extension(t, 12, 30),
		"no proof":       {Head: h.extension(t, 0, 30).Head, From: 11},
		"another's":      {Head: h.extension(t, 0, 29).Head, From: 11, Prefix: h.extension(t, 11, 30).Prefix},
	} {
		if err := f.Extend(&x); !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewFollower(testNet, testKey("x").PublicKey(), f.Note()); !errors.Is(err, ErrHead) {
		t.Errorf("a kept head of another operator: %v", err)
	}
}

func FuzzParseDocument(f *testing.F) {
	h := story(20, 20, 0)
	p := h.proof(f, 4, 1, 0, 20)
	for _, d := range []Document{
		{Kind: KindInclusion, Network: testNet, Operator: operator.PublicKey(), Proof: &p},
		{Kind: KindFork, Network: testNet, Operator: operator.PublicKey(), Fork: &Fork{Old: "a", New: "b"}},
	} {
		text, err := json.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDocument(text)
		if err != nil {
			return
		}
		if _, err := d.Check(); err == nil && d.Fork != nil {
			t.Fatal("evidence against an honest operator")
		}
	})
}

func FuzzOpenHead(f *testing.F) {
	head := Head{Size: 3, Root: Hash{1}}
	text, err := SignHead(head, testNet, operator)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := OpenHead(s, testNet, operator.PublicKey()); err == nil && got != head {
			t.Fatalf("forged head %+v", got)
		}
	})
}

func FuzzReadLeaf(f *testing.F) {
	f.Add(story(1, 1, 0).leaves[0])
	f.Fuzz(func(t *testing.T, leaf []byte) {
		h, raws, err := ReadLeaf(leaf)
		if err == nil && !bytes.Equal(Leaf(&h, raws), leaf) {
			t.Fatal("a leaf does not come back")
		}
	})
}
