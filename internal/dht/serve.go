package dht

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// query is a question of ours under way.
type query struct {
	to        contact
	anonymous bool // its id is not known
	six       bool
	sent      time.Time
	lookup    *lookup
	step      *step
	announce  bool
	lagging   bool
}

// ask sends a question; without room for it, it fails at once.
func (n *Node) ask(q *query, m *message) {
	if len(n.queries) >= maxQueries {
		n.lost(q)
		return
	}
	var t [4]byte
	for {
		binary.BigEndian.PutUint32(t[:], n.rng.Uint32())
		if n.queries[string(t[:])] == nil {
			break
		}
	}
	m.kind, m.transaction, m.id, m.readOnly = kindQuery, string(t[:]), n.id, n.cfg.ReadOnly
	if m.query == queryFind || m.query == queryPeers {
		m.want4, m.want6 = n.families[0].conn != nil, n.families[1].conn != nil
	}
	q.sent = n.now
	n.queries[m.transaction] = q
	n.stats.Asked++
	n.send(q.to.addr, m)
}

// receive handles a message.
func (n *Node) receive(p packet) {
	if p.m.kind == kindQuery {
		n.serve(p)
		return
	}
	q := n.queries[p.m.transaction]
	if q == nil || q.to.addr != p.from || q.six != p.six {
		return
	}
	delete(n.queries, p.m.transaction)
	if p.m.kind == kindError || !q.anonymous && p.m.id != q.to.id || p.m.id == n.id {
		n.lost(q)
		return
	}
	c := contact{p.m.id, p.from}
	n.family(q.six).table.answered(c, n.now)
	n.votes.add(p.from.Addr(), p.m.seen.Addr().Unmap(), n)
	if q.announce {
		n.stats.Announced++
	}
	if q.lookup == nil {
		if n.family(q.six).table.count <= bucketSize {
			n.met()
		}
		return
	}
	q.lookup.answered(q.step, p.m, p.from)
	n.also(q.lookup, p.m, p.from)
	n.advance(q.lookup)
}

// also hands nodes of the other family to the lookup that runs there for the
// same target.
func (n *Node) also(l *lookup, m *message, from netip.AddrPort) {
	for o := range n.lookups {
		if o.target != l.target || o.six == l.six {
			continue
		}
		for _, c := range m.nodes {
			if usable(from.Addr(), c.addr) {
				o.offer(c, false)
			}
		}
		n.advance(o)
	}
}

// lost books a question without an answer.
func (n *Node) lost(q *query) {
	n.stats.Unanswered++
	if !q.anonymous {
		n.family(q.six).table.failed(q.to)
	}
	if q.lookup != nil {
		q.lookup.failed(q.step)
		n.advance(q.lookup)
	}
}

// expireQueries gives up questions that were not answered in time.
func (n *Node) expireQueries() {
	for t, q := range n.queries {
		switch wait := n.now.Sub(q.sent); {
		case wait >= lostAfter:
			delete(n.queries, t)
			n.lost(q)
		case wait >= lateAfter && q.lookup != nil && !q.lagging:
			q.lagging = true
			q.lookup.lagging(q.step)
			n.advance(q.lookup)
		}
	}
}

// allowed bounds what is answered.
func (n *Node) allowed(from netip.Addr) bool {
	if n.now.Sub(n.counted) >= time.Second {
		clear(n.sources)
		n.replies, n.counted = 0, n.now
	}
	count, known := n.sources[from]
	if n.replies >= maxReplies || !from.IsLoopback() && (count >= maxPerSource || !known && len(n.sources) >= maxSources) {
		n.stats.Refused++
		return false
	}
	n.sources[from] = count + 1
	n.replies++
	return true
}

// serve answers a query.
func (n *Node) serve(p packet) {
	if n.cfg.ReadOnly || p.m.id == n.id || !n.allowed(p.from.Addr()) {
		return
	}
	r := &message{kind: kindResponse, transaction: p.m.transaction, id: n.id, seen: p.from}
	switch p.m.query {
	case queryPing:
	case queryFind:
		n.tellNodes(r, p)
	case queryPeers:
		r.token = n.tokens.make(p.from.Addr())
		r.values = n.store.peers(p.m.target, p.from.Addr(), n.now)
		n.tellNodes(r, p)
	case queryAnnounce:
		port := p.m.port
		if p.m.implied {
			port = p.from.Port()
		}
		if !n.tokens.valid(p.m.token, p.from.Addr()) || port == 0 {
			r.kind, r.code, r.text = kindError, codeProtocol, "bad token or port"
			break
		}
		peer := netip.AddrPortFrom(p.from.Addr(), port)
		n.store.add(p.m.target, peer, n.now)
		if h := n.torrents[p.m.target]; h != nil {
			h.tell([]netip.AddrPort{peer}) // one that we look for ourselves
		}
	default:
		r.kind, r.code, r.text = kindError, codeUnknown, "method unknown"
	}
	n.stats.Answered++
	n.send(p.from, r)
	n.consider(p)
}

// tellNodes adds the nodes nearest to a target that the asker could use.
func (n *Node) tellNodes(r *message, p packet) {
	r.want4, r.want6 = p.m.want4, p.m.want6
	if !r.want4 && !r.want6 { // BEP 32: those of the family it asked in
		r.want4, r.want6 = !p.six, p.six
	}
	for i, want := range []bool{r.want4, r.want6} {
		if !want {
			continue
		}
		for _, c := range n.families[i].table.nearest(nil, p.m.target, bucketSize) {
			if c.addr != p.from && usable(p.from.Addr(), c.addr) {
				r.nodes = append(r.nodes, c)
			}
		}
	}
}

// consider asks a node that asked us, if there is room for it in the table:
// only who answers gets in.
func (n *Node) consider(p packet) {
	t := n.family(p.six).table
	if e := t.find(p.m.id); e != nil {
		if e.addr == p.from && e.fails == 0 {
			e.seen = n.now
		}
		return
	}
	c := contact{p.m.id, p.from}
	if p.m.readOnly || !t.room(c) || len(n.queries) >= maxQueries/2 {
		return
	}
	n.ask(&query{to: c, six: p.six}, &message{query: queryPing})
}

// voting counts what others say our address is (BEP 42).
type voting struct {
	voters map[netip.Addr]struct{}
	counts map[netip.Addr]int
}

// Votes before an address is believed, and the most that are counted.
const (
	votesNeeded = 8
	maxVotes    = 64
)

// add counts a vote; when an address wins and our id does not fit it, the node
// takes another id.
func (v *voting) add(voter, a netip.Addr, n *Node) {
	if !a.Is4() || reach(a) < everywhere || reach(voter) < everywhere {
		return
	}
	if v.voters == nil || len(v.voters) >= maxVotes {
		v.voters, v.counts = map[netip.Addr]struct{}{}, map[netip.Addr]int{}
	}
	if _, twice := v.voters[voter]; twice {
		return
	}
	v.voters[voter] = struct{}{}
	v.counts[a]++
	if v.counts[a] >= votesNeeded && 2*v.counts[a] > len(v.voters) && !secure(n.id, a) {
		var r ID
		n.random(r[:])
		n.rename(secured(r, a))
	}
}

// rename changes the node's id and sorts its tables anew.
func (n *Node) rename(id ID) {
	n.cfg.Log.Debug("DHT id changed to fit our address")
	n.id = id
	for i := range n.families {
		old := n.families[i].table
		n.families[i].table = newTable(id)
		for _, c := range old.all(nil) {
			n.families[i].table.answered(c, n.now)
		}
		n.families[i].joined = time.Time{}
	}
}
