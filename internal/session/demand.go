package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/tracker"
)

// scrapeTime bounds the questions to one tracker.
const scrapeTime = 30 * time.Second

// trade is a session's part in BitTorrent Speed.
type trade struct {
	market *market.Node         // nil = plain BitTorrent
	demand *market.DemandConfig // nil = nothing rests
}

func (s *Session) market() *market.Node { return s.trade.Load().market }

// ErrMarket says that a session has a market already.
var ErrMarket = errors.New("session has a market already")

// OpenMarket gives a session that began without [Config.Market] one, as that and
// [Config.Demand] would have. All torrents stay out of it until [Session.SetMarket]
// lets them in. The error is [ErrMarket] or [ErrClosed].
func (s *Session) OpenMarket(m *market.Node, d *market.DemandConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return ErrClosed
	case s.market() != nil:
		return ErrMarket
	}
	s.plain.Store(true) // before a torrent that starts can see the market
	s.trade.Store(&trade{m, d})
	if d != nil {
		s.wg.Go(s.watchDemand)
	}
	return nil
}

// SetMarket takes all torrents out of BitTorrent Speed, or lets those in again
// that take part (R9.1, R15.4): outside, they neither bid nor pay nor sell.
// Connections begin anew.
func (s *Session) SetMarket(on bool) {
	if s.market() == nil || s.plain.Swap(!on) == !on {
		return
	}
	s.spawn(func() { // ends with the last restart
		for _, t := range s.Torrents() {
			t.mu.Lock()
			plain, paid := t.rec.Plain, t.rec.WhenPaid
			t.mu.Unlock()
			if paid { // it rests for want of pay only where somebody could pay
				s.plan(t)
			}
			if !plain {
				t.restart()
			}
		}
	})
}

// plain says whether the torrent is out of BitTorrent Speed, alone or with all others.
func (t *Torrent) plain() bool {
	if !t.s.Trading() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.Plain
}

// Trading says whether torrents may take part in BitTorrent Speed: there is a market, and
// they are let in.
func (s *Session) Trading() bool { return s.market() != nil && !s.plain.Load() }

// SetReserve gives the torrent a reserve price of its own (R7.19); nil = that
// of the node. Its connections begin anew.
func (t *Torrent) SetReserve(r *market.Reserve) error {
	err := t.change(func(rec *catalog.Record) { rec.Reserve = r })
	t.s.spawn(t.restart)
	return err
}

// SetWhenPaid rests the torrent, once it is complete, while nobody bids its
// reserve price, or lets it run as others do.
func (t *Torrent) SetWhenPaid(on bool) error {
	return t.change(func(r *catalog.Record) { r.WhenPaid = on })
}

// ask is the reserve price of the torrent when it returns.
func (t *Torrent) ask() amount.Price {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rec.Reserve != nil {
		return t.rec.Reserve.Ask()
	}
	return t.s.market().Reserve.Ask()
}

// watchDemand brings resting torrents back for bids that trackers tell, and
// lets them rest when nobody pays any more (R6.5, R6.6). It owns the rules and
// ends with the session.
func (s *Session) watchDemand() {
	d := market.NewDemand(*s.trade.Load().demand)
	tick := time.NewTicker(min(d.Every(), time.Second))
	defer tick.Stop()
	var asked time.Time
	for {
		s.weigh(d, time.Now())
		if now := time.Now(); now.Sub(asked) >= d.Every() {
			asked = now
			s.askTrackers(d)
		}
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// weigh looks at the torrents that run: do they pay? While one is out of Speed, stopped or
// not complete nobody can pay, and its time does not count.
func (s *Session) weigh(d *market.Demand, now time.Time) {
	for _, hash := range d.Known() {
		if s.Get(hash) == nil {
			d.Forget(hash, now)
		}
	}
	for _, t := range s.Torrents() {
		if !t.called.Load() {
			continue
		}
		if !t.whenPaid() || !t.complete.Load() {
			d.Away(t.hash, now)
			continue
		}
		d.Runs(t.hash, now)
		st := t.Status()
		if d.Seen(t.hash, st.BestBid(), t.ask(), now) {
			s.cfg.Log.Info("nobody pays: torrent rests", "torrent", t)
			t.call(false)
		}
	}
}

func (t *Torrent) whenPaid() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rec.WhenPaid && !t.rec.Stopped && !t.rec.Plain && !t.s.plain.Load()
}

// call lets the torrent run, or rest.
func (t *Torrent) call(on bool) {
	t.called.Store(on)
	t.s.plan(t)
}

// askTrackers asks the trackers of resting torrents for bids.
func (s *Session) askTrackers(d *market.Demand) {
	now := time.Now()
	resting := map[string][]*Torrent{} // by tracker
	for _, t := range s.Torrents() {
		if !t.whenPaid() || !t.complete.Load() || t.called.Load() {
			continue
		}
		for _, url := range t.trackers() {
			if d.Asks(url, now) {
				resting[url] = append(resting[url], t)
			}
		}
	}
	for url, list := range resting {
		told, err := s.bids(url, list)
		if err != nil {
			if s.ctx.Err() == nil {
				s.cfg.Log.Debug("no bids from tracker", "tracker", url, "err", err)
				d.Silent(url, now)
			}
			continue
		}
		d.Answered(url)
		for _, t := range list {
			if b, ok := told[t.hash]; ok && d.Told(t.hash, url, b.Bid, t.ask(), now) {
				s.cfg.Log.Info("torrent returns for a bid", "torrent", t, "tracker", url, "bid", b.Bid, "bidders", b.Bidders)
				t.call(true)
			}
		}
	}
}

// trackers returns the URLs of the torrent's trackers.
func (t *Torrent) trackers() []string {
	var list []string
	if meta := t.Metainfo(); meta != nil {
		list = slices.Concat(meta.AnnounceList...)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(list, slices.Concat(t.rec.Trackers...)...)
}

// bids asks one tracker for the bids of torrents.
func (s *Session) bids(url string, list []*Torrent) (map[tracker.InfoHash]tracker.BidSwarm, error) {
	ctx, cancel := context.WithTimeout(s.ctx, scrapeTime)
	defer cancel()
	hashes := make([]tracker.InfoHash, len(list))
	for i, t := range list {
		hashes[i] = t.hash
	}
	return s.announcer.Bids(ctx, url, hashes)
}

// TopBids asks a tracker for the torrents with the best bids, of at least so many
// µBTT per GiB (R6.5). What it says is to be believed of nobody.
func (s *Session) TopBids(ctx context.Context, url string, least uint64) ([]tracker.BidSwarm, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTime)
	defer cancel()
	return s.announcer.TopBids(ctx, url, least)
}
