package swarm

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

const sizeA, sizeB = 10 * wire.BlockSize, 6 * wire.BlockSize

// twoFiles has the torrent be one of version 2 with files of sizeA and sizeB.
func (w *world) twoFiles() {
	dir := filepath.Join(w.t.TempDir(), "stuff")
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.data = bytes.Repeat([]byte("some data. "), (sizeA+sizeB)/11+1)[:sizeA+sizeB]
	for name, data := range map[string][]byte{"a": w.data[:sizeA], "b": w.data[sizeA:]} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	var err error
	w.torrent, err = create.Torrent(w.t.Context(), dir, create.Options{PieceLength: wire.BlockSize, Version: metainfo.V2})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestPartialSeed: who has all files it wants, but not all there are, is finished and no
// seed; peers and trackers hear that it wants nothing more (BEP 21), until it does again.
func TestPartialSeed(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		w.twoFiles()
		w.nodes++
		s := New(Config{Index: uint32(w.nodes), InfoHash: w.torrent.InfoHash, Torrent: w.torrent, Dir: t.TempDir(), Pool: w.pool, FreeSlot: func() {},
			Log: slog.New(slog.DiscardHandler), Priorities: []uint8{4, 0}})
		w.swarms = append(w.swarms, s)
		synctest.Wait()
		p := w.play(s, &script{free: true})
		after(5 * time.Second)
		is := func(state State, left int64, uploadOnly bool) {
			t.Helper()
			if st := s.Status(); st.State != state {
				t.Errorf("state %v, want %v", st.State, state)
			}
			_ = s.do(func() {
				if st := s.countStats(); st.Left != left || st.Paused != (state == Finished) {
					t.Errorf("trackers hear of %d bytes left, paused: %v", st.Left, st.Paused)
				}
				if h := s.extendedHandshake(&member{}); h.UploadOnly != uploadOnly {
					t.Errorf("peers hear of upload_only %v", h.UploadOnly)
				}
			})
		}
		is(Finished, sizeB, true)
		p.release(false) // else all of it may be here before anybody looks
		if err := s.SetPriorities([]uint8{4, 4}); err != nil {
			t.Fatal(err)
		}
		is(Downloading, sizeB, false)
		p.release(true)
		w.play(s, &script{free: true})
		after(5 * time.Second)
		is(Seeding, 0, true)
	})
}

// layersOfTwo answers for the layers of twoFiles: of the first file, of both once both says so.
func (w *world) layersOfTwo(both *atomic.Bool) func(wire.HashRange) []byte {
	return func(r wire.HashRange) []byte {
		data := w.data[:sizeA]
		if r.Root == *w.torrent.Info.Files[1].PiecesRoot {
			if data = w.data[sizeA:]; !both.Load() {
				return nil
			}
		}
		hashes := metainfo.AppendLeaves(nil, data)
		return wire.AppendHashes(nil, &r, append(hashes, make([]byte, int(r.Length)*wire.HashLen-len(hashes))...), nil)
	}
}

// TestLayersByFile: in version 2 alone a file is fetched as soon as its layer is
// here, whatever is missing of others, and none of their blocks is asked for.
func TestLayersByFile(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		w.twoFiles()
		var both atomic.Bool
		layer := w.layersOfTwo(&both)
		to := t.TempDir()
		s := w.bare(to)
		p := &script{hash: layer, free: true}
		w.play(s, p)
		after(5 * time.Second)
		if st := s.Status(); st.State != Downloading || st.Have != 10 || st.Left != sizeB || p.seen(false) != 10 {
			t.Errorf("%v: %d pieces are here, %d bytes left, %d blocks asked for", st.State, st.Have, st.Left, p.seen(false))
		}
		both.Store(true)
		after(time.Minute)
		if st := s.Status(); st.State != Seeding || p.seen(false) != 16 {
			t.Errorf("%v, %v: %d blocks asked for", st.State, st.Err, p.seen(false))
		}
		if got, err := os.ReadFile(filepath.Join(to, "stuff", "b")); err != nil || !bytes.Equal(got, w.data[sizeA:]) {
			t.Errorf("content differs: %v", err)
		}
	})
}
