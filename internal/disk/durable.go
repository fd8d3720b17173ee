package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"

	"github.com/bttnet/btt/metainfo"
)

// Stat returns size and modification time of every file, for resume data. Pad
// files count as present.
func (s *Store) Stat() ([]FileStat, error) {
	out := make([]FileStat, len(s.files))
	for i, f := range s.files {
		if f.Pad {
			out[i] = FileStat{Exists: true, Size: f.Length}
			continue
		}
		info, err := s.tree.stat(s.localPath(i))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, ioError("stat", s.path(i), err)
		default:
			out[i] = FileStat{Exists: true, Size: info.Size(), ModTime: info.ModTime()}
		}
	}
	return out, nil
}

// Sync makes every piece durable whose Written event came before the call: it
// flushes the files written since the last Sync, and new directory entries.
// After an error the Store's data on disk is uncertain (the kernel may have
// dropped pages), so every later Sync returns the same error.
func (s *Store) Sync() error {
	s.mu.Lock()
	if s.failure != nil {
		s.mu.Unlock()
		return s.failure
	}
	var files []int
	for i := range s.files {
		if s.dirty[i/64]&(1<<(i%64)) != 0 {
			files = append(files, i)
		}
	}
	clear(s.dirty)
	s.mu.Unlock()
	var err error
	for _, i := range files {
		if err = s.pool.handles.use(s, i, syncForWriting, file.Sync); err != nil {
			err = ioError("sync", s.path(i), err)
			break
		}
	}
	if err == nil {
		err = s.tree.sync()
	}
	if err != nil {
		s.mu.Lock()
		s.failure = err
		s.mu.Unlock()
	}
	return err
}

// Close waits for queued writes, drops incomplete pieces and closes files. It
// does not Sync. Blocked Block calls return ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	return errors.Join(s.shut(), s.tree.close())
}

// shut ends all use of the files; s.mu is held and released.
func (s *Store) shut() error {
	s.closed = true
	s.mu.Unlock()
	s.pool.leave(s)
	s.mu.Lock()
	for s.calls > 0 {
		s.cond.Wait()
	}
	for _, p := range s.active {
		s.freeChunks(p)
	}
	s.active, s.spare = nil, nil
	if s.sums != nil {
		s.sums.Close()
	}
	s.mu.Unlock()
	return s.pool.handles.drop(s)
}

// Remove closes the Store and deletes its files and the folders that this
// leaves empty. Dir itself stays. On a closed Store it does nothing but return
// ErrClosed.
func (s *Store) Remove() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	err := s.shut()
	for i, f := range s.files {
		if f.Pad {
			continue
		}
		if e := s.tree.remove(s.localPath(i)); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, ioError("remove", s.path(i), e))
		}
	}
	return errors.Join(err, s.tree.close())
}

// Journal is told of each write to a torrent's files before it begins, and of
// what is there after it, so that a process that is killed leaves behind which
// pieces it was writing. Calls come from the Pool's writers.
type Journal interface {
	// Begin tells the pieces, in order, of which parts are about to be written.
	Begin(pieces []uint32) (id uint64)
	// End tells that this is done, or failed: how the files that were touched
	// look now, and which pieces are verified and whole in them.
	End(id uint64, files []Touched, done []uint32)
	// Units tells the hashes of the units of a piece, each of so many blocks, before
	// one of them counts as in the files: whoever finds these in an earlier process's
	// records may [Store.Restore] what is right of the piece. Repetitions change nothing.
	Units(piece uint32, blocks int, sums []byte)
}

// Touched is a file after a write.
type Touched struct {
	File int
	FileStat
}

// record is one writer's memory of a batch for the journal.
type record struct {
	pieces  []uint32
	done    []uint32
	touched []Touched
}

// begin tells the journal of a sorted batch.
func (r *record) begin(j Journal, batch []job) uint64 {
	r.pieces, r.done, r.touched = r.pieces[:0], r.done[:0], r.touched[:0]
	for i := range batch {
		if p := batch[i].partial.piece; !batch[i].skip && batch[i].n > 0 && !slices.Contains(r.pieces, p) {
			r.pieces = append(r.pieces, p)
		}
	}
	return j.Begin(r.pieces)
}

// note keeps how a file looks after a write to it.
func (r *record) note(i int, f file) {
	st, ok := f.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return
	}
	info, err := st.Stat()
	if err != nil {
		return // the file counts as changed at the next start
	}
	t := Touched{i, FileStat{Exists: true, Size: info.Size(), ModTime: info.ModTime()}}
	if k := slices.IndexFunc(r.touched, func(t Touched) bool { return t.File == i }); k >= 0 {
		r.touched[k] = t
		return
	}
	r.touched = append(r.touched, t)
}

// Begun is a piece under way that is verified in units: so many blocks each, with these
// hashes.
type Begun struct {
	Piece  uint32
	Blocks int
	Sums   []byte
}

