package session

import (
	"crypto/rand"
	"encoding/binary"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/swarm"
)

// run is the session's goroutine: a choke round every 15 s (R10.2), and free
// slots given at once in between.
func (s *Session) run() {
	round := time.NewTicker(s.cfg.ChokeEvery)
	defer round.Stop()
	var fill <-chan time.Time
	var c choke
	c.share.Lot = random()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.plans.signal:
			s.planAll()
		case <-s.unsaved.signal:
			s.saveBacklog()
		case <-s.free:
			if fill == nil {
				fill = time.After(fillDelay)
			}
		case now := <-fill:
			fill = nil
			s.choke(&c, now, false)
		case now := <-round.C:
			s.choke(&c, now, true)
		}
	}
}

// random returns a random word.
func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand ends the process)
	return binary.LittleEndian.Uint64(b[:])
}

// choke is the memory that rounds reuse.
type choke struct {
	candidates []choker.Candidate
	swarms     []*swarm.Swarm
	decisions  []choker.Decision
	share      choker.Share
	slack      choker.Slack
	booked     time.Time // the round before
	scratch    choker.Scratch
}

// choke ranks the peers of all torrents and carries the decisions out.
func (s *Session) choke(c *choke, now time.Time, round bool) {
	swarms := c.swarms[:0]
	c.candidates = c.candidates[:0]
	for _, t := range s.Torrents() {
		sw := t.running()
		if sw == nil {
			continue
		}
		swarms = append(swarms, sw)
		from := len(c.candidates)
		c.candidates = sw.Candidates(c.candidates, round)
		plain := t.plain()
		for i, limit := from, t.up.Rate(); i < len(c.candidates); i++ {
			c.candidates[i].Limit, c.candidates[i].Plain = limit, plain
		}
	}
	c.swarms = swarms
	defer clear(swarms)
	cfg := s.cfg.Choker
	if round {
		c.share.Book(cfg.Keep, c.candidates)
		if !c.booked.IsZero() {
			c.slack.Book(s.up.Rate(), now.Sub(c.booked), c.candidates)
		}
		c.booked = now
	}
	cfg = c.slack.Apply(c.share.Apply(cfg, c.candidates))
	if round {
		c.decisions = c.scratch.Round(c.decisions[:0], cfg, now, random(), c.candidates)
	} else {
		c.decisions = c.scratch.Fill(c.decisions[:0], cfg, now, c.candidates)
	}
	weights := c.weigh(round)
	for _, sw := range swarms {
		sw.Decide(c.decisions, weights)
	}
}

// weigh says how those share a seed's upload that are served from now on.
func (c *choke) weigh(round bool) choker.Weights {
	if round {
		return c.share.Weigh(c.candidates, func(i int) (slot, sold bool) { return c.decisions[i].Unchoke, c.decisions[i].Paid })
	}
	return c.share.Weigh(c.candidates, func(i int) (slot, sold bool) {
		p := &c.candidates[i]
		if j := slices.IndexFunc(c.decisions, func(d choker.Decision) bool { return d.ID == p.ID }); j >= 0 {
			return true, c.decisions[j].Paid
		}
		return p.Unchoked, p.Unchoked && p.Paid
	})
}
