package resume

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/disk"
)

var (
	logHash   = [20]byte{7}
	logLayout = Layout{PieceLength: 10, Files: []disk.File{{Path: "a", Length: 40}, {Path: "b", Length: 60}}}
)

// logged is a torrent of which a state was saved at second 100 with piece 0, and
// whose log is written by f; Check is asked at once.
func logged(t *testing.T, boot string, f func(l *Log, clock *time.Time), now []disk.FileStat) (trusted, list []int) {
	t.Helper()
	if bootID() == "" {
		t.Skip("no log is used on this system")
	}
	folder, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Unix(100, 0)
	l := folder.Log(logHash, 3)
	l.now = func() time.Time { return clock }
	if boot != "" {
		l.boot = boot
	}
	s := &State{InfoHash: logHash, Pieces: 10, Bitfield: []byte{0x80, 0}, Log: l.Rotate(),
		Files: []disk.FileStat{at(40, 99), {}}}
	f(l, &clock)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	h, _, _ := folder.LoadLog(logHash, s.Log)
	bits, list := Check(s, h, logLayout, now)
	for i := range 10 {
		if bits[i/8]&(0x80>>(i%8)) != 0 {
			trusted = append(trusted, i)
		}
	}
	return trusted, list
}

func at(size, second int64) disk.FileStat {
	return disk.FileStat{Exists: true, Size: size, ModTime: time.Unix(second, 0)}
}

// TestHistory: what is trusted after the process was killed.
func TestHistory(t *testing.T) {
	write := func(l *Log, clock *time.Time, second int64, pieces []uint32, file int, size int64, done ...uint32) {
		*clock = time.Unix(second, 0)
		id := l.Begin(pieces)
		l.End(id, []disk.Touched{{File: file, FileStat: at(size, second)}}, done)
	}
	for _, tt := range []struct {
		name          string
		boot          string
		write         func(l *Log, clock *time.Time)
		a, b          disk.FileStat
		trusted, list []int
	}{
		{name: "nothing was written", write: func(*Log, *time.Time) {}, a: at(40, 99), trusted: []int{0}},
		{name: "a whole piece and a part", write: func(l *Log, c *time.Time) {
			write(l, c, 110, []uint32{4, 5}, 1, 60, 5)
		}, a: at(40, 99), b: at(60, 110), trusted: []int{0, 5}, list: []int{4}},
		{name: "killed in a write", write: func(l *Log, c *time.Time) {
			write(l, c, 110, []uint32{5}, 1, 60, 5)
			*c = time.Unix(120, 0)
			l.Begin([]uint32{6, 7})
		}, a: at(40, 99), b: at(60, 121), trusted: []int{0, 5}, list: []int{6, 7}},
		{name: "killed before the write", write: func(l *Log, c *time.Time) {
			write(l, c, 110, []uint32{5}, 1, 60, 5)
			*c = time.Unix(120, 0)
			l.Begin([]uint32{6})
		}, a: at(40, 99), b: at(60, 110), trusted: []int{0, 5}, list: []int{6}},
		{name: "somebody wrote long after", write: func(l *Log, c *time.Time) {
			write(l, c, 110, []uint32{5}, 1, 60, 5)
			*c = time.Unix(120, 0)
			l.Begin([]uint32{6})
		}, a: at(40, 99), b: at(60, 200), trusted: []int{0}, list: []int{4, 5, 6, 7, 8, 9}},
		{name: "somebody wrote to the other file", write: func(l *Log, c *time.Time) {
			*c = time.Unix(120, 0)
			l.Begin([]uint32{6})
		}, a: at(40, 120), b: at(60, 120), list: []int{0, 1, 2, 3, 6}},
		{name: "somebody changed the size", write: func(l *Log, c *time.Time) {
			write(l, c, 110, []uint32{5}, 1, 60, 5)
		}, a: at(40, 99), b: at(61, 110), trusted: []int{0}, list: []int{4, 5, 6, 7, 8, 9}},
		{name: "a piece is written anew", write: func(l *Log, c *time.Time) {
			write(l, c, 110, []uint32{0}, 0, 40)
		}, a: at(40, 110), list: []int{0}},
		{name: "writers end out of order", write: func(l *Log, c *time.Time) {
			*c = time.Unix(110, 0)
			x, y := l.Begin([]uint32{5}), l.Begin([]uint32{6})
			l.End(y, []disk.Touched{{File: 1, FileStat: at(60, 112)}}, []uint32{6})
			l.End(x, []disk.Touched{{File: 1, FileStat: at(60, 111)}}, []uint32{5})
		}, a: at(40, 99), b: at(60, 112), trusted: []int{0, 5, 6}},
		{name: "a write goes on over a save", write: func(l *Log, c *time.Time) {
			*c = time.Unix(110, 0)
			x := l.Begin([]uint32{5})
			l.Rotate()
			l.End(x, []disk.Touched{{File: 1, FileStat: at(60, 111)}}, []uint32{5})
		}, a: at(40, 99), b: at(60, 111), trusted: []int{0, 5}},
		{name: "the system was restarted", boot: "another", write: func(l *Log, c *time.Time) {
			write(l, c, 110, []uint32{5}, 1, 60, 5)
		}, a: at(40, 99), b: at(60, 110), trusted: []int{0}, list: []int{1, 2, 3, 4, 5, 6, 7, 8, 9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trusted, list := logged(t, tt.boot, tt.write, []disk.FileStat{tt.a, tt.b})
			if !slices.Equal(trusted, tt.trusted) || !slices.Equal(list, tt.list) {
				t.Errorf("trusted %v, to hash %v; want %v and %v", trusted, list, tt.trusted, tt.list)
			}
		})
	}
}

