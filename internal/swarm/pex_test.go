package swarm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/wire"
)

// exchange is a network in which nodes can call one another.
type exchange struct {
	*world
	mu    sync.Mutex
	nodes map[netip.AddrPort]*Swarm
	dials map[netip.AddrPort]int // calls to an address
	hints []netip.AddrPort       // who is said to want encryption
}

func newExchange(w *world) *exchange {
	return &exchange{world: w, nodes: map[netip.AddrPort]*Swarm{}, dials: map[netip.AddrPort]int{}}
}

// caller is the dialer of the node at one address.
type caller struct {
	*exchange
	at netip.AddrPort
}

func (c caller) Dial(_ context.Context, a netip.AddrPort, ours wire.Handshake) (*Incoming, error) {
	c.mu.Lock()
	s := c.nodes[a]
	c.dials[a]++
	c.mu.Unlock()
	if s == nil {
		return nil, errors.New("nobody listens")
	}
	x, y := net.Pipe()
	s.Accept(&Incoming{Net: y, Handshake: ours, Addr: netip.AddrPortFrom(c.at.Addr(), 50_000)})
	return &Incoming{Net: x, Handshake: s.handshake(), Addr: a, Outgoing: true}, nil
}

func (c caller) PreferEncrypted(a netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hints = append(c.hints, a)
}

// join starts a node that listens and calls.
func (x *exchange) join(seed bool) (*Swarm, netip.AddrPort) {
	x.t.Helper()
	at := x.address(x.world.nodes + 1)
	set := func(c *Config) { c.Port, c.Dialer = at.Port(), caller{x, at} }
	var s *Swarm
	if seed {
		s = x.seed(nil, set)
	} else {
		s = x.node(nil, x.t.TempDir(), set)
	}
	x.mu.Lock()
	x.nodes[at] = s
	x.mu.Unlock()
	return s, at
}

// calls counts the calls to an address.
func (x *exchange) calls(a netip.AddrPort) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dials[a]
}

func with(s *Swarm, a netip.AddrPort) bool {
	var found bool
	_ = s.do(func() {
		found = slices.ContainsFunc(slices.Collect(maps.Values(s.peers)), func(m *member) bool { return m.listen == a })
	})
	return found
}

// TestPEXIntroduces has two nodes that know only a third: it introduces them.
func TestPEXIntroduces(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		x := newExchange(w)
		_, hub := x.join(true)
		a, aAt := x.join(false)
		b, bAt := x.join(false)
		a.AddPeers(hub)
		b.AddPeers(hub)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !with(a, bAt) || !with(b, aAt) {
			t.Errorf("a with b %v, b with a %v", with(a, bAt), with(b, aAt))
		}
	})
}

// TestPEXNeverPrivate: in a private torrent nobody is introduced, and what a
// stranger tells all the same is not believed (BEP 27).
func TestPEXNeverPrivate(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		private, err := create.Torrent(t.Context(), w.dir+"/film", create.Options{PieceLength: testPiece, Private: true})
		if err != nil {
			t.Fatal(err)
		}
		w.torrent = private
		x := newExchange(w)
		hubSwarm, hub := x.join(true)
		a, aAt := x.join(false)
		b, bAt := x.join(false)
		a.AddPeers(hub)
		b.AddPeers(hub)
		g := w.guest(hubSwarm, w.address(77))
		g.tell(wire.PEX{Added: []wire.PEXPeer{{Addr: w.address(99)}}})
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if with(a, bAt) || with(b, aAt) {
			t.Error("peers of a private torrent were introduced")
		}
		if x.calls(w.address(99)) > 0 {
			t.Error("a told address of a private torrent was called")
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.theirs.PEX != 0 || len(g.told) > 0 {
			t.Errorf("a private torrent offers peer exchange: id %d, %d messages", g.theirs.PEX, len(g.told))
		}
	})
}

// TestPEXLearnedBeforePrivate: what was told before the metadata came is
// forgotten when it says that the torrent is private.
func TestPEXLearnedBeforePrivate(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		_ = s.do(func() {
			s.known[w.address(50)] = &address{public: true}
			s.known[w.address(51)] = &address{}
			s.unlearnPEX()
			if len(s.known) != 1 || s.known[w.address(51)] == nil {
				t.Errorf("known are %v", s.known)
			}
		})
	})
}

// guest is a peer driven by hand that speaks peer exchange.
type guest struct {
	net    net.Conn
	mu     sync.Mutex
	theirs wire.ExtendedHandshake
	told   []wire.PEX
	at     []time.Time
	ended  bool
}

// guest connects a peer that listens at a.
func (w *world) guest(s *Swarm, a netip.AddrPort) *guest {
	x, y := net.Pipe()
	g := &guest{net: y}
	h := wire.Handshake{Reserved: wire.OurReserved(), InfoHash: w.torrent.InfoHash}
	copy(h.PeerID[:], fmt.Sprintf("-XX0000-%012d", binary.BigEndian.Uint32(a.Addr().AsSlice())))
	go g.read()
	s.Accept(&Incoming{Net: x, Handshake: h, Addr: netip.AddrPortFrom(a.Addr(), 50_000)})
	ext := wire.ExtendedHandshake{PEX: 3, Port: a.Port()}
	out := wire.AppendExtended(nil, wire.SubHandshake, ext.Append(nil))
	_, _ = y.Write(wire.AppendEmpty(wire.AppendEmpty(out, wire.HaveNone), wire.Interested))
	synctest.Wait()
	return g
}

