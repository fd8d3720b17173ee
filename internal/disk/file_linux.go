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

// allocate reserves a file's blocks; file systems that cannot leave it sparse.
func allocate(f *os.File, length int64) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = unix.Fallocate(int(fd), 0, 0, length); failed != unix.EINTR {
				return
			}
		}
	})
	if failed == unix.EOPNOTSUPP || failed == unix.ENOSYS {
		failed = nil
	}
	if err != nil {
		return err
	}
	return failed
}
