package disk

import (
	"slices"
	"testing"
)

// TestForget: bad blocks of a piece that was given up do not spoil the next
// attempt, also where a prefix of the piece went to the disk already.
func TestForget(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), 4<<20, File{Path: "a", Length: 8<<20 + 5})
	s := mustOpen(t, tor.config())
	defer s.Close()
	s.Forget(0) // nothing there
	for i, k := range tor.blocks() {
		if k[0] == 0 && i < 200 {
			bad := append([]byte{^tor.block(k)[0]}, tor.block(k)[1:]...)
			if r, err := s.Block(k[0], k[1], bad); r != Stored || err != nil {
				t.Fatalf("bad block: %v, %v", r, err)
			}
		}
	}
	s.Forget(0)
	verified := 0
	for _, k := range tor.blocks() {
		r, err := s.Block(k[0], k[1], tor.block(k))
		if err != nil || r == Failed || r == Duplicate {
			t.Fatalf("block %v: %v, %v", k, r, err)
		}
		if r == Verified {
			verified++
		}
	}
	if verified != 3 {
		t.Errorf("%d pieces verified", verified)
	}
	s.Forget(1) // complete: stays
	tor.wait(3)
	tor.onDisk(t.Fatalf)
}

// TestBlameLargePiece: of a version 1 piece whose beginning was on its way to
// the disk when it failed, the bad block and who sent it are told.
func TestBlameLargePiece(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), 4<<20, File{Path: "a", Length: 8<<20 + 5})
	s := mustOpen(t, tor.config())
	defer s.Close()
	const bad = 7 * BlockSize
	author := func(begin uint32) uint32 { return 100 + begin/BlockSize%3 }
	deliver := func(spoil bool) (last Result) {
		for _, k := range tor.blocks() {
			if k[0] != 0 {
				continue
			}
			b := tor.block(k)
			if spoil && k[1] == bad {
				b = append([]byte{^b[0]}, b[1:]...)
			}
			r, err := s.BlockFrom(author(k[1]), k[0], k[1], b)
			if err != nil {
				t.Fatal(err)
			}
			if r != Stored {
				last = r
			}
		}
		return last
	}
	if r := deliver(true); r != Failed {
		t.Fatalf("the spoiled piece is %v", r)
	}
	got, authors := s.Blame(0)
	if r := deliver(false); r != Verified {
		t.Fatalf("the right piece is %v", r)
	}
	tor.wait(1)
	want, err := s.Leaves(0)
	if err != nil || len(got) != len(want) || len(authors) != 256 {
		t.Fatalf("%d bytes, want %d, of %d authors, %v", len(got), len(want), len(authors), err)
	}
	for b := range authors {
		if same := string(got[b*32:][:32]) == string(want[b*32:][:32]); same == (b*BlockSize == bad) || authors[b] != author(uint32(b*BlockSize)) {
			t.Errorf("block %d: same %v, by %d", b, same, authors[b])
		}
	}
	s.mu.Lock()
	s.blame(&partial{piece: 1, size: s.pieceSize(1), lost: true, authors: make([]uint32, 300)})
	s.mu.Unlock()
	if leaves, _ := s.Blame(1); leaves != nil {
		t.Error("what the disk lost is blamed on somebody")
	}
	for p := range uint32(3 * maxBlamed) {
		s.mu.Lock()
		s.blame(&partial{piece: p % 3, size: s.pieceSize(p % 3), chunks: make([][]byte, 300), authors: make([]uint32, 300)})
		s.mu.Unlock()
	}
	if len(s.blamed) > maxBlamed {
		t.Errorf("%d failed pieces are kept", len(s.blamed))
	}
}

// TestHolds: what is here of a piece under way, and who sent it, before and after an
// attempt at it failed, and when it is complete.
func TestHolds(t *testing.T) {
	tor := newTorrent(t.TempDir(), testPool(t, PoolConfig{}), 4*BlockSize, File{Path: "a", Length: 4*BlockSize - 9})
	s := mustOpen(t, tor.config())
	defer s.Close()
	holds := func(want ...uint32) {
		t.Helper()
		if got := s.Holds(nil, 0); !slices.Equal(got, want) {
			t.Errorf("the store holds blocks of %v, want %v", got, want)
		}
		for b, who := range append(want, make([]uint32, 4-len(want))...) {
			if got, here := s.Author(0, uint32(b)*BlockSize); got != who || here != (who != 0) {
				t.Errorf("block %d is %d's, %v; want %d", b, got, here, who)
			}
		}
	}
	deliver := func(b, author uint32, spoil bool, want Result) {
		t.Helper()
		data := slices.Clone(tor.block([2]uint32{0, b * BlockSize}))
		if spoil {
			data[3] ^= 1
		}
		if r, err := s.BlockFrom(author, 0, b*BlockSize, data); r != want || err != nil {
			t.Errorf("block %d is %v, %v; want %v", b, r, err, want)
		}
	}
	holds()
	deliver(2, 7, false, Stored)
	deliver(0, 8, true, Stored)
	deliver(2, 9, false, Duplicate)
	holds(8, 0, 7, 0)
	deliver(1, 8, false, Stored)
	deliver(3, 8, false, Failed)
	holds()
	deliver(3, 9, false, Stored)
	holds(0, 0, 0, 9)
	for b := range uint32(3) {
		deliver(b, 9, false, []Result{Stored, Stored, Verified}[b])
	}
	tor.wait(1)
	if _, here := s.Author(0, 2*BlockSize); !here || len(s.Holds(nil, 0)) > 0 {
		t.Error("a complete piece is not here, or under way")
	}
	if _, here := s.Author(0, 4*BlockSize); here {
		t.Error("a block beyond the end is here")
	}
	if _, here := s.Author(1, 0); here {
		t.Error("a piece beyond the end is here")
	}
}
