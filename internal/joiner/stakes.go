package joiner

import (
	"errors"
	"fmt"
	"math/bits"
	"net/url"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/tracker"
)

// Limits of a Config.
const (
	// MaxTrackers is the greatest number of trackers asked.
	MaxTrackers = 64
	// MaxTorrents is the greatest number of joined torrents, DefaultTorrents
	// theirs by default.
	MaxTorrents     = 1000
	DefaultTorrents = 4
	// probeShare: the first stake in a torrent is one part in so many of MaxSpend.
	probeShare = 16
	// caution: of what a torrent is expected to earn one part in so many may be
	// laid out for it.
	caution = 2
	// crowd is the number of a torrent's leechers from which more count for
	// nothing more, as trackers rank (docs/beps/tracker-bids.rst).
	crowd = 50
)

// ErrConfig says that limits are missing or out of range.
var ErrConfig = errors.New("joining torrents for pay needs limits")

// Config says what may be joined. The zero value joins nothing.
type Config struct {
	// Trackers are asked for torrents in demand, by their announce URLs; none else.
	Trackers []string
	// Dir is the folder of joined torrents. What lies in it under their names and
	// is of none of them is removed.
	Dir string
	// MaxBytes bounds what joined torrents hold on disk together, MaxTorrents
	// their number (0 = DefaultTorrents).
	MaxBytes    int64
	MaxTorrents int
	// MaxSpend is the most that is laid out at any time for getting joined
	// torrents and has not been earned back by them; what was lost on torrents
	// that were left counts. 0 = nothing is bought, only what is free is fetched.
	MaxSpend amount.Amount
	// MinPrice is the least bid that is worth it, µBTT per GiB, and the reserve
	// price of joined torrents; at least 1.
	MinPrice amount.Price
	// Every is the time between two questions to a tracker, Stay how long a
	// torrent is kept without a bid of its own peers that pays; 0 = as for
	// torrents that rest.
	Every, Stay time.Duration
	// Bars says which torrents are not joined whatever is bid, by the info hash that
	// the tracker tells: those that the user keeps out of Speed. It may read a file;
	// nil = none.
	Bars func(hash [20]byte) bool
}

// Check reports what of the limits is missing or out of range, and sets defaults.
func (c *Config) Check() error {
	if c.MaxTorrents == 0 {
		c.MaxTorrents = DefaultTorrents
	}
	switch {
	case len(c.Trackers) == 0 || len(c.Trackers) > MaxTrackers:
		return fmt.Errorf("%w: name 1 to %d trackers", ErrConfig, MaxTrackers)
	case c.Dir == "":
		return fmt.Errorf("%w: name a folder", ErrConfig)
	case c.MaxBytes <= 0:
		return fmt.Errorf("%w: say how many bytes they may hold", ErrConfig)
	case c.MaxTorrents < 0 || c.MaxTorrents > MaxTorrents:
		return fmt.Errorf("%w: 1 to %d torrents", ErrConfig, MaxTorrents)
	case !c.MaxSpend.Valid():
		return fmt.Errorf("%w: %d µBTT is no sum to spend", ErrConfig, int64(c.MaxSpend))
	case c.MinPrice < 1 || !c.MinPrice.Valid():
		return fmt.Errorf("%w: say the least price, more than 0", ErrConfig)
	}
	for _, t := range c.Trackers {
		if u, err := url.Parse(t); err != nil || u.Host == "" {
			return fmt.Errorf("%w: %q is no tracker's URL", ErrConfig, t)
		}
	}
	return nil
}

// worth orders what a tracker told: the careful price times leechers over seeds.
// The careful price is the fifth highest bid, for one liar makes the highest; of
// fewer bids the highest, in proportion.
func worth(b *tracker.BidSwarm) uint64 {
	price := b.Bid5
	if b.Bidders < 5 {
		price = b.Bid / 5 * uint64(max(b.Bidders, 0))
	}
	hi, lo := bits.Mul64(min(price, uint64(amount.MaxPrice)), uint64(min(max(b.Incomplete, 1), crowd)))
	quo, _ := bits.Div64(hi, lo, max(uint64(max(b.Complete, 0))+1, hi+1)) // no overflow: hi is less than the divisor
	return quo
}

// rank sorts what a tracker told, the best first.
func rank(list []tracker.BidSwarm) {
	slices.SortStableFunc(list, func(a, b tracker.BidSwarm) int {
		switch x, y := worth(&a), worth(&b); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
}

// buyer is a connected peer as far as it matters to what a torrent may earn.
type buyer struct {
	backed amount.Price // its bid, as far as there is money behind it
	lacks  int64        // bytes of the torrent
}

// expected is what the peers of a torrent that bid our price promise: that price,
// which a lone bidder pays, for what they lack, shared with the other seeds. It is
// no more than that: they may get the rest from each other.
func expected(ask amount.Price, peers []buyer, seeds int) (sum amount.Amount) {
	for _, p := range peers {
		if p.backed < ask {
			continue
		}
		owed, err := ask.Owed(p.lacks)
		if err != nil {
			owed = amount.Supply
		}
		sum += min(owed, amount.Supply-sum)
	}
	return sum / amount.Amount(seeds+1)
}

// Venture is a joined torrent's account.
type Venture struct {
	Hash          [20]byte
	Spent, Earned amount.Amount
	// Expected is what its own peers promise to pay yet.
	Expected amount.Amount
	// Complete: nothing is bought any more.
	Complete bool
}

// Stakes keeps what joined torrents may spend within Config.MaxSpend: the sum of
// what was granted and not earned back, and of what was lost, never passes it. It
// is passive.
type Stakes struct {
	most    amount.Amount
	lost    amount.Amount // on torrents that were left
	granted map[[20]byte]amount.Amount
}

// NewStakes begins with what was lost before.
func NewStakes(most, lost amount.Amount) *Stakes {
	return &Stakes{most: most, lost: lost, granted: make(map[[20]byte]amount.Amount)}
}

// Lost is what torrents that were left cost more than they earned.
func (s *Stakes) Lost() amount.Amount { return s.lost }

// risk is what is laid out for a torrent and not earned back.
func (s *Stakes) risk(v *Venture) amount.Amount {
	out := v.Spent
	if !v.Complete {
		out = max(out, s.granted[v.Hash])
	}
	return max(0, out-v.Earned)
}

// Grant raises what the torrents may spend, in their order, and returns it: what
// they earned, and besides that a first stake, or a part of what their own peers
// promise. It never lowers a grant: a bid may stand on it.
func (s *Stakes) Grant(all []Venture) map[[20]byte]amount.Amount {
	free := s.most - s.lost
	for i := range all {
		v := &all[i]
		s.granted[v.Hash] = max(s.granted[v.Hash], v.Spent)
		free -= s.risk(v)
	}
	for i := range all {
		v := &all[i]
		if v.Complete {
			continue
		}
		want := v.Earned + max(s.most/probeShare, v.Expected/caution)
		if more := min(want-s.granted[v.Hash], free); more > 0 {
			s.granted[v.Hash] += more
			free -= more
		}
	}
	return s.granted
}

// Left closes the account of a torrent that was left.
func (s *Stakes) Left(v *Venture) {
	s.lost = max(0, s.lost+v.Spent-v.Earned)
	delete(s.granted, v.Hash)
}