// TestCorrect: what a run finds wrong, or right, where the records say otherwise is known to
// the next one, though the file looks as that run left it.
func TestCorrect(t *testing.T) {
	for _, corrected := range []bool{true, false} {
		trusted, list := logged(t, "", func(l *Log, clock *time.Time) {
			if corrected { // somebody changed file a, of which piece 1 is here and piece 0 is not
				l.Correct(&State{Pieces: 10, Bitfield: []byte{0x80, 0}}, newHistory(), func(p uint32) bool { return p == 1 })
			}
			*clock = time.Unix(210, 0)
			l.End(l.Begin([]uint32{2}), []disk.Touched{{File: 0, FileStat: at(40, 210)}}, []uint32{2})
		}, []disk.FileStat{at(40, 210), {}})
		want, hash := []int{0, 2}, []int(nil)
		if corrected {
			want, hash = []int{1, 2}, []int{0}
		}
		if !slices.Equal(trusted, want) || !slices.Equal(list, hash) {
			t.Errorf("corrected %v: trusted %v, to hash %v; want %v and %v", corrected, trusted, list, want, hash)
		}
	}
}

// TestAwayForATime: files that were not there in a run that wrote nothing are believed when
// they are back, and what comes to those that a run made anew is told apart.
func TestAwayForATime(t *testing.T) {
	for _, wrote := range []bool{false, true} {
		now := at(40, 99)
		if wrote {
			now = at(40, 210)
		}
		trusted, list := logged(t, "", func(l *Log, clock *time.Time) {
			l.Correct(&State{Pieces: 10, Bitfield: []byte{0x80, 0}}, newHistory(), func(uint32) bool { return false })
			if *clock = time.Unix(210, 0); wrote {
				l.End(l.Begin([]uint32{2}), []disk.Touched{{File: 0, FileStat: now}}, []uint32{2})
			}
		}, []disk.FileStat{now, {}})
		want, hash := []int{0}, []int(nil)
		if wrote {
			want, hash = []int{2}, []int{0}
		}
		if !slices.Equal(trusted, want) || !slices.Equal(list, hash) {
			t.Errorf("wrote %v: trusted %v, to hash %v; want %v and %v", wrote, trusted, list, want, hash)
		}
	}
}

// TestLogSurvives: a torn end costs the last record alone, logs of several runs
// are read together, and Drop leaves none.
func TestLogSurvives(t *testing.T) {
	if bootID() == "" {
		t.Skip("no log is used on this system")
	}
	folder, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	first := folder.Log(logHash, 1)
	first.End(first.Begin([]uint32{1}), nil, []uint32{1})
	first.Begin([]uint32{2})
	first.Close()
	path := folder.logPath(logHash, 1)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	h, _, next := folder.LoadLog(logHash, 1)
	if h == nil || next != 2 || !h.Pieces[1] || len(h.Begun) != 0 {
		t.Fatalf("history %+v, next %d", h, next)
	}
	second := folder.Log(logHash, next)
	second.Begin([]uint32{3})
	second.Close()
	h, _, next = folder.LoadLog(logHash, 1)
	if h == nil || next != 3 || !h.Pieces[1] || len(h.Begun) != 1 {
		t.Fatalf("history of two runs %+v, next %d", h, next)
	}
	if err := second.Drop(next); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(folder.dir, "*"+logSuffix)); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
	folder.Log(logHash, 9).Begin([]uint32{3})
	if err := folder.Delete(logHash); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(folder.dir, "*"+logSuffix)); len(left) != 0 {
		t.Errorf("a deleted torrent left %v", left)
	}
}

