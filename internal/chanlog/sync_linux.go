package chanlog

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes written data durable without waiting for time stamps.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}
