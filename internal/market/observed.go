package market

import (
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/speed/reserve"
)

// Limits of what is remembered of prices.
const (
	// maxObserved is the number of prices remembered; a newer one takes the
	// place of the oldest.
	maxObserved = 64
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
	ring [maxObserved]sighting
	next int
}

// sighting is a price and when it was paid first.
type sighting struct {
	price amount.Price
	at    time.Time
}

func (o *observed) note(price amount.Price, at time.Time) {
	if price <= 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ring[o.next] = sighting{price, at}
	o.next = (o.next + 1) % maxObserved
}

// growth is the growth that follows from the prices of late; false = there are
// none.
func (o *observed) growth(now time.Time) (reserve.Growth, bool) {
	var buf [maxObserved]amount.Price
	prices := buf[:0]
	o.mu.Lock()
	for _, s := range o.ring {
		if s.price > 0 && now.Sub(s.at) < observedFor {
			prices = append(prices, s.price)
		}
	}
	o.mu.Unlock()
	return reserve.Observed(prices)
}

// Observed is how a reserve price grows that follows the prices at which this
// node bought and sold of late; false = there are none.
func (k *Node) Observed(now time.Time) (reserve.Growth, bool) { return k.observed.growth(now) }

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
