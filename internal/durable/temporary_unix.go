//go:build unix

package durable

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// own takes an open file for this writer until it is closed. The error is ErrLocked
// when another has it, or had it and gave it another name.
func own(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrLocked
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return errNoLocks
	case err != nil:
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(f.Name())
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(mine, there) {
		return ErrLocked
	}
	return err
}

// publish gives a file its name; its owner has it until then.
func publish(f *os.File, path string) error { return os.Rename(f.Name(), path) }

// sweep removes a file that nobody owns.
func sweep(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := own(f); {
	case errors.Is(err, ErrLocked), errors.Is(err, errNoLocks):
		return nil
	case err != nil:
		return err
	}
	return os.Remove(path)
}
