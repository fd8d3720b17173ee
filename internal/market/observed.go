package market

import (
	"math/bits"
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/speed/reserve"
)

// Limits of what is remembered of prices.
const (
	// MaxSightings is the number of prices remembered; a newer one takes the
	// place of the oldest.
	MaxSightings = 64
	// observedFor is how long a price counts. Without it a reserve price that
	// follows a market which fell would keep every buyer away, see no new
	// price, and stay.
	observedFor = 3 * 24 * time.Hour
	// followEvery is the time between two looks at the prices by a torrent
	// whose reserve price grows.
	followEvery = time.Hour
)

// observed are the prices above 0 at which this node bought and sold of late:
// one for each deal that brought a payment. Its methods are safe for concurrent
// use.
type observed struct {
	mu   sync.Mutex // leaf lock
	ring [MaxSightings]Sighting
	next int
}

// Sighting is a price and when it was paid first.
type Sighting struct {
	Price amount.Price
	At    time.Time
}

func (o *observed) note(price amount.Price, at time.Time) {
	if price <= 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ring[o.next] = Sighting{price, at}
	o.next = (o.next + 1) % MaxSightings
}

// growth is the growth that follows from the prices of late; false = there are
// none.
func (o *observed) growth(now time.Time) (reserve.Growth, bool) {
	var buf [MaxSightings]amount.Price
	prices := buf[:0]
	o.mu.Lock()
	for _, s := range o.ring {
		if s.Price > 0 && now.Sub(s.At) < observedFor {
			prices = append(prices, s.Price)
		}
	}
	o.mu.Unlock()
	return reserve.Observed(prices)
}

// Observed is how a reserve price grows that follows the prices at which this
// node bought and sold of late; false = there are none.
func (k *Node) Observed(now time.Time) (reserve.Growth, bool) { return k.observed.growth(now) }

// Sightings returns the prices remembered, the oldest first, at most MaxSightings:
// what SetSightings takes after a restart.
func (k *Node) Sightings() []Sighting {
	o := &k.observed
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []Sighting
	for i := range o.ring {
		if s := o.ring[(o.next+i)%MaxSightings]; s.Price > 0 {
			list = append(list, s)
		}
	}
	return list
}

// SetSightings remembers prices that an earlier run saw. What is no price, too old or
// of times to come is left out, and of too many the first.
func (k *Node) SetSightings(list []Sighting, now time.Time) {
	for _, s := range list[max(0, len(list)-MaxSightings):] {
		if s.Price.Valid() && !s.At.After(now) && now.Sub(s.At) < observedFor {
			k.observed.note(s.Price, s.At)
		}
	}
}

// follow sets how the torrent's reserve price grows by the prices of late, or as
// configured where there are none. What the user chose stays.
func (t *Torrent) follow() {
	r := t.reserving
	if !t.cfg.Reserve.Follow || r == nil || r.linear == nil {
		return
	}
	r.followed = t.swarm.Now()
	r.linear.Growth = t.cfg.Reserve.Growth
	if g, ok := t.node.Observed(r.followed); ok {
		r.linear.Growth = g
	}
}

// observe remembers a deal's price at its first payment.
func (t *Torrent) observe(unseen *bool, price amount.Price) {
	if *unseen {
		*unseen = false
		t.node.observed.note(price, t.swarm.Now())
	}
}

// maxBargains is the number of sellers, each for one torrent, whose prices are
// remembered beside our bids; another takes the place of any.
const maxBargains = 1024

// bargains are what this node knows of sellers' prices. They outlive connections: who
// comes again begins with what it asked before. Its methods are safe for concurrent use.
type bargains struct {
	mu sync.Mutex // leaf lock
	by map[bargainKey]autobid.Bargain
}

type bargainKey struct {
	seller  ledger.Address
	torrent [20]byte
}

// change has f look at what is known of a seller.
func (b *bargains) change(k bargainKey, f func(*autobid.Bargain)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, known := b.by[k]
	f(&x)
	if b.by == nil {
		b.by = make(map[bargainKey]autobid.Bargain)
	}
	if !known && len(b.by) >= maxBargains {
		for other := range b.by {
			delete(b.by, other)
			break
		}
	}
	b.by[k] = x
}

func (b *bargains) bid(k bargainKey, bid, reserve amount.Price) amount.Price {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.by[k]
	return x.Bid(bid, reserve)
}

// bargain is a requester's book about the price of one peer.
type bargain struct {
	bid         amount.Price // told last
	at, sampled time.Time    // when that was, and when the price was looked at
}

// bargained is what of a bid we tell a peer: less where its price follows our bid and
// somebody else sells for less.
func (t *Torrent) bargained(p *Trade, bid amount.Price) amount.Price {
	if p.provider.IsZero() || bid == 0 {
		return bid
	}
	return t.node.bargains.bid(bargainKey{p.provider, t.cfg.InfoHash}, bid, p.asks())
}

// asks is the reserve price that the peer announced, 0 for none.
func (p *Trade) asks() amount.Price {
	if r, told := p.session.Challenge(); told {
		return r.Price
	}
	return 0
}

// haggle looks at the price of a peer that sells to us, each round, as soon as the peer
// may have heard of our last bid.
func (t *Torrent) haggle(p *Trade) {
	if p.provider.IsZero() {
		return
	}
	now, b := t.swarm.Now(), &p.bargain
	if bid := p.session.Snapshot().OurBid; bid != b.bid {
		b.bid, b.at = bid, now
	}
	look := p.Paying() && now.Sub(b.at) >= 2*autobid.SampleEvery && now.Sub(b.sampled) >= autobid.SampleEvery
	t.node.bargains.change(bargainKey{p.provider, t.cfg.InfoHash}, func(x *autobid.Bargain) {
		x.Tick(now, p.Paying())
		if look {
			x.Sample(now, p.boughtAt, b.bid, p.asks(), t.cheaper(p))
		}
	})
	if look && b.bid > 0 {
		b.sampled = now
		p.flow.rounds++
		hi, lo := bits.Mul64(uint64(min(p.boughtAt, b.bid)), autobid.PPM)
		part, _ := bits.Div64(hi, lo, uint64(b.bid)) // at most autobid.PPM
		p.flow.parts += int64(part)
	}
}

// cheaper says whether another peer sells to us for an eighth less than this one, or
// better.
func (t *Torrent) cheaper(p *Trade) bool {
	for _, o := range t.trades {
		if o != p && o.Paying() && o.provider != p.provider && o.peer.Serving() && o.boughtAt <= p.boughtAt-p.boughtAt/8 {
			return true
		}
	}
	return false
}
