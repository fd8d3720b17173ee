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

// Prefetch has the system read bytes that will be asked for soon.
func (f synced) Prefetch(off, length int64) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		for end := off + length; off < end; off += prefetchStep {
			if unix.Fadvise(int(fd), off, min(prefetchStep, end-off), unix.FADV_WILLNEED) != nil {
				return // it was only a hint
			}
		}
	})
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
