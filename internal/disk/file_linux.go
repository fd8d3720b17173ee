package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// synced flushes with fdatasync: sizes are kept, times need not be.
type synced struct{ *os.File }

func (f synced) Sync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = unix.Fdatasync(int(fd)); failed != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return failed
}

func syncDir(f *os.File) error { return f.Sync() }
