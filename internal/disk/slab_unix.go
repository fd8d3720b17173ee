//go:build unix

package disk

import "golang.org/x/sys/unix"

// mapMemory returns zeroed memory outside the Go heap.
func mapMemory(n int) ([]byte, error) {
	return unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func unmapMemory(b []byte) { _ = unix.Munmap(b) }

// coolMemory lets the system take the pages back.
func coolMemory(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
