//go:build !unix

package durable

import (
	"fmt"
	"os"
)

// lockFile makes a file anew. One that another process holds open cannot be
// removed here, so a stale lock goes and a living one stays.
func lockFile(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, ErrLocked
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	return f, nil
}
