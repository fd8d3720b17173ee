package swarm

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

// TestContest: a paid peer that has nothing to do gets the pieces of free peers
// that would take long for them; what these send of them later is dropped.
func TestContest(t *testing.T) {
	bubble(t, 3*testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		const per = testPiece / wire.BlockSize
		slow := w.play(s, &script{block: func(_ wire.Message, data []byte) { data[0] ^= 1 }})
		if n := slow.seen(false); n != 3*per {
			t.Fatalf("%d blocks asked for", n)
		}
		lease := func(when string, want int) {
			t.Helper()
			_ = s.do(func() {
				who := picker.Peer{ID: 99, Seed: true, Whole: true, Alone: true}
				if got := s.contest(&who); got != (want > 0) {
					t.Errorf("%s: contested %v", when, got)
				}
				got := 0
				for _, l := range s.picker.Lease(nil, who, 1) {
					got += int(l.Count)
				}
				if got != want {
					t.Errorf("%s: %d blocks leased", when, got)
				}
			})
		}
		lease("at first", 0) // it may be fast
		after(contestAfter + time.Second)
		slow.write(wire.AppendEmpty(wire.AppendEmpty(nil, wire.Choke), wire.Unchoke))
		lease("after an unchoke", 0) // likewise
		after(contestAfter + time.Second)
		lease("when it is slow", per)
		lease("still", per)
		slow.release(true) // bad data, of which two pieces are not taken
		after(time.Second)
		_ = s.do(func() {
			if got := s.picker.Missing(); got != 3 {
				t.Errorf("%d pieces are missing", got)
			}
			for _, m := range s.peers {
				if got := m.conn.Received.Load(); got > testPiece {
					t.Errorf("%d bytes of what was taken away count", got)
				}
			}
			s.picker.Return(99)
		})
		good := w.play(s, &script{free: true})
		after(2 * time.Minute)
		if st := s.Status(); st.State != Seeding || good.seen(false) == 0 {
			t.Errorf("state %v (%v)", st.State, st.Err)
		}
	})
}

// hungJournal holds every write to the files until it is opened.
type hungJournal struct {
	gate chan struct{}
	mu   sync.Mutex
	held int
}

func (j *hungJournal) Begin([]uint32) uint64 {
	j.mu.Lock()
	j.held++
	j.mu.Unlock()
	<-j.gate
	return 0
}

func (j *hungJournal) End(uint64, []disk.Touched, []uint32) {}

func (j *hungJournal) Units(uint32, int, []byte) {}

