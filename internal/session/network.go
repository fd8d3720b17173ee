package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	// acceptPause follows an accept error, such as too many open files.
	acceptPause = 100 * time.Millisecond
)

func (s *Session) listen() error {
	if s.cfg.Listen == "off" {
		return nil
	}
	addr := s.cfg.Listen
	if addr == "" {
		addr = ":0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for peers on %s: %w", addr, err)
	}
	s.listener = l
	s.port = uint16(l.Addr().(*net.TCPAddr).Port)
	return nil
}

func (s *Session) closeListener() {
	if s.listener != nil {
		s.listener.Close()
	}
}

// accept takes incoming connections until the listener is closed.
func (s *Session) accept() {
	for {
		nc, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.cfg.Log.Warn("accept peer", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		ip := remote(nc).Addr()
		if s.Blocked(ip) || !s.incoming.Enter(ip) {
			nc.Close()
			continue
		}
		go func() { // ends within the handshakes' timeouts
			defer s.incoming.Leave(ip)
			s.answer(nc)
		}()
	}
}

// answer does the handshakes of a peer that called us.
func (s *Session) answer(nc net.Conn) {
	sw, in, err := s.receive(nc)
	if err != nil {
		s.cfg.Log.Debug("incoming handshake", "addr", nc.RemoteAddr(), "err", err)
		nc.Close()
		return
	}
	sw.Accept(in)
}

func remote(nc net.Conn) netip.AddrPort {
	a, _ := nc.RemoteAddr().(*net.TCPAddr)
	if a == nil {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// dialer makes outgoing connections for swarms.
type dialer Session

// connect connects from the listening address, so that peers know us by one
// address.
func (d *dialer) connect(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
	nd := net.Dialer{Timeout: dialTimeout}
	if l := (*Session)(d).Addr(); l.IsValid() && !l.Addr().IsUnspecified() && l.Addr().Is4() == addr.Addr().Is4() {
		nd.LocalAddr = &net.TCPAddr{IP: l.Addr().AsSlice()}
	}
	nc, err := nd.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("dial peer: %w", err)
	}
	return nc, nil
}
