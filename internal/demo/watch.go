package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/terminal"
)

const watchEvery = 250 * time.Millisecond

// showFor is how long after the last download what a scenario shows is waited for.
const showFor = time.Minute

// watch shows the economy until every download is complete, and what the scenario is to
// show has happened.
func (e *economy) watch(ctx context.Context) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	var over time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if err := e.enter(ctx); err != nil {
			return err
		}
		left := 0
		for _, a := range e.actors {
			if a.node == nil {
				left++
				continue
			}
			a.status = a.torrent.Status()
			if a.status.State == btt.Failed {
				return fmt.Errorf("%s: %w", a.name, a.status.Err)
			}
			if a.role != provider && a.done == 0 {
				left++
				if a.status.State == btt.Seeding || a.status.State == btt.Finished {
					e.finished(a)
				}
			}
		}
		e.noteSales()
		if f := e.o.scenario.watch; f != nil {
			f(e)
		}
		e.view.show(e)
		switch now := time.Now(); {
		case left > 0:
		case e.o.scenario.problem == nil || e.o.scenario.problem(e) == "":
			return nil
		case over.IsZero():
			over = now
		case now.Sub(over) >= showFor:
			return nil // what did not happen is told with the sums
		}
	}
}

func (e *economy) finished(a *actor) {
	a.done = time.Since(e.began)
	e.report.Event("complete", fmt.Sprintf("%-6s has the whole file after %.1f s, paid %s", a.name, a.done.Seconds(), a.status.Paid),
		terminal.Fields{"name": a.name, "seconds": a.done.Seconds(), "paid": a.status.Paid})
}

// noteSales remembers the prices at which the seed sold its slots.
func (e *economy) noteSales() {
	for _, p := range e.actors[0].status.Peers {
		if p.SoldAt == 0 {
			continue
		}
		if a := e.byAddress(p.Account); a != nil {
			a.highest = max(a.highest, p.SoldAt)
		}
	}
}

func (e *economy) byAddress(s string) *actor {
	for _, a := range e.actors {
		if a.role != plain && a.address.String() == s {
			return a
		}
	}
	return nil
}

// slot says how the seed treats an actor now.
func (e *economy) slot(a *actor) (text string, price amount.Price) {
	for _, p := range e.actors[0].status.Peers {
		same := p.Account != "" && p.Account == a.address.String()
		if a.role == plain {
			same = p.Account == "" && p.Client != ""
		}
		if !same {
			continue
		}
		switch {
		case p.Unchoked && p.Optimistic:
			return "optimistic", 0
		case p.SoldAt > 0:
			return "paid", p.SoldAt
		case p.Unchoked:
			return "free", 0
		}
		return "waits", 0
	}
	return "-", 0
}
