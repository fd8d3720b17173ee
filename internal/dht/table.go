package dht

import (
	"net/netip"
	"slices"
	"time"
)

const (
	// bucketSize is Kademlia's k: nodes of a bucket, and how many nodes nearest
	// to a target are asked and told.
	bucketSize = 8
	// MaxNodes is the greatest number of nodes of one family in the table.
	MaxNodes = 160 * bucketSize
	// doubtAfter is how long a node counts as good after it answered (BEP 5).
	doubtAfter = 15 * time.Minute
	// maxFails is the number of silences in a row after which a node is dropped.
	maxFails = 3
)

// entry is a node of the table: one that answered us at least once.
type entry struct {
	contact
	seen  time.Time // it answered, or asked after it had answered
	asked time.Time // by upkeep
	fails int
}

// table holds the nodes of one family, most of them near us, as BEP 5 wants:
// a node that answers is not replaced by a newer one. An address outside this
// machine has one place, so that nobody fills the table from one host. It is
// passive and belongs to one goroutine.
type table struct {
	self    ID
	buckets [160][]entry // by shared prefix; at most bucketSize each
	ips     map[netip.Addr]ID
	count   int
}

func newTable(self ID) *table { return &table{self: self, ips: map[netip.Addr]ID{}} }

// find returns the entry of a node, or nil.
func (t *table) find(id ID) *entry {
	n := prefix(t.self, id)
	if n == 160 {
		return nil
	}
	for i := range t.buckets[n] {
		if e := &t.buckets[n][i]; e.id == id {
			return e
		}
	}
	return nil
}

// answered books that a node answered us; it is taken in where there is room
// or a silent node to replace.
func (t *table) answered(c contact, now time.Time) {
	n := prefix(t.self, c.id)
	if n == 160 {
		return
	}
	if e := t.find(c.id); e != nil {
		if e.addr == c.addr {
			e.seen, e.fails = now, 0
		}
		return // the id of another: the first one keeps it while it answers
	}
	if !t.room(c) {
		return
	}
	if len(t.buckets[n]) == bucketSize {
		i := slices.IndexFunc(t.buckets[n], func(e entry) bool { return e.fails > 0 })
		t.remove(n, i)
	}
	t.buckets[n] = append(t.buckets[n], entry{contact: c, seen: now})
	t.ips[c.addr.Addr()] = c.id
	t.count++
}

// room says whether a new node could be taken in.
func (t *table) room(c contact) bool {
	n := prefix(t.self, c.id)
	if n == 160 || t.find(c.id) != nil {
		return false
	}
	if _, taken := t.ips[c.addr.Addr()]; taken && !c.addr.Addr().IsLoopback() {
		return false
	}
	return len(t.buckets[n]) < bucketSize || slices.ContainsFunc(t.buckets[n], func(e entry) bool { return e.fails > 0 })
}

// failed books that a node did not answer.
func (t *table) failed(c contact) {
	e := t.find(c.id)
	if e == nil || e.addr != c.addr {
		return
	}
	if e.fails++; e.fails >= maxFails {
		n := prefix(t.self, c.id)
		t.remove(n, slices.IndexFunc(t.buckets[n], func(x entry) bool { return x.id == c.id }))
	}
}

func (t *table) remove(bucket, i int) {
	e := t.buckets[bucket][i]
	t.buckets[bucket] = slices.Delete(t.buckets[bucket], i, i+1)
	if t.ips[e.addr.Addr()] == e.id {
		delete(t.ips, e.addr.Addr())
	}
	t.count--
}

// nearest appends the n nodes nearest to target that did not fail last.
func (t *table) nearest(dst []contact, target ID, n int) []contact {
	begin := len(dst)
	add := func(bucket int) {
		for _, e := range t.buckets[bucket] {
			if e.fails == 0 {
				dst = append(dst, e.contact)
			}
		}
	}
	// Buckets that share more with us than the target does are all nearer to
	// it than those that share less.
	at := min(prefix(t.self, target), 159)
	for b := at; b < 160; b++ {
		add(b)
	}
	for b := at - 1; b >= 0 && len(dst)-begin < n; b-- {
		add(b)
	}
	slices.SortFunc(dst[begin:], func(x, y contact) int { return compare(target, x.id, y.id) })
	return dst[:min(len(dst), begin+n)]
}

// doubtful returns a node that was silent for long, to be asked, or nil.
func (t *table) doubtful(now time.Time) *entry {
	var oldest *entry
	for b := range t.buckets {
		for i := range t.buckets[b] {
			e := &t.buckets[b][i]
			quiet := now.Sub(e.seen) >= doubtAfter || e.fails > 0
			if quiet && now.Sub(e.asked) >= retryNode && (oldest == nil || e.seen.Before(oldest.seen)) {
				oldest = e
			}
		}
	}
	return oldest
}

// retryNode is the pause between two questions of upkeep to a silent node.
const retryNode = 30 * time.Second

// all appends every node.
func (t *table) all(dst []contact) []contact {
	for b := range t.buckets {
		for _, e := range t.buckets[b] {
			dst = append(dst, e.contact)
		}
	}
	return dst
}
