package golden

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// fake takes failures for itself.
type fake struct {
	testing.TB
	failed bool
}

func (f *fake) Helper() {}

func (f *fake) Fatal(...any) {
	f.failed = true
	runtime.Goexit()
}

func (f *fake) Fatalf(string, ...any) { f.Fatal() }

func fails(f func(testing.TB)) bool {
	var t fake
	done := make(chan struct{})
	go func() { // ends with f
		defer close(done)
		f(&t)
	}()
	<-done
	return t.failed
}

func TestText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if !fails(func(t testing.TB) { Text(t, path, []byte("a")) }) {
		t.Error("a missing file passes")
	}
	*rewrite = true
	Text(t, path, []byte("a"))
	*rewrite = false
	if got, err := os.ReadFile(path); err != nil || string(got) != "a" {
		t.Errorf("wrote %q: %v", got, err)
	}
	Text(t, path, []byte("a"))
	for _, other := range []string{"", "b", "ab"} {
		if !fails(func(t testing.TB) { Text(t, path, []byte(other)) }) {
			t.Errorf("%q passes", other)
		}
	}
}

func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("{\n  \"a\": \"<\"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	JSON(t, path, "  ", map[string]string{"a": "<"})
	if !fails(func(t testing.TB) { JSON(t, path, "  ", func() {}) }) {
		t.Error("what is no JSON passes")
	}
}
