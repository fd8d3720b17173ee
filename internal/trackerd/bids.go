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

	manyBidders = 1<<16 - 1 // this many or more: counted anew when the list is
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
	if r.bid == v.bid && r.told == v.clock.minute {
		return
	}
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
		s.bidders = min(s.bidders, manyBidders-1) + 1
	case r.bid != 0 && code == 0 && s.bidders < manyBidders:
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
	records, bidders := sh.arena.records(s), 0
	for i := range records {
		if r := &records[i]; r.flags != 0 && r.bid != 0 {
			list.add(topEntry[K]{r.key, r.bid, r.told})
			bidders++
		}
	}
	s.bidders = uint16(min(bidders, manyBidders))
	return list
}

// given are the bidders that an answer begins with, so that it names nobody
// twice: by their places in a small swarm, else by a mark of their keys, which
// says "perhaps" for some others, too.
type given[K key] struct {
	places uint64
	marks  uint64
	best   []topEntry[K]
}

// mark is one of 64 bits by the low bytes of address and port.
func mark[K key](k *K) uint64 {
	return 1 << (((*k)[len(*k)-1] + 7*(*k)[len(*k)-3]) & 63)
}

// has reports whether the record at place i was given.
func (g *given[K]) has(i int, r *record[K]) bool {
	if g.marks == 0 {
		return g.places>>(i&63)&1 != 0
	}
	return g.marks&mark(&r.key) != 0 && among(g.best, &r.key)
}

// give appends up to v.want peers to b: the top bidders if the visitor asked
// for them, at most half of the answer so that nobody is steered into a
// cluster of liars, then others from a random place on. Seeds are not given to
// seeds, and nobody to himself. The walk is bounded, so that an announce to a
// huge swarm of seeds stays cheap.
func (sh *shard[K]) give(b []byte, s *swarm[K], number uint32, v *visit[K], random uint32) []byte {
	want := v.want
	records := sh.arena.records(s)
	var done given[K]
	if v.top > 0 || v.price == priceTop {
		start := len(b)
		if v.price == priceTop {
			b = append(b, 0, 0)
		}
		n := 0
		if m := min(v.top, (want+1)/2, topSize); m > 0 && s.bidders > 0 {
			if s.class == noBlock || s.class < listClass {
				b, n = giveRanked(b, records, m, v, &done)
			} else {
				b, n = giveListed(b, sh.top(s, number), m, v, &done)
			}
		}
		if v.price == priceTop {
			binary.BigEndian.PutUint16(b[start:], uint16(n))
		}
		want -= n
	}
	avoid := uint8(0)
	if v.flags&seed != 0 {
		avoid = seed | paused
	}
	if want == 0 {
		return b
	}
	i := place(random, len(records))
	for range min(len(records), maxWalk) {
		at, r := i, &records[i]
		if i++; i == len(records) {
			i = 0
		}
		if r.flags == 0 || r.flags&avoid != 0 || r.bid != 0 && done.has(at, r) || r.key == v.peer {
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

// giveRanked appends the m highest bidders of a swarm too small to keep a list,
// but not the visitor, and returns how many.
func giveRanked[K key](b []byte, records []record[K], m int, v *visit[K], done *given[K]) ([]byte, int) {
	var order [topSize]uint32 // bid code and place, highest first
	n := 0
	for i := range records {
		r := &records[i]
		if r.bid == 0 {
			continue
		}
		rank := uint32(r.bid)<<16 | uint32(i)
		j := n
		switch {
		case n < m:
			n++
		case rank < order[n-1]:
			continue
		default:
			j = n - 1
		}
		for ; j > 0 && order[j-1] < rank; j-- {
			order[j] = order[j-1]
		}
		order[j] = rank
	}
	told := 0
	for _, rank := range order[:n] {
		i := rank & 0xffff
		r := &records[i]
		done.places |= 1 << (i & 63)
		if r.key == v.peer {
			continue
		}
		b = append(b, r.bytes()...)
		if v.price != priceNone {
			b = appendPrice(b, r, v.clock.minute)
		}
		told++
	}
	return b, told
}

// giveListed is giveRanked for a swarm with a list.
func giveListed[K key](b []byte, list *topList[K], m int, v *visit[K], done *given[K]) ([]byte, int) {
	done.best = list.entries[:min(m, list.n)]
	told := 0
	for i := range done.best {
		e := &done.best[i]
		done.marks |= mark(&e.key)
		if e.key == v.peer {
			continue
		}
		r := record[K]{key: e.key, bid: e.code, told: e.told}
		b = append(b, r.bytes()...)
		if v.price != priceNone {
			b = appendPrice(b, &r, v.clock.minute)
		}
		told++
	}
	return b, told
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

// maxWalk is how many places one announce looks at.
const maxWalk = 1024

func appendPrice[K key](b []byte, r *record[K], minute uint8) []byte {
	age := minute - r.told
	if r.bid == 0 {
		age = 0
	}
	return append(b, byte(r.bid>>8), byte(r.bid), age)
}
