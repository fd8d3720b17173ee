package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWriteIsOldOrNew lets the machine die before each step: a reader finds
// the old content up to the rename and the new one from there, and the next
// write succeeds.
func TestWriteIsOldOrNew(t *testing.T) {
	died := errors.New("died")
	for step := Create; step <= Publish; step++ {
		dir := t.TempDir()
		if err := Write(dir, "f", []byte("old")); err != nil {
			t.Fatal(err)
		}
		d := Disk{Fault: func(s Step, name string) error {
			if name != "f" {
				t.Errorf("%v: asked about %q", s, name)
			}
			if s == step {
				return died
			}
			return nil
		}}
		if err := d.Write(dir, "f", []byte("newer")); !errors.Is(err, died) {
			t.Fatalf("%v: error %v", step, err)
		}
		want := "old"
		if step == Publish {
			want = "newer"
		}
		if got := read(t, dir, "f"); got != want {
			t.Errorf("died before %v: file holds %q, want %q", step, got, want)
		}
		if err := Write(dir, "f", []byte("last")); err != nil || read(t, dir, "f") != "last" {
			t.Errorf("died before %v: the next write: %v", step, err)
		}
		if info, err := os.Stat(filepath.Join(dir, "f")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	}
	if err := Write(filepath.Join(t.TempDir(), "missing"), "f", nil); err == nil {
		t.Error("wrote into a directory that is not there")
	}
}

func TestOneHolder(t *testing.T) {
	dir := t.TempDir()
	a, err := Acquire(dir, "lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(dir, "lock"); !errors.Is(err, ErrLocked) {
		t.Errorf("a second holder: %v", err)
	}
	if pid := Holder(dir, "lock"); pid != os.Getpid() {
		t.Errorf("holder %d, want %d", pid, os.Getpid())
	}
	if err := errors.Join(a.Release(), a.Release()); err != nil {
		t.Fatal(err)
	}
	b, err := Acquire(dir, "lock")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Release()
	if Holder(dir, "none") != 0 {
		t.Error("a holder of no lock")
	}
}
