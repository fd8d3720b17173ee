package trackerd

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/bttnet/btt/tracker"
	"pgregory.net/rapid"
)

func TestRecordSizes(t *testing.T) {
	if n := unsafe.Sizeof(record[[6]byte]{}); n != 12 {
		t.Errorf("IPv4 record has %d bytes, want 12", n)
	}
	if n := unsafe.Sizeof(record[[18]byte]{}); n != 24 {
		t.Errorf("IPv6 record has %d bytes, want 24", n)
	}
	if n := unsafe.Sizeof(swarm[[6]byte]{}); n != 64 {
		t.Errorf("IPv4 swarm has %d bytes, want 64", n)
	}
}

func seeded() func() uint64 { return rand.New(rand.NewPCG(1, 2)).Uint64 }

func peerKey(n int) (k [6]byte) {
	binary.BigEndian.PutUint32(k[:], uint32(0x0a000000+n))
	binary.BigEndian.PutUint16(k[4:], uint16(1000+n%7))
	return k
}

// model is what a store should hold, told slowly.
type model map[tracker.InfoHash]map[[6]byte]modelPeer

type modelPeer struct {
	seed bool
	tick uint8
	bid  uint16
}

// TestStoreAgainstModel drives a store and a map with the same announces,
// departures and sweeps, and compares counts, membership, bids and answers.
func TestStoreAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		st := newStore[[6]byte](seeded())
		m := make(model)
		now := clock{}
		torrents := rapid.IntRange(1, 5).Draw(t, "torrents")
		peers := rapid.SampledFrom([]int{3, 20, 400}).Draw(t, "peers")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range rapid.IntRange(1, 3000).Draw(t, "steps") {
			h := tracker.InfoHash{0: 1, 1: byte(rng.IntN(torrents))}
			k := peerKey(rng.IntN(peers))
			v := visit[[6]byte]{hash: &h, peer: k, flags: used, want: rng.IntN(40), clock: now}
			switch rng.IntN(20) {
			case 0, 1, 2, 3, 4:
				v.stop = true
			case 5:
				now.tick += uint8(rng.IntN(10))
				now.minute++
				sweepModel(st, m, now)
				continue
			case 6, 7, 8, 9:
				v.flags |= seed
			case 10, 11, 12:
				v.bid, v.top = tracker.BidCode(rng.Uint64N(1<<30)), rng.IntN(20)
			}
			before := m.bid(h, k)
			reply, c := st.announce(nil, &v)
			m.apply(&v)
			checkAnswer(t, m, &v, reply, c)
			checkBid(t, st, m, &v, before)
		}
		compare(t, st, m)
	})
}

func sweepModel(st *store[[6]byte], m model, now clock) {
	for range 2 { // what wraps around during a sweep is left to the next
		for i := range shardCount {
			st.sweep(i, now)
		}
	}
	for h, swarm := range m {
		maps.DeleteFunc(swarm, func(_ [6]byte, p modelPeer) bool { return now.tick-p.tick > lifeTicks })
		if len(swarm) == 0 {
			delete(m, h)
		}
	}
}

func (m model) bid(h tracker.InfoHash, k [6]byte) uint16 { return m[h][k].bid }

func (m model) apply(v *visit[[6]byte]) {
	if v.stop {
		delete(m[*v.hash], v.peer)
		if len(m[*v.hash]) == 0 {
			delete(m, *v.hash)
		}
		return
	}
	if m[*v.hash] == nil {
		m[*v.hash] = make(map[[6]byte]modelPeer)
	}
	m[*v.hash][v.peer] = modelPeer{v.flags&seed != 0, v.clock.tick, v.bid}
}

func checkAnswer(t *rapid.T, m model, v *visit[[6]byte], reply []byte, c counts) {
	swarm := m[*v.hash]
	seeds, others := 0, 0
	for k, p := range swarm {
		seeds += b2i(p.seed)
		others += b2i(k != v.peer && !(p.seed && v.flags&seed != 0))
	}
	if c.seeds != seeds || c.leechers != len(swarm)-seeds {
		t.Fatalf("announce tells %+v, the swarm has %d seeds of %d", c, seeds, len(swarm))
	}
	if v.stop {
		return
	}
	if len(reply) != 6*min(v.want, others) {
		t.Fatalf("answer has %d bytes, want %d peers of %d others", len(reply), v.want, others)
	}
	given := make(map[[6]byte]bool)
	for k := range slices.Chunk(reply, 6) {
		p, ok := swarm[[6]byte(k)]
		if !ok || [6]byte(k) == v.peer || given[[6]byte(k)] || p.seed && v.flags&seed != 0 {
			t.Fatalf("answer holds % x: known %v, given before %v", k, ok, given[[6]byte(k)])
		}
		given[[6]byte(k)] = true
	}
}

