package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// patience is how long anything may take before a test gives up on it; nothing is
// measured by it.
const patience = 3 * time.Minute

// until waits for something that must come.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain for " + what)
		}
	}
}

func add(t *testing.T, s *Session, a Add) *Torrent {
	t.Helper()
	x, err := s.Add(a)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// again opens a kept session anew and returns its only torrent.
func again(t *testing.T, state string) (*Session, *Torrent) {
	t.Helper()
	s := open(t, Config{StateDir: state, Keep: true})
	list := s.Torrents()
	if len(list) != 1 {
		t.Fatalf("%d torrents came back", len(list))
	}
	return s, list[0]
}

func TestKeepsWhatWasSet(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	state := t.TempDir()
	s := open(t, Config{StateDir: state, Keep: true})
	x := add(t, s, Add{Torrent: torrent, Dir: dir, Labels: []string{"films", "b"}, Trackers: [][]string{{"http://127.0.0.1:1/announce"}}})
	await(t, x)
	must(t, x.SetLimits(1<<20, 2<<20))
	must(t, x.SetSequential(true))
	must(t, x.SetLabels("z", "a", "z"))
	must(t, x.SetForced(true))
	must(t, x.SetSpeed(false))
	must(t, x.SetPriorities([]uint8{0, 7}))
	must(t, x.Stop())
	want := x.Status()
	if want.State != swarm.Stopped || want.Have == 0 || want.Left != 0 {
		t.Fatalf("after Stop: %+v", want)
	}
	s.Close()

	s, x = again(t, state)
	if got := x.Status(); got.State != swarm.Stopped || got.Have != want.Have || got.Left != want.Left || got.Size != want.Size ||
		got.UpLimit != 1<<20 || got.DownLimit != 2<<20 || !got.Sequential || !got.Forced || !got.Plain || got.Name != "stuff" ||
		!slices.Equal(got.Labels, []string{"a", "z"}) || !got.Added.Equal(want.Added) || !got.Completed.Equal(want.Completed) {
		t.Errorf("came back as %+v, was %+v", got, want)
	}
	if f := x.Files(); len(f) != len(torrent.Info.Files) || f[0].Priority != 0 || f[1].Priority != 7 || f[2].Priority != 4 {
		t.Errorf("files came back as %+v", f)
	}
	if name, size, ok := x.Info(); !ok || name != "stuff" || size != 64<<10 {
		t.Errorf("info is %q, %d, %v", name, size, ok)
	}
	must(t, x.Start())
	await(t, x)
	s.Close()

	_, x = again(t, state)
	await(t, x) // running torrents run again, by themselves
}

func TestSecondSessionIsRefused(t *testing.T) {
	state := t.TempDir()
	open(t, Config{StateDir: state, Keep: true})
	if _, err := Open(Config{StateDir: state, Keep: true, Listen: "off"}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second session opened: %v", err)
	}
}

// TestMagnetComesBack restarts between the metadata and the end.
func TestMagnetComesBack(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	seed := open(t, Config{UploadRate: 1 << 20})
	await(t, add(t, seed, Add{Torrent: torrent, Dir: dir}))
	state, to := t.TempDir(), t.TempDir()
	s := open(t, Config{StateDir: state, Keep: true})
	x := add(t, s, Add{InfoHash: torrent.InfoHash, Name: "soon", Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
	until(t, "pieces", func() bool { return x.Status().Have > 3 })
	s.Close()
	_, x = again(t, state)
	if name, _, ok := x.Info(); !ok || name != "stuff" {
		t.Fatal("the metadata did not come back")
	}
	seed.SetLimits(0, 0)
	await(t, x) // the peer's address was kept, too
	sameFiles(t, dir, to, manyFiles)
}

// TestPeersComeBack goes on with the peers of the last time, which nobody tells
// it anew.
func TestPeersComeBack(t *testing.T) {
	dir, torrent := content(t, map[string]int{"x": 4 << 20}, 64<<10)
	seed := open(t, Config{UploadRate: 1 << 20})
	y := add(t, seed, Add{Torrent: torrent, Dir: dir})
	await(t, y)
	state, to := t.TempDir(), t.TempDir()
	s := open(t, Config{StateDir: state, Keep: true})
	x := add(t, s, Add{Torrent: torrent, Dir: to})
	x.AddPeers(seed.Addr()) // not with Add: that is kept anyway
	until(t, "pieces", func() bool { return x.Status().Have > 3 })
	s.Close()
	seed.SetLimits(0, 0)
	_, x = again(t, state)
	await(t, x)
}

// TestAnnounce asks a tracker again before its time.
func TestAnnounce(t *testing.T) {
	var asked atomic.Int32
	tracker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "d8:intervali3600e5:peers0:e")
	}))
	defer tracker.Close()
	dir, torrent := content(t, map[string]int{"x": 1000}, 32<<10)
	s := open(t, Config{Announce: announce.Config{Floor: time.Millisecond}})
	x := add(t, s, Add{Torrent: torrent, Dir: dir, Trackers: [][]string{{tracker.URL}}})
	until(t, "the first announce", func() bool { return asked.Load() == 1 && len(x.Status().Trackers) == 1 })
	if st := x.Status().Trackers[0]; st.Err != nil || st.Name != tracker.URL || st.At.IsZero() {
		t.Errorf("the tracker is %+v", st)
	}
	x.Announce()
	until(t, "the second", func() bool { return asked.Load() == 2 })
	must(t, x.Stop())
	x.Announce()
}

