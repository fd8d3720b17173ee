package main

import (
	"strconv"

	"golang.org/x/sys/unix"
)

func mountSmall(dir string, size int64) error {
	return unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+strconv.FormatInt(size, 10))
}

func unmountSmall(dir string) error { return unix.Unmount(dir, unix.MNT_DETACH) }
