package tracker

import (
	"errors"
	"slices"
	"time"
)

// Times of Schedule.
const (
	DefaultFloor    = 30 * time.Second // shortest pause between announces to one tracker
	defaultInterval = 30 * time.Minute // if an answer tells none
	firstBackoff    = 30 * time.Second // doubles with every failure
	maxBackoff      = 30 * time.Minute
)

// ScheduleConfig says what a Schedule announces to.
type ScheduleConfig struct {
	Tiers    [][]string    // BEP 12; at most MaxTrackers URLs are kept
	Seed     uint64        // entropy for shuffling and jitter
	AllTiers bool          // announce to one tracker of every tier, not of the first only
	Floor    time.Duration // 0 = DefaultFloor
	Complete bool          // the torrent was complete before the first announce
}

// Announce is one due announce. Hand it back to Schedule.Done.
type Announce struct {
	Tracker   string
	TrackerID string // to be sent back, BEP 3
	Event     Event
	complete  bool // the torrent was complete when this fell due
	group     *group
	entry     *entry
}

// Outcome is what came of an announce. Err nil means success; a *Failure in
// Err's chain is read for BEP 31.
type Outcome struct {
	Interval, MinInterval time.Duration
	TrackerID             string
	Err                   error
}

// Schedule decides which tracker of a torrent hears which event when: tiers
// are shuffled once, tried in order, a tracker that answers moves to the front
// of its tier (BEP 12); trackers that fail are left alone with doubling
// pauses; started, completed and stopped are told once each to each tracker
// that needs to know. It is passive: no clock, no goroutine; not safe for
// concurrent use.
type Schedule struct {
	groups   []*group
	floor    time.Duration
	seed     uint64
	complete bool
	stopped  bool
}

// group is a set of tiers of which one tracker is announced to at a time.
type group struct {
	tiers    [][]*entry
	inFlight *entry
	next     time.Time
}

type entry struct {
	url, trackerID string
	started        bool // it heard of us
	completed      bool // it knows that we are complete
	gone           bool // it said never
	fails          int
	failUntil      time.Time // failed: others are tried before
	notBefore      time.Time // answered: its min interval
}

// NewSchedule makes a schedule whose first announces are due at once.
func NewSchedule(c ScheduleConfig) *Schedule {
	s := &Schedule{floor: c.Floor, seed: c.Seed, complete: c.Complete}
	if s.floor <= 0 {
		s.floor = DefaultFloor
	}
	var tiers [][]*entry
	seen := make(map[string]bool)
	for _, urls := range c.Tiers {
		var tier []*entry
		for _, u := range urls {
			if u == "" || seen[u] || len(seen) == MaxTrackers {
				continue
			}
			seen[u] = true
			tier = append(tier, &entry{url: u})
		}
		for i := len(tier) - 1; i > 0; i-- {
			j := int(s.random() % uint64(i+1))
			tier[i], tier[j] = tier[j], tier[i]
		}
		if len(tier) > 0 {
			tiers = append(tiers, tier)
		}
	}
	switch {
	case len(tiers) == 0:
	case c.AllTiers:
		for _, tier := range tiers {
			s.groups = append(s.groups, &group{tiers: [][]*entry{tier}})
		}
	default:
		s.groups = []*group{{tiers: tiers}}
	}
	return s
}

