package swarm

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// TestSlowOpen: while a torrent's files cannot be opened, because the disk is
// slow or others come first, calls are answered and the swarm can be closed.
func TestSlowOpen(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		gate := make(chan struct{}, 1)
		gate <- struct{}{} // somebody is inside, for long
		s := New(Config{Index: 1, InfoHash: w.torrent.InfoHash, Torrent: w.torrent, Dir: w.dir, Pool: w.pool, FreeSlot: func() {}, Log: slog.New(slog.DiscardHandler), Gate: gate})
		synctest.Wait()
		began := time.Now()
		st := s.Status()
		if st.State != Checking || st.Name != "film" || st.Size != testPiece || st.Pieces != 1 {
			t.Errorf("status %+v", st)
		}
		if err := s.SetPriorities([]uint8{7}); err != nil {
			t.Error(err)
		}
		s.SetSequential(true)
		if name, _, ok := s.Info(); name != "film" || !ok {
			t.Errorf("info is %q, %v", name, ok)
		}
		other := New(Config{Index: 2, InfoHash: w.torrent.InfoHash, Torrent: w.torrent, Dir: w.dir, Pool: w.pool, FreeSlot: func() {}, Log: slog.New(slog.DiscardHandler), Gate: gate})
		other.Close() // in the queue
		if d := time.Since(began); d > 0 {
			t.Errorf("the calls waited for %v", d)
		}
		<-gate
		synctest.Wait()
		if st := s.Status(); st.State != Seeding {
			t.Errorf("state %v after the files were opened: %v", st.State, st.Err)
		}
		s.Close()
	})
}

// TestStoppedUnchecked: a download of version 2 that must be checked, and ends before it
// has the layers that the check takes, keeps what it has: nothing of it is fetched again.
func TestStoppedUnchecked(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		w.twoFiles()
		folder, err := resume.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		var both atomic.Bool
		to := t.TempDir()
		s := w.bareKept(to, folder)
		w.play(s, &script{hash: w.layersOfTwo(&both), free: true})
		after(5 * time.Second)
		if st := s.Status(); st.Have != 10 {
			t.Fatalf("%v: %d pieces are here", st.State, st.Have)
		}
		s.Close()
		long := time.Now().Add(-time.Hour) // somebody touched it
		if err := os.Chtimes(filepath.Join(to, "stuff", "a"), long, long); err != nil {
			t.Fatal(err)
		}
		s = w.bareKept(to, folder)
		_ = s.do(func() { s.dirty = true })
		after(2 * saveEvery)
		s.Close()
		both.Store(true)
		s = w.bareKept(to, folder)
		p := &script{hash: w.layersOfTwo(&both), free: true}
		w.play(s, p)
		after(time.Minute)
		if st := s.Status(); st.State != Seeding || p.seen(false) != 6 {
			t.Errorf("%v, %v: %d blocks were fetched, want 6", st.State, st.Err, p.seen(false))
		}
	})
}

// TestBegunIsWhole: a piece of which the log knows units and no end, and that is whole,
// as when a power cut took the file's time and not its data, is had, and what is missing
// is fetched.
func TestBegunIsWhole(t *testing.T) {
	const piece, unit = 4 * wire.BlockSize, 2 * wire.BlockSize
	bubbleV2(t, 2*piece, piece, metainfo.V2, func(t *testing.T, w *world) {
		folder, err := resume.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		path := filepath.Join(to, "film")
		if err := os.WriteFile(path, append(w.data[:piece:piece], make([]byte, piece)...), 0o600); err != nil {
			t.Fatal(err)
		}
		is, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		hash := w.torrent.InfoHash
		if err := folder.Save(&resume.State{InfoHash: hash, Dir: to, Pieces: 2, Bitfield: []byte{0}, Clean: true,
			Files: []disk.FileStat{{Exists: true, Size: is.Size(), ModTime: is.ModTime()}}}); err != nil {
			t.Fatal(err)
		}
		var sums []byte
		for at := 0; at < piece; at += unit {
			sum := metainfo.PieceRoot(metainfo.AppendLeaves(nil, w.data[at:at+unit]), math.MaxInt64, unit)
			sums = append(sums, sum[:]...)
		}
		log := folder.Log(hash, 0)
		log.Units(0, unit/wire.BlockSize, sums)
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		s := w.node(nil, to, func(c *Config) { c.Resume = folder })
		w.play(s, &script{free: true})
		after(time.Minute)
		if st := s.Status(); st.State != Seeding {
			t.Errorf("%v, %v: %d pieces are here", st.State, st.Err, st.Have)
		}
	})
}

// TestKilledBeforeSave: another program changed a file, our run found a piece of it bad, at
// its start or when it served it, wrote another to it, and was killed before its first save.
// The run after that does not believe the old record of the bad one, and fetches nothing
// again that is there.
func TestKilledBeforeSave(t *testing.T) {
	for name, later := range map[string]bool{"at the start": false, "later": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3*testPiece, func(t *testing.T, w *world) { killedBeforeSave(t, w, later) })
		})
	}
}

func killedBeforeSave(t *testing.T, w *world, later bool) {
	const per = testPiece / wire.BlockSize
	kept, to := t.TempDir(), t.TempDir()
	path := filepath.Join(to, "film")
	have := make([]byte, len(w.data)) // piece 1 is right, piece 0 until it is changed
	copy(have, w.data[:2*testPiece])
	change := func() {
		clear(have[:testPiece])
		if err := os.WriteFile(path, have, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, have, 0o600); err != nil {
		t.Fatal(err)
	}
	is, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := &resume.State{InfoHash: w.torrent.InfoHash, Dir: to, Pieces: 3, Bitfield: []byte{0xc0},
		Files: []disk.FileStat{{Exists: true, Size: is.Size(), ModTime: is.ModTime()}}}
	if !later {
		st.Bitfield[0], st.Files[0].ModTime = 0x80, is.ModTime().Add(-time.Hour)
		change()
	}
	folder, err := resume.Open(kept)
	if err == nil {
		err = folder.Save(st)
	}
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{}, 1)
	gate <- struct{}{}
	s := New(Config{Index: 50, InfoHash: w.torrent.InfoHash, Torrent: w.torrent, Dir: to, Pool: w.pool, Resume: folder, FreeSlot: func() {},
		Log: slog.New(slog.DiscardHandler), Gate: gate})
	_ = s.do(func() { s.saving = true }) // as if its first save took long
	<-gate
	after(time.Second)
	if later {
		change()
		_ = s.do(func() { s.doubt(0) })
		after(time.Second)
	}
	p := w.play(s, &script{free: true, none: true})
	p.write(wire.AppendIndex(wire.AppendEmpty(nil, wire.Unchoke), wire.Have, 2))
	after(time.Second)
	if st := s.Status(); st.Have != 2 || p.seen(false) != per {
		t.Fatalf("%v, %v: %d pieces are here, %d blocks were fetched", st.State, st.Err, st.Have, p.seen(false))
	}
	killed := t.TempDir() // what it had kept by then
	if err := os.CopyFS(killed, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if folder, err = resume.Open(killed); err != nil {
		t.Fatal(err)
	}
	s = w.node(nil, to, func(c *Config) { c.Resume = folder })
	p = w.play(s, &script{free: true})
	after(time.Minute)
	if st := s.Status(); st.State != Seeding || p.seen(false) != per {
		t.Errorf("%v, %v: %d blocks were fetched, want %d", st.State, st.Err, p.seen(false), per)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, w.data) {
		t.Errorf("the file is wrong: %v", err)
	}
}