// hang gives a swarm without peers a store whose writes wait.
func hang(t *testing.T, w *world, s *Swarm, dir string) *hungJournal {
	t.Helper()
	j := &hungJournal{gate: make(chan struct{})}
	store, err := disk.Open(disk.Config{Dir: dir, Files: s.diskFiles(w.torrent), PieceLength: w.torrent.Info.PieceLength,
		Hashes: w.torrent.Info.Pieces, Pool: w.pool, Notify: s.diskEvent, Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.do(func() {
		s.store.Close()
		s.store = store
	})
	return j
}

// TestRestartHungDisk: while the disk hangs in a write of a piece that was begun,
// the piece is dropped at once, the torrent answers, and the piece is leased and
// fetched anew, to the one it was dropped for; what is in its file at the end is
// right.
func TestRestartHungDisk(t *testing.T) {
	const size = 4 << 20 // a piece whose first quarters are written before it is whole
	drops := map[string]func(s *Swarm){
		"for a paid peer": func(s *Swarm) {
			who := picker.Peer{ID: 99, Seed: true, Whole: true, Alone: true}
			if leases := s.picker.Lease(nil, who, 1); len(leases) > 0 {
				t.Errorf("what others began is leased: %v", leases)
			}
			if !s.unmix(&who) || !who.Whole {
				t.Error("the piece is not free for it")
			}
			if leases := s.picker.Lease(nil, who, 1); len(leases) != 1 || leases[0].Count != size/wire.BlockSize {
				t.Errorf("the paid peer gets %v", leases)
			}
			s.picker.Return(99)
		},
		"by a web seed": func(s *Swarm) {
			s.onWebEnd(&webSeed{fetches: 1}, []span{{piece: 0}}, nil)
		},
		"twice": func(s *Swarm) {
			s.restart(0)
			s.restart(0)
		},
	}
	for name, drop := range drops {
		t.Run(name, func(t *testing.T) {
			bubble(t, size, func(t *testing.T, w *world) {
				var err error
				if w.torrent, err = create.Torrent(t.Context(), filepath.Join(w.dir, "film"), create.Options{PieceLength: size}); err != nil {
					t.Fatal(err)
				}
				dir := t.TempDir()
				s := w.node(nil, dir, nil)
				j := hang(t, w, s, dir)
				first := w.play(s, &script{block: func(_ wire.Message, data []byte) { data[0] ^= 1 }})
				for range 3 {
					first.release(false)
				}
				_ = s.do(func() {
					for _, m := range s.peers {
						s.kick(m, errors.New("the test is done with it"))
					}
				})
				synctest.Wait()
				if j.mu.Lock(); j.held != 1 {
					t.Fatalf("%d writes hang", j.held)
				}
				j.mu.Unlock()
				began := time.Now()
				if err := s.do(func() { drop(s) }); err != nil {
					t.Fatal(err)
				}
				second := w.play(s, &script{free: true})
				for range 90 { // ticks, and unstick in between
					after(time.Second)
					if st := s.Status(); st.State != Downloading {
						t.Fatalf("state %v: %v", st.State, st.Err)
					}
				}
				if d := time.Since(began); d != 90*time.Second {
					t.Errorf("the calls waited for %v", d-90*time.Second)
				}
				if n := second.seen(false); n != size/wire.BlockSize {
					t.Errorf("%d of %d blocks were asked for while the disk hangs", n, size/wire.BlockSize)
				}
				if !s.store.Verified(0) || s.store.Written(nil)[0] != 0 {
					t.Error("the piece should be verified and not written")
				}
				close(j.gate)
				after(5 * time.Second)
				if st := s.Status(); st.State != Seeding || second.gone() || second.seen(false) != size/wire.BlockSize {
					t.Errorf("state %v (%v) after %d requests, peer gone %v", st.State, st.Err, second.seen(false), second.gone())
				}
				s.Close()
				if got, err := os.ReadFile(filepath.Join(dir, "film")); err != nil || !bytes.Equal(got, w.data) {
					t.Errorf("the file is wrong: %v", err)
				}
			})
		})
	}
}

// TestCallsDuringShutdown: a torrent that is closed while the disk hangs answers
// as before, and holds up nobody who asks it for something.
func TestCallsDuringShutdown(t *testing.T) {
	const size = 4 << 20
	bubble(t, size, func(t *testing.T, w *world) {
		var err error
		if w.torrent, err = create.Torrent(t.Context(), filepath.Join(w.dir, "film"), create.Options{PieceLength: size}); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		s := w.node(nil, dir, nil)
		j := hang(t, w, s, dir)
		first := w.play(s, &script{})
		for range 3 {
			first.release(false)
		}
		closed := make(chan struct{})
		go func() { s.Close(); close(closed) }()
		after(time.Second)
		began := time.Now()
		for range 200 { // more than wait in line
			if st := s.Status(); st.State != Downloading || st.Err != nil || st.Left != size {
				t.Fatalf("state %v (%v), %d left", st.State, st.Err, st.Left)
			}
		}
		if err := s.SetPriorities([]uint8{1}); !errors.Is(err, ErrClosed) {
			t.Errorf("SetPriorities: %v", err)
		}
		if list := s.Candidates(nil, true); len(list) != 0 {
			t.Errorf("%d candidates", len(list))
		}
		s.Decide(nil, choker.Weights{Free: 1, Bidder: 1})
		s.AddPeers(w.address(99))
		if d := time.Since(began); d != 0 {
			t.Errorf("the calls waited for %v", d)
		}
		select {
		case <-closed:
			t.Error("closed before the disk answered")
		default:
		}
		close(j.gate)
		<-closed
		if st := s.Status(); !errors.Is(st.Err, ErrClosed) {
			t.Errorf("after the end: %v", st.Err)
		}
	})
}
