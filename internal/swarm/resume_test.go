package swarm

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
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
