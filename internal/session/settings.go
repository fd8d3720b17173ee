package session

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/swarm"
)

// SetSpeed takes the torrent out of BitTorrent Speed or lets it in again (R9.2):
// outside, it neither bids nor pays nor sells. Its connections begin anew. It
// has no effect in a session without a market.
func (t *Torrent) SetSpeed(on bool) error {
	t.mu.Lock()
	same := t.rec.Plain == !on
	t.mu.Unlock()
	if same {
		return nil
	}
	err := t.change(func(r *catalog.Record) { r.Plain = !on })
	if t.s.market() != nil && !t.s.plain.Load() { // else it is out either way
		t.s.spawn(t.restart)
	}
	return err
}

// SetLabels replaces the labels: at most [catalog.MaxLabels], sorted, each once.
func (t *Torrent) SetLabels(labels ...string) error {
	if err := catalog.CheckLabels(labels); err != nil {
		return fmt.Errorf("label torrent: %w", err)
	}
	labels = catalog.SortLabels(labels)
	return t.change(func(r *catalog.Record) { r.Labels = labels })
}

// SetLimits sets the torrent's own limits in bytes per second, on top of the
// session's; 0 = none.
func (t *Torrent) SetLimits(up, down int64) error {
	up, down = max(up, 0), max(down, 0)
	t.up.SetRate(up, time.Now())
	t.down.SetRate(down, time.Now())
	return t.change(func(r *catalog.Record) { r.Up, r.Down = up, down })
}

// SetSequential switches between rarest first and the order of the pieces.
func (t *Torrent) SetSequential(on bool) error {
	t.tune.Lock()
	defer t.tune.Unlock()
	if err := t.change(func(r *catalog.Record) { r.Sequential = on }); err != nil {
		return err
	}
	if sw := t.running(); sw != nil { // one that starts from here on has it from the record
		sw.SetSequential(on)
	}
	return nil
}

// ReadAhead asks for length bytes of a file from offset on before everything
// else, for somebody who plays it, until it is called again: a length of 0 ends
// it. It is not remembered. The torrent must run and be known.
func (t *Torrent) ReadAhead(file int, offset, length int64) error {
	sw := t.running()
	if sw == nil {
		return fmt.Errorf("read ahead in %s: it does not run", t)
	}
	return sw.ReadAhead(file, offset, length)
}

// SetPriorities says which files are wanted and how soon: for each file of the
// torrent 0 (not wanted) to 7; a shorter list leaves the rest at the default, 4.
func (t *Torrent) SetPriorities(prios []uint8) error {
	t.tune.Lock()
	err := t.prioritise(slices.Clone(prios))
	t.tune.Unlock()
	if err != nil {
		return fmt.Errorf("choose files: %w", err)
	}
	return t.change(func(*catalog.Record) {})
}

// prioritise does it; t.tune is held.
func (t *Torrent) prioritise(prios []uint8) error {
	for {
		complete := false
		sw := t.running()
		if sw != nil {
			if err := sw.SetPriorities(prios); err != nil && !errors.Is(err, swarm.ErrClosed) {
				return err
			}
			st := sw.Status()
			complete = st.Err == nil && st.Left == 0 && st.Pieces > 0
		}
		t.mu.Lock()
		if t.swarm == nil || t.swarm == sw {
			t.complete.Store(complete)
			t.choose, t.rec.Priorities = nil, prios
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock() // it started meanwhile, with the earlier ones
	}
}
