package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// shelf is a journal that keeps the hashes of units.
type shelf struct {
	silent
	mu    sync.Mutex
	begun map[uint32]Begun
}

func (j *shelf) Units(piece uint32, blocks int, sums []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.begun == nil {
		j.begun = map[uint32]Begun{}
	}
	j.begun[piece] = Begun{piece, blocks, bytes.Clone(sums)}
}

func (j *shelf) known(piece uint32) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.begun[piece]
	return ok
}

// TestUnitsOutliveProcess: what is verified of a piece by units is in the files before
// its piece is whole, whatever the order of its blocks and the size of units; a Store that
// is opened on these files has all that landed, takes only the rest, and has the right
// files in the end.
func TestUnitsOutliveProcess(t *testing.T) {
	pool := testPool(t, PoolConfig{})
	rapid.Check(t, func(r *rapid.T) {
		hybrid := rapid.Bool().Draw(r, "hybrid")
		length := int64(BlockSize) << rapid.IntRange(2, 8).Draw(r, "length") // 64 KiB to 4 MiB
		unit := int64(BlockSize) << rapid.IntRange(0, 7).Draw(r, "unit")
		unit = min(unit, length/2)
		size := int64(rapid.IntRange(int(length+1), int(3*length)).Draw(r, "size"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 1))
		tor := newTorrentV2(t.TempDir(), pool, length, hybrid, File{Path: "a", Length: size})
		j := new(shelf)
		c := tor.config()
		c.Journal = j
		s := mustOpen(r, c)
		defer func() { s.Close() }()
		blocks := tor.blocks()
		if hybrid && rng.IntN(2) == 0 || rng.IntN(2) == 0 {
			rng.Shuffle(len(blocks), func(a, b int) { blocks[a], blocks[b] = blocks[b], blocks[a] })
		}
		late := rng.IntN(3) == 0
		hashes := func() {
			for p := range uint32(tor.pieces()) {
				if err := s.SetUnits(p, int(unit/BlockSize), tor.unitSums(p, length, unit)); err != nil && !s.Verified(p) {
					r.Fatal(err)
				}
			}
		}
		if !late {
			hashes()
		}
		cut := rng.IntN(len(blocks))
		for i, k := range blocks[:cut] {
			if late && i == cut/2 {
				hashes()
			}
			if res, err := s.BlockFrom(1, k[0], k[1], tor.block(k)); err != nil || res != Stored && res != Verified {
				r.Fatal(res, err)
			}
		}
		if late && cut/2 >= cut {
			hashes()
		}
		landed := awaitUnits(r, tor, s, unit)
		for k := range landed {
			if !s.Verified(k[0]) && !j.known(k[0]) {
				r.Errorf("the journal knows nothing of piece %d", k[0])
			}
		}
		s.Close() // the process ends; what is queued is written, which changes nothing
		s = mustOpen(r, tor.config())
		for p := range uint32(tor.pieces()) {
			if ok, err := s.VerifyPiece(p); err != nil {
				r.Fatal(err)
			} else if b, known := j.begun[p]; !ok && known {
				if _, err := s.Restore(b); err != nil {
					r.Fatal(err)
				}
			}
		}
		for k := range landed {
			if at := k[1]; !s.Landed(k[0], at, at+uint32(unit)) && !s.Verified(k[0]) {
				r.Errorf("unit at %d of piece %d is lost", at, k[0])
			}
		}
		for _, k := range tor.blocks() {
			want := Stored
			if _, here := landed[[2]uint32{k[0], k[1] / uint32(unit) * uint32(unit)}]; here {
				want = Duplicate
			}
			if res, err := s.BlockFrom(2, k[0], k[1], tor.block(k)); err != nil || want == Duplicate && res != Duplicate || res > Verified {
				r.Fatalf("block %v: %v %v, want %v", k, res, err, want)
			}
		}
		s.Flush()
		tor.onDisk(r.Errorf)
		for p := range uint32(tor.pieces()) {
			if !s.Verified(p) {
				r.Errorf("piece %d is not verified", p)
			}
		}
	})
}

