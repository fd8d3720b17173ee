//go:build unix

package mover

import (
	"errors"

	"golang.org/x/sys/unix"
)

// otherDevice says whether an error means that a file cannot be renamed into
// another file system.
func otherDevice(err error) bool { return errors.Is(err, unix.EXDEV) }
