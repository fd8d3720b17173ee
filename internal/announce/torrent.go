package announce

import (
	"context"
	"sync"
	"time"

	"github.com/bttnet/btt/tracker"
)

// Handle steers the announces of one torrent.
type Handle struct {
	a        *Announcer
	torrent  Torrent
	key      uint32
	schedule *tracker.Schedule
	commands chan func(now time.Time) // run by the torrent's goroutine
	results  chan finished
	stop     chan context.Context
	done     chan struct{}
	flying   int // announces under way; of the torrent's goroutine
}

type finished struct {
	announce tracker.Announce
	response *tracker.Response
	err      error
	took     time.Duration
}

// Start begins announcing t in a goroutine of its own that ends with ctx (no
// goodbye), with Close, or with Stop.
func (a *Announcer) Start(ctx context.Context, t Torrent) *Handle {
	h := &Handle{
		a: a, torrent: t, key: uint32(random64()),
		schedule: tracker.NewSchedule(tracker.ScheduleConfig{
			Tiers: t.Tiers, Seed: random64(), AllTiers: a.config.AllTiers,
			Floor: a.config.Floor, Complete: t.Complete,
		}),
		commands: make(chan func(time.Time)),
		results:  make(chan finished),
		stop:     make(chan context.Context),
		done:     make(chan struct{}),
	}
	a.torns.Add(1)
	go func() {
		defer a.torns.Done()
		defer close(h.done)
		h.run(ctx)
	}()
	return h
}

// Completed says that the download is complete.
func (h *Handle) Completed() { h.command(h.schedule.Completed) }

// Now asks for announces as soon as the trackers permit.
func (h *Handle) Now() { h.command(h.schedule.Now) }

func (h *Handle) command(f func(time.Time)) {
	select {
	case h.commands <- f:
	case <-h.done:
	}
}

// Stop tells the trackers goodbye, for at most StopTimeout or until ctx ends,
// and ends the torrent's goroutine. It may be called more than once.
func (h *Handle) Stop(ctx context.Context) {
	select {
	case h.stop <- ctx:
	case <-h.done:
	}
	<-h.done
}

// run owns the schedule.
func (h *Handle) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.a.ctx, cancel)()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		for _, due := range h.schedule.Due(now) {
			h.flying++
			go h.announce(ctx, due) // ends with its timeout or ctx
		}
		if next := h.schedule.Next(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(next.Sub(now), 0))
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case f := <-h.commands:
			f(time.Now())
		case r := <-h.results:
			h.flying--
			h.finish(r)
		case stopCtx := <-h.stop:
			h.drain(stopCtx)
			cancel()
			h.goodbye(stopCtx)
			return
		}
	}
}

// drainTime bounds the wait for announces under way before the goodbye.
const drainTime = time.Second

// drain waits for announces under way: one that is cut off may have been heard
// or not, and its event would be told twice or never.
func (h *Handle) drain(ctx context.Context) {
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	for h.flying > 0 {
		select {
		case r := <-h.results:
			h.flying--
			h.finish(r)
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// request builds the announce's request from the torrent's numbers of now.
func (h *Handle) request(due tracker.Announce) *tracker.Request {
	c := &h.a.config
	r := &tracker.Request{
		InfoHash: h.torrent.InfoHash, PeerID: c.PeerID, Port: c.Port, Stats: h.torrent.Stats(),
		Event: due.Event, NumWant: c.NumWant, Key: h.key, TrackerID: due.TrackerID,
		IPv4: c.IPv4, IPv6: c.IPv6,
	}
	if r.Paused && due.Event == tracker.EventNone {
		r.Event = tracker.EventPaused
	}
	if due.Event == tracker.EventStopped {
		r.NumWant, r.Bid, r.Top = 0, 0, 0
	}
	return r
}

func (h *Handle) announce(ctx context.Context, due tracker.Announce) {
	begin := time.Now()
	resp, err := h.a.Announce(ctx, due.Tracker, h.request(due))
	select {
	case h.results <- finished{due, resp, err, time.Since(begin)}:
	case <-h.done:
	}
}

func (h *Handle) finish(f finished) {
	outcome := tracker.Outcome{Err: f.err}
	result := Result{Tracker: f.announce.Tracker, Event: f.announce.Event, Err: f.err, Took: f.took}
	if f.err == nil {
		outcome.Interval, outcome.MinInterval = f.response.Interval, f.response.MinInterval
		outcome.TrackerID = f.response.TrackerID
		result.Response, result.Peers = f.response, f.response.AddrPorts()
		for _, p := range f.response.Peers {
			if p.HasBid {
				result.Bids = append(result.Bids, p)
			}
		}
	}
	h.schedule.Done(f.announce, time.Now(), outcome)
	if h.torrent.Notify != nil {
		h.torrent.Notify(result)
	}
}

// goodbye takes leave of all trackers that heard of us, side by side.
func (h *Handle) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, StopTimeout)
	defer cancel()
	defer context.AfterFunc(h.a.ctx, cancel)()
	var wg sync.WaitGroup
	for byes := h.schedule.Stop(); len(byes) > 0; {
		n := 1
		for n < len(byes) && byes[n].Tracker == byes[0].Tracker {
			n++
		}
		same := byes[:n]
		byes = byes[n:]
		wg.Go(func() {
			for _, bye := range same {
				// Nobody is left to hear of a failure: trackers forget us by themselves.
				_, _ = h.a.Announce(ctx, bye.Tracker, h.request(bye))
			}
		})
	}
	wg.Wait()
}
