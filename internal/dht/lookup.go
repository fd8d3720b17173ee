package dht

import (
	"net/netip"
	"slices"
)

const (
	// alpha is the number of questions of a lookup under way at once, without
	// those that are late.
	alpha = 4
	// maxAsked is the greatest number of nodes a lookup asks, maxCandidates
	// the greatest number it knows of at once.
	maxAsked      = 200
	maxCandidates = 100
	// maxFound is the greatest number of peers a lookup brings back.
	maxFound = 1000
)

// progress is how far a lookup is with a node.
type progress uint8

const (
	fresh progress = iota
	asked
	late // asked, and not counted against alpha any more
	replied
	silent
)

// step is a node of a lookup.
type step struct {
	contact
	anonymous bool // a bootstrap node whose id is not known yet
	progress  progress
	token     []byte
}

// lookup is one iterative search for the nodes nearest to a target, in one
// family. It is passive: the node asks it whom to ask and tells it the answers.
type lookup struct {
	target ID
	query  string // queryFind or queryPeers
	six    bool
	port   uint16 // to announce at the end; 0 = not at all
	steps  []*step
	known  map[netip.AddrPort]bool // addresses ever asked or waiting
	flying int
	asked  int
	found  map[netip.AddrPort]bool
	report func([]netip.AddrPort)
	done   func(l *lookup)
}

// offer adds a node that may be near the target.
func (l *lookup) offer(c contact, anonymous bool) {
	if c.addr.Addr().Is6() != l.six || l.known[c.addr] || len(l.known) >= 10*maxAsked {
		return
	}
	l.insert(&step{contact: c, anonymous: anonymous})
	l.known[c.addr] = true
	if n := len(l.steps); n > maxCandidates && l.steps[n-1].progress == fresh {
		l.steps = l.steps[:n-1]
	}
}

// insert keeps the steps sorted by distance; nodes without an id come last.
func (l *lookup) insert(s *step) {
	i, _ := slices.BinarySearchFunc(l.steps, s, func(x, y *step) int {
		switch {
		case x.anonymous != y.anonymous && y.anonymous:
			return -1
		case x.anonymous != y.anonymous:
			return 1
		case x.anonymous:
			return -1
		}
		return compare(l.target, x.id, y.id)
	})
	l.steps = slices.Insert(l.steps, i, s)
}

// next returns the nodes to ask now and whether the lookup is over: the
// nearest nodes that did not fail have answered.
func (l *lookup) next() (ask []*step, over bool) {
	alive, waiting := 0, 0
	for _, s := range l.steps {
		if alive == bucketSize {
			break
		}
		switch s.progress {
		case silent:
			continue
		case fresh:
			if l.asked >= maxAsked {
				continue
			}
			waiting++
			if l.flying < alpha {
				s.progress = asked
				l.flying++
				l.asked++
				ask = append(ask, s)
			}
		case asked, late:
			waiting++
		}
		alive++
	}
	return ask, waiting == 0
}

// answered books a node's answer.
func (l *lookup) answered(s *step, m *message, from netip.AddrPort) {
	l.landed(s)
	if s.anonymous {
		l.steps = slices.DeleteFunc(l.steps, func(x *step) bool { return x == s })
		s.anonymous, s.id = false, m.id
		l.insert(s)
	}
	s.progress, s.token = replied, m.token
	for _, c := range m.nodes {
		if usable(from.Addr(), c.addr) {
			l.offer(c, false)
		}
	}
	var peers []netip.AddrPort
	for _, a := range m.values {
		if !l.found[a] && len(l.found) < maxFound && usable(from.Addr(), a) {
			l.found[a] = true
			peers = append(peers, a)
		}
	}
	if len(peers) > 0 && l.report != nil {
		l.report(peers)
	}
}

// failed books that a node did not answer, or not as the one it was told to be.
func (l *lookup) failed(s *step) {
	l.landed(s)
	s.progress = silent
}

// lagging books that a node is late: another one may be asked meanwhile.
func (l *lookup) lagging(s *step) {
	if s.progress == asked {
		l.flying--
		s.progress = late
	}
}

func (l *lookup) landed(s *step) {
	if s.progress == asked {
		l.flying--
	}
}

// nearest are the nodes that answered, at most bucketSize.
func (l *lookup) nearest() (list []*step) {
	for _, s := range l.steps {
		if s.progress == replied && len(list) < bucketSize {
			list = append(list, s)
		}
	}
	return list
}
