package swarm

import (
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/resume"
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