// TestLogHasItsHead: at no moment, at which a kill may come, is there a log without
// its head.
func TestLogHasItsHead(t *testing.T) {
	if bootID() == "" {
		t.Skip("no log is used on this system")
	}
	folder, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const generations = 1000
	var made atomic.Uint64
	var done sync.WaitGroup
	done.Go(func() {
		for g := range uint64(generations) {
			l := folder.Log(logHash, g)
			l.Begin(nil)
			l.Close()
			made.Store(g + 1)
		}
	})
	for g := made.Load(); g < generations; g = made.Load() {
		b, err := os.ReadFile(folder.logPath(logHash, g)) // the one that is being made
		if err == nil && !bytes.HasPrefix(b, []byte(logMagic)) {
			t.Errorf("generation %d has %d bytes", g, len(b))
			break
		}
	}
	done.Wait()
}

// TestManyEndsWithoutSave: runs that end before they save anything, however many, leave
// no more logs than are read, and nothing that one of them wrote down is lost; the
// next save is rid of them all.
func TestManyEndsWithoutSave(t *testing.T) {
	if bootID() == "" {
		t.Skip("no log is used on this system")
	}
	folder, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const runs = 3 * maxLogs
	for run := range uint32(runs) {
		h, begun, next := folder.LoadLog(logHash, 5)
		if h == nil || len(h.Pieces) != int(run) || len(begun) != int(run) {
			t.Fatalf("run %d knows of %d units of earlier ones: %+v", run, len(begun), h)
		}
		l := folder.Log(logHash, next)
		l.Units(1000+run, 2, make([]byte, 64))
		l.End(l.Begin([]uint32{run}), nil, []uint32{run})
		l.Close()
		if run%2 == 0 { // killed while it wrote
			path := folder.logPath(logHash, next)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, append(b, 0, 0, 0, 30, recordBegin), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	logs := func() int {
		list, _ := filepath.Glob(filepath.Join(folder.dir, "*"+logSuffix))
		return len(list)
	}
	if n := logs(); n > maxLogs {
		t.Errorf("%d logs", n)
	}
	_, _, next := folder.LoadLog(logHash, 5)
	l := folder.Log(logHash, next)
	gen := l.Rotate()
	if err := l.Drop(gen); err != nil {
		t.Fatal(err)
	}
	if h, _, _ := folder.LoadLog(logHash, gen); logs() != 0 || h == nil || len(h.Pieces) != 0 {
		t.Errorf("after a save %d logs are left, and %+v", logs(), h)
	}
}

// TestEndsInSaves: runs that end inside a save, after the log's next generation began and
// before the state that counts from it, lose nothing either, of before or after that moment.
func TestEndsInSaves(t *testing.T) {
	if bootID() == "" {
		t.Skip("no log is used on this system")
	}
	folder, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for first := range 2 { // so many generations there are at first: an odd number, or an even one
		hash := [20]byte{byte(first)}
		piece := uint32(0)
		note := func(l *Log) {
			l.Units(1000+piece, 2, make([]byte, 64))
			l.End(l.Begin([]uint32{piece}), nil, []uint32{piece})
			piece++
		}
		if first > 0 {
			l := folder.Log(hash, 5)
			note(l)
			l.Close()
		}
		for run := range 3 * maxLogs {
			h, begun, next := folder.LoadLog(hash, 5)
			if h == nil || len(h.Pieces) != int(piece) || len(begun) != int(piece) {
				t.Fatalf("run %d knows of %d pieces of %d of earlier ones: %+v", run, len(begun), piece, h)
			}
			l := folder.Log(hash, next)
			if run%3 > 0 {
				note(l)
			}
			l.Rotate()
			note(l)
			l.Close()
		}
	}
}

func FuzzLog(f *testing.F) {
	folder := &Folder{dir: f.TempDir()}
	l := folder.Log(logHash, 1)
	l.boot = "boot"
	l.End(l.Begin([]uint32{1, 2}), []disk.Touched{{File: 1, FileStat: at(60, 111)}}, []uint32{2})
	l.Begin([]uint32{3})
	l.Units(3, 2, make([]byte, 64))
	l.Close()
	seed, err := os.ReadFile(folder.logPath(logHash, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newHistory()
		if h.read(b, logHash, "boot", map[uint64]Begun{}) && len(h.Pieces)+len(h.units) > len(b) {
			t.Fatalf("%d pieces, %d begun, of %d bytes", len(h.Pieces), len(h.units), len(b))
		}
	})
}
