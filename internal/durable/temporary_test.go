package durable

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// writerEnv makes the test binary a writer of the folder that it names.
const writerEnv = "BTT_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		if err := writer(dir, os.Getpid()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writer replaces two files again and again, by content of changing length that
// shows what is torn or mixed, sweeps, and reads what is there.
func writer(dir string, mark int) error {
	for i := range 100 {
		data := bytes.Repeat([]byte(fmt.Sprintf("%d/%d\n", mark, i)), 1+(mark+i)%50)
		if err := Write(dir, "durable", data); err != nil {
			return err
		}
		if err := Replace(filepath.Join(dir, "quick"), data, false); err != nil {
			return err
		}
		if err := Sweep(dir); err != nil {
			return err
		}
		for _, name := range []string{"durable", "quick"} {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			if err := oneWriters(got); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// oneWriters says whether content is what one writer wrote at once.
func oneWriters(b []byte) error {
	first, _, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return fmt.Errorf("holds %q", b)
	}
	var mark, i int
	if _, err := fmt.Sscanf(string(first), "%d/%d", &mark, &i); err != nil {
		return err
	}
	if want := bytes.Repeat(append(first, '\n'), 1+(mark+i)%50); !bytes.Equal(b, want) {
		return fmt.Errorf("holds %d bytes that begin with %q, want %d of them", len(b), first, len(want))
	}
	return nil
}

// TestWritersBeside lets processes and goroutines replace the same files at the same
// time, while each removes what it takes for left by a crash: no write fails, each
// reader finds the whole content of one, and nothing is left.
func TestWritersBeside(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() { // ends with its process
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), writerEnv+"="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		group.Go(func() { // ends with its last write
			if err := writer(dir, i); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if left, _ := filepath.Glob(filepath.Join(dir, "*"+temporary)); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestTemporary: a file that is being written is nobody else's and is not swept;
// one that a crash left is used again, and is swept.
func TestTemporary(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[no pattern")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path+temporary, []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Temporary(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Temporary(path)
	if err != nil {
		t.Fatal(err)
	}
	if a.Name() == b.Name() {
		t.Fatalf("two writers have %s", a.Name())
	}
	if st, err := a.Stat(); err != nil || st.Size() != 0 {
		t.Errorf("what a crash left is in it: %v, %v", st.Size(), err)
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{a, b} {
		if _, err := os.Stat(f.Name()); err != nil {
			t.Errorf("swept while it is written: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := Replace(path, []byte("x"), true); err != nil || read(t, dir, "f") != "x" {
		t.Errorf("replace: %v", err)
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*"+temporary)); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestTemporaryBound: who writes beside too many is told, and Replace into a folder
// that is not there fails.
func TestTemporaryBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for i := range maxWriters {
		f, err := Temporary(path)
		if err != nil {
			t.Fatal(strconv.Itoa(i), err)
		}
		defer f.Close()
	}
	if _, err := Temporary(path); !errors.Is(err, ErrLocked) {
		t.Errorf("one too many: %v", err)
	}
	if err := Replace(filepath.Join(t.TempDir(), "missing", "f"), nil, false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into a missing folder: %v", err)
	}
}
