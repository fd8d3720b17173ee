package trackerd

import (
	"encoding/binary"
	"sync"

	"github.com/bttnet/btt/tracker"
)

const (
	shardCount = 128 // by the first byte of the infohash
	slabBits   = 8
	slabSize   = 1 << slabBits // swarms allocated at a time
	lifeTicks  = 64            // a peer lives so many ticks after its announce
)

// store holds all swarms of one address family.
type store[K key] struct {
	shards [shardCount]shard[K]
}

// shard holds the swarms whose infohash starts alike. Its lock is held for one
// announce, one scrape entry or one sweep.
type shard[K key] struct {
	mu      sync.Mutex
	arena   arena[K]
	table   []tableEntry // open addressing with linear probing
	count   int          // entries of table
	slabs   [][]swarm[K]
	next    uint32   // first swarm number never used
	idle    []uint32 // swarm numbers given back
	seeds   [2]uint64
	random  uint64
	peers   int
	seeded  int
	tops    map[uint32]*topList[K] // of large swarms with bids, by swarm number
	scratch topList[K]             // of the small swarm looked at
}

// tableEntry finds a swarm: ref is its number plus one, 0 for an empty entry;
// tag is 32 bits of the infohash's keyed hash and also decides its place, so
// that growing does not touch the swarms.
type tableEntry struct{ tag, ref uint32 }

func newStore[K key](random func() uint64) *store[K] {
	st := new(store[K])
	for i := range st.shards {
		sh := &st.shards[i]
		sh.seeds = [2]uint64{random(), random()}
		sh.random = random()
		sh.arena.init()
	}
	return st
}

func (st *store[K]) shard(h *tracker.InfoHash) *shard[K] {
	return &st.shards[h[0]&(shardCount-1)]
}

func (sh *shard[K]) tag(h *tracker.InfoHash) uint32 {
	a := binary.LittleEndian.Uint64(h[1:9]) ^ sh.seeds[0]
	b := binary.LittleEndian.Uint64(h[12:20]) ^ sh.seeds[1] ^ uint64(binary.LittleEndian.Uint32(h[9:13]))
	return uint32(mum(a, b) >> 16)
}

func (sh *shard[K]) swarm(number uint32) *swarm[K] {
	return &sh.slabs[number>>slabBits][number&(slabSize-1)]
}

// lookup returns a swarm and its number, nil if there is none.
func (sh *shard[K]) lookup(h *tracker.InfoHash) (*swarm[K], uint32) {
	if len(sh.table) == 0 {
		return nil, 0
	}
	tag := sh.tag(h)
	for i := place(tag, len(sh.table)); sh.table[i].ref != 0; {
		if e := sh.table[i]; e.tag == tag {
			if s := sh.swarm(e.ref - 1); sameHash(&s.hash, h) {
				return s, e.ref - 1
			}
		}
		if i++; i == len(sh.table) {
			i = 0
		}
	}
	return nil, 0
}

// sameHash compares in three words; == would call the runtime.
func sameHash(a, b *tracker.InfoHash) bool {
	return binary.LittleEndian.Uint64(a[:8]) == binary.LittleEndian.Uint64(b[:8]) &&
		binary.LittleEndian.Uint64(a[8:16]) == binary.LittleEndian.Uint64(b[8:16]) &&
		binary.LittleEndian.Uint32(a[16:]) == binary.LittleEndian.Uint32(b[16:])
}

// create adds an empty swarm.
func (sh *shard[K]) create(h *tracker.InfoHash) (*swarm[K], uint32) {
	if sh.count+1 > len(sh.table)*7/8 {
		sh.growTable()
	}
	var number uint32
	if n := len(sh.idle); n > 0 {
		number = sh.idle[n-1]
		sh.idle = sh.idle[:n-1]
	} else {
		number = sh.next
		sh.next++
		if int(number>>slabBits) == len(sh.slabs) {
			sh.slabs = append(sh.slabs, make([]swarm[K], slabSize))
		}
	}
	s := sh.swarm(number)
	*s = swarm[K]{hash: *h, class: noBlock, flags: swarmLive}
	insertEntry(sh.table, tableEntry{sh.tag(h), number + 1})
	sh.count++
	return s, number
}

func insertEntry(table []tableEntry, e tableEntry) {
	i := place(e.tag, len(table))
	for table[i].ref != 0 {
		if i++; i == len(table) {
			i = 0
		}
	}
	table[i] = e
}

func (sh *shard[K]) growTable() {
	grown := make([]tableEntry, max(16, len(sh.table)*3/2))
	for _, e := range sh.table {
		if e.ref != 0 {
			insertEntry(grown, e)
		}
	}
	sh.table = grown
}

// drop removes a swarm without peers.
func (sh *shard[K]) drop(s *swarm[K], number uint32) {
	if s.class != noBlock {
		sh.arena.release(s.block, s.class)
	}
	n := len(sh.table)
	i := place(sh.tag(&s.hash), n)
	for sh.table[i].ref != number+1 {
		if i++; i == n {
			i = 0
		}
	}
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		if sh.table[j].ref == 0 {
			break
		}
		if home := place(sh.table[j].tag, n); (j-home+n)%n >= (j-i+n)%n {
			sh.table[i] = sh.table[j]
			i = j
		}
	}
	sh.table[i] = tableEntry{}
	sh.count--
	*s = swarm[K]{class: noBlock}
	sh.idle = append(sh.idle, number)
}

