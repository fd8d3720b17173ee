package swarm

import (
	"bytes"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/dht"
	"github.com/bttnet/btt/wire"
)

// fakeDHT notes what a swarm asks of it.
type fakeDHT struct {
	mu       sync.Mutex
	torrents []dht.Torrent
	stopped  int
	nodes    []netip.AddrPort
}

func (f *fakeDHT) Start(t dht.Torrent) Search {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.torrents = append(f.torrents, t)
	return f
}

func (f *fakeDHT) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped++
}

func (f *fakeDHT) AddNode(a netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = append(f.nodes, a)
}

func (f *fakeDHT) Port() uint16 { return 4242 }

func (f *fakeDHT) counts() (started, stopped, nodes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.torrents), f.stopped, len(f.nodes)
}

// TestDHTFinds: the torrent is announced with our port, and what is found is
// called; the announces end with the swarm.
func TestDHTFinds(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		x := newExchange(w)
		_, at := x.join(true)
		f := &fakeDHT{}
		s := w.node(nil, t.TempDir(), func(c *Config) { c.Port, c.Dialer, c.DHT = 99, caller{x, w.address(9)}, f })
		synctest.Wait() // it is announced after the word that it is checked
		if started, _, _ := f.counts(); started != 1 || f.torrents[0].InfoHash != dht.ID(w.torrent.InfoHash) || f.torrents[0].Port != 99 {
			t.Fatalf("announced %d torrents", started)
		}
		f.torrents[0].Found([]netip.AddrPort{at})
		time.Sleep(5 * time.Second)
		if !with(s, at) {
			t.Error("a found peer was not called")
		}
		for range 3 * maxFoundBatches { // a flood of them is bounded and does not block
			f.torrents[0].Found([]netip.AddrPort{w.address(40)})
		}
		s.Close()
		if _, stopped, _ := f.counts(); stopped != 1 {
			t.Errorf("stopped %d times", stopped)
		}
	})
}

// TestDHTNeverPrivate: a private torrent is not announced, neither are ports
// told or taken (BEP 27); one that turns out to be private is announced no more
// and forgets whom it found.
func TestDHTNeverPrivate(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		open := w.torrent
		private, err := create.Torrent(t.Context(), w.dir+"/film", create.Options{PieceLength: testPiece, Private: true})
		if err != nil {
			t.Fatal(err)
		}
		w.torrent = private
		f := &fakeDHT{}
		set := func(c *Config) { c.DHT = f }
		s := w.node(nil, t.TempDir(), set)
		p := w.knock(s)
		p.write(wire.AppendPort(nil, 77))
		time.Sleep(time.Minute)
		if started, _, nodes := f.counts(); started != 0 || nodes != 0 || bytes.Contains(p.all(), wire.AppendPort(nil, f.Port())) {
			t.Errorf("private: %d announced, %d nodes, told %x", started, nodes, p.all())
		}

		w.torrent = open
		s = w.node(nil, t.TempDir(), func(c *Config) { set(c); c.InfoHash = private.InfoHash })
		_ = s.do(func() {
			s.known[w.address(50)] = &address{public: true}
			info := *private.Info
			s.store.Close()
			s.adopt(&info)
			if len(s.known) != 0 {
				t.Errorf("known are %v", s.known)
			}
		})
		f.torrents[0].Found([]netip.AddrPort{w.address(51)})
		synctest.Wait()
		_ = s.do(func() {
			if len(s.known) != 0 {
				t.Errorf("known are %v", s.known)
			}
		})
		if started, stopped, _ := f.counts(); started != 1 || stopped != 1 {
			t.Errorf("turned private: started %d, stopped %d", started, stopped)
		}
	})
}

// TestPortMessage: peers with the DHT's bit tell each other of their nodes, once
// a connection (BEP 5); those without it are told nothing.
func TestPortMessage(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		f := &fakeDHT{}
		s := w.node(nil, t.TempDir(), func(c *Config) { c.DHT = f })
		if !s.Reserved().DHT() || w.node(nil, t.TempDir(), nil).Reserved().DHT() {
			t.Error("the bit of the DHT is wrong")
		}
		p := w.knock(s)
		for _, port := range []uint16{0, 77, 78, 79} {
			p.write(wire.AppendPort(nil, port))
		}
		synctest.Wait()
		if !bytes.Contains(p.all(), wire.AppendPort(nil, f.Port())) {
			t.Errorf("the port was not told: %x", p.all())
		}
		if p.gone() || len(p.extended(wire.SubHandshake)) != 1 {
			t.Errorf("the connection ended, or began with %d extension handshakes", len(p.extended(wire.SubHandshake)))
		}
		if want := netip.AddrPortFrom(p.addr.Addr(), 77); len(f.nodes) != 1 || f.nodes[0] != want {
			t.Errorf("nodes %v, want %v", f.nodes, want)
		}
		p = w.knock(s, func(h *wire.Handshake) { h.Reserved = wire.OurReserved() })
		synctest.Wait()
		if bytes.Contains(p.all(), wire.AppendPort(nil, f.Port())) {
			t.Error("a peer without the bit was told the port")
		}
	})
}
