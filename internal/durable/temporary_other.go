//go:build !unix

package durable

import (
	"os"
	"time"
)

// leftAfter is how long nobody writes a file.
const leftAfter = time.Hour

// own knows nothing of other writers: each takes a name that was never used.
func own(*os.File) error { return errNoLocks }

// publish gives a file its name; open files keep theirs here.
func publish(f *os.File, path string) error {
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// sweep removes a file that is too old to be written still.
func sweep(path string) error {
	st, err := os.Stat(path)
	if err != nil || time.Since(st.ModTime()) < leftAfter {
		return err
	}
	return os.Remove(path)
}
