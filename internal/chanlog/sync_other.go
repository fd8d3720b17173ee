//go:build !linux

package chanlog

import "os"

// datasync makes written data durable.
func datasync(f *os.File) error { return f.Sync() }
