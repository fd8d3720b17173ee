//go:build unix

package durable

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockByte takes a byte of a file for this process; the error is ErrLocked when
// another has it.
func lockByte(f *os.File, at int64) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: at, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return ErrLocked
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return nil // a file system without locks: as if no other process had it
	case err != nil:
		return fmt.Errorf("lock a byte of %s: %w", f.Name(), err)
	}
	return nil
}

// unlockByte gives it back.
func unlockByte(f *os.File, at int64) error {
	lock := unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart, Start: at, Len: 1}
	err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock)
	if err != nil && !errors.Is(err, unix.ENOLCK) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("unlock a byte of %s: %w", f.Name(), err)
	}
	return nil
}