func TestRemove(t *testing.T) {
	for _, data := range []bool{false, true} {
		dir, torrent := content(t, manyFiles, 64<<10)
		must(t, os.WriteFile(filepath.Join(dir, "stuff", "mine.txt"), nil, 0o600))
		state := t.TempDir()
		s := open(t, Config{StateDir: state, Keep: true})
		x := add(t, s, Add{Torrent: torrent, Dir: dir})
		await(t, x)
		must(t, x.Remove(context.Background(), data))
		if s.Get(torrent.InfoHash) != nil || len(s.Torrents()) != 0 {
			t.Error("it is there still")
		}
		if err := x.Remove(context.Background(), data); !errors.Is(err, ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}
		if err := x.Start(); !errors.Is(err, ErrNotFound) {
			t.Errorf("started after its removal: %v", err)
		}
		for name := range manyFiles {
			if _, err := os.Stat(filepath.Join(dir, "stuff", name)); errors.Is(err, fs.ErrNotExist) != data {
				t.Errorf("data %v: %s: %v", data, name, err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "stuff", "sub")); errors.Is(err, fs.ErrNotExist) != data {
			t.Errorf("data %v: folder: %v", data, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "stuff", "mine.txt")); err != nil {
			t.Error("a file of the user's is gone")
		}
		s.Close()
		if s := open(t, Config{StateDir: state, Keep: true}); len(s.Torrents()) != 0 {
			t.Error("it came back")
		}
	}
}

// TestRecheck finds damage that size and time do not show.
func TestRecheck(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	seed := open(t, Config{})
	good := t.TempDir()
	must(t, os.CopyFS(good, os.DirFS(dir)))
	await(t, add(t, seed, Add{Torrent: torrent, Dir: good}))
	s := open(t, Config{StateDir: t.TempDir(), Keep: true})
	x := add(t, s, Add{Torrent: torrent, Dir: dir})
	await(t, x)
	must(t, x.Stop())
	path := filepath.Join(dir, "stuff", "a.bin")
	st, err := os.Stat(path)
	must(t, err)
	b, err := os.ReadFile(path)
	must(t, err)
	b[100_000] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	must(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
	must(t, x.Start())
	await(t, x) // nobody can see it
	must(t, x.Recheck())
	until(t, "the damage to be found", func() bool { return x.Status().State == swarm.Downloading })
	if st := x.Status(); st.Have != st.Pieces-1 {
		t.Errorf("%d of %d pieces are good, want all but one", st.Have, st.Pieces)
	}
	x.AddPeers(seed.Addr())
	await(t, x)
	sameFiles(t, good, dir, manyFiles)
}

// TestQueue runs as many as may run, in their order.
func TestQueue(t *testing.T) {
	s := open(t, Config{StateDir: t.TempDir(), Keep: true, MaxDownloads: 1, MaxSeeds: 1})
	var all []*Torrent
	var sources []*Session
	for i := range 3 {
		dir, torrent := content(t, map[string]int{"x": 200_000 + i}, 32<<10)
		seed := open(t, Config{})
		await(t, add(t, seed, Add{Torrent: torrent, Dir: dir}))
		sources = append(sources, seed)
		all = append(all, add(t, s, Add{Torrent: torrent, Dir: t.TempDir()}))
	}
	states := func(want ...swarm.State) {
		t.Helper()
		until(t, "the queue's order", func() bool {
			for i, x := range all {
				if x.Status().State != want[i] {
					return false
				}
			}
			return true
		})
	}
	states(swarm.Downloading, swarm.Queued, swarm.Queued)
	must(t, all[2].SetPosition(0))
	if got := []int{all[0].Status().Position, all[1].Status().Position, all[2].Status().Position}; !slices.Equal(got, []int{1, 2, 0}) {
		t.Errorf("positions %v", got)
	}
	states(swarm.Queued, swarm.Queued, swarm.Downloading)
	must(t, all[1].SetForced(true))
	states(swarm.Queued, swarm.Downloading, swarm.Downloading)
	must(t, all[2].Stop())
	states(swarm.Downloading, swarm.Downloading, swarm.Stopped)
	must(t, all[1].SetForced(false))
	must(t, all[2].Start())
	states(swarm.Queued, swarm.Queued, swarm.Downloading)
	for i := range all { // each one's end lets the next begin; one seeds
		all[i].AddPeers(sources[i].Addr())
	}
	states(swarm.Queued, swarm.Queued, swarm.Seeding)
	s.SetActive(0, 0)
	states(swarm.Seeding, swarm.Seeding, swarm.Seeding)
}

// TestQueueOfSeeds: what is to be shared takes a seed's place from the start, and
// gives it back when its files are not there.
func TestQueueOfSeeds(t *testing.T) {
	s := open(t, Config{MaxSeeds: 1})
	dir, torrent := content(t, map[string]int{"x": 1000}, 32<<10)
	_, other := content(t, map[string]int{"y": 1000}, 32<<10)
	gone := add(t, s, Add{Torrent: other, Dir: t.TempDir(), InPlace: true})
	first := add(t, s, Add{Torrent: torrent, Dir: dir, InPlace: true, Labels: []string{"b", "a", "b"}})
	await(t, first)
	until(t, "the one without files", func() bool { return gone.Status().State == swarm.Downloading })
	dir, torrent = content(t, map[string]int{"z": 1000}, 32<<10)
	second := add(t, s, Add{Torrent: torrent, Dir: dir, InPlace: true})
	if st := second.Status(); st.State != swarm.Queued {
		t.Errorf("the second seed is %s", st.State)
	}
	if got := first.Status().Labels; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("its labels are %q", got)
	}
	must(t, s.Remove(first.InfoHash()))
	await(t, second)
}

// TestStartAgain tries again what failed.
func TestStartAgain(t *testing.T) {
	dir, torrent := content(t, map[string]int{"x": 100_000}, 32<<10)
	seed, to := open(t, Config{}), t.TempDir()
	await(t, add(t, seed, Add{Torrent: torrent, Dir: dir}))
	must(t, os.MkdirAll(filepath.Join(to, "stuff", "x"), 0o777)) // a folder where the file goes
	s := open(t, Config{StateDir: t.TempDir(), Keep: true, MaxDownloads: 1})
	x := add(t, s, Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
	until(t, "the failure", func() bool { return x.Status().State == swarm.Failed })
	if err := x.Status().Err; err == nil || !strings.Contains(err.Error(), "stuff/x") {
		t.Errorf("failed with %v", err)
	}
	next := add(t, s, Add{InfoHash: metainfo.InfoHash{9}, Dir: to}) // what failed takes no place in the queue
	until(t, "the next in the queue", func() bool { return next.Status().State == swarm.FetchingMetadata })
	must(t, next.Remove(context.Background(), false))
	must(t, os.Remove(filepath.Join(to, "stuff", "x")))
	must(t, x.Start())
	x.AddPeers(seed.Addr())
	await(t, x)
	must(t, x.Stop())
	must(t, x.Stop())
	must(t, x.Start())
	await(t, x)
}

// TestManyAtOnce does everything to one torrent from several sides; the race
// detector and the end of the test are the judges.
func TestManyAtOnce(t *testing.T) {
	dir, torrent := content(t, map[string]int{"x": 300_000, "y": 5}, 32<<10)
	s := open(t, Config{StateDir: t.TempDir(), Keep: true, MaxDownloads: 2, MaxSeeds: 2})
	x := add(t, s, Add{Torrent: torrent, Dir: dir})
	await(t, x)
	other := t.TempDir()
	var group sync.WaitGroup
	for _, f := range []func() error{x.Start, x.Stop, x.Recheck, func() error { return x.SetPosition(0) }, func() error { return x.SetLabels("a") },
		func() error { return x.Move(t.Context(), other) }, func() error { return x.Move(t.Context(), dir) }, func() error { x.Status(); x.Files(); return nil },
		func() error { s.SetActive(1, 1); s.SetActive(0, 0); return nil }, func() error { return x.SetPriorities([]uint8{4, 0}) },
		func() error { return x.SetSpeed(false) }, func() error { return x.SetForced(true) }} {
		group.Go(func() {
			for range 4 {
				if err := f(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	must(t, x.SetPriorities(nil))
	must(t, x.Start())
	await(t, x)
	group.Go(func() { s.Close() })
	must(t, x.Stop())
	group.Wait()
}

// TestDamagedRecord leaves one torrent out and brings back the others.
func TestDamagedRecord(t *testing.T) {
	state := t.TempDir()
	s := open(t, Config{StateDir: state, Keep: true})
	dir, torrent := content(t, map[string]int{"x": 1000}, 32<<10)
	await(t, add(t, s, Add{Torrent: torrent, Dir: dir}))
	s.Close()
	for name, text := range map[string]string{strings.Repeat("a", 40) + ".json": "{", strings.Repeat("b", 40) + ".json": `{"Version":9}`, "x.json": "{}"} {
		must(t, os.WriteFile(filepath.Join(state, name), []byte(text), 0o600))
	}
	_, x := again(t, state)
	await(t, x)
	must(t, x.Stop())
	must(t, os.WriteFile(filepath.Join(state, x.String()+".torrent"), []byte("d4:info"), 0o600))
	must(t, x.Start())
	if st := x.Status(); st.State != swarm.Failed || st.Err == nil {
		t.Errorf("with damaged metadata: %s, %v", st.State, st.Err)
	}
}
