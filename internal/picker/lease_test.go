package picker

import (
	"slices"
	"testing"
)

func full(n int) []byte {
	b := make([]byte, (n+7)/8)
	for i := range n {
		setBit(b, i)
	}
	return b
}

func count(runs []Lease) (n int) {
	for _, r := range runs {
		n += int(r.Count)
	}
	return n
}

// receive delivers runs and finishes complete pieces.
func receive(p *Picker, peer uint32, runs []Lease) {
	for _, r := range runs {
		for b := r.Block; b < r.Block+r.Count; b++ {
			p.Received(r.Piece, b, peer)
		}
		if p.Progress(r.Piece) == p.Blocks(r.Piece) {
			p.SetHave(r.Piece)
		}
	}
}

func TestRarestFirst(t *testing.T) {
	const n = 300
	p := New(Config{PieceLength: BlockSize, TotalLength: n * BlockSize})
	for i := range randomFirst { // behind the random phase
		p.SetHave(uint32(i))
	}
	for i := range n {
		for range 1 + i%3 {
			p.AddHave(uint32(i))
		}
	}
	for want := 0; want < 3; want++ {
		for range n/3 - 2 {
			for _, r := range p.Lease(nil, Peer{ID: 1, Bits: full(n)}, 1) {
				if int(r.Piece)%3 != want {
					t.Fatalf("piece %d with %d copies while rarer ones are free", r.Piece, 1+r.Piece%3)
				}
			}
		}
		for i := range n { // let the rest of this band go
			if i%3 == want {
				p.SetPriority(uint32(i), 0)
			}
		}
	}
}

func TestPriorities(t *testing.T) {
	p := New(Config{PieceLength: BlockSize, TotalLength: 20 * BlockSize})
	p.AddBitfield(full(20))
	for i := range uint32(20) {
		p.SetPriority(i, uint8(i%8))
	}
	last := uint8(MaxPriority)
	for {
		runs := p.Lease(nil, Peer{ID: 1, Bits: full(20)}, 1)
		if len(runs) == 0 {
			break
		}
		if prio := uint8(runs[0].Piece % 8); prio > last || prio == 0 {
			t.Fatalf("priority %d after %d", prio, last)
		} else {
			last = prio
		}
	}
	if last != 1 || p.Outstanding(1) != 17 {
		t.Fatalf("ended at priority %d with %d blocks", last, p.Outstanding(1))
	}
}

func TestWholeIsExclusive(t *testing.T) {
	p := New(Config{PieceLength: 8 * BlockSize, TotalLength: 16 * BlockSize})
	p.AddSeed()
	paid, other := Peer{ID: 1, Seed: true, Whole: true}, Peer{ID: 2, Seed: true}
	mine := p.Lease(nil, paid, 3)
	if count(mine) != 8 || len(mine) != 1 {
		t.Fatalf("whole lease %v", mine)
	}
	theirs := p.Lease(nil, other, 100)
	if count(theirs) != 8 || theirs[0].Piece == mine[0].Piece {
		t.Fatalf("other peer got %v beside %v", theirs, mine)
	}
	if again := p.Lease(nil, Peer{ID: 3, Seed: true}, 100); slices.ContainsFunc(again, func(r Lease) bool { return r.Piece == mine[0].Piece }) {
		t.Fatalf("end game broke an exclusive lease: %v", again)
	}
	p.Received(mine[0].Piece, 0, 1)
	p.Return(1)
	if rest := p.Lease(nil, other, 100); count(rest) != 7 || rest[0].Piece != mine[0].Piece {
		t.Fatalf("after the paid peer left: %v", rest)
	}
}

func TestEndGame(t *testing.T) {
	for _, off := range []bool{false, true} {
		p := New(Config{PieceLength: 4 * BlockSize, TotalLength: 4*BlockSize - 5, NoEndGame: off})
		p.AddSeed()
		peer := func(id uint32) Peer { return Peer{ID: id, Seed: true} }
		if n := count(p.Lease(nil, peer(1), 100)); n != 4 {
			t.Fatalf("first peer got %d", n)
		}
		if snubbed := p.Lease(nil, Peer{ID: 9, Seed: true, Snubbed: true}, 100); len(snubbed) != 0 {
			t.Fatalf("snubbed peer in end game: %v", snubbed)
		}
		want := []int{4, 4, 0}
		if off {
			want = []int{0, 0, 0}
		}
		for i, w := range want {
			if n := count(p.Lease(nil, peer(uint32(i+2)), 100)); n != w {
				t.Fatalf("end game off=%v: peer %d got %d, want %d", off, i+2, n, w)
			}
		}
		if !p.Received(0, 2, 1) || p.Received(0, 2, 2) {
			t.Fatal("first and duplicate are confused")
		}
		if others := p.OthersWaiting(nil, 0, 2); !off && !slices.Equal(others, []uint32{3}) {
			t.Fatalf("others waiting: %v", others)
		}
	}
}

