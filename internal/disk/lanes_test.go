package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestSideBySide: pieces that are hashed several at once get the verdicts and
// hashes they get alone, whatever is missing, short or wrong.
func TestSideBySide(t *testing.T) {
	for _, length := range []int64{1000, 16 << 10, 64 << 10} {
		for _, hybrid := range []bool{false, true} {
			if hybrid && length < BlockSize {
				continue
			}
			t.Run(fmt.Sprintf("%d, hybrid %v", length, hybrid), func(t *testing.T) { sideBySide(t, length, hybrid) })
		}
	}
}

func sideBySide(t *testing.T, length int64, hybrid bool) {
	files := []File{{Path: "a", Length: 9*length + 77}, {Path: "b", Length: 1}, {Path: "missing", Length: 2 * length},
		{Path: "c", Length: 33 * length}, {Path: "short", Length: 5*length + 100}, {Path: "d", Length: 20*length + 5}}
	pool := testPool(t, PoolConfig{})
	var tor *torrent
	if hybrid {
		tor = newTorrentV2(t.TempDir(), pool, length, true, files...)
	} else {
		tor = newTorrent(t.TempDir(), pool, length, files...)
	}
	at := int64(0)
	for _, f := range tor.files {
		if !f.Pad {
			if err := os.WriteFile(filepath.Join(tor.dir, f.Path), tor.data[at:at+f.Length], 0o600); err != nil {
				t.Fatal(err)
			}
		}
		at += f.Length
	}
	whole, err := HashFiles(t.Context(), tor.dir, tor.files, length, 2, true, hybrid, nil)
	if err != nil || !bytes.Equal(whole.Pieces, tor.hashes) {
		t.Fatalf("hashes of all: %v", err)
	}
	for i, f := range tor.files {
		if hybrid && f.Layer != nil && !bytes.Equal(whole.Layers[i], f.Layer) {
			t.Errorf("layer of %s differs", f.Path)
		}
	}
	spoil(t, tor)
	s := mustOpen(t, tor.config())
	defer s.Close()
	want := make([]bool, s.pieces)
	good := 0
	for i := range want {
		if want[i], err = s.VerifyPiece(uint32(i)); err != nil {
			t.Fatal(err)
		}
		if want[i] {
			good++
		}
	}
	if good == 0 || good == s.pieces {
		t.Fatalf("%d of %d pieces are good", good, s.pieces)
	}
	order := make([]uint32, 0, s.pieces)
	for _, i := range rand.New(rand.NewPCG(3, 4)).Perm(s.pieces) {
		order = append(order, uint32(i))
	}
	for _, workers := range []int{1, 2, 5} {
		got := make([]bool, s.pieces)
		calls := 0
		note := func(piece int, ok bool) { got[piece] = ok; calls++ }
		for range 2 {
			if err := s.Verify(t.Context(), workers, note); err != nil {
				t.Fatal(err)
			}
			if err := s.VerifyPieces(t.Context(), workers, order, note); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || calls != 4*s.pieces {
			t.Errorf("%d workers, %d calls:\n%v, want\n%v", workers, calls, got, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(ctx, 2, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// spoil removes, shortens and changes files.
func spoil(t *testing.T, tor *torrent) {
	t.Helper()
	if err := os.Remove(filepath.Join(tor.dir, "missing")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(tor.dir, "short"), 3*tor.length+1); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(tor.dir, "c")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[5*tor.length+3] ^= 1
	b[len(b)-1] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
