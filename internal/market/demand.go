package market

import (
	"time"

	"github.com/bttnet/btt/amount"
)

// Defaults of a DemandConfig.
const (
	// DefaultWatchEvery is the time between two bid scrapes.
	DefaultWatchEvery = 5 * time.Minute
	// DefaultStay is how long a torrent goes on without a bid that pays.
	DefaultStay = 10 * time.Minute
)

// Limits of what is remembered of trackers.
const (
	// maxTrackers is the number of trackers whose word is weighed.
	maxTrackers = 1024
	// maxBarred is the number of torrents that are gone and remembered.
	maxBarred = 4096
	// maxLies is the number of calls in a row for nothing after which a
	// tracker is not believed for doubtFor.
	maxLies  = 3
	doubtFor = 24 * time.Hour
	// muteFor is how long a tracker that has no bid scrape is not asked in the
	// end: the time begins with two rounds and doubles.
	muteFor = time.Hour
)

// DemandConfig says how a node watches torrents that it seeds only when they
// pay. Zero durations mean the defaults.
type DemandConfig struct {
	Every, Stay time.Duration
	// MinBid is the least bid that is worth a return, besides the torrent's
	// reserve price.
	MinBid amount.Price
}

// Demand decides which resting torrents return because trackers tell of bids
// for them (R6.5, R6.6), and which rest again. A tracker's word only calls a
// torrent: what is charged follows from the peers' own bids, and a tracker that
// calls for nothing is believed less (R6.3). It is passive and belongs to one
// goroutine.
type Demand struct {
	cfg      DemandConfig
	calls    map[[20]byte]*call
	trackers map[string]*repute
}

// call is one torrent's return.
type call struct {
	running bool
	tracker string // who called; "" = nobody: it was completed just now
	since   time.Time
	paid    time.Time // when a bid paid last
	barred  time.Time // not called before
	fails   int
}

type repute struct {
	lies   int
	silent int
	until  time.Time // not asked before
}

// NewDemand makes the rules.
func NewDemand(cfg DemandConfig) *Demand {
	if cfg.Every <= 0 {
		cfg.Every = DefaultWatchEvery
	}
	if cfg.Stay <= 0 {
		cfg.Stay = DefaultStay
	}
	return &Demand{cfg: cfg, calls: map[[20]byte]*call{}, trackers: map[string]*repute{}}
}

// Every is the time between two bid scrapes.
func (d *Demand) Every() time.Duration { return d.cfg.Every }

// Asks says whether a tracker is to be asked now.
func (d *Demand) Asks(tracker string, now time.Time) bool {
	r := d.trackers[tracker]
	return r == nil || !now.Before(r.until)
}

// Silent books that a tracker has no bid scrape, or did not answer.
func (d *Demand) Silent(tracker string, now time.Time) {
	r := d.repute(tracker)
	r.silent++
	r.until = now.Add(min(muteFor, d.cfg.Every<<min(r.silent, 10)))
}

// Answered books that a tracker answered.
func (d *Demand) Answered(tracker string) {
	if r := d.trackers[tracker]; r != nil {
		r.silent = 0
	}
}

func (d *Demand) repute(tracker string) *repute {
	r := d.trackers[tracker]
	if r == nil {
		if len(d.trackers) >= maxTrackers { // forgetting costs a few calls for nothing
			for k := range d.trackers {
				delete(d.trackers, k)
				break
			}
		}
		r = new(repute)
		d.trackers[tracker] = r
	}
	return r
}

// Least is what a tracker must tell at least for a reserve price of ask: bids
// are rounded down on their way to it.
func (d *Demand) Least(ask amount.Price) uint64 {
	return max(1, roundBid(uint64(max(ask, d.cfg.MinBid))))
}

// Told weighs the highest bid that a tracker tells for a resting torrent, in
// µBTT per GiB, and says whether the torrent is to return.
func (d *Demand) Told(hash [20]byte, tracker string, bid uint64, ask amount.Price, now time.Time) bool {
	c := d.calls[hash]
	if c == nil {
		c = new(call)
		d.calls[hash] = c
	}
	if c.running || now.Before(c.barred) || !d.Asks(tracker, now) || bid < d.Least(ask) {
		return false
	}
	c.running, c.tracker, c.since, c.paid = true, tracker, now, time.Time{}
	return true
}

// Runs books that a torrent runs of itself: it was completed just now.
func (d *Demand) Runs(hash [20]byte, now time.Time) {
	if c := d.calls[hash]; c == nil || !c.running {
		d.calls[hash] = &call{running: true, since: now}
	}
}

// Away books that nobody can pay for a running torrent now. Its stay begins anew after
// that, as its connections do, so that it neither rests at once nor speaks against the
// tracker that called it.
func (d *Demand) Away(hash [20]byte, now time.Time) {
	if c := d.calls[hash]; c != nil && c.running {
		c.since = now
	}
}

// Seen weighs the highest bid of a running torrent's own peers, and says
// whether the torrent is to rest again.
func (d *Demand) Seen(hash [20]byte, bid, ask amount.Price, now time.Time) (rest bool) {
	c := d.calls[hash]
	if c == nil || !c.running {
		return false
	}
	if bid > 0 && bid >= ask && bid >= d.cfg.MinBid {
		c.paid, c.fails = now, 0
		if c.tracker != "" {
			d.repute(c.tracker).lies = 0
		}
	}
	last := c.since
	if c.paid.After(last) {
		last = c.paid
	}
	if now.Sub(last) < d.cfg.Stay {
		return false
	}
	c.running = false
	if c.paid.IsZero() && c.tracker != "" {
		d.calledForNothing(c, now)
	}
	return true
}

// calledForNothing makes the next call of the torrent rarer, and the tracker
// less believed.
func (d *Demand) calledForNothing(c *call, now time.Time) {
	c.fails++
	c.barred = now.Add(min(doubtFor, d.cfg.Stay<<min(c.fails, 10)))
	r := d.repute(c.tracker)
	if r.lies++; r.lies >= maxLies {
		r.lies, r.until = 0, now.Add(doubtFor)
	}
}

// Forget drops what is known of a torrent that is gone, unless it is not to be
// called again for a time.
func (d *Demand) Forget(hash [20]byte, now time.Time) {
	if c := d.calls[hash]; c != nil {
		c.running = false
		if !now.Before(c.barred) || len(d.calls) > maxBarred {
			delete(d.calls, hash)
		}
	}
}

// Bar keeps a torrent from being called for a time; nobody lied.
func (d *Demand) Bar(hash [20]byte, until time.Time) {
	c := d.calls[hash]
	if c == nil {
		c = new(call)
		d.calls[hash] = c
	}
	c.running, c.barred = false, until
}

// Known returns the torrents that something is known of.
func (d *Demand) Known() [][20]byte {
	list := make([][20]byte, 0, len(d.calls))
	for h := range d.calls {
		list = append(list, h)
	}
	return list
}
