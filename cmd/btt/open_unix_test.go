//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFilterPipe: a filter may come through a pipe, and Ctrl-C ends the waiting for one
// into which nobody writes.
func TestFilterPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := loadFilter(ctx, pipe); !errors.Is(err, context.Canceled) {
		t.Errorf("a silent pipe gave %v", err)
	}
	if err := os.WriteFile(pipe, nil, 0); err != nil { // lets go of who still waits
		t.Fatal(err)
	}
	full := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(full, 0o600); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(full, []byte("192.0.2.0/24\n"), 0) }() // ends when it was read
	list, err := loadFilter(t.Context(), full)
	if err != nil || list == nil {
		t.Errorf("a pipe gave %v, %v", list, err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

// TestFolderOfTheSystem: a folder that takes no files is told as such, and not as one
// that is not found.
func TestFolderOfTheSystem(t *testing.T) {
	if _, err := os.Stat("/proc/self"); err != nil {
		return // another system
	}
	for _, dir := range []string{"/proc", "/proc/x", "/proc/x/y"} {
		if err := checkFolder(dir); err == nil || exitCode(err) != exitFailed {
			t.Errorf("%s: %v", dir, err)
		}
	}
	dir := t.TempDir()
	for _, good := range []string{dir, filepath.Join(dir, "new", "folder")} {
		if err := checkFolder(good); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
