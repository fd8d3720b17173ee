package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// temporary is the ending of a file that is being written.
const temporary = ".new"

// maxWriters bounds how many write one file at the same time.
const maxWriters = 64

// errNoLocks says that the file system, or the operating system, has no locks
// that tell whether a writer lives.
var errNoLocks = errors.New("no locks here")

// Temporary opens an empty file beside path for its new content, which only its
// owner can read. No other writer, of this process or another, has it or gets it
// before it is closed: whoever renames it does so before that, where the system
// can rename open files. A file that a crash left is used again.
func Temporary(path string) (*os.File, error) {
	for n := range maxWriters {
		name := path + temporary
		if n > 0 {
			name = path + "." + strconv.Itoa(n) + temporary // beside who writes the same
		}
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = own(f)
		if err == nil {
			err = f.Truncate(0)
		}
		if err == nil {
			return f, nil
		}
		f.Close()
		switch {
		case errors.Is(err, errNoLocks):
			_ = os.Remove(name) // nobody writes it then
			return os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*"+temporary)
		case !errors.Is(err, ErrLocked):
			return nil, err
		}
	}
	return nil, fmt.Errorf("write beside %d others: %w", maxWriters, ErrLocked)
}

// Replace puts a file that only its owner can read in the place of another: it holds
// the old or the new content after an error, and, if sync, after a crash of the system.
// The name lasts after [SyncDir]. What others write to the same name at the same time
// comes before or after it, whole.
func Replace(path string, data []byte, sync bool) error {
	f, err := Temporary(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err == nil {
		err = publish(f, path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // as its owner, where there are locks
	}
	return errors.Join(err, closed(f))
}

// closed closes a file that may be closed.
func closed(f *os.File) error {
	if err := f.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}

// Sweep removes what crashes left of the writing of files in dir, and nothing that
// a living writer has.
func Sweep(dir string) error {
	list, err := os.ReadDir(dir) // no pattern: the folder's own name may hold what is special there
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("sweep %s: %w", dir, err)
	}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), temporary) {
			continue
		}
		if err := sweep(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweep %s: %w", dir, err)
		}
	}
	return nil
}
