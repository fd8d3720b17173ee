package swarm

import (
	"context"
	"time"

	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/tracker"
)

// stopTime bounds the goodbye to the trackers.
const stopTime = 3 * time.Second

func (s *Swarm) startAnnouncing() {
	if s.cfg.Announcer == nil || len(s.cfg.Tiers) == 0 {
		return
	}
	s.tracker = s.cfg.Announcer.Start(s.ctx, announce.Torrent{
		InfoHash: s.cfg.InfoHash, Tiers: s.cfg.Tiers, Stats: s.trackerStats,
		Notify: func(r announce.Result) {
			select {
			case s.results <- r:
			case <-s.ctx.Done():
			}
		},
	})
}

// trackerStats is called from the announcer's goroutine.
func (s *Swarm) trackerStats() tracker.Stats {
	var st tracker.Stats
	_ = s.do(func() {
		t := s.liveTotals()
		st.Uploaded, st.Downloaded = t.Uploaded, t.Downloaded
		st.Left = 1 // unknown before the metadata is here, but not zero
		if s.picker != nil {
			st.Left = s.picker.Left()
		}
		s.bidStats(&st)
	})
	return st
}

func (s *Swarm) onTracker(r announce.Result) {
	if r.Err != nil {
		s.cfg.Log.Debug("announce failed", "tracker", r.Tracker, "err", r.Err)
	}
	for _, a := range r.Peers {
		s.learn(a)
	}
	s.onTold(&r)
	s.connect()
}

func (s *Swarm) stopAnnouncing() {
	if s.tracker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	s.tracker.Stop(ctx)
}