// awaitUnits waits until all units that are sure are in the files, and returns where
// they begin.
func awaitUnits(r *rapid.T, tor *torrent, s *Store, unit int64) map[[2]uint32]bool {
	landed := map[[2]uint32]bool{}
	for p := range uint32(tor.pieces()) {
		_, data, _ := s.FileOf(p)
		for at := int64(0); at < data; at += unit {
			if _, _, sure := s.Sure(p, uint32(at)); sure {
				landed[[2]uint32{p, uint32(at)}] = true
			}
		}
	}
	s.Press()
	for k := range landed {
		tor.mu.Lock()
		for !s.Landed(k[0], k[1], k[1]+uint32(unit)) {
			tor.told.Wait() // it is told, or this waits for ever
		}
		tor.mu.Unlock()
	}
	for _, e := range tor.wait(0) {
		if e.Kind == Failed {
			r.Fatal(e.Err)
		}
	}
	return landed
}

// TestRestoreRefuses: hashes that do not lead to the piece's are refused, and of changed
// or missing data nothing is taken.
func TestRestoreRefuses(t *testing.T) {
	const length, unit = 128 << 10, 32 << 10
	tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), length, false, File{Path: "a", Length: 300_000})
	s := mustOpen(t, tor.config())
	defer s.Close()
	good := Begun{0, 2, tor.unitSums(0, length, unit)}
	if n, err := s.Restore(good); n != 0 || err != nil {
		t.Errorf("of a missing file: %d units, %v", n, err)
	}
	for _, k := range tor.blocks() {
		data := slices.Clone(tor.block(k))
		if k[0] == 0 && k[1] >= 64<<10 {
			continue
		}
		if _, err := s.Block(k[0], k[1], data); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetUnits(0, 2, good.Sums); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = mustOpen(t, tor.config())
	defer s.Close()
	if n, err := s.Restore(Begun{1, 2, tor.unitSums(1, length, unit)}); n != 0 || err != nil {
		t.Errorf("of a whole piece: %d units, %v", n, err)
	}
	wrong := slices.Clone(good.Sums)
	wrong[40] ^= 1
	for _, b := range []Begun{{9, 2, good.Sums}, {0, 3, good.Sums}, {0, 0, good.Sums}, {0, 2, good.Sums[:64]}, {0, 2, wrong}, {1, 2, good.Sums}} {
		if n, err := s.Restore(b); n != 0 || err == nil {
			t.Errorf("piece %d, %d blocks: %d units, %v", b.Piece, b.Blocks, n, err)
		}
	}
	if n, err := s.Restore(good); n != 2 || err != nil {
		t.Errorf("%d units of two, %v", n, err)
	}
	if n, err := s.Restore(good); n != 0 || err != nil {
		t.Errorf("of a piece under way: %d units, %v", n, err)
	}
	if a, here := s.Author(0, 16<<10); !here || a != Earlier {
		t.Errorf("author %d of a block that is here: %v", a, here)
	}
}

// TestUnitsAreToldAgain: a journal that begins anew when nothing of a piece is right, as
// after a failed attempt, is told of its units before one of them counts as in the files.
func TestUnitsAreToldAgain(t *testing.T) {
	const length, unit = 128 << 10, 32 << 10
	tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), length, false, File{Path: "a", Length: 300_000})
	j := new(shelf)
	c := tor.config()
	c.Journal = j
	s := mustOpen(t, c)
	defer s.Close()
	if err := s.SetUnits(0, unit/BlockSize, tor.unitSums(0, length, unit)); err != nil {
		t.Fatal(err)
	}
	attempt := func() {
		t.Helper()
		for _, k := range [][2]uint32{{0, 0}, {0, BlockSize}} {
			if res, err := s.BlockFrom(1, k[0], k[1], tor.block(k)); err != nil || res != Stored {
				t.Fatal(res, err)
			}
		}
		s.Press()
		tor.mu.Lock()
		defer tor.mu.Unlock()
		for !s.Landed(0, 0, unit) {
			tor.told.Wait() // it is told, or this waits for ever
		}
		if !j.known(0) {
			t.Error("a unit counts as in the files, and the journal does not know the hashes")
		}
	}
	attempt()
	s.Forget(0)
	if list := s.Begun(); len(list) > 0 {
		t.Errorf("begun after it was dropped: %v", list)
	}
	j.mu.Lock()
	j.begun = nil
	j.mu.Unlock()
	attempt()
}

