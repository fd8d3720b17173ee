package create

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/bttnet/btt/metainfo"
)

func TestFolder(t *testing.T) {
	root := filepath.Join(t.TempDir(), "stuff")
	files := map[string][]byte{"b.bin": bytes.Repeat([]byte("b"), 40000), "sub/a.txt": []byte("hello"), "sub/empty": nil}
	for name, data := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "x.torrent")
	made, err := File(context.Background(), root, out, Options{PieceLength: 16 << 10, Trackers: [][]string{{"http://t.example/announce"}}, Private: true})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := metainfo.Parse(raw)
	if err != nil || got.InfoHash != made.InfoHash {
		t.Fatalf("read back %v, %v", got, err)
	}
	if got.Info.Name != "stuff" || !got.Info.Private || got.Info.TotalLength != 40005 || len(got.Info.Files) != 3 {
		t.Fatalf("info %+v", got.Info)
	}
	content := append(append([]byte{}, files["b.bin"]...), "hello"...)
	for i := range got.Info.NumPieces() {
		want := sha1.Sum(content[i*16384 : min(len(content), (i+1)*16384)])
		if h, _ := got.Info.PieceHash(i); h != want {
			t.Errorf("piece %d has hash %x, want %x", i, h, want)
		}
	}
}

// TestProgress: what is hashed is told up to the last byte.
func TestProgress(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, make([]byte, 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	for v, want := range map[metainfo.Version]int64{metainfo.V1: 100_000, metainfo.V2: 7 * 16 << 10, metainfo.Hybrid: 100_000} {
		var most, calls atomic.Int64
		_, err := Torrent(t.Context(), p, Options{PieceLength: 16 << 10, Version: v, Progress: func(done, total int64) {
			if calls.Add(1); total != want || done <= 0 {
				t.Errorf("%d of %d", done, total)
			}
			for old := most.Load(); done > old && !most.CompareAndSwap(old, done); old = most.Load() {
			}
		}})
		if err != nil || most.Load() != want || calls.Load() != 7 {
			t.Errorf("%v: %d bytes in %d calls, %v", v, most.Load(), calls.Load(), err)
		}
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Torrent(context.Background(), dir, Options{}); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty folder gave %v", err)
	}
	if _, err := Torrent(context.Background(), filepath.Join(dir, "no"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file gave %v", err)
	}
	p := filepath.Join(dir, "f")
	if err := os.WriteFile(p, []byte("data"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Torrent(context.Background(), p, Options{PieceLength: 12345}); err == nil {
		t.Error("a senseless piece length was taken")
	}
}
