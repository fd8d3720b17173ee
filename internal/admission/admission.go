// Package admission bounds the handshakes of callers that a session has under
// way: all of them, and those of one address, so that nobody takes all places
// by being slow.
//
// internal/session asks it for each caller. It has no goroutine.
package admission

import (
	"net/netip"
	"sync"
)

const (
	// Max is the greatest number of incoming handshakes under way.
	Max = 128
	// MaxPerIP is how many of them one address may have. Loopback stands for
	// many peers.
	MaxPerIP = 8
)

// Desk bounds the incoming handshakes under way. Its methods are safe for
// concurrent use; the zero value is ready.
type Desk struct {
	mu    sync.Mutex // leaf lock
	total int
	perIP map[netip.Addr]int // of IPv6 by /64
}

// host is what counts as one address: of IPv6 a /64, which one host owns.
func host(ip netip.Addr) netip.Addr {
	if p, err := ip.Prefix(64); err == nil && ip.Is6() && !ip.Is4In6() && !ip.IsLoopback() {
		return p.Addr()
	}
	return ip
}

// Enter says whether a caller at ip may begin; if so, [Desk.Leave] must follow.
func (d *Desk) Enter(ip netip.Addr) bool {
	ip = host(ip)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= Max || d.perIP[ip] >= MaxPerIP && !ip.IsLoopback() {
		return false
	}
	if d.perIP == nil {
		d.perIP = make(map[netip.Addr]int)
	}
	d.total++
	d.perIP[ip]++
	return true
}

// Leave gives the place back.
func (d *Desk) Leave(ip netip.Addr) {
	ip = host(ip)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total--
	if d.perIP[ip]--; d.perIP[ip] == 0 {
		delete(d.perIP, ip)
	}
}

// Inside is the number of handshakes under way.
func (d *Desk) Inside() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total
}
