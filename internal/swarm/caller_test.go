package swarm

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing/synctest"

	"github.com/bttnet/btt/wire"
)

// visitor is a hand-driven peer that keeps every byte it is told.
type visitor struct {
	net  net.Conn
	addr netip.AddrPort
	mu   sync.Mutex
	in   []byte
	end  bool
}

// knock connects a visitor that offers all that we do, and the DHT.
func (w *world) knock(s *Swarm, change ...func(*wire.Handshake)) *visitor {
	w.nodes++
	return w.knockFrom(s, w.address(w.nodes), change...)
}

// knockFrom does so from an address.
func (w *world) knockFrom(s *Swarm, at netip.AddrPort, change ...func(*wire.Handshake)) *visitor {
	x, y := net.Pipe()
	v := &visitor{net: y, addr: at}
	h := wire.Handshake{Reserved: wire.OurReserved().WithDHT(), InfoHash: s.cfg.InfoHash}
	copy(h.PeerID[:], fmt.Sprintf("-XX0000-%012x", at.Addr().As4()))
	for _, f := range change {
		f(&h)
	}
	go v.read()
	s.Accept(&Incoming{Net: x, Handshake: h, Addr: v.addr})
	synctest.Wait()
	return v
}

func (v *visitor) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := v.net.Read(buf)
		v.mu.Lock()
		v.in = append(v.in, buf[:n]...)
		v.end = err != nil
		v.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// write fails silently when the swarm closed the connection.
func (v *visitor) write(b []byte) {
	_, _ = v.net.Write(b)
	synctest.Wait()
}

// all is what it was told.
func (v *visitor) all() []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]byte(nil), v.in...)
}

// messages are what it was told, one by one.
func (v *visitor) messages() (list []wire.Message) {
	b := v.all()
	for {
		m, n, err := wire.Next(b)
		if err != nil || n == 0 {
			return list
		}
		list, b = append(list, m), b[n:]
	}
}

// extended are the payloads of extension messages with an id.
func (v *visitor) extended(sub uint8) (list [][]byte) {
	for _, m := range v.messages() {
		if m.ID == wire.Extended && m.Sub == sub {
			list = append(list, m.Payload)
		}
	}
	return list
}

func (v *visitor) gone() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.end
}

// Close ends the connection.
func (v *visitor) Close() error {
	err := v.net.Close()
	synctest.Wait()
	return err
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
