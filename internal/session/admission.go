package session

import (
	"net/netip"
	"sync"
)

const (
	// maxIncoming is the greatest number of incoming handshakes under way.
	maxIncoming = 128
	// maxIncomingPerIP is how many of them one address may have: nobody takes
	// all places by being slow. Loopback stands for many peers.
	maxIncomingPerIP = 8
)

// admission bounds the incoming handshakes under way. Its methods are safe
// for concurrent use.
type admission struct {
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

// enter says whether a caller at ip may begin; if so, leave must follow.
func (a *admission) enter(ip netip.Addr) bool {
	ip = host(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.total >= maxIncoming || a.perIP[ip] >= maxIncomingPerIP && !ip.IsLoopback() {
		return false
	}
	if a.perIP == nil {
		a.perIP = make(map[netip.Addr]int)
	}
	a.total++
	a.perIP[ip]++
	return true
}

func (a *admission) leave(ip netip.Addr) {
	ip = host(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if a.perIP[ip]--; a.perIP[ip] == 0 {
		delete(a.perIP, ip)
	}
}