// Begun returns the pieces under way of which a unit is verified, for a journal that
// begins anew. It is told of the others when that changes.
func (s *Store) Begun() (list []Begun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	for piece, u := range s.units {
		if slices.ContainsFunc(u.good, func(w uint64) bool { return w != 0 }) && !s.isDone(piece) {
			list = append(list, Begun{piece, u.blocks, u.sums})
		} else {
			u.noted = false
		}
	}
	for _, b := range s.later {
		list = append(list, b)
	}
	return list
}

// Restore takes what an earlier process verified of a piece by units and had in the
// files: it reads the piece and keeps the units that are right by hashes which lead to
// the piece's own. Nothing of them is asked for again. It returns how many they are. The
// piece must not be under way, nor whole: it would wait for a block for ever, so of such
// a one, which VerifyPiece is to judge, it keeps nothing. While the piece's own hash is not
// known the error is ErrLater, and the Store keeps the hashes: see [Store.Due].
func (s *Store) Restore(b Begun) (right int, err error) {
	if int64(b.Piece) >= int64(s.pieces) || !s.v2 || b.Blocks <= 0 || b.Blocks&(b.Blocks-1) != 0 || len(b.Sums)/leafSize*b.Blocks < s.leaves(b.Piece) {
		return 0, fmt.Errorf("restore %d units of %d blocks of piece %d: %w", len(b.Sums)/leafSize, b.Blocks, b.Piece, ErrUnits)
	}
	i, _ := s.dataOf(b.Piece)
	n := (s.leaves(b.Piece) + b.Blocks - 1) / b.Blocks
	nodes := append([]byte(nil), b.Sums[:n*leafSize]...)
	made := metainfo.PieceRootFrom(nodes, metainfo.PieceLevel(int64(b.Blocks)*BlockSize), s.files[i].Length, s.pieceLength)
	if err := s.leads(b, n, made); err != nil {
		return 0, err
	}
	defer s.forgetLater(b.Piece) // it is in units by then, or of no use
	h := newHasher(s)
	h.state = nil
	if err := h.piece(b.Piece); err != nil {
		if absent(err) {
			return 0, nil
		}
		return 0, err
	}
	u := newUnits(b.Blocks, b.Sums[:n*leafSize])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isDone(b.Piece) || s.active[b.Piece] != nil || s.closed || !s.unitsRoom() {
		return 0, nil
	}
	for unit := range n {
		from, to := s.unitRange(b.Piece, u, unit)
		leaves := append([]byte(nil), h.leaves[from*leafSize:to*leafSize]...)
		if metainfo.PieceRoot(leaves, math.MaxInt64, int64(u.blocks)*BlockSize) == [leafSize]byte(u.sums[unit*leafSize:]) {
			setBit(u.good, unit)
			right++
		}
	}
	if right == 0 || right == n {
		return 0, nil
	}
	s.adopt(b.Piece, u, h.leaves)
	return right, nil
}

// leads says whether hashes of units, of which a piece has so many and which make a root,
// lead to the piece's own. While that is not known they are kept.
func (s *Store) leads(b Begun, n int, made [leafSize]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	root, known := s.pieceRoot(b.Piece)
	switch {
	case known && root == made:
		return nil
	case known || s.isDone(b.Piece) || len(s.later) >= maxUnits:
		delete(s.later, b.Piece)
		return fmt.Errorf("restore piece %d: hashes do not lead to the piece's: %w", b.Piece, ErrUnits)
	}
	if s.later == nil {
		s.later = make(map[uint32]Begun)
	}
	s.later[b.Piece] = Begun{b.Piece, b.Blocks, append([]byte(nil), b.Sums[:n*leafSize]...)}
	return fmt.Errorf("restore piece %d: %w", b.Piece, ErrLater)
}

func (s *Store) forgetLater(piece uint32) {
	s.mu.Lock()
	delete(s.later, piece)
	s.mu.Unlock()
}

// Later appends the pieces of which Restore keeps the hashes until theirs are known. Nothing
// of them must be asked for, or what an earlier process has of them is fetched again.
func (s *Store) Later(dst []uint32) []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for piece := range s.later {
		dst = append(dst, piece)
	}
	return dst
}

// Due returns those of them that Restore can judge by now, since [Store.SetLayer]. They
// stay kept until it did.
func (s *Store) Due() (list []Begun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for piece, b := range s.later {
		if _, known := s.pieceRoot(piece); known {
			list = append(list, b)
		}
	}
	return list
}

// GiveUp forgets what Restore keeps.
func (s *Store) GiveUp() {
	s.mu.Lock()
	clear(s.later)
	s.mu.Unlock()
}

// adopt begins a piece with the units of it that are in the files. s.mu is held.
func (s *Store) adopt(piece uint32, u *units, leaves []byte) {
	if s.units == nil {
		s.units = make(map[uint32]*units)
	}
	s.units[piece] = u
	p := s.newPartial(piece)
	p.earlier = true
	copy(p.leaves, leaves)
	copy(u.given, u.good)
	copy(u.landed, u.good)
	for b := range s.leaves(piece) {
		if u.isGood(b / u.blocks) {
			for _, set := range [][]uint64{p.claimed, p.ready, p.given, p.landed} {
				setBit(set, b)
			}
			p.authors[b] = Earlier
		}
	}
}
