package resume

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"pgregory.net/rapid"
)

func sample() *State {
	return &State{
		InfoHash: [20]byte{1, 2, 3},
		Dir:      "/downloads/ü",
		Pieces:   11,
		Bitfield: []byte{0xa5, 0x20},
		Files: []disk.FileStat{
			{Exists: true, Size: 170_000, ModTime: time.Unix(1_700_000_000, 123)},
			{},
		},
		Clean: true, Uploaded: 1 << 40, Downloaded: 77, Extra: []byte("x"),
	}
}

func TestRoundTrip(t *testing.T) {
	f, err := Open(filepath.Join(t.TempDir(), "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	s := sample()
	if _, err := f.Load(s.InfoHash); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Load of nothing: %v", err)
	}
	for _, s.Uploaded = range []int64{5, 6} {
		if err := f.Save(s); err != nil {
			t.Fatal(err)
		}
		got, err := f.Load(s.InfoHash)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(s) || !got.Files[0].ModTime.Equal(s.Files[0].ModTime) {
			t.Fatalf("Load = %+v, %v", got, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(f.dir, "*.new")); len(left) > 0 {
		t.Fatalf("left %v", left)
	}
	if err := f.Delete(s.InfoHash); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(s.InfoHash); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(s.InfoHash); !errors.Is(err, ErrNotFound) {
		t.Fatalf("Load after Delete: %v", err)
	}
}

// TestDamage flips every bit and cuts at every length: no damage goes unseen.
func TestDamage(t *testing.T) {
	good, err := sample().Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(good) * 8 {
		bad := slices.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := Decode(bad); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("flip of bit %d: %v", i, err)
		}
	}
	for n := range good {
		if _, err := Decode(good[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := Decode(append(good, 0)); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("longer: %v", err)
	}
}

func TestLoadAllAndStale(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[no pattern")
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var states []*State
	for i := range 30 {
		s := sample()
		s.InfoHash[19] = byte(i)
		states = append(states, s)
	}
	if err := f.Save(states...); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "feed.resume"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	stale := f.path(states[0].InfoHash) + ".new"
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Fatal("stale file stays")
	}
	good, bad := 0, 0
	err = f.LoadAll(func(s *State, err error) {
		if errors.Is(err, ErrCorrupt) {
			bad++
		} else if s != nil {
			good++
		}
	})
	if err != nil || good != 30 || bad != 1 {
		t.Fatalf("LoadAll: %d good, %d bad, %v", good, bad, err)
	}
}

func TestCheck(t *testing.T) {
	layout := Layout{PieceLength: 10, Files: []disk.File{{Length: 25}, {Length: 5, Pad: true}, {Length: 25}, {Length: 0}}}
	when := time.Unix(1e9, 0)
	stat := func() []disk.FileStat {
		return []disk.FileStat{
			{Exists: true, Size: 25, ModTime: when}, {Exists: true, Size: 5},
			{Exists: true, Size: 25, ModTime: when}, {Exists: true},
		}
	}
	for _, c := range []struct {
		name    string
		change  func(s *State, now []disk.FileStat)
		trusted byte
		list    []int
	}{
		{"clean", func(*State, []disk.FileStat) {}, 0b11011000, nil},
		{"running", func(s *State, _ []disk.FileStat) { s.Clean = false }, 0b11011000, []int{2, 5}},
		{"time", func(_ *State, now []disk.FileStat) { now[0].ModTime = when.Add(1) }, 0b00011000, []int{0, 1, 2}},
		{"older", func(_ *State, now []disk.FileStat) { now[2].ModTime = when.Add(-1) }, 0b11000000, []int{3, 4, 5}},
		{"longer", func(_ *State, now []disk.FileStat) { now[2].Size = 26 }, 0b11000000, []int{3, 4, 5}},
		{"shorter", func(_ *State, now []disk.FileStat) { now[2].Size = 20 }, 0b11000000, []int{3, 4}},
		{"missing", func(_ *State, now []disk.FileStat) { now[0] = disk.FileStat{} }, 0b00011000, nil},
		{"appeared", func(s *State, _ []disk.FileStat) { s.Files[0] = disk.FileStat{} }, 0b00011000, []int{0, 1, 2}},
		{"geometry", func(s *State, _ []disk.FileStat) { s.Pieces = 7 }, 0, []int{0, 1, 2, 3, 4, 5}},
		{"files", func(s *State, _ []disk.FileStat) { s.Files = s.Files[1:] }, 0, []int{0, 1, 2, 3, 4, 5}},
	} {
		s := &State{Pieces: 6, Bitfield: []byte{0b11011000}, Files: stat(), Clean: true}
		now := stat()
		c.change(s, now)
		trusted, list := Check(s, nil, layout, now)
		if !bytes.Equal(trusted, []byte{c.trusted}) || !slices.Equal(list, c.list) {
			t.Errorf("%s: trusted %08b, list %v; want %08b, %v", c.name, trusted, list, c.trusted, c.list)
		}
	}
	if trusted, list := Check(nil, nil, layout, stat()); trusted[0] != 0 || len(list) != 6 {
		t.Errorf("no state: %08b, %v", trusted, list)
	}
}

func TestEncodeRoundTripRapid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &State{Pieces: rapid.IntRange(0, 100).Draw(t, "pieces")}
		s.Bitfield = rapid.SliceOfN(rapid.Byte(), (s.Pieces+7)/8, (s.Pieces+7)/8).Draw(t, "bits")
		s.Dir = rapid.String().Draw(t, "dir")
		s.Clean = rapid.Bool().Draw(t, "clean")
		for range rapid.IntRange(0, 5).Draw(t, "files") {
			s.Files = append(s.Files, disk.FileStat{Exists: true, Size: rapid.Int64Range(0, 1<<50).Draw(t, "size"),
				ModTime: time.Unix(0, rapid.Int64Range(1, 1<<62).Draw(t, "time"))})
		}
		b, err := s.Encode([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b[6:])
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := got.Encode(nil); !bytes.Equal(again, b[6:]) {
			t.Fatalf("%+v became %+v", s, got)
		}
	})
}

func FuzzDecode(f *testing.F) {
	good, _ := sample().Encode(nil)
	f.Add(good)
	f.Add(good[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		// The checksum would stop every mutation: repair it.
		if len(b) > 4 {
			b = seal(b[:len(b)-4])
		}
		s, err := Decode(b)
		if err != nil {
			return
		}
		if again, err := s.Encode(nil); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes and encodes as %x (%v)", b, again, err)
		}
	})
}

// BenchmarkLoadAll restores 10,000 torrents of 2,000 pieces.
func BenchmarkLoadAll(b *testing.B) {
	f, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		s := sample()
		s.InfoHash[0], s.InfoHash[1] = byte(i), byte(i>>8)
		s.Pieces, s.Bitfield = 2000, make([]byte, 250)
		buf, err := s.Encode(nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(f.path(s.InfoHash), buf, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		if err := f.LoadAll(func(s *State, err error) { n++ }); err != nil || n != 10_000 {
			b.Fatal(n, err)
		}
	}
}
