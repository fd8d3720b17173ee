package session

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/swarm"
)

// TestSettersDoNotWait: while a record is being written, and while a move or stop
// of the torrent is under way, settings are taken at once, others answer, and a
// stop is waited for as long as its caller likes. Flush writes what was changed.
func TestSettersDoNotWait(t *testing.T) {
	dir, torrent := content(t, map[string]int{"x": 300_000, "y": 5}, 32<<10)
	state := t.TempDir()
	s := open(t, Config{StateDir: state, Keep: true})
	x := add(t, s, Add{Torrent: torrent, Dir: dir})
	await(t, x)
	must(t, s.Flush(t.Context()))
	dir2, torrent2 := content(t, map[string]int{"z": 1}, 32<<10)
	other := add(t, s, Add{Torrent: torrent2, Dir: dir2})
	await(t, other)

	x.write.Lock() // the disk takes its time
	x.op.Lock()
	done := make(chan error)
	go func() {
		done <- errors.Join(x.SetLabels("slow"), x.SetLimits(7<<20, 8<<20), x.SetSequential(true), x.SetForced(true), x.SetSpeed(false),
			x.SetWhenPaid(true), x.SetReserve(nil), x.SetPriorities([]uint8{7, 1}), x.SetPosition(1), other.SetLabels("quick"), other.Stop(), other.Flush(t.Context()))
	}()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("a setting waits for the disk")
	}
	if st := x.Status(); !slices.Equal(st.Labels, []string{"slow"}) || !st.Sequential || st.Position != 1 || x.Files()[0].Priority != 7 {
		t.Errorf("status %+v", st)
	}
	for name, f := range map[string]func(context.Context) error{"stop": x.StopContext, "recheck": x.RecheckContext, "flush": x.Flush,
		"move": func(ctx context.Context) error { return x.Move(ctx, t.TempDir()) }} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := f(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	x.write.Unlock()
	x.op.Unlock()
	must(t, x.Flush(t.Context()))
	r, err := s.kept.Load(x.InfoHash())
	if err != nil || !slices.Equal(r.Labels, []string{"slow"}) || !r.Forced || !r.Plain || r.Up != 7<<20 || !r.Stopped || r.Dir != dir {
		t.Errorf("the record is %+v, %v", r, err)
	}
	until(t, "the stop", func() bool { return x.Status().State == swarm.Stopped })
}
