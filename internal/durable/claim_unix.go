//go:build unix

package durable

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Claims are a process's claims on things that one process at a time may use.
// Each is a lock on a byte of one file, so that nothing is left of it when the
// process ends, however it ends. A process holds one Claims of a file: a second
// one, when it is closed, would end the claims of the first.
type Claims struct{ f *os.File }

// OpenClaims opens the claims in dir, which must be there.
func OpenClaims(dir string) (*Claims, error) {
	f, err := os.OpenFile(filepath.Join(dir, "claims"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open claims: %w", err)
	}
	return &Claims{f}, nil
}

// Take claims what is named until Close. The error wraps [ErrLocked] when another
// process has it. What the process has it may take again.
func (c *Claims) Take(name string) error {
	sum := sha256.Sum256([]byte(name))
	at := int64(binary.BigEndian.Uint64(sum[:]) >> 2) // offsets below 2^62
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: at, Len: 1}
	err := unix.FcntlFlock(c.f.Fd(), unix.F_SETLK, &lock)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return ErrLocked
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return nil // a file system without locks: as if nobody had it
	case err != nil:
		return fmt.Errorf("claim %s: %w", name, err)
	}
	return nil
}

// Close ends all claims.
func (c *Claims) Close() error { return c.f.Close() }