func TestSequentialAndWindow(t *testing.T) {
	p := New(Config{PieceLength: 2 * BlockSize, TotalLength: 40 * BlockSize})
	p.AddSeed()
	peer := Peer{ID: 1, Seed: true}
	p.SetSequential(true)
	p.SetWindow(10, 3)
	var got []uint32
	for range 6 {
		runs := p.Lease(nil, peer, 2)
		got = append(got, runs[0].Piece)
		receive(p, 1, runs)
	}
	if !slices.Equal(got, []uint32{10, 11, 12, 0, 1, 2}) {
		t.Fatalf("order %v", got)
	}
}

func TestFastPrefersOwnPieces(t *testing.T) {
	p := New(Config{PieceLength: 64 * BlockSize, TotalLength: 640 * BlockSize})
	p.AddSeed()
	seen := map[uint32]uint32{}
	for range 8 {
		for id := range uint32(10) {
			for _, r := range p.Lease(nil, Peer{ID: id, Seed: true, Fast: true}, 8) {
				if by, ok := seen[r.Piece]; ok && by != id {
					t.Fatalf("piece %d shared by %d and %d", r.Piece, by, id)
				}
				seen[r.Piece] = id
			}
		}
	}
	if len(seen) != 10 {
		t.Fatalf("%d pieces started", len(seen))
	}
}

// TestPartialBound: many peers that share pieces keep few of them open.
func TestPartialBound(t *testing.T) {
	p := New(Config{PieceLength: 256 * BlockSize, TotalLength: 1000 * 256 * BlockSize})
	p.AddSeed()
	for i := range 2000 {
		runs := p.Lease(nil, Peer{ID: uint32(i % 300), Seed: true, Fast: true}, 16)
		if i%3 == 0 {
			receive(p, uint32(i%300), runs)
		}
		if open := len(p.open); open > p.limit+1 {
			t.Fatalf("%d open pieces", open)
		}
	}
}

func TestFilePriorities(t *testing.T) {
	got := FilePriorities(10, []int64{5, 0, 20, 10}, []uint8{7, 3, 0, 2})
	if !slices.Equal(got, []uint8{7, 0, 2, 2}) {
		t.Fatal(got)
	}
}

// TestHostileInput: indices and bitfields out of range change nothing.
func TestHostileInput(t *testing.T) {
	p := New(Config{PieceLength: 2 * BlockSize, TotalLength: 5 * BlockSize})
	long := []byte{0xff, 0xff, 0xff}
	p.AddBitfield(long)
	p.AddBitfield(nil)
	p.AddHave(3)
	p.AddHave(1 << 31)
	p.RemoveHave(1 << 31)
	p.SetHave(77)
	p.SetPriority(99, 1)
	p.Reset(99)
	p.Reset(1)
	p.Return(5)
	p.ReturnBlock(9, 9, 9)
	if p.Received(9, 0, 1) || p.Received(2, 1, 1) || p.Have(500) || len(p.Contributors(nil, 9)) > 0 || len(p.OthersWaiting(nil, 2, 1)) > 0 {
		t.Fatal("accepted something out of range")
	}
	if p.Availability() != 1 || p.Missing() != 3 || !p.Interesting(long, false) || p.Interesting([]byte{0x1f}, false) {
		t.Fatal("state changed")
	}
	if n := count(p.Lease(nil, Peer{ID: 1, Bits: long}, 1<<40)); n != 5 {
		t.Fatalf("leased %d", n)
	}
	empty := New(Config{PieceLength: 1})
	empty.AddSeed()
	if len(empty.Lease(nil, Peer{Seed: true}, 9)) > 0 || empty.Availability() != 1 || empty.Interesting(nil, true) {
		t.Fatal("empty torrent")
	}
}

// TestLateWordAfterReset: a block reported after its piece was Reset belongs to
// the dropped attempt and must be asked for again.
func TestLateWordAfterReset(t *testing.T) {
	p := New(Config{PieceLength: 2 * BlockSize, TotalLength: 2 * BlockSize})
	p.AddSeed()
	p.Lease(nil, Peer{ID: 1, Seed: true}, 1)
	p.Lease(nil, Peer{ID: 2, Seed: true}, 1)
	p.Return(1)
	if !p.Received(0, 0, 1) {
		t.Fatal("a block on its way when its peer choked was refused")
	}
	p.Reset(0)
	if p.Received(0, 1, 2) {
		t.Fatal("a late word counted")
	}
	p.Lease(nil, Peer{ID: 1, Seed: true}, 1)
	if p.Received(0, 1, 2) {
		t.Fatal("a late word counted for a piece in progress")
	}
	if runs := p.Lease(nil, Peer{ID: 2, Seed: true}, 9); count(runs) != 1 || !p.Received(0, runs[0].Block, 2) {
		t.Fatalf("leased %v", runs)
	}
}

