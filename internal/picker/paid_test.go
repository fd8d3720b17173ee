package picker

import (
	"slices"
	"testing"
)

// TestFinish: a paid peer that was choked in the middle of a piece gets the rest of
// it back, whoever was asked meanwhile.
func TestFinish(t *testing.T) {
	p := New(Config{PieceLength: 4 * BlockSize, TotalLength: 4 * BlockSize})
	p.AddSeed()
	paid, other := Peer{ID: 1, Seed: true, Whole: true}, Peer{ID: 2, Seed: true}
	p.Lease(nil, paid, 4)
	p.Received(0, 0, paid.ID)
	p.Return(paid.ID)
	p.Lease(nil, other, 2)
	owed := p.Owed(nil, 0, paid.ID)
	if len(owed) != 2 || owed[0].Peer != other.ID {
		t.Fatalf("owed: %v", owed)
	}
	for _, o := range owed {
		p.ReturnBlock(0, o.Block, o.Peer)
	}
	if got := p.Finish(nil, paid, 0); count(got) != 3 {
		t.Fatalf("leased %v", got)
	}
	if got := p.Lease(nil, other, 4); len(got) > 0 {
		t.Fatalf("the piece is not the paid peer's alone: %v", got)
	}
}

// TestSlowNoEndGame: a slow peer does not fill the places of a block's owners.
func TestSlowNoEndGame(t *testing.T) {
	p := New(Config{PieceLength: BlockSize, TotalLength: BlockSize})
	p.AddSeed()
	p.Lease(nil, Peer{ID: 1, Seed: true}, 1)
	if got := p.Lease(nil, Peer{ID: 2, Seed: true, Slow: true}, 1); len(got) > 0 {
		t.Fatalf("slow peer in end game: %v", got)
	}
	if got := p.Lease(nil, Peer{ID: 3, Seed: true}, 1); count(got) != 1 {
		t.Fatalf("fast peer got %v", got)
	}
}

// TestHeld: pieces that another has for itself, of those that are wanted and that the
// peer has, in their order; shared and finished ones are not among them.
func TestHeld(t *testing.T) {
	const pieces = 6
	p := New(Config{PieceLength: 2 * BlockSize, TotalLength: pieces * 2 * BlockSize})
	p.AddSeed()
	paid, fast := Peer{ID: 1, Seed: true, Whole: true, Alone: true}, Peer{ID: 2, Seed: true}
	for piece := range uint32(4) {
		p.LeaseOf(nil, paid, []uint32{piece}, 2)
	}
	p.LeaseOf(nil, fast, []uint32{4}, 1)
	for block := range uint32(2) {
		p.Received(2, block, paid.ID)
	}
	p.SetHave(2)
	p.Return(9) // nobody's
	if got := p.Held(nil, fast); !slices.Equal(got, []uint32{0, 1, 3}) {
		t.Errorf("held: %v", got)
	}
	if got := p.Held([]uint32{7}, Peer{ID: 3, Bits: []byte{0b0101_0000}}); !slices.Equal(got, []uint32{7, 1, 3}) {
		t.Errorf("for a peer with two pieces: %v", got)
	}
	for _, o := range p.Owed(nil, 1, fast.ID) {
		p.ReturnBlock(1, o.Block, o.Peer)
	}
	if got := p.Held(nil, fast); !slices.Equal(got, []uint32{0, 3}) {
		t.Errorf("after one was given back: %v", got)
	}
}
