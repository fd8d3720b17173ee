package swarm

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/wire"
)

// TestPriority holds the examples of BEP 40.
func TestPriority(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want uint32
	}{
		{"123.213.32.10:1", "98.76.54.32:2", 0xec2d7224},
		{"123.213.32.10:1", "123.213.32.234:2", 0x99568189},
	} {
		a, b := netip.MustParseAddrPort(tt.a), netip.MustParseAddrPort(tt.b)
		if x, y := priority(a, b), priority(b, a); x != tt.want || y != tt.want {
			t.Errorf("%s and %s: %08x and %08x, want %08x", a, b, x, y, tt.want)
		}
	}
	same := []struct {
		a, b, c string // c differs from b where it does not count
		equal   bool
	}{
		{"1.2.3.4:1", "5.6.0.0:1", "5.6.170.170:9", true}, // the lower bytes count by every other bit
		{"1.2.3.4:1", "5.6.0.0:1", "5.6.1.0:1", false},
		{"1.2.3.4:1", "1.2.7.0:1", "1.2.7.170:1", true},
		{"1.2.3.4:1", "1.2.7.0:1", "1.2.5.0:1", false}, // one /16: the third byte counts in full
		{"1.2.3.4:1", "1.2.3.4:5", "1.2.3.4:6", false},
		{"[2001:db8::1]:1", "[2001:db9::]:1", "[2001:db9::aaaa]:1", true},
		{"[2001:db8::1]:1", "[2001:db8:0:8000::]:1", "[2001:db8:0:4000::]:1", false},
		{"1.2.3.4:1", "[2001:db9::]:1", "[2001:db9::aaaa]:1", true},
		// A neighbour on the link that calls its own address ours.
		{"[fe80::1]:1", "[fe80::1%eth0]:5", "[fe80::1]:5", true},
		{"[fe80::1]:1", "[fe80::2%eth0]:5", "[fe80::2]:5", true},
	}
	for _, tt := range same {
		a, b, c := netip.MustParseAddrPort(tt.a), netip.MustParseAddrPort(tt.b), netip.MustParseAddrPort(tt.c)
		if (priority(a, b) == priority(a, c)) != tt.equal || priority(b, a) != priority(a, b) {
			t.Errorf("%s with %s and %s: %08x and %08x", a, b, c, priority(a, b), priority(a, c))
		}
	}
}

// address16 is one of many addresses of different networks.
func address16(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(i), byte(i >> 8), 1}), 6881)
}

// TestOrdered: where not all known addresses can be called, those of the
// highest priority come first.
func TestOrdered(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		_ = s.do(func() {
			s.external = netip.MustParseAddr("98.76.54.32")
			for i := range MaxPeers + 50 {
				s.learn(address16(i))
			}
			s.known[address16(3)].connected = true
			var ranks []uint32
			for a, k := range s.ordered() {
				if k.connected {
					t.Error("a connected address is called")
				}
				ranks = append(ranks, s.rank(a))
			}
			if len(ranks) != MaxPeers+49 || !slices.IsSortedFunc(ranks, func(x, y uint32) int { return int(int64(y) - int64(x)) }) {
				t.Errorf("%d addresses in the wrong order", len(ranks))
			}
		})
	})
}

// TestFull: a full torrent refuses a peer of lower priority than all that are
// there, and takes one of higher priority in the place of the least, once that
// had its time.
func TestFull(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		_ = s.do(func() { s.external = netip.MustParseAddr("98.76.54.32") })
		addrs := make([]netip.AddrPort, 0, MaxPeers+2)
		for i := range MaxPeers + 2 {
			addrs = append(addrs, address16(i))
		}
		ours := netip.AddrPortFrom(netip.MustParseAddr("98.76.54.32"), 0)
		slices.SortFunc(addrs, func(a, b netip.AddrPort) int { return int(int64(priority(ours, a)) - int64(priority(ours, b))) })
		guests := map[netip.AddrPort]*guest{}
		for _, a := range addrs[1 : MaxPeers+1] {
			guests[a] = w.guest(s, a)
		}
		if n := len(s.Status().Peers); n != MaxPeers {
			t.Fatalf("%d peers", n)
		}
		if early := w.guest(s, addrs[MaxPeers+1]); !early.gone() {
			t.Error("a peer that had just come was replaced")
		}
		time.Sleep(settleTime + time.Second)
		if low := w.guest(s, addrs[0]); !low.gone() {
			t.Error("a peer of the lowest priority was taken in")
		}
		high := w.guest(s, addrs[MaxPeers+1])
		if high.gone() || !guests[addrs[1]].gone() || guests[addrs[2]].gone() {
			t.Errorf("high gone %v, least gone %v, next gone %v", high.gone(), guests[addrs[1]].gone(), guests[addrs[2]].gone())
		}
		if n := len(s.Status().Peers); n != MaxPeers {
			t.Errorf("%d peers", n)
		}
	})
}

// TestCrowded: one address has a bounded number of connections, loopback not.
func TestCrowded(t *testing.T) {
	for _, tt := range []struct {
		ip   string
		want int
	}{{"192.0.2.1", maxPerIP}, {"127.0.0.1", maxPerIP + 3}, {"::ffff:192.0.2.1", maxPerIP}} {
		bubble(t, testPiece, func(t *testing.T, w *world) {
			s := w.seed(nil, nil)
			for i := range maxPerIP + 3 {
				x, y := net.Pipe()
				go (&guest{net: y}).read()
				h := s.handshake()
				h.PeerID[19] = byte(100 + i)
				s.Accept(&Incoming{Net: x, Handshake: h, Addr: netip.AddrPortFrom(netip.MustParseAddr(tt.ip), uint16(1000+i))})
			}
			synctest.Wait()
			if n := len(s.Status().Peers); n != tt.want {
				t.Errorf("%s: %d connections, want %d", tt.ip, n, tt.want)
			}
		})
	}
}

