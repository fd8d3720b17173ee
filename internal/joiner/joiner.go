package joiner

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/session"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/tracker"
)

const (
	// prefix begins the names of joined torrents' folders; the info hash follows.
	prefix = "joined-"
	// leaveTime bounds the removal of one torrent; what is left is removed later.
	leaveTime = 30 * time.Second
	// misfit is how long a torrent that is too large is not looked at again.
	misfit = 24 * time.Hour
)

// errRoom says that a torrent is larger than what is left of Config.MaxBytes.
var errRoom = errors.New("torrent is larger than what joined torrents may still hold")

// Joiner joins and leaves torrents. Its goroutine is that of Run.
type Joiner struct {
	cfg     Config
	session *session.Session
	market  *market.Node
	log     *slog.Logger
	demand  *market.Demand
	stakes  *Stakes
	room    atomic.Int64         // bytes that are left
	last    map[[20]byte]Venture // as they were weighed last
	before  before               // of all that are joined now
	unsaved bool
}

// Hold keeps a market from spending on what an earlier run joined, until a Joiner weighs
// it: without a stake a torrent bids what the whole wallet allows. Call it before the
// session is open.
func Hold(dir string, k *market.Node) error {
	found, err := folders(dir)
	for _, hash := range found {
		k.Stake(hash, 0)
	}
	if err != nil {
		return fmt.Errorf("read folder of joined torrents: %w", err)
	}
	a, err := readAccount(dir)
	for hash := range a.Before { // those of which nothing came yet
		k.Stake(hash, 0)
	}
	return err
}

