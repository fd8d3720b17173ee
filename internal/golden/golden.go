// Package golden compares what tests made with files of the repository:
// published vectors and transcripts. Run with -rewrite, a test writes its file
// anew; read the difference then.
//
// Only tests use it.
package golden

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write vectors and transcripts anew")

// Text fails the test if the file at path, slash-separated, does not hold got,
// or writes it. It returns what the file holds now.
func Text(t testing.TB, path string, got []byte) []byte {
	t.Helper()
	path = filepath.FromSlash(path)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Fatalf("%s is not what the code makes now; if the change is meant, run the test with -rewrite and read the difference.\nFrom byte %d on it makes:\n%s",
			path, at, got[at:min(at+2000, len(got))])
	}
	return want
}

// JSON does so with a value as JSON of that indent.
func JSON(t testing.TB, path, indent string, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return Text(t, path, b.Bytes())
}