// TestWholeLeavesMixed: a peer that is paid for whole pieces does not get a
// piece that another began; once the piece is reset it does.
func TestWholeLeavesMixed(t *testing.T) {
	p := New(Config{PieceLength: 4 * BlockSize, TotalLength: 4 * BlockSize})
	p.AddSeed()
	other, paid := Peer{ID: 1, Seed: true}, Peer{ID: 2, Seed: true, Whole: true}
	receive(p, other.ID, p.Lease(nil, other, 2))
	p.Return(other.ID)
	if got := p.Lease(nil, paid, 4); len(got) != 0 {
		t.Errorf("leased %v of another's piece", got)
	}
	if got := p.Mixed(nil, paid); !slices.Equal(got, []uint32{0}) {
		t.Errorf("mixed %v", got)
	}
	p.Reset(0)
	if got := p.Lease(nil, paid, 4); count(got) != 4 {
		t.Errorf("leased %v after the reset", got)
	}
	receive(p, paid.ID, []Lease{{Piece: 0, Block: 0, Count: 2}})
	p.Return(paid.ID)
	if got := p.Lease(nil, paid, 4); count(got) != 2 {
		t.Errorf("leased %v of its own piece", got)
	}
	if got := p.Mixed(nil, paid); len(got) != 0 {
		t.Errorf("own piece counts as mixed: %v", got)
	}
}

// TestContested: pieces that others work on can be taken away, those of which
// least has come first, but never what somebody has for itself.
func TestContested(t *testing.T) {
	const blocks = 4
	p := New(Config{PieceLength: blocks * BlockSize, TotalLength: 6 * blocks * BlockSize, NoEndGame: true})
	p.SetSequential(true)
	p.AddSeed()
	p.Lease(nil, Peer{ID: 1, Seed: true}, 2*blocks)             // pieces 0 and 1
	p.Lease(nil, Peer{ID: 2, Seed: true, Whole: true}, blocks)  // 2
	p.Lease(nil, Peer{ID: 3, Seed: true, Fast: true}, blocks+1) // 3 and a block of 4
	p.Received(0, 0, 1)                                         //
	p.Received(4, 0, 3)                                         // nobody works on 4 any more
	paid := Peer{ID: 9, Bits: []byte{0b11100000}, Whole: true}  // it has not 3
	if got := p.Contested([]uint32{7}, paid); !slices.Equal(got, []uint32{7, 1, 0}) {
		t.Errorf("contested: %v", got)
	}
	p.SetPriority(1, 0)
	if got := p.Contested(nil, Peer{ID: 9, Seed: true}); !slices.Equal(got, []uint32{3, 0}) {
		t.Errorf("contested: %v", got)
	}
	for b := range uint32(blocks) { // taken away
		p.ReturnBlock(3, b, 3)
	}
	p.Reset(3)
	if p.Received(3, 2, 3) {
		t.Error("a late word of what was dropped counts")
	}
	if got := p.Lease(nil, Peer{ID: 9, Seed: true, Whole: true}, 1); count(got) != blocks || got[0].Piece != 3 {
		t.Errorf("leased %v", got)
	}
}

// TestLeaseOf: of some pieces alone, in their order; never what somebody has for
// itself, is not wanted, not there, or does not exist.
func TestLeaseOf(t *testing.T) {
	const blocks = 4
	p := New(Config{PieceLength: blocks * BlockSize, TotalLength: 6 * blocks * BlockSize})
	p.AddSeed()
	p.SetPriority(5, 0)
	p.SetHave(4)
	whole := Peer{ID: 1, Seed: true, Whole: true}
	if got := p.LeaseOf(nil, whole, []uint32{3}, 1); count(got) != blocks || got[0].Piece != 3 {
		t.Errorf("whole: %v", got)
	}
	peer := Peer{ID: 2, Bits: []byte{0b11011100}}
	if got := p.LeaseOf(nil, peer, []uint32{9, 5, 4, 3, 2, 1, 0}, blocks+1); !slices.Equal(got, []Lease{{1, 0, blocks}, {0, 0, 1}}) {
		t.Errorf("leased %v", got)
	}
	if got := p.LeaseOf(nil, whole, []uint32{0, 1}, 9); len(got) != 0 {
		t.Errorf("what others began: %v", got)
	}
	if got := p.LeaseOf(nil, Peer{ID: 3, Seed: true}, []uint32{0, 2}, 0); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
	if got := p.LeaseOf(nil, Peer{ID: 3, Seed: true}, []uint32{0, 2}, 5); !slices.Equal(got, []Lease{{0, 1, 3}, {2, 0, 2}}) {
		t.Errorf("leased %v", got)
	}
	if p.Ordered() {
		t.Error("ordered")
	}
	if p.SetWindow(1, 1); !p.Ordered() {
		t.Error("a window is an order")
	}
}
