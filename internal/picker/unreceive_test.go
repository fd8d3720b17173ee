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

// TestRetry: of a piece whose hash failed, what the store holds by now counts as
// received, what peers owe stays owed, and only the rest is leased again.
func TestRetry(t *testing.T) {
	p := New(Config{PieceLength: 5 * BlockSize, TotalLength: 5 * BlockSize, Seed: 1})
	p.AddSeed()
	p.Lease(nil, Peer{ID: 1, Seed: true}, 2) // 0, 1
	p.Lease(nil, Peer{ID: 2, Seed: true}, 3) // 2, 3, 4
	p.Received(0, 0, 1)
	p.Received(0, 4, 2)
	if p.Suspect(0) {
		t.Error("nothing was dropped yet")
	}
	p.Retry(0, []uint32{0, 0, 9, 0, 2}) // the other attempt's 2, and a new 4
	if !p.Suspect(0) || p.Progress(0) != 2 {
		t.Errorf("suspect %v, %d blocks received", p.Suspect(0), p.Progress(0))
	}
	if a, b := p.Outstanding(1), p.Outstanding(2); a != 1 || b != 2 {
		t.Errorf("peers owe %d and %d blocks, want 1 and 2", a, b)
	}
	if got := p.OthersWaiting(nil, 0, 2); len(got) != 1 || got[0] != 2 {
		t.Errorf("peers %v wait with a block that is here", got)
	}
	p.ReturnBlock(0, 2, 2)
	if got := p.Lease(nil, Peer{ID: 3, Seed: true, Alone: true}, 5); len(got) != 1 || got[0] != (Lease{0, 0, 1}) {
		t.Errorf("leased %v, want what was dropped", got)
	}
	p.Keep(0, 0, 8) // somebody else's came, and the lease is void
	p.ReturnBlock(0, 0, 3)
	p.Keep(0, 1, 1)
	p.Keep(0, 3, 2)
	if p.Progress(0) != 5 || p.Outstanding(1)+p.Outstanding(2)+p.Outstanding(3) != 0 {
		t.Errorf("%d blocks received", p.Progress(0))
	}
	p.Retry(0, nil)
	if p.Progress(0) != 0 || len(p.InProgress()) != 0 {
		t.Errorf("%d blocks are left of what was dropped", p.Progress(0))
	}
	p.Retry(0, []uint32{0, 4}) // nothing was under way
	if p.Progress(0) != 1 {
		t.Errorf("%d blocks received", p.Progress(0))
	}
	p.Retry(99, nil)
	p.Keep(0, 99, 1)
}
