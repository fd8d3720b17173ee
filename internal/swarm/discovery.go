package swarm

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/tracker"
)

// stopTime bounds the goodbye to the trackers.
const stopTime = 3 * time.Second

// startAnnouncing runs at once for a magnet link, else when it is known what
// we have: a seed that is still checking would be counted as a leech.
func (s *Swarm) startAnnouncing() {
	if s.tracker != nil || s.cfg.Announcer == nil || len(s.cfg.Tiers) == 0 {
		return
	}
	s.tracker = s.startAnnounce(s.cfg.InfoHash)
	s.announceOther()
}

// startAnnounce announces to one of the torrent's swarms. The announcer outlives
// s.ctx: stopAnnouncing ends it with a goodbye.
func (s *Swarm) startAnnounce(hash [20]byte) *announce.Handle {
	return s.cfg.Announcer.Start(context.WithoutCancel(s.ctx), announce.Torrent{
		InfoHash: hash, Tiers: s.cfg.Tiers, Stats: s.trackerStats,
		Notify: func(r announce.Result) {
			select {
			case s.results <- r:
			case <-s.ctx.Done():
			}
		},
	})
}

// trackerStats is called from the announcer's goroutine, also by the goodbye
// that the swarm's goroutine waits for: what it says was counted before.
func (s *Swarm) trackerStats() tracker.Stats {
	now := make(chan tracker.Stats, 1)
	select {
	case s.calls <- func() {
		st := s.countStats()
		s.market.Stats(&st)
		now <- st
	}:
	case <-s.ending:
		return s.lastStats
	}
	select {
	case st := <-now:
		return st
	case <-s.ending:
		return s.lastStats
	}
}

func (s *Swarm) countStats() (st tracker.Stats) {
	t := s.liveTotals()
	st.Uploaded, st.Downloaded = t.Uploaded, t.Downloaded
	st.Left = 1 // unknown before the metadata is here, but not zero
	if s.picker != nil {
		st.Left = s.absent() // files nobody wants here included (BEP 21)
		st.Paused = s.partialSeed()
	}
	return st
}

func (s *Swarm) onTracker(r announce.Result) {
	if r.Err != nil {
		s.cfg.Log.Debug("announce failed", "tracker", announce.Name(r.Tracker), "err", r.Err)
	}
	if s.trackers == nil {
		s.trackers = map[string]TrackerStatus{}
	}
	s.trackers[r.Tracker] = TrackerStatus{Name: announce.Name(r.Tracker), Peers: len(r.Peers), Err: r.Err, At: s.now}
	if r.Response != nil && r.Response.ExternalIP.IsValid() && !s.external.IsValid() {
		s.external = r.Response.ExternalIP // BEP 24, until peers say
	}
	for _, a := range r.Peers {
		s.learn(a)
	}
	s.market.Told(&r, func(a netip.AddrPort) bool { return s.known[a] != nil })
	s.connect()
}

// Announce asks the trackers for peers as soon as they permit.
func (s *Swarm) Announce() {
	s.post(func() {
		for _, h := range s.announcing() {
			go h.Now() // ends when the announcer took note
		}
	})
}

func (s *Swarm) stopAnnouncing() {
	if s.tracker == nil {
		return
	}
	s.lastStats = s.countStats()
	close(s.ending)
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	var stops sync.WaitGroup
	for _, h := range s.announcing() {
		stops.Go(func() { h.Stop(ctx) }) // ends with ctx
	}
	stops.Wait()
}
