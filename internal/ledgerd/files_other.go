//go:build !unix

package ledgerd

import (
	"fmt"
	"os"
	"path/filepath"
)

// lockDir takes the directory for one server. A file that another process holds
// open cannot be removed here, so a stale lock goes and a living one stays.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockFile)
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		return nil, ErrLocked
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	return f, nil
}

// syncDir does nothing: directories cannot be synced here.
func syncDir(string) error { return nil }
