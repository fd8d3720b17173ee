package disk

import (
	"bytes"
	"errors"
	"testing"

	"github.com/bttnet/btt/metainfo"
)

// unitSums are the hashes of a piece's units from its data.
func (t *torrent) unitSums(piece uint32, length, unit int64) (sums []byte) {
	for at := int64(0); at < length; at += unit {
		from := int64(piece)*length + at
		data := t.data[min(from, int64(len(t.data))):min(from+unit, int64(len(t.data)))]
		if f := t.files[0].Length; from+unit > f { // the file's end
			data = t.data[min(from, f):f]
		}
		h := metainfo.HashPiece(data, 1<<40, unit)
		sums = append(sums, h[:]...)
	}
	return sums
}

// TestUnits: blocks of a unit count when its hash is right; of a wrong one none
// does, and they may come again; the piece is right in the end.
func TestUnits(t *testing.T) {
	const length, unit = 128 << 10, 32 << 10
	for _, hybrid := range []bool{false, true} {
		tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), length, hybrid, File{Path: "a", Length: 200_000})
		s := mustOpen(t, tor.config())
		if err := s.SetUnits(0, 2, tor.unitSums(0, length, unit)); err != nil {
			t.Fatal(err)
		}
		if err := s.SetUnits(1, 2, tor.unitSums(1, length, unit)); err != nil {
			t.Fatal(err)
		}
		if !s.HasUnits(1, 2) || s.HasUnits(1, 1) || s.HasUnits(2, 2) || s.AnySure(0) {
			t.Errorf("units: %v %v %v %v", s.HasUnits(1, 2), s.HasUnits(1, 1), s.HasUnits(2, 2), s.AnySure(0))
		}
		put := func(piece, begin uint32, spoil bool, want Result) {
			t.Helper()
			data := bytes.Clone(tor.block([2]uint32{piece, begin}))
			if n := s.BlockLength(piece, begin); int(n) < len(data) {
				data = data[:n]
			}
			if spoil {
				data[5] ^= 1
			}
			if r, err := s.BlockFrom(uint32(7+b2(spoil)), piece, begin, data); r != want || err != nil {
				t.Errorf("hybrid %v: block %d of piece %d: %v %v, want %v", hybrid, begin, piece, r, err, want)
			}
		}
		sure := func(piece, begin uint32, want bool) {
			t.Helper()
			if from, to, ok := s.Sure(piece, begin); ok != want || ok && (begin < from || begin >= to) {
				t.Errorf("hybrid %v: offset %d of piece %d is sure: %v (%d to %d), want %v", hybrid, begin, piece, ok, from, to, want)
			}
		}
		put(0, 32<<10, false, Stored)
		sure(0, 32<<10, false)
		put(0, 48<<10, false, Stored)
		sure(0, 32<<10, true)
		sure(0, 48<<10, true)
		sure(0, 0, false)
		put(0, 0, false, Stored)
		put(0, 16<<10, true, BadUnit)
		if got := s.UnitAuthors(0, 0); len(got) != 2 || got[0] != 7 || got[1] != 8 {
			t.Errorf("authors of the bad unit: %v", got)
		}
		sure(0, 0, false)
		sure(0, 32<<10, true) // the right one stays
		put(0, 48<<10, false, Duplicate)
		put(0, 16<<10, false, Stored)
		put(0, 0, false, Stored)
		sure(0, 0, true)
		put(0, 64<<10, false, Stored)
		put(0, 80<<10, false, Stored)
		put(0, 112<<10, false, Stored)
		put(0, 96<<10, false, Verified)
		sure(0, 127<<10, true)
		// The last piece ends inside its third unit, at block 4 of 5.
		for _, begin := range []uint32{0, 16 << 10, 32 << 10, 48 << 10} {
			put(1, begin, false, Stored)
		}
		sure(1, 64<<10, false)
		put(1, 64<<10, false, Verified)
		sure(1, 64<<10, true)
		s.Close()
	}
}

