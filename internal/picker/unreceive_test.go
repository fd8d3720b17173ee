package picker

import "testing"

// TestUnreceive: blocks of a dropped part are leased again, the others are not.
func TestUnreceive(t *testing.T) {
	p := New(Config{PieceLength: 4 * BlockSize, TotalLength: 8 * BlockSize, Seed: 1})
	p.AddSeed()
	who := Peer{ID: 7, Seed: true, Whole: true}
	l := p.Lease(nil, who, 4)
	if len(l) != 1 || l[0].Count != 4 {
		t.Fatalf("leased %v", l)
	}
	piece := l[0].Piece
	for b := range uint32(3) {
		p.Received(piece, b, 7)
	}
	p.Unreceive(piece, 0, 2, nil)
	if got := p.Progress(piece); got != 1 {
		t.Errorf("%d blocks received after two of three were dropped", got)
	}
	if p.Received(piece, 0, 9) {
		t.Error("a late word about a dropped block counts")
	}
	again := p.Lease(nil, who, 2)
	if len(again) != 1 || again[0] != (Lease{Piece: piece, Block: 0, Count: 2}) {
		t.Errorf("leased %v, want the dropped blocks", again)
	}
	for b := range uint32(4) {
		p.Received(piece, b, 7)
	}
	if got := p.Progress(piece); got != 4 {
		t.Errorf("%d of 4 blocks received", got)
	}
	p.Unreceive(1-piece, 0, 4, nil) // nothing is under way there
	p.Unreceive(99, 0, 4, nil)
}