// TestSelf: a node that finds its own address calls itself once and never
// again.
func TestSelf(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		x := newExchange(w)
		s, at := x.join(true)
		s.AddPeers(at)
		time.Sleep(time.Hour)
		if n := x.calls(at); n != 1 {
			t.Errorf("called itself %d times", n)
		}
		if n := len(s.Status().Peers); n != 0 {
			t.Errorf("%d peers", n)
		}
	})
}

// TestDuplicate: however two nodes meet, one connection stays, and neither
// calls again and again while it does.
func TestDuplicate(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		x := newExchange(w)
		a, aAt := x.join(true)
		b, bAt := x.join(false)
		a.AddPeers(bAt)
		b.AddPeers(aAt)
		time.Sleep(time.Second)
		synctest.Wait()
		for i, s := range []*Swarm{a, b} {
			if n := len(s.Status().Peers); n > 1 {
				t.Errorf("node %d has %d connections", i, n)
			}
		}
		if n := x.calls(aAt) + x.calls(bAt); n > 3 {
			t.Errorf("%d calls", n)
		}
	})
}

// TestListens: a peer that called us and says where it listens is not called
// while it is here, and is called when it was lost.
func TestListens(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		x := newExchange(w)
		s, _ := x.join(false)
		at := w.address(200)
		_ = s.do(func() { s.known[at] = &address{tried: s.now} })
		g := w.guest(s, at)
		time.Sleep(5 * time.Second)
		if x.calls(at) != 0 {
			t.Error("a connected peer was called")
		}
		_ = s.do(func() { // a call of ours that crossed the peer's
			s.forget(&Incoming{Outgoing: true, Addr: at})
			if !s.known[at].connected {
				t.Error("a second connection made us forget the first")
			}
		})
		g.net.Close()
		time.Sleep(10 * time.Second)
		if x.calls(at) == 0 { // and nobody answers
			t.Error("a lost peer was not called")
		}
	})
}

// TestDontHave: a piece that a peer takes back is not asked of it (BEP 54).
func TestDontHave(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		g := w.guest(s, w.address(200))
		take := func(piece uint32) {
			_, _ = g.net.Write(wire.AppendExtended(nil, wire.SubDontHave, wire.AppendDontHave(nil, piece)))
			synctest.Wait()
		}
		look := func(f func(m *member)) {
			_ = s.do(func() {
				for _, m := range s.peers {
					f(m)
				}
			})
		}
		_, _ = g.net.Write(wire.AppendEmpty(nil, wire.HaveAll))
		synctest.Wait()
		look(func(m *member) {
			if !m.seed || !m.wanted {
				t.Errorf("seed %v, wanted %v", m.seed, m.wanted)
			}
		})
		take(2)
		take(2)
		look(func(m *member) {
			if m.seed || m.bits.Has(2) || m.bits.Count() != 3 || !m.wanted {
				t.Errorf("bits %08b, wanted %v", m.bits, m.wanted)
			}
			if got := s.picker.Availability(); got >= 1 {
				t.Errorf("availability %v", got)
			}
		})
		for _, p := range []uint32{0, 1, 3} {
			take(p)
		}
		look(func(m *member) {
			if m.wanted {
				t.Error("a peer without pieces is wanted")
			}
		})
		take(4)
		if !g.gone() {
			t.Error("a piece beyond the end was borne")
		}
	})
}

// TestDontHaveBeforeMetadata: what was taken back before the number of pieces
// was known counts when it is.
func TestDontHaveBeforeMetadata(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		g := w.guest(s, w.address(200))
		_ = s.do(func() {
			for _, m := range s.peers {
				s.uncount(m)
				info := s.info
				s.info = nil
				m.seed = true
				s.onDontHave(m, 1)
				s.info = info
				s.meet(m)
				if m.seed || m.bits.Count() != 3 || m.bits.Has(1) {
					t.Errorf("bits %08b", m.bits)
				}
			}
		})
		if errors.Is(s.Status().Err, ErrClosed) || g.gone() {
			t.Error("the peer is gone")
		}
	})
}

// TestPrune: addresses where nobody answers make place, and only they do.
func TestPrune(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		_ = s.do(func() {
			for i := range maxKnown {
				s.learn(address16(i))
			}
			s.prune()
			s.learn(address16(maxKnown))
			if len(s.known) != maxKnown || s.known[address16(maxKnown)] != nil {
				t.Errorf("%d addresses known", len(s.known))
			}
			for i := range maxKnown {
				s.known[address16(i)].failures = deadAfter - i%2
				s.known[address16(i)].connected = i%4 == 0
			}
			for next := maxKnown; next < 2*maxKnown; next++ {
				s.prune()
				s.learn(address16(next))
			}
			for i := range maxKnown {
				dead := i%2 == 0 && i%4 != 0
				if here := s.known[address16(i)] != nil; here == dead {
					t.Errorf("address %d is known: %v", i, here)
				}
			}
		})
	})
}