// folders lists the joined torrents that have something in a folder; none without it.
func folders(dir string) (list [][20]byte, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name, is := strings.CutPrefix(e.Name(), prefix)
		if raw, bad := hex.DecodeString(name); is && bad == nil && len(raw) == 20 && e.IsDir() {
			list = append(list, [20]byte(raw))
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return list, err
}

// New makes a Joiner over an open session. The error is of the limits or the disk.
func New(cfg Config, s *session.Session, k *market.Node, log *slog.Logger) (*Joiner, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	var err error
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err == nil {
		err = os.MkdirAll(cfg.Dir, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("open folder of joined torrents: %w", err)
	}
	j := &Joiner{cfg: cfg, session: s, market: k, log: log, last: make(map[[20]byte]Venture),
		demand: market.NewDemand(market.DemandConfig{Every: cfg.Every, Stay: cfg.Stay, MinBid: cfg.MinPrice})}
	a, err := readAccount(cfg.Dir)
	if err != nil {
		return nil, err
	}
	j.before, j.stakes = a.Before, NewStakes(cfg.MaxSpend, a.Lost)
	j.room.Store(cfg.MaxBytes)
	return j, nil
}

// Run looks after joined torrents until ctx ends.
func (j *Joiner) Run(ctx context.Context) {
	j.sweep()
	tick := time.NewTicker(min(j.demand.Every(), time.Second))
	defer tick.Stop()
	var asked time.Time
	for {
		now := time.Now()
		if !j.session.Trading() {
			j.pause(now)
		} else if j.weigh(ctx); now.Sub(asked) >= j.demand.Every() {
			asked = now
			j.ask(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pause has the time begin anew in which somebody must bid: out of Speed nobody can, so
// that nothing is joined, nor left for that.
func (j *Joiner) pause(now time.Time) {
	for _, hash := range j.demand.Known() {
		j.demand.Forget(hash, now)
	}
}

// joined lists the joined torrents: those in our folder.
func (j *Joiner) joined() (list []*session.Torrent) {
	for _, t := range j.session.Torrents() {
		if j.ours(t) {
			list = append(list, t)
		}
	}
	return list
}

func (j *Joiner) ours(t *session.Torrent) bool { return t.Dir() == j.folder(t.InfoHash()) }

func (j *Joiner) folder(hash [20]byte) string {
	return filepath.Join(j.cfg.Dir, prefix+hex.EncodeToString(hash[:]))
}

// sweep removes what an earlier run left in our folder that is of no torrent, and closes
// the accounts of torrents that ended with that run.
func (j *Joiner) sweep() {
	for hash := range j.before {
		if t := j.session.Get(hash); t == nil || !j.ours(t) {
			j.close(j.account(hash, j.moved(hash)))
		}
	}
	found, err := folders(j.cfg.Dir)
	if err != nil {
		j.log.Warn("read folder of joined torrents", "err", err)
	}
	for _, hash := range found {
		t := j.session.Get(hash)
		if t != nil && j.ours(t) {
			continue
		}
		j.market.Unstake(hash)
		if t != nil {
			continue // the user's own, elsewhere
		}
		if err := os.RemoveAll(j.folder(hash)); err != nil {
			j.log.Warn("remove what a joined torrent left", "err", err)
		}
	}
}

// weigh looks at each joined torrent: what it may spend, and whether it is left.
func (j *Joiner) weigh(ctx context.Context) {
	now := time.Now()
	for _, hash := range j.demand.Known() {
		if j.session.Get(hash) == nil {
			j.demand.Forget(hash, now)
		}
	}
	for hash, v := range j.last {
		// Removed by somebody else, or moved away: what it cost is lost all the same.
		if t := j.session.Get(hash); t == nil || !j.ours(t) {
			j.close(v)
		}
	}
	var ventures []Venture
	room := j.cfg.MaxBytes
	for _, t := range j.joined() {
		st := t.Status()
		v := j.venture(t, &st)
		j.last[v.Hash] = v
		why := j.verdict(t, &st, room, now)
		if why != "" {
			j.leave(ctx, t, v, why)
			continue
		}
		room -= st.Size
		ventures = append(ventures, v)
	}
	j.room.Store(room)
	for hash, most := range j.stakes.Grant(ventures) {
		j.market.Stake(hash, j.before[hash].Paid+most) // the market counts from the first payment on
	}
	j.saveAccount()
}

// venture is a torrent's account, and what its own peers promise.
func (j *Joiner) venture(t *session.Torrent, st *session.Status) Venture {
	v := j.account(t.InfoHash(), sums{st.Paid, st.Earned})
	v.Complete = st.State == swarm.Seeding || st.Resting
	var peers []buyer
	seeds := 0
	for i := range st.Peers {
		p := &st.Peers[i]
		if p.Seed {
			seeds++
		}
		peers = append(peers, buyer{p.Backed, p.Lacks})
	}
	v.Expected = expected(j.cfg.MinPrice, peers, seeds)
	return v
}

// verdict says why a torrent is to be left; "" = it stays. One that is complete
// rests when nobody pays, as any torrent that is shared when paid, until its room
// is needed.
func (j *Joiner) verdict(t *session.Torrent, st *session.Status, room int64, now time.Time) string {
	hash := t.InfoHash()
	switch {
	case st.State == swarm.Failed && errors.Is(st.Err, errRoom), st.Size > room:
		j.demand.Bar(hash, now.Add(misfit))
		return "it is too large"
	case st.State == swarm.Failed:
		j.demand.Bar(hash, now.Add(misfit))
		return fmt.Sprintf("it failed: %v", st.Err)
	}
	j.demand.Runs(hash, now)
	quiet := j.demand.Seen(hash, st.BestBid(), j.cfg.MinPrice, now)
	if idle(st, quiet) {
		return "none of its own peers bids what a tracker told"
	}
	return ""
}

// idle says whether a torrent for which nobody bids, if it is quiet, is to be left: one
// that is not whole, or that never earned anything. One that is whole may be about to rest
// or to return, and seeds neither way then.
func idle(st *session.Status, quiet bool) bool {
	whole := !st.Completed.IsZero() && st.State != swarm.Downloading
	return quiet && !whole || st.Earned == 0 && (quiet || st.Resting)
}

// leave removes a joined torrent with its data.
func (j *Joiner) leave(ctx context.Context, t *session.Torrent, v Venture, why string) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	if err := t.Remove(ctx, true); err != nil && !errors.Is(err, session.ErrNotFound) {
		j.log.Warn("leave joined torrent", "torrent", t, "err", err)
		return
	}
	_ = os.Remove(j.folder(v.Hash)) // it is empty
	j.close(v)
	j.log.Info("joined torrent is left", "torrent", t, "why", why, "paid", v.Spent, "earned", v.Earned)
}

// close closes the account of a torrent that is gone, and keeps what it cost.
func (j *Joiner) close(v Venture) {
	delete(j.last, v.Hash)
	delete(j.before, v.Hash)
	j.unsaved = true
	j.stakes.Left(&v)
	j.market.Unstake(v.Hash)
	j.saveAccount()
}

// ask asks the trackers what is in demand, and joins what is worth most.
func (j *Joiner) ask(ctx context.Context) {
	for _, url := range j.cfg.Trackers {
		now := time.Now()
		if !j.demand.Asks(url, now) {
			continue
		}
		list, err := j.session.TopBids(ctx, url, j.demand.Least(j.cfg.MinPrice))
		if err != nil {
			if ctx.Err() == nil {
				j.log.Debug("no bids from tracker", "tracker", url, "err", err)
				j.demand.Silent(url, now)
			}
			continue
		}
		j.demand.Answered(url)
		rank(list)
		for i := range list {
			if !j.place(ctx) {
				return
			}
			j.join(url, &list[i], now)
		}
	}
}

// place says whether another torrent may be joined; one that rests gives way.
func (j *Joiner) place(ctx context.Context) bool {
	all := j.joined()
	if len(all) < j.cfg.MaxTorrents && j.room.Load() > 0 {
		return true
	}
	for _, t := range all {
		st := t.Status()
		if !st.Resting {
			continue
		}
		v := j.venture(t, &st)
		j.demand.Bar(v.Hash, time.Now().Add(misfit))
		j.leave(ctx, t, v, "its place is needed, and nobody pays for it")
		j.room.Add(st.Size)
		return true
	}
	return false
}

// join adds a torrent that a tracker told of.
func (j *Joiner) join(url string, b *tracker.BidSwarm, now time.Time) {
	hash := [20]byte(b.InfoHash)
	if j.session.Get(hash) != nil || j.cfg.Bars != nil && j.cfg.Bars(hash) || !j.demand.Told(hash, url, b.Bid, j.cfg.MinPrice, now) {
		return
	}
	j.market.Stake(hash, 0) // until it is weighed
	j.last[hash], j.before[hash], j.unsaved = Venture{Hash: hash}, j.moved(hash), true
	j.saveAccount()
	_, err := j.session.Add(session.Add{InfoHash: hash, Dir: j.folder(hash), Trackers: [][]string{{url}},
		WhenPaid: true, Reserve: &market.Reserve{Fixed: j.cfg.MinPrice}, Choose: func(in *metainfo.Info) ([]uint8, error) {
			if size := in.ContentLength(); size > j.room.Load() {
				return nil, fmt.Errorf("%w: %d of %d bytes", errRoom, size, j.room.Load())
			}
			j.room.Add(-in.ContentLength())
			return nil, nil
		}})
	if err != nil {
		j.close(Venture{Hash: hash})
		j.demand.Bar(hash, now.Add(misfit))
		j.log.Warn("join torrent", "torrent", hex.EncodeToString(hash[:]), "err", err)
		return
	}
	j.log.Info("torrent is joined for its bids", "torrent", hex.EncodeToString(hash[:]), "tracker", url, "bid", b.Bid, "bidders", b.Bidders)
}
