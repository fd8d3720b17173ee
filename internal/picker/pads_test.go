package picker

import "testing"

// TestPads: blocks of padding are never leased, count as done, and are no part
// of what is left; a piece of padding alone holds nothing up.
func TestPads(t *testing.T) {
	const per = 4 * BlockSize
	// Piece 0 ends after a block and a half, piece 1 is full, piece 2 is padding.
	pads := []Span{{BlockSize * 3 / 2, per}, {2 * per, 3 * per}}
	p := New(Config{PieceLength: per, TotalLength: 3*per + 5, Seed: 1, Pads: pads})
	if want := int64(BlockSize*3/2 + per + 5); p.Left() != want {
		t.Fatalf("%d bytes left, want %d", p.Left(), want)
	}
	peer := Peer{ID: 7, Seed: true}
	p.AddSeed()
	asked := map[[2]uint32]bool{}
	for _, l := range p.Lease(nil, peer, 100) {
		for b := l.Block; b < l.Block+l.Count; b++ {
			asked[[2]uint32{l.Piece, b}] = true
		}
	}
	for _, k := range [][2]uint32{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {1, 2}, {1, 3}, {3, 0}} {
		if !asked[k] {
			t.Errorf("block %v is not leased", k)
		}
		delete(asked, k)
	}
	if len(asked) > 0 {
		t.Errorf("padding is leased: %v", asked)
	}
	p.Return(peer.ID) // what nobody sent anything of goes back into the order
	if again := p.Lease(nil, peer, 100); len(again) != 3 {
		t.Fatalf("leased again: %v", again)
	}
	if p.Received(0, 3, peer.ID) {
		t.Error("padding was received")
	}
	p.Received(0, 0, peer.ID)
	if p.Progress(0) == p.Blocks(0) {
		t.Error("piece 0 is complete too early")
	}
	p.Received(0, 1, peer.ID)
	if p.Progress(0) != p.Blocks(0) {
		t.Errorf("progress %d of %d", p.Progress(0), p.Blocks(0))
	}
	if c := p.Contributors(nil, 0); len(c) != 1 || c[0] != peer.ID {
		t.Errorf("contributors %v", c)
	}
	for i := range uint32(4) {
		p.SetHave(i)
	}
	if p.Left() != 0 || p.Missing() != 0 {
		t.Errorf("%d bytes and %d pieces left", p.Left(), p.Missing())
	}
}

// TestPadsWhole: a whole-piece lease of a padded piece takes all its blocks.
func TestPadsWhole(t *testing.T) {
	const per = 4 * BlockSize
	p := New(Config{PieceLength: per, TotalLength: per, Pads: []Span{{1, BlockSize}, {2 * BlockSize, per}}})
	p.AddSeed()
	got := p.Lease(nil, Peer{ID: 1, Seed: true, Whole: true}, 1)
	if len(got) != 1 || got[0] != (Lease{Piece: 0, Block: 0, Count: 2}) {
		t.Fatalf("leases %v", got)
	}
}
