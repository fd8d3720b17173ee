package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"syscall"
)

// file is what a Store does with an open file; tests inject failing ones.
type file interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Sync() error
	Close() error
}

// syncForWriting says how Sync opens a file that fell out of the pool: where
// the system allows it for reading only, so that a file deleted meanwhile is an
// error and not created anew.
const syncForWriting = runtime.GOOS == "windows"

// opener opens a file relative to the Store's folder. For writing it creates
// the file sparse, length bytes long; a longer file is left as it is.
type opener func(path string, length int64, write bool) (file, error)

// tree opens files below one folder. It goes through os.Root, so that no
// symbolic link leads outside, whatever changes in the folder meanwhile.
type tree struct {
	dir         string
	preallocate bool

	mu    sync.Mutex
	root  *os.Root
	shut  bool
	fresh map[string]bool // folders with new entries since the last sync
}

// handle returns the root; with create it makes the folder first.
func (t *tree) handle(create bool) (*os.Root, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return nil, ErrClosed
	}
	if t.root != nil {
		return t.root, nil
	}
	root, err := os.OpenRoot(t.dir)
	if create && errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(t.dir, 0o777); err != nil {
			return nil, err
		}
		t.note(filepath.Join("..", "x")) // the folder's own entry
		root, err = os.OpenRoot(t.dir)
	}
	if err != nil {
		return nil, err
	}
	t.root = root
	return root, nil
}

// rest closes the root until it is needed again.
func (t *tree) rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.root != nil && len(t.fresh) == 0 {
		t.root.Close() // opened again by handle
		t.root = nil
	}
}

// note remembers that path is a new entry of its folder; t.mu is held.
func (t *tree) note(path string) {
	if t.fresh == nil {
		t.fresh = make(map[string]bool)
	}
	t.fresh[filepath.Dir(path)] = true
}

func (t *tree) open(path string, length int64, write bool) (file, error) {
	root, err := t.handle(write)
	if err != nil {
		return nil, err
	}
	if !write {
		f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // no wait for a pipe's other end
		if err != nil {
			return nil, err
		}
		if err := regular(f); err != nil {
			return nil, err
		}
		return synced{f}, nil
	}
	if err := plainPath(root, path); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = t.create(root, path)
	}
	if err != nil {
		return nil, err
	}
	if err := regular(f); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() < length {
		if err = f.Truncate(length); err == nil && t.preallocate {
			err = allocate(f, length)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return synced{f}, nil
}

// plainPath refuses a path that leads through a symbolic link, even to a place
// inside the folder: it would change a file of another name. What does not exist
// yet is no link.
func plainPath(root *os.Root, path string) error {
	for p := path; p != "."; p = filepath.Dir(p) {
		info, err := root.Lstat(p)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a symbolic link: move it away, or give the folder that it leads to", p)
		}
	}
	return nil
}

// regular closes and refuses anything but a plain file: a pipe or device in
// the folder must not swallow or feed data.
func regular(f *os.File) error {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
	}
	return err
}

func (t *tree) create(root *os.Root, path string) (*os.File, error) {
	dir := filepath.Dir(path)
	if dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
	}
	f, err := root.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	for p := path; p != "."; p = filepath.Dir(p) {
		t.note(p)
	}
	t.mu.Unlock()
	return f, nil
}

func (t *tree) stat(path string) (fs.FileInfo, error) {
	root, err := t.handle(false)
	if err != nil {
		return nil, err
	}
	return root.Stat(path)
}

// sync flushes the folders that got new entries.
func (t *tree) sync() error {
	t.mu.Lock()
	fresh := t.fresh
	t.fresh = nil
	root := t.root
	t.mu.Unlock()
	for dir := range fresh {
		var f *os.File
		var err error
		if dir == ".." {
			f, err = os.Open(filepath.Dir(t.dir))
		} else {
			f, err = root.Open(dir)
		}
		if err != nil {
			return ioError("sync", filepath.Join(t.dir, dir), err)
		}
		err = syncDir(f)
		f.Close()
		if err != nil {
			return ioError("sync", filepath.Join(t.dir, dir), err)
		}
	}
	return nil
}

// remove deletes a file and then its folders as far as they are empty.
func (t *tree) remove(path string) error {
	root, err := t.handle(false)
	if err != nil {
		return err
	}
	if err := root.Remove(path); err != nil {
		return err
	}
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		if root.Remove(dir) != nil {
			break // not empty
		}
	}
	return nil
}

// close releases the root for good.
func (t *tree) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shut = true
	if t.root == nil {
		return nil
	}
	err := t.root.Close()
	t.root = nil
	return err
}

// Read fills buf, at most MaxRead bytes, from offset begin of a piece, with one
// read for each file touched. It does not check that the piece is there: ask
// for pieces that are Written. Bytes of pad files are zeros.
func (s *Store) Read(buf []byte, piece, begin uint32) error {
	if len(buf) > MaxRead || int64(piece) >= int64(s.pieces) || int64(begin)+int64(len(buf)) > s.pieceSize(piece) {
		return fmt.Errorf("read %d bytes at %d of piece %d: %w", len(buf), begin, piece, ErrBlock)
	}
	return s.readAt(buf, int64(piece)*s.pieceLength+int64(begin))
}

func (s *Store) readAt(b []byte, off int64) error {
	for i := s.fileAt(off); len(b) > 0; i++ {
		at := off - s.starts[i]
		n := min(s.files[i].Length-at, int64(len(b)))
		if n <= 0 {
			continue
		}
		if s.files[i].Pad {
			clear(b[:n])
		} else if err := s.readFile(i, b[:n], at); err != nil {
			return err
		}
		b, off = b[n:], off+n
	}
	return nil
}

func (s *Store) readFile(i int, b []byte, at int64) error {
	h, err := s.pool.handles.acquire(s, i, false)
	if err != nil {
		return err
	}
	n, err := h.file.ReadAt(b, at)
	s.pool.handles.release(h)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return ioError("read", s.path(i), err)
}

// fileAt returns the last file that starts at or before an offset.
func (l *layout) fileAt(off int64) int {
	return sort.Search(len(l.starts), func(i int) bool { return l.starts[i] > off }) - 1
}
