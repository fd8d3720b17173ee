package disk

import (
	"errors"
	"io/fs"
	"slices"
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
