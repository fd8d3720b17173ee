package catalog

import (
	"testing"
	"time"
)

func FuzzRecord(f *testing.F) {
	r := Record{Dir: "/d", Name: "n", Size: 10, Left: 3, Pieces: 2, Have: 1, Labels: []string{"a"}, Priorities: []uint8{0, 4}, Added: time.Unix(1, 0)}
	b, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"Version":1,"Dir":"/","Position":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Decode(b)
		if err != nil {
			return
		}
		out, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(out); err != nil {
			t.Fatalf("%q became %q: %v", b, out, err)
		}
	})
}