// visit is one announce as the store sees it.
type visit[K key] struct {
	hash   *tracker.InfoHash
	peer   K
	flags  uint8
	stop   bool // the peer leaves
	finish bool // the peer completed just now
	want   int  // peers to give
	bid    uint16
	top    int // bidders to put first
	price  pricing
	clock  clock
	full   bool // the store may not grow: known peers only
}

// clock is the server's time in the store's small units.
type clock struct {
	tick   uint8
	minute uint8
}

// counts are what an announce or scrape tells of a swarm.
type counts struct{ seeds, leechers, downloaded int }

func (s *swarm[K]) counts() counts {
	return counts{int(s.seeds), int(s.n - s.seeds), int(s.downloaded)}
}

// announce records a visit and appends peers to b as give does.
func (st *store[K]) announce(b []byte, v *visit[K]) (reply []byte, c counts) {
	sh := st.shard(v.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, number := sh.lookup(v.hash)
	if s == nil {
		if v.stop || v.full {
			return b, counts{}
		}
		s, number = sh.create(v.hash)
	}
	if v.stop {
		c = sh.leave(s, number, v)
		return b, c
	}
	sh.enter(s, number, v)
	if v.want > 0 && s.n > 1 {
		b = sh.give(b, s, number, v, sh.next32())
	}
	return b, s.counts()
}

// peek gives peers of the family the visitor is not of.
func (st *store[K]) peek(b []byte, v *visit[K]) ([]byte, counts) {
	sh := st.shard(v.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, number := sh.lookup(v.hash)
	if s == nil {
		return b, counts{}
	}
	if v.want > 0 && !v.stop {
		b = sh.give(b, s, number, v, sh.next32())
	}
	return b, s.counts()
}

func (sh *shard[K]) next32() uint32 {
	sh.random = sh.random*6364136223846793005 + 1442695040888963407
	return uint32(sh.random >> 32)
}

// enter adds or refreshes the visiting peer.
func (sh *shard[K]) enter(s *swarm[K], number uint32, v *visit[K]) {
	var r *record[K]
	if i := sh.find(s, &v.peer); i >= 0 {
		r = &sh.arena.records(s)[i]
		if r.flags&seed != v.flags&seed {
			if v.flags&seed != 0 {
				s.seeds++
				sh.seeded++
			} else {
				s.seeds--
				sh.seeded--
			}
		}
		r.flags = v.flags
	} else {
		if v.full {
			return
		}
		if r = sh.insert(s, record[K]{key: v.peer, flags: v.flags}); r == nil {
			return
		}
		sh.peers++
		if v.flags&seed != 0 {
			s.seeds++
			sh.seeded++
		}
	}
	r.tick = v.clock.tick
	if v.finish {
		s.downloaded++
	}
	if v.bid != 0 || r.bid != 0 {
		sh.updateBid(s, number, r, v)
	}
}

// leave removes the visiting peer, and the swarm with its last.
func (sh *shard[K]) leave(s *swarm[K], number uint32, v *visit[K]) counts {
	if i := sh.find(s, &v.peer); i >= 0 {
		sh.remove(s, number, i)
		sh.shrink(s)
	}
	c := s.counts()
	if s.n == 0 {
		sh.forget(s, number)
	}
	return c
}

func (sh *shard[K]) forget(s *swarm[K], number uint32) {
	sh.forgetTop(s, number)
	sh.drop(s, number)
}

// scrape returns a swarm's counts.
func (st *store[K]) scrape(h *tracker.InfoHash) counts {
	sh := st.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s, _ := sh.lookup(h); s != nil {
		return s.counts()
	}
	return counts{}
}

// sweep removes the peers of shard i that fell silent, and swarms left empty.
func (st *store[K]) sweep(i int, now clock) (expired int) {
	sh := &st.shards[i]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for number := range sh.next {
		s := sh.swarm(number)
		if s.flags&swarmLive == 0 {
			continue
		}
		before := expired
		for i := 0; i < len(sh.arena.records(s)); {
			r := &sh.arena.records(s)[i]
			if r.flags == 0 || now.tick-r.tick <= lifeTicks {
				i++
				continue
			}
			sh.remove(s, number, i) // what moved into its place is looked at next
			expired++
		}
		if s.n == 0 {
			sh.forget(s, number)
		} else if expired > before {
			sh.shrink(s)
		}
	}
	return expired
}

// totals counts a store's swarms, peers and seeds.
func (st *store[K]) totals() (swarms, peers, seeds int) {
	for i := range st.shards {
		sh := &st.shards[i]
		sh.mu.Lock()
		swarms += sh.count
		peers += sh.peers
		seeds += sh.seeded
		sh.mu.Unlock()
	}
	return swarms, peers, seeds
}