// random is splitmix64: enough for shuffling and jitter.
func (s *Schedule) random() uint64 {
	s.seed += 0x9e3779b97f4a7c15
	z := s.seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Due returns the announces to make now, at most one for each group of tiers,
// and marks them as under way until Done.
func (s *Schedule) Due(now time.Time) []Announce {
	if s.stopped {
		return nil
	}
	var due []Announce
	for _, g := range s.groups {
		if g.inFlight != nil || now.Before(g.next) {
			continue
		}
		if e := g.pick(now, s.complete); e != nil {
			g.inFlight = e
			due = append(due, Announce{e.url, e.trackerID, s.event(e), s.complete, g, e})
		}
	}
	return due
}

// event is what the tracker has to be told next.
func (s *Schedule) event(e *entry) Event {
	switch {
	case !e.started:
		return EventStarted
	case s.complete && !e.completed:
		return EventCompleted
	}
	return EventNone
}

// pick returns the tracker to announce to, or sets g.next to when there may be one.
func (g *group) pick(now time.Time, complete bool) *entry {
	if complete {
		for e := range g.all() {
			if e.started && !e.completed && !e.gone && !now.Before(e.failUntil) {
				return e // events need not wait for the min interval
			}
		}
	}
	g.next = time.Time{}
	for e := range g.all() {
		switch {
		case e.gone:
		case now.Before(e.failUntil):
			if g.next.IsZero() || e.failUntil.Before(g.next) {
				g.next = e.failUntil
			}
		case now.Before(e.notBefore):
			g.next = e.notBefore
			return nil
		default:
			return e
		}
	}
	if g.next.IsZero() { // all gone
		g.next = now.Add(100 * 365 * 24 * time.Hour)
	}
	return nil
}

func (g *group) all() func(yield func(*entry) bool) {
	return func(yield func(*entry) bool) {
		for _, tier := range g.tiers {
			for _, e := range tier {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// Next is when Due may have something again; zero if nothing but an answer or
// an event will change that.
func (s *Schedule) Next() time.Time {
	var next time.Time
	for _, g := range s.groups {
		if s.stopped || g.inFlight != nil {
			continue
		}
		if next.IsZero() || g.next.Before(next) {
			next = g.next
			if next.IsZero() {
				next = time.Unix(0, 0) // due at once
			}
		}
	}
	return next
}

// Done records an announce's outcome.
func (s *Schedule) Done(a Announce, now time.Time, o Outcome) {
	g, e := a.group, a.entry
	if g == nil || g.inFlight != e {
		return
	}
	g.inFlight = nil
	if o.Err != nil {
		s.failed(e, now, o.Err)
		g.next = now // on to the next tracker, if there is one
		return
	}
	e.fails, e.failUntil = 0, time.Time{}
	if o.TrackerID != "" {
		e.trackerID = o.TrackerID
	}
	switch a.Event {
	case EventStarted:
		e.started, e.completed = true, a.complete
	case EventCompleted:
		e.completed = true
	}
	for _, tier := range g.tiers {
		if i := slices.Index(tier, e); i > 0 {
			copy(tier[1:i+1], tier[:i])
			tier[0] = e
		}
	}
	every := o.Interval
	if every <= 0 {
		every = defaultInterval
	}
	minimum := max(o.MinInterval, s.floor)
	e.notBefore = now.Add(minimum)
	g.next = now.Add(max(every, minimum))
	if s.complete && !e.completed {
		g.next = now
	}
}

func (s *Schedule) failed(e *entry, now time.Time, err error) {
	e.fails++
	pause := min(firstBackoff<<min(e.fails-1, 10), maxBackoff)
	pause += time.Duration(s.random() % uint64(pause/8+1)) // spread returning crowds
	var f *Failure
	if errors.As(err, &f) {
		e.gone = e.gone || f.Never
		pause = max(pause, f.RetryIn)
	}
	e.failUntil = now.Add(pause)
}

// Completed says that the download is complete: each tracker that heard
// "started" before hears "completed" as soon as it is free.
func (s *Schedule) Completed(now time.Time) {
	if s.complete {
		return
	}
	s.complete = true
	// A started announce under way reports bytes missing, and is followed by
	// its completed in Done.
	for _, g := range s.groups {
		for e := range g.all() {
			if e.started && !e.completed && !e.gone {
				g.next = now
			}
		}
	}
}

// Now asks for announces as soon as the trackers' min intervals permit.
func (s *Schedule) Now(now time.Time) {
	for _, g := range s.groups {
		if now.Before(g.next) {
			g.next = now
		}
	}
}

// Stop ends the schedule and returns the announces that say goodbye to each
// tracker that heard of us: completed, where that is still owed, then stopped.
// Those to one tracker follow each other. Done need not be called for them.
func (s *Schedule) Stop() []Announce {
	if s.stopped {
		return nil
	}
	s.stopped = true
	var out []Announce
	for _, g := range s.groups {
		for e := range g.all() {
			if e.gone || !e.started && g.inFlight != e {
				continue
			}
			if e.started && s.complete && !e.completed { // still owed
				out = append(out, Announce{e.url, e.trackerID, EventCompleted, s.complete, g, e})
			}
			out = append(out, Announce{e.url, e.trackerID, EventStopped, s.complete, g, e})
		}
	}
	return out
}

// Trackers lists the URLs in the order they are tried now.
func (s *Schedule) Trackers() []string {
	var out []string
	for _, g := range s.groups {
		for e := range g.all() {
			out = append(out, e.url)
		}
	}
	return out
}
