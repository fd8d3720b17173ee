package dht

import (
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ether is a network in memory; sockets on it block durably, for synctest.
type ether struct {
	mu    sync.Mutex
	ports map[netip.AddrPort]*wire
	sent  int
}

type wire struct {
	e    *ether
	addr netip.AddrPort
	in   chan datagram
	dead chan struct{}
	once sync.Once
	deaf bool
}

type datagram struct {
	from netip.AddrPort
	b    []byte
}

func (e *ether) socket(addr netip.AddrPort) *wire {
	w := &wire{e: e, addr: addr, in: make(chan datagram, 64), dead: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ports == nil {
		e.ports = map[netip.AddrPort]*wire{}
	}
	e.ports[addr] = w
	return w
}

func (w *wire) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-w.in:
		return copy(b, d.b), d.from, nil
	case <-w.dead:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (w *wire) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	w.e.mu.Lock()
	o := w.e.ports[to]
	w.e.sent++
	w.e.mu.Unlock()
	if o == nil || o.deaf {
		return len(b), nil
	}
	select {
	case o.in <- datagram{w.addr, append([]byte(nil), b...)}:
	default:
	}
	return len(b), nil
}

func (w *wire) Close() error {
	w.once.Do(func() {
		close(w.dead)
		w.e.mu.Lock()
		defer w.e.mu.Unlock()
		delete(w.e.ports, w.addr)
	})
	return nil
}

func simAddr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, 0, byte(i >> 8), byte(i)}), 6881)
}

func (e *ether) node(t *testing.T, i int, c Config) *Node {
	t.Helper()
	n, err := open(c, [2]socket{e.socket(simAddr(i))}, 6881)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// finder collects what a lookup finds.
type finder struct {
	mu    sync.Mutex
	peers map[netip.AddrPort]bool
}

func (f *finder) found(list []netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.peers == nil {
		f.peers = map[netip.AddrPort]bool{}
	}
	for _, a := range list {
		f.peers[a] = true
	}
}

func (f *finder) has(a netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peers[a]
}

// TestNetwork lets nodes that know one of them find each other's torrent, also
// when a third of all nodes falls silent, and after a restart by their file
// alone.
func TestNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 90
		var e ether
		var nodes []*Node
		first := []string{simAddr(0).String()}
		file := filepath.Join(t.TempDir(), "dht")
		for i := range size {
			c := Config{Bootstrap: first}
			if i == 0 {
				c.Bootstrap = []string{}
			}
			if i == 7 {
				c.File = file
			}
			nodes = append(nodes, e.node(t, i, c))
		}
		time.Sleep(2 * time.Minute)
		for i, n := range nodes {
			if st := n.Status(); st.Nodes4 < bucketSize || st.Nodes4 > MaxNodes {
				t.Errorf("node %d knows %d nodes", i, st.Nodes4)
			}
		}
		hash := ID{0xab, 1, 2, 3}
		nodes[3].Start(Torrent{InfoHash: hash, Port: 7003})
		time.Sleep(10 * time.Second)
		var f finder
		h := nodes[60].Start(Torrent{InfoHash: hash, Port: 7060, Found: f.found})
		time.Sleep(10 * time.Second)
		if !f.has(netip.AddrPortFrom(simAddr(3).Addr(), 7003)) {
			t.Error("the peer was not found")
		}
		h.Stop()
		for i := 10; i < 40; i++ {
			e.mu.Lock()
			e.ports[simAddr(i)].deaf = true
			e.mu.Unlock()
		}
		time.Sleep(20 * time.Minute) // what is silent leaves the tables, peers are announced again
		var late finder
		nodes[80].Start(Torrent{InfoHash: hash, Found: late.found})
		time.Sleep(time.Minute)
		if !late.has(netip.AddrPortFrom(simAddr(3).Addr(), 7003)) {
			t.Error("the peer was not found among silent nodes")
		}
		id := nodes[7].Status().ID
		if err := nodes[7].Close(); err != nil {
			t.Fatal(err)
		}
		again := e.node(t, 7, Config{Bootstrap: []string{}, File: file})
		nodes[7] = again
		var back finder
		again.Start(Torrent{InfoHash: hash, Found: back.found})
		time.Sleep(time.Minute)
		if st := again.Status(); st.ID != id || st.Nodes4 < bucketSize || !back.has(netip.AddrPortFrom(simAddr(3).Addr(), 7003)) {
			t.Errorf("after a restart: same id %v, %d nodes, found %v", st.ID == id, st.Nodes4, back.peers)
		}
		for _, n := range nodes {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
