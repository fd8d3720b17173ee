package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/bttnet/btt/internal/mse"
	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/wire"
)

// maxWants is the greatest number of addresses remembered for how they want
// to be called.
const maxWants = 4096

// wants remembers which addresses are to be called with encryption first.
// Its methods are safe for concurrent use.
type wants struct {
	mu    sync.Mutex // leaf lock
	addrs map[netip.AddrPort]struct{}
}

func (w *wants) set(a netip.AddrPort, encrypted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !encrypted {
		delete(w.addrs, a)
		return
	}
	if w.addrs == nil {
		w.addrs = make(map[netip.AddrPort]struct{})
	}
	if len(w.addrs) >= maxWants {
		for old := range w.addrs {
			delete(w.addrs, old)
			break
		}
	}
	w.addrs[a] = struct{}{}
}

func (w *wants) encrypted(a netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, ok := w.addrs[a]
	return ok
}

// PreferEncrypted says that a peer is known to want encrypted calls.
func (d *dialer) PreferEncrypted(a netip.AddrPort) {
	if d.cfg.Encryption == mse.Allowed {
		d.wants.set(a, true)
	}
}

// ways are the ways to call an address, the likely one first.
func (d *dialer) ways(a netip.AddrPort) []bool {
	switch first := d.wants.encrypted(a); {
	case d.cfg.Encryption == mse.Required:
		return []bool{true}
	case d.cfg.Encryption == mse.Off:
		return []bool{false}
	default:
		return []bool{first, !first}
	}
}

// Dial implements [swarm.Dialer]: it connects and does the handshakes. A peer
// that ends a call at once is called again the other way; one that is silent
// is called the other way next time.
func (d *dialer) Dial(ctx context.Context, addr netip.AddrPort, ours wire.Handshake) (*swarm.Incoming, error) {
	var failures []error
	for _, encrypted := range d.ways(addr) {
		nc, err := d.connect(ctx, addr)
		if err != nil {
			return nil, errors.Join(append(failures, err)...)
		}
		in, err := shake(nc, ours, encrypted, d.cfg.Encryption)
		if err == nil {
			d.wants.set(addr, encrypted)
			in.Addr, in.Outgoing, in.Encrypted, in.InfoHash = addr, true, encrypted, ours.InfoHash
			return in, nil
		}
		nc.Close()
		failures = append(failures, err)
		if errors.Is(err, peer.ErrOtherTorrent) {
			break
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			d.wants.set(addr, !encrypted)
			break
		}
	}
	return nil, errors.Join(failures...)
}

// shake does the handshakes of an outgoing call.
func shake(nc net.Conn, ours wire.Handshake, encrypted bool, policy mse.Policy) (*swarm.Incoming, error) {
	if !encrypted {
		theirs, err := peer.Initiate(nc, ours)
		return &swarm.Incoming{Net: nc, Handshake: theirs}, err
	}
	nc, binding, err := mse.Initiate(nc, ours.InfoHash, policy, ours.Append(nil))
	if err != nil {
		return nil, err
	}
	theirs, err := peer.ReadHandshake(nc)
	if err == nil && !ours.Accepts(theirs.InfoHash) {
		err = fmt.Errorf("handshake with %s: %w", nc.RemoteAddr(), peer.ErrOtherTorrent)
	}
	return &swarm.Incoming{Net: nc, Handshake: theirs, Binding: binding}, err
}

// receive does the handshakes of a peer that called us. On an error the caller
// closes nc.
func (s *Session) receive(nc net.Conn) (*swarm.Swarm, *swarm.Incoming, error) {
	got, err := mse.Accept(nc, s.requested, s.cfg.Encryption)
	if err != nil {
		return nil, nil, err
	}
	theirs, err := peer.ReadHandshake(got.Conn)
	if err != nil {
		return nil, nil, err
	}
	if got.Encrypted && theirs.InfoHash != got.InfoHash {
		return nil, nil, fmt.Errorf("encrypted call: %w", peer.ErrOtherTorrent)
	}
	var sw *swarm.Swarm
	if t := s.Get(theirs.InfoHash); t != nil {
		sw = t.running()
	}
	if sw == nil {
		return nil, nil, fmt.Errorf("call for %x: %w", theirs.InfoHash, ErrNotFound)
	}
	conn := mse.Bare(got.Conn)
	if err := peer.Answer(conn, sw.Answer(theirs)); err != nil {
		return nil, nil, err
	}
	return sw, &swarm.Incoming{Net: conn, Handshake: theirs, Addr: remote(nc), Encrypted: got.Encrypted, Binding: got.Binding, InfoHash: theirs.InfoHash}, nil
}

// requested finds a torrent by the hash that an encrypted call names.
func (s *Session) requested(request [20]byte) ([20]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.requests[request]
	return h, ok
}