// checkBid takes over what the rules about changing bids left in the record.
func checkBid(t *rapid.T, st *store[[6]byte], m model, v *visit[[6]byte], before uint16) {
	if v.stop {
		return
	}
	sh := st.shard(v.hash)
	s, _ := sh.lookup(v.hash)
	r := sh.arena.records(s)[sh.find(s, &v.peer)]
	if r.bid != v.bid && r.bid != before {
		t.Fatalf("record has bid %d, told %d, before %d", r.bid, v.bid, before)
	}
	p := m[*v.hash][v.peer]
	p.bid = r.bid
	m[*v.hash][v.peer] = p
}

// compare checks that nothing else is in the store, and the top lists.
func compare(t *rapid.T, st *store[[6]byte], m model) {
	total, seeds := 0, 0
	for h, swarm := range m {
		sh := st.shard(&h)
		s, number := sh.lookup(&h)
		if s == nil || int(s.n) != len(swarm) {
			t.Fatalf("swarm %x is %+v, want %d peers", h[:2], s, len(swarm))
		}
		total += len(swarm)
		var bids []uint16
		for k, p := range swarm {
			seeds += b2i(p.seed)
			if sh.find(s, &k) < 0 {
				t.Fatalf("peer %x is lost", k)
			}
			if p.bid != 0 {
				bids = append(bids, p.bid)
			}
		}
		slices.SortFunc(bids, func(a, b uint16) int { return int(b) - int(a) })
		top := sh.top(s, number)
		if int(s.bidders) != len(bids) || top.n < min(len(bids), topLow) {
			t.Fatalf("top list has %d of %d bids, count says %d", top.n, len(bids), s.bidders)
		}
		for i := range top.n {
			if top.entries[i].code != bids[i] {
				t.Fatalf("top bid %d is %d, want %d", i, top.entries[i].code, bids[i])
			}
		}
	}
	if swarms, peers, sd := st.totals(); swarms != len(m) || peers != total || sd != seeds {
		t.Fatalf("store counts %d swarms, %d peers, %d seeds, want %d, %d, %d", swarms, peers, sd, len(m), total, seeds)
	}
}

func TestArenaReusesMemory(t *testing.T) {
	var a arena[[6]byte]
	a.init()
	for range 1000 {
		var refs []uint32
		for class := range uint8(20) {
			refs = append(refs, a.alloc(class))
		}
		for class, ref := range refs {
			for i, r := range a.block(ref, uint8(class)) {
				if r.flags != 0 {
					t.Fatalf("class %d gives a block whose record %d is used", class, i)
				}
			}
			fill := a.block(ref, uint8(class))
			for i := range fill {
				fill[i].flags = used
			}
			a.release(ref, uint8(class))
		}
	}
	total := 0
	for _, c := range a.chunks {
		total += len(c)
	}
	if total > 8*chunkSize {
		t.Fatalf("arena grew to %d records", total)
	}
}

// fillStore announces peers and returns the bytes of heap they cost.
func fillStore(torrents, peers int, bid uint16) (st *store[[6]byte], bytes uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	st = newStore[[6]byte](seeded())
	var h tracker.InfoHash
	for i := range peers {
		binary.LittleEndian.PutUint64(h[8:], mum(uint64(i%torrents)+1, 0x9e3779b97f4a7c15))
		h[0] = h[8]
		v := visit[[6]byte]{hash: &h, peer: peerKey(i), flags: used, bid: bid}
		st.announce(nil, &v)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	return st, after.HeapAlloc - before.HeapAlloc
}

// TestMemory holds the store to its goal: 24 bytes a peer in dense swarms, 96
// where every peer has a swarm of its own.
func TestMemory(t *testing.T) {
	for _, c := range []struct{ torrents, peers, goal int }{{10_000, 500_000, 24}, {300_000, 300_000, 96}, {200_000, 240_000, 96}} {
		st, bytes := fillStore(c.torrents, c.peers, 0)
		each := float64(bytes) / float64(c.peers)
		t.Logf("%d peers in %d swarms: %.1f bytes a peer", c.peers, c.torrents, each)
		if each > float64(c.goal) {
			t.Errorf("%d peers in %d swarms cost %.1f bytes each, goal %d", c.peers, c.torrents, each, c.goal)
		}
		runtime.KeepAlive(st)
	}
}

func BenchmarkStoreAnnounce(b *testing.B) {
	for _, c := range []struct {
		torrents, peers int
		bid             uint16
		top             int
	}{{10_000, 100_000, 0, 0}, {10_000, 100_000, 4000, 0}, {10_000, 100_000, 4000, 10}, {500_000, 600_000, 0, 0}, {10, 100_000, 0, 0}} {
		b.Run(fmt.Sprintf("torrents=%d/peers=%d/bid=%d/top=%d", c.torrents, c.peers, c.bid, c.top), func(b *testing.B) {
			st, _ := fillStore(c.torrents, c.peers, c.bid)
			var h tracker.InfoHash
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7919) % c.peers
				binary.LittleEndian.PutUint64(h[8:], mum(uint64(i%c.torrents)+1, 0x9e3779b97f4a7c15))
				h[0] = h[8]
				v := visit[[6]byte]{hash: &h, peer: peerKey(i), flags: used, want: 30, bid: c.bid, top: c.top}
				st.announce(buf, &v)
			}
		})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
