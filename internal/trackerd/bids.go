package trackerd

import (
	"encoding/binary"

	"github.com/bttnet/btt/tracker"
)

const (
	topSize    = 16 // bids a swarm's top list keeps
	topLow     = 8  // fewer, with more bidders around, make a rescan
	listClass  = 6  // from this class (32 places) on a top list is kept; smaller swarms are scanned
	bidPercent = 10 // a change of no more than this is no news (R8.5)
)

// pricing says which peers of an answer come with their bids.
type pricing uint8

const (
	priceNone pricing = iota
	priceTop          // two bytes of count, then the top bidders with bids, then plain peers
	priceAll          // every peer is followed by its bid code and age in minutes
)

// topEntry is one bid of a swarm.
type topEntry[K key] struct {
	key  K
	code uint16
	told uint8
}

// topList holds a swarm's highest bids, best first. No bid outside the list is
// above cutoff.
type topList[K key] struct {
	n       int
	cutoff  uint16
	entries [topSize]topEntry[K]
}

// add puts a bid in order; what falls out raises the cutoff.
func (t *topList[K]) add(e topEntry[K]) {
	i := t.n
	for i > 0 && t.entries[i-1].code < e.code {
		i--
	}
	if i == topSize {
		t.cutoff = max(t.cutoff, e.code)
		return
	}
	if t.n == topSize {
		t.cutoff = max(t.cutoff, t.entries[topSize-1].code)
	} else {
		t.n++
	}
	copy(t.entries[i+1:t.n], t.entries[i:t.n-1])
	t.entries[i] = e
}

func (t *topList[K]) remove(k *K) {
	for i := range t.n {
		if t.entries[i].key == *k {
			copy(t.entries[i:t.n-1], t.entries[i+1:t.n])
			t.n--
			return
		}
	}
}

// updateBid applies a visit's bid to the peer's record: one change a minute
// (R8.7), small changes only refresh the age.
func (sh *shard[K]) updateBid(s *swarm[K], number uint32, r *record[K], v *visit[K]) {
	if r.bid != 0 && v.bid != 0 {
		old, bid := tracker.CodedBid(r.bid), tracker.CodedBid(v.bid)
		small := max(old, bid)-min(old, bid) <= old/100*bidPercent
		if small {
			sh.setBid(s, number, r, r.bid, v.clock.minute)
			return
		}
		if r.told == v.clock.minute {
			return
		}
	}
	sh.setBid(s, number, r, v.bid, v.clock.minute)
}

// setBid stores a bid in a record and the swarm's top list; 0 removes it.
func (sh *shard[K]) setBid(s *swarm[K], number uint32, r *record[K], code uint16, told uint8) {
	switch {
	case r.bid == 0 && code != 0:
		s.bidders = min(s.bidders, 1<<16-2) + 1
	case r.bid != 0 && code == 0:
		s.bidders = max(s.bidders, 1) - 1
	}
	r.bid, r.told = code, told
	if s.flags&swarmBids == 0 {
		return
	}
	t := sh.tops[number]
	t.remove(&r.key)
	if code != 0 && (code >= t.cutoff || t.n == topSize) {
		t.add(topEntry[K]{r.key, code, told})
	} else if code != 0 {
		t.cutoff = max(t.cutoff, code)
	}
	if s.class == noBlock || s.class < listClass || t.n < topLow && int(s.bidders) > t.n {
		sh.forgetTop(s, number) // made anew when somebody asks
	}
}

func (sh *shard[K]) forgetTop(s *swarm[K], number uint32) {
	if s.flags&swarmBids != 0 {
		delete(sh.tops, number)
		s.flags &^= swarmBids
	}
}

// top returns the swarm's highest bids. Large swarms keep their list; of
// others the result is valid until the next call.
func (sh *shard[K]) top(s *swarm[K], number uint32) *topList[K] {
	if s.flags&swarmBids != 0 {
		return sh.tops[number]
	}
	list := &sh.scratch
	if s.class != noBlock && s.class >= listClass && s.bidders > 0 {
		if sh.tops == nil {
			sh.tops = make(map[uint32]*topList[K])
		}
		list = new(topList[K])
		sh.tops[number] = list
		s.flags |= swarmBids
	}
	*list = topList[K]{}
	if s.bidders == 0 {
		return list
	}
	records := sh.arena.records(s)
	for i := range records {
		if r := &records[i]; r.flags != 0 && r.bid != 0 {
			list.add(topEntry[K]{r.key, r.bid, r.told})
		}
	}
	return list
}

// give appends up to v.want peers to b: the top bidders if the visitor asked
// for them, at most half of the answer so that nobody is steered into a
// cluster of liars, then others from a random place on. Seeds are not given to
// seeds, and nobody to himself. The walk is bounded, so that an announce to a
// huge swarm of seeds stays cheap.
func (sh *shard[K]) give(b []byte, s *swarm[K], number uint32, v *visit[K], random uint32) []byte {
	want := v.want
	var best []topEntry[K]
	if v.top > 0 && s.bidders > 0 {
		list := sh.top(s, number)
		best = list.entries[:min(v.top, (want+1)/2, list.n)]
	}
	if v.top > 0 || v.price == priceTop {
		start := len(b)
		b = giveBest(b, best, v)
		size := len(v.peer) + 3*b2i(v.price != priceNone)
		want -= (len(b) - start) / size // the count's two bytes are less than an entry
	}
	avoid := uint8(0)
	if v.flags&seed != 0 {
		avoid = seed | paused
	}
	if want == 0 {
		return b
	}
	records := sh.arena.records(s)
	i := place(random, len(records))
	for range min(len(records), maxWalk) {
		r := &records[i]
		if i++; i == len(records) {
			i = 0
		}
		if r.flags == 0 || r.flags&avoid != 0 || r.key == v.peer || r.bid != 0 && among(best, &r.key) {
			continue
		}
		b = append(b, r.bytes()...)
		if v.price == priceAll {
			b = appendPrice(b, r, v.clock.minute)
		}
		if want--; want == 0 {
			break
		}
	}
	return b
}

// giveBest appends the top bidders but the visitor himself, with their number
// before them for priceTop.
func giveBest[K key](b []byte, best []topEntry[K], v *visit[K]) []byte {
	start := len(b)
	if v.price == priceTop {
		b = append(b, 0, 0)
	}
	given := 0
	for i := range best {
		e := &best[i]
		if e.key == v.peer {
			continue
		}
		r := record[K]{key: e.key, bid: e.code, told: e.told}
		b = append(b, r.bytes()...)
		if v.price != priceNone {
			b = appendPrice(b, &r, v.clock.minute)
		}
		given++
	}
	if v.price == priceTop {
		binary.BigEndian.PutUint16(b[start:], uint16(given))
	}
	return b
}

// among reports whether a key is one of the entries.
func among[K key](entries []topEntry[K], k *K) bool {
	for i := range entries {
		if entries[i].key == *k {
			return true
		}
	}
	return false
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// maxWalk is how many places one announce looks at.
const maxWalk = 1024

func appendPrice[K key](b []byte, r *record[K], minute uint8) []byte {
	age := minute - r.told
	if r.bid == 0 {
		age = 0
	}
	return append(b, byte(r.bid>>8), byte(r.bid), age)
}
