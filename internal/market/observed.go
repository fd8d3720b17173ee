package market

import (
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
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
