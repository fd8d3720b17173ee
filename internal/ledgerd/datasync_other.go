//go:build !linux

package ledgerd

import "os"

// dataSync waits until data and size are on the disk.
func dataSync(f *os.File) error { return f.Sync() }
