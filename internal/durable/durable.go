// Package durable replaces small files whole, makes the names in a directory
// last, and lets one process at a time have a directory.
//
// internal/purse, internal/payments and internal/ledgerd keep their keys,
// limits and genesis with it; their logs they write themselves. internal/resume,
// internal/heads, internal/dht and the programs keep with it what several
// processes with one home folder may write at the same time. The package owns
// no goroutine; all functions are safe for concurrent use, by several processes
// and on one name too: what is written at the same time comes one after the
// other, whole.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Step is a point of [Disk.Write] at which a test may let the machine die.
type Step uint8

// Steps of a write, in order. The name given to Disk.Fault is the file's.
const (
	Create  Step = iota + 1 // before the new file is made beside the old
	Fill                    // before its content is written
	Flush                   // before the content is on the disk
	Rename                  // before it takes the old one's name
	Publish                 // before that name is on the disk
)

func (s Step) String() string {
	return [...]string{"none", "create", "fill", "flush", "rename", "publish"}[min(s, 5)]
}

// Disk writes files. The zero Disk is the operating system's.
type Disk struct {
	// Fault, if set, is asked before each step of a write; its error is what
	// the step returns. Tests inject failures and crashes with it.
	Fault func(Step, string) error
}

// Write replaces the file name in dir by new content that only its owner can
// read: after a crash or an error it holds the old or the new content, never a
// part. The content is on the disk when Write returns nil. After an error the
// old or the new content may be there.
func (d Disk) Write(dir, name string, data []byte) error {
	if err := d.write(dir, name, data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (d Disk) write(dir, name string, data []byte) error {
	if err := d.fault(Create, name); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	f, err := Temporary(path)
	if err != nil {
		return err
	}
	defer f.Close() // whoever published it closed it, or owns it until here
	err = d.fill(f, name, data)
	if err == nil {
		err = d.fault(Rename, name)
	}
	if err == nil {
		err = publish(f, path)
	}
	if err == nil {
		err = d.fault(Publish, name)
	}
	if err == nil {
		err = SyncDir(dir)
	}
	return err
}

// fill writes and syncs; after a failed sync nothing is tried again, for the
// kernel may have dropped the pages.
func (d Disk) fill(f *os.File, name string, data []byte) error {
	if err := d.fault(Fill, name); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := d.fault(Flush, name); err != nil {
		return err
	}
	return f.Sync()
}

func (d Disk) fault(s Step, name string) error {
	if d.Fault == nil {
		return nil
	}
	return d.Fault(s, name)
}

// Write is the Write of the operating system's disk.
func Write(dir, name string, data []byte) error { return Disk{}.Write(dir, name, data) }

// SyncDir makes the names in dir durable where the system allows it.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// ErrLocked says that another process has the directory.
var ErrLocked = errors.New("in use by another process")

// Lock is a directory that this process has.
type Lock struct {
	file *os.File
}

// Acquire takes a directory for this process by the lock file name in it; it
// ends with Release or the process, however that ends. The error is ErrLocked
// while another holder lives (in this process too).
func Acquire(dir, name string) (*Lock, error) {
	f, err := lockFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	// Only for people who look; the lock is what counts.
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return &Lock{file: f}, nil
}

// Release gives the directory back.
func (l *Lock) Release() error {
	if l == nil || l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}

// Holder returns the number of the process that took a lock last, 0 if that
// is not known.
func Holder(dir, name string) int {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	defer f.Close()
	var pid int
	if _, err := fmt.Fscan(f, &pid); err != nil || pid < 0 {
		return 0
	}
	return pid
}
