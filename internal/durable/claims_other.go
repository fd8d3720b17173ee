//go:build !unix

package durable

import "os"

// lockByte and unlockByte do nothing: other processes are not told.
func lockByte(*os.File, int64) error   { return nil }
func unlockByte(*os.File, int64) error { return nil }