func (g *guest) read() {
	for {
		var head [4]byte
		if _, err := io.ReadFull(g.net, head[:]); err != nil {
			g.mu.Lock()
			g.ended = true
			g.mu.Unlock()
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(g.net, body); err != nil || len(body) < 2 || wire.ID(body[0]) != wire.Extended {
			continue
		}
		g.mu.Lock()
		switch body[1] {
		case wire.SubHandshake:
			g.theirs, _ = wire.ParseExtendedHandshake(body[2:])
		case 3:
			if p, err := wire.ParsePEX(body[2:]); err == nil {
				g.told, g.at = append(g.told, p), append(g.at, time.Now())
			}
		}
		g.mu.Unlock()
	}
}

func (g *guest) tell(p wire.PEX) {
	_, _ = g.net.Write(wire.AppendExtended(nil, wire.SubPEX, p.Append(nil)))
	synctest.Wait()
}

func (g *guest) gone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// TestPEXDeltas: the first message comes soon, the others a minute apart at
// least, each tells what changed, and none tells too many.
func TestPEXDeltas(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		g := w.guest(s, w.address(200))
		var others []*guest
		for i := range wire.MaxPEX + 10 {
			others = append(others, w.guest(s, w.address(i+1)))
		}
		time.Sleep(5 * time.Second)
		others[0].net.Close()
		late := w.guest(s, w.address(201))
		time.Sleep(130 * time.Second)
		synctest.Wait()
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.told) < 2 || len(g.told[0].Added) != wire.MaxPEX {
			t.Fatalf("told %+v", g.told)
		}
		here := map[netip.AddrPort]bool{}
		for i, p := range g.told {
			if i > 0 && g.at[i].Sub(g.at[i-1]) < time.Minute {
				t.Errorf("message %d came after %s", i, g.at[i].Sub(g.at[i-1]))
			}
			for _, a := range p.Dropped {
				if !here[a] {
					t.Errorf("%s left and was not told", a)
				}
				delete(here, a)
			}
			for _, a := range p.Added {
				if here[a.Addr] || a.Addr == w.address(200) {
					t.Errorf("%s was told twice, or to itself", a.Addr)
				}
				here[a.Addr] = true
			}
		}
		if len(here) != len(others) || here[w.address(1)] || !here[w.address(201)] {
			t.Errorf("%d peers are told", len(here))
		}
		late.net.Close()
	})
}

// TestPEXFlags: what is said about a peer.
func TestPEXFlags(t *testing.T) {
	conn := peer.New(peer.Config{Outgoing: true})
	for _, tt := range []struct {
		m    *member
		want wire.PEXFlags
	}{
		{&member{conn: peer.New(peer.Config{})}, 0},
		{&member{conn: conn}, wire.PEXReachable},
		{&member{conn: conn, encrypted: true, seed: true}, wire.PEXReachable | wire.PEXEncrypts | wire.PEXUploadOnly},
		{&member{conn: peer.New(peer.Config{}), ext: wire.ExtendedHandshake{UploadOnly: true}}, wire.PEXUploadOnly},
	} {
		if got := pexFlags(tt.m); got != tt.want {
			t.Errorf("flags %x, want %x", got, tt.want)
		}
	}
}

// TestPEXTaken: from one peer one message a minute and a bounded number of
// addresses are taken, and none that lead to a place the teller cannot know.
func TestPEXTaken(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		x := newExchange(w)
		s, _ := x.join(false)
		g := w.guest(s, w.address(200))
		count := func() (n int) {
			_ = s.do(func() { n = len(s.known) })
			return n
		}
		addr := func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 6881)
		}
		g.tell(wire.PEX{Added: []wire.PEXPeer{{Addr: addr(1), Flags: wire.PEXEncrypts}, {Addr: addr(2)},
			{Addr: netip.MustParseAddrPort("127.0.0.1:5")}, {Addr: netip.MustParseAddrPort("169.254.1.1:5")}}})
		if n := count(); n != 2 {
			t.Errorf("%d addresses known, want 2", n)
		}
		synctest.Wait()
		if !slices.Equal(x.hints, []netip.AddrPort{addr(1)}) {
			t.Errorf("said to want encryption: %v", x.hints)
		}
		g.tell(wire.PEX{Added: []wire.PEXPeer{{Addr: addr(3)}}})
		if n := count(); n != 2 {
			t.Error("a message that came too soon was taken")
		}
		for i := range 20 {
			time.Sleep(time.Minute)
			var p wire.PEX
			for j := range wire.MaxPEX {
				p.Added = append(p.Added, wire.PEXPeer{Addr: addr(100 + i*wire.MaxPEX + j)})
			}
			g.tell(p)
		}
		if n := count(); n != maxPEXLearned {
			t.Errorf("%d addresses known, want %d", n, maxPEXLearned)
		}
		if g.gone() {
			t.Error("the peer was sent away")
		}
		_, _ = g.net.Write(wire.AppendExtended(nil, wire.SubPEX, []byte("nonsense")))
		time.Sleep(time.Minute)
		_, _ = g.net.Write(wire.AppendExtended(nil, wire.SubPEX, []byte("nonsense")))
		synctest.Wait()
		if !g.gone() {
			t.Error("nonsense was borne")
		}
	})
}