// TestLateUnits: hashes that come after blocks verify what is there; a wrong
// block that was there before is left to the piece's own hash.
func TestLateUnits(t *testing.T) {
	const length, unit = 128 << 10, 32 << 10
	tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), length, false, File{Path: "a", Length: 256 << 10})
	s := mustOpen(t, tor.config())
	defer s.Close()
	for i, k := range tor.blocks() {
		data := bytes.Clone(tor.block(k))
		if i == 3 {
			data[0] ^= 1
		}
		if i < 5 {
			if _, err := s.BlockFrom(1, k[0], k[1], data); err != nil {
				t.Fatal(err)
			}
		}
	}
	sums := tor.unitSums(0, length, unit)
	for _, bad := range []struct {
		piece  uint32
		blocks int
		sums   []byte
	}{{9, 2, sums}, {0, 3, sums}, {0, 0, sums}, {0, 2, sums[:64]}} {
		if err := s.SetUnits(bad.piece, bad.blocks, bad.sums); !errors.Is(err, ErrUnits) {
			t.Errorf("units of %d blocks, %d bytes of hashes for piece %d: %v", bad.blocks, len(bad.sums), bad.piece, err)
		}
	}
	if err := s.SetUnits(0, 2, sums); err != nil {
		t.Fatal(err)
	}
	for _, begin := range []uint32{0, 32 << 10, 64 << 10} { // the first is right, but its author sent a bad one too
		if _, _, ok := s.Sure(0, begin); ok {
			t.Errorf("unit at %d is sure", begin)
		}
	}
	for _, k := range tor.blocks()[5:8] {
		r, err := s.BlockFrom(1, k[0], k[1], tor.block(k))
		if err != nil || r != map[uint32]Result{80 << 10: Stored, 96 << 10: Stored, 112 << 10: Failed}[k[1]] {
			t.Errorf("block %d: %v, %v", k[1], r, err)
		}
	}
	if s.AnySure(0) {
		t.Error("units of a piece that was dropped are sure")
	}
	if r, err := tor.deliver(s, 0); r != Verified || err != nil {
		t.Errorf("the piece again: %v, %v", r, err)
	}
}

// TestEarlyBlocks: whoever sent blocks of a unit before its hash was known is sure of
// nothing in the piece before that unit is right; then of all that waited. Others are
// sure at once.
func TestEarlyBlocks(t *testing.T) {
	const length, unit = 128 << 10, 32 << 10
	tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), length, false, File{Path: "a", Length: 256 << 10})
	s := mustOpen(t, tor.config())
	defer s.Close()
	put := func(author uint32, blocks ...int) {
		t.Helper()
		for _, b := range blocks {
			k := tor.blocks()[b]
			if r, err := s.BlockFrom(author, k[0], k[1], tor.block(k)); r != Stored || err != nil {
				t.Fatalf("block %d: %v %v", b, r, err)
			}
		}
	}
	sure := func(unit int, from, to uint32, want bool) {
		t.Helper()
		if a, b, ok := s.Sure(0, uint32(unit)*32<<10); ok != want || a != from<<10 || b != to<<10 {
			t.Errorf("unit %d: %v from %d to %d KiB, want %v from %d to %d", unit, ok, a>>10, b>>10, want, from, to)
		}
	}
	put(1, 2) // half of unit 1, early
	if err := s.SetUnits(0, 2, tor.unitSums(0, length, unit)); err != nil {
		t.Fatal(err)
	}
	put(1, 0, 1)
	put(2, 4, 5)
	sure(0, 0, 32, false)
	sure(1, 32, 64, false)
	sure(2, 64, 96, true)
	put(1, 3)
	sure(0, 0, 64, true)
	sure(1, 0, 64, true)
	sure(2, 64, 96, true)
	sure(3, 96, 128, false)
}

func b2(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestFinerUnits: smaller units take the place of larger ones, and larger ones not that
// of smaller: what was verified stays so, and what waits for its unit is judged by the
// new one. A wrong one is left to the piece's hash.
func TestFinerUnits(t *testing.T) {
	const length = 128 << 10
	for _, hybrid := range []bool{false, true} {
		tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), length, hybrid, File{Path: "a", Length: 2 * length})
		s := mustOpen(t, tor.config())
		put := func(piece, block uint32, spoil bool, want Result) {
			t.Helper()
			data := bytes.Clone(tor.block([2]uint32{piece, block * BlockSize}))
			if spoil {
				data[5] ^= 1
			}
			if r, err := s.BlockFrom(7, piece, block*BlockSize, data); r != want || err != nil {
				t.Errorf("hybrid %v: block %d of piece %d: %v %v, want %v", hybrid, block, piece, r, err, want)
			}
		}
		units := func(piece uint32, blocks int, want ...bool) {
			t.Helper()
			if err := s.SetUnits(piece, blocks, tor.unitSums(piece, length, int64(blocks)*BlockSize)); err != nil {
				t.Fatal(err)
			}
			for b, is := range want {
				if _, _, ok := s.Sure(piece, uint32(b)*BlockSize); ok != is {
					t.Errorf("hybrid %v: block %d of piece %d is sure: %v, want %v", hybrid, b, piece, ok, is)
				}
			}
		}
		units(0, 4)
		for b := range uint32(6) {
			put(0, b, false, Stored)
		}
		units(0, 4, true, true, true, true, false, false, false, false)
		units(0, 2, true, true, true, true, true, true, false, false)
		units(0, 4, true, true, true, true, true, true, false, false) // no step back
		put(0, 6, false, Stored)
		put(0, 7, false, Verified)

		units(1, 4)
		put(1, 0, true, Stored)
		put(1, 1, false, Stored)
		units(1, 2, false, false)
		for b := uint32(2); b < 7; b++ {
			put(1, b, false, Stored)
		}
		put(1, 7, false, Failed)
		for b := range uint32(7) {
			put(1, b, false, Stored)
		}
		put(1, 7, false, Verified)
		s.Close()
	}
}