// TestRestoreLater: what waits for the layer of its file is told to a journal that begins
// anew, and restored once when the layer is here.
func TestRestoreLater(t *testing.T) {
	const length, unit = 128 << 10, 32 << 10
	tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), length, true, File{Path: "a", Length: 300_000})
	s := mustOpen(t, tor.config())
	for _, k := range tor.blocks()[:4] {
		if _, err := s.Block(k[0], k[1], tor.block(k)); err != nil {
			t.Fatal(err)
		}
	}
	begun := Begun{0, 2, tor.unitSums(0, length, unit)}
	if err := s.SetUnits(0, 2, begun.Sums); err != nil {
		t.Fatal(err)
	}
	s.Close()
	layer := tor.files[0].Layer
	tor.files[0].Layer = nil
	s = mustOpen(t, tor.config())
	defer s.Close()
	waiting := func(want ...int) {
		t.Helper()
		if got := []int{len(s.Later(nil)), len(s.Due()), len(s.Begun())}; !slices.Equal(got, want) {
			t.Errorf("waiting, due, told anew: %v, want %v", got, want)
		}
	}
	for range 2 {
		if n, err := s.Restore(begun); n != 0 || !errors.Is(err, ErrLater) {
			t.Errorf("%d units, %v", n, err)
		}
		waiting(1, 0, 1)
	}
	s.GiveUp()
	waiting(0, 0, 0)
	if _, err := s.Restore(begun); !errors.Is(err, ErrLater) {
		t.Error(err)
	}
	if err := s.SetLayer(0, layer); err != nil {
		t.Fatal(err)
	}
	waiting(1, 1, 1)
	if n, err := s.Restore(s.Due()[0]); n != 2 || err != nil {
		t.Errorf("%d units, %v", n, err)
	}
	waiting(0, 0, 1)
	begun.Sums[0] ^= 1
	if _, err := s.Restore(begun); !errors.Is(err, ErrUnits) {
		t.Error(err)
	}
}

// TestSinkWithoutMemory: a unit that no memory is there to write is in the files when there
// is some again, though no other block of its piece comes.
func TestSinkWithoutMemory(t *testing.T) {
	const length, unit = 128 << 10, 32 << 10
	tor := newTorrentV2(t.TempDir(), testPool(t, PoolConfig{}), length, false, File{Path: "a", Length: 300_000})
	s := mustOpen(t, tor.config())
	defer s.Close()
	if err := s.SetUnits(0, unit/BlockSize, tor.unitSums(0, length, unit)); err != nil {
		t.Fatal(err)
	}
	for i, k := range [][2]uint32{{0, 0}, {0, BlockSize}} {
		tor.pool.slabs.refuse.Store(i > 0)
		if res, err := s.BlockFrom(1, k[0], k[1], tor.block(k)); err != nil || res != Stored {
			t.Fatal(res, err)
		}
	}
	if _, _, sure := s.Sure(0, 0); !sure || s.Landed(0, 0, unit) {
		t.Fatalf("the unit is sure: %v, and in the files: %v", sure, s.Landed(0, 0, unit))
	}
	time.Sleep(2 * sinkRetry) // it is tried in vain
	tor.pool.slabs.refuse.Store(false)
	tor.mu.Lock()
	defer tor.mu.Unlock()
	for !s.Landed(0, 0, unit) {
		tor.told.Wait() // it is told, or this waits for ever
	}
}
