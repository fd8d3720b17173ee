package ledgerdb

import (
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// storeLog hears what the store has to say: nothing but that it cannot go on.
type storeLog struct{ db *DB }

func (storeLog) Infof(string, ...any)  {}
func (storeLog) Errorf(string, ...any) {}

// Fatalf does not return, as the store expects.
func (l storeLog) Fatalf(format string, args ...any) {
	l.db.perish(fmt.Errorf("write the ledger's database: "+format, args...))
}

// diskFS is a file system that never fails to write: the DB ends instead. The
// store would retry some failures, panic on others and overlook a few.
type diskFS struct {
	vfs.FS
	db *DB
}

// perish ends the DB and holds the goroutine that called it for what is left of
// the process's life.
func (db *DB) perish(err error) {
	db.fail(err)
	select {}
}

// must perishes on an error of a disk.
func (db *DB) must(doing, name string, err error) {
	if err != nil {
		db.perish(fmt.Errorf("%s %s: %w", doing, name, err))
	}
}

func (d diskFS) file(doing, name string, f vfs.File, err error) (vfs.File, error) {
	d.db.must(doing, name, err)
	return diskFile{f, d.db, name}, nil
}

// Create implements vfs.FS.
func (d diskFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return d.file("create", name, f, err)
}

// OpenReadWrite implements vfs.FS.
func (d diskFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, opts...)
	return d.file("open", name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (d diskFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(from, to, c)
	return d.file("rename", from, f, err)
}

// OpenDir implements vfs.FS.
func (d diskFS) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	return d.file("open", name, f, err)
}

// Rename implements vfs.FS.
func (d diskFS) Rename(from, to string) error {
	d.db.must("rename", from, d.FS.Rename(from, to))
	return nil
}

// Link implements vfs.FS.
func (d diskFS) Link(from, to string) error {
	d.db.must("link", from, d.FS.Link(from, to))
	return nil
}

// MkdirAll implements vfs.FS.
func (d diskFS) MkdirAll(name string, mode os.FileMode) error {
	d.db.must("make directory", name, d.FS.MkdirAll(name, mode))
	return nil
}

// Unwrap lets the store find what the file system below can do.
func (d diskFS) Unwrap() vfs.FS { return d.FS }

// diskFile is a file of a diskFS.
type diskFile struct {
	vfs.File
	db   *DB
	name string
}

// Write implements vfs.File.
func (f diskFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.db.must("write", f.name, err)
	return n, nil
}

// WriteAt implements vfs.File.
func (f diskFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	f.db.must("write", f.name, err)
	return n, nil
}

// Sync implements vfs.File.
func (f diskFile) Sync() error {
	f.db.must("sync", f.name, f.File.Sync())
	return nil
}

// SyncData implements vfs.File.
func (f diskFile) SyncData() error {
	f.db.must("sync", f.name, f.File.SyncData())
	return nil
}

// SyncTo implements vfs.File.
func (f diskFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	f.db.must("sync", f.name, err)
	return full, nil
}
