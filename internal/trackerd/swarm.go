package trackerd

// swarm is one torrent and family: 64 bytes for IPv4, one cache line.
type swarm[K key] struct {
	hash       [20]byte
	downloaded uint32
	n          uint32 // peers
	seeds      uint32
	block      uint32 // arena block if n > inlinePeers once was
	class      uint8  // of the block, noBlock for none
	flags      uint8
	bidders    uint16 // peers with a bid, saturating
	inline     [inlinePeers]record[K]
}

const (
	inlinePeers = 2
	noBlock     = 0xff
	swarmLive   = 1 // in the table
	swarmBids   = 2 // the shard keeps a top list for it
)

// records are the places of a swarm's peers, used or empty.
func (a *arena[K]) records(s *swarm[K]) []record[K] {
	if s.class == noBlock {
		return s.inline[:]
	}
	return a.block(s.block, s.class)
}

// find returns the place of a peer, or -1.
func (sh *shard[K]) find(s *swarm[K], k *K) int {
	records := sh.arena.records(s)
	if s.class == noBlock {
		for i := range records {
			if records[i].flags != 0 && records[i].key == *k {
				return i
			}
		}
		return -1
	}
	for i := place(hashKey(k, &sh.seeds), len(records)); records[i].flags != 0; {
		if records[i].key == *k {
			return i
		}
		if i++; i == len(records) {
			i = 0
		}
	}
	return -1
}

// insert adds a peer that is not there and returns its record, nil if the
// swarm is as large as a swarm may be.
func (sh *shard[K]) insert(s *swarm[K], r record[K]) *record[K] {
	if s.class == noBlock {
		for i := range s.inline {
			if s.inline[i].flags == 0 {
				s.inline[i] = r
				s.n++
				return &s.inline[i]
			}
		}
		sh.resize(s, 0)
	} else if size := classSize(s.class); int(s.n)+1 > size*7/8 {
		if s.class == maxClass {
			return nil
		}
		sh.resize(s, s.class+1)
	}
	s.n++
	return put(sh.arena.block(s.block, s.class), &r, &sh.seeds)
}

// put writes a record to the first empty place of a block.
func put[K key](records []record[K], r *record[K], seeds *[2]uint64) *record[K] {
	i := place(hashKey(&r.key, seeds), len(records))
	for records[i].flags != 0 {
		if i++; i == len(records) {
			i = 0
		}
	}
	records[i] = *r
	return &records[i]
}

// resize moves the peers to a block of another class, or inline for noBlock.
func (sh *shard[K]) resize(s *swarm[K], class uint8) {
	var kept [inlinePeers]record[K] // s.inline is about to change
	var old []record[K]
	if s.class == noBlock {
		kept = s.inline
		old = kept[:]
	} else {
		old = sh.arena.block(s.block, s.class)
	}
	oldBlock, oldClass := s.block, s.class
	s.inline = [inlinePeers]record[K]{}
	if s.class = class; class == noBlock {
		n := 0
		for i := range old {
			if old[i].flags != 0 {
				s.inline[n] = old[i]
				n++
			}
		}
	} else {
		s.block = sh.arena.alloc(class)
		fresh := sh.arena.block(s.block, class)
		for i := range old {
			if old[i].flags != 0 {
				put(fresh, &old[i], &sh.seeds)
			}
		}
	}
	if oldClass != noBlock {
		sh.arena.release(oldBlock, oldClass)
		if sh.arena.wasteful() {
			sh.compact()
		}
	}
}

// compact moves all blocks into a fresh arena. It runs after at least a
// quarter of the arena was given back, so each record pays for a few copies.
func (sh *shard[K]) compact() {
	old := sh.arena
	sh.arena = arena[K]{}
	sh.arena.init()
	for number := range sh.next {
		if s := sh.swarm(number); s.flags&swarmLive != 0 && s.class != noBlock {
			s.block = sh.arena.adopt(&old, s.block, s.class)
		}
	}
}

// remove takes away the peer at place i.
func (sh *shard[K]) remove(s *swarm[K], number uint32, i int) {
	records := sh.arena.records(s)
	r := &records[i]
	sh.peers--
	if r.flags&seed != 0 {
		s.seeds--
		sh.seeded--
	}
	if r.bid != 0 {
		sh.setBid(s, number, r, 0, 0)
	}
	s.n--
	if s.class == noBlock {
		*r = record[K]{}
		return
	}
	closeGap(records, i, &sh.seeds)
}

// closeGap empties place i and moves later records of the run back, so that
// probing never meets a hole before its key.
func closeGap[K key](records []record[K], i int, seeds *[2]uint64) {
	n := len(records)
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		if records[j].flags == 0 {
			break
		}
		home := place(hashKey(&records[j].key, seeds), n)
		// Is home outside the cyclic interval (i, j]? Then j may move to i.
		if (j-home+n)%n >= (j-i+n)%n {
			records[i] = records[j]
			i = j
		}
	}
	records[i] = record[K]{}
}

// shrink gives memory back after removals.
func (sh *shard[K]) shrink(s *swarm[K]) {
	if s.class == noBlock {
		return
	}
	if s.n <= inlinePeers {
		sh.resize(s, noBlock)
		return
	}
	class := s.class
	for class > 0 && int(s.n)*2 < classSize(class-1) {
		class--
	}
	if class != s.class {
		sh.resize(s, class)
	}
}
