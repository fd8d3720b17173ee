package dht

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// socket is what a node speaks through; *net.UDPConn is one.
type socket interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	Close() error
}

type packet struct {
	from netip.AddrPort
	six  bool
	m    *message
}

// read parses datagrams and drops what is no message; so it does with what
// the node's goroutine has no time for.
func (n *Node) read(c socket, six bool) {
	buf := make([]byte, MaxPacket+1)
	for {
		size, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) || n.ctx.Err() != nil {
			return
		}
		if err != nil {
			continue // ICMP errors of earlier datagrams
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if from.Port() == 0 || n.blocked(from.Addr()) {
			continue
		}
		m, err := parse(buf[:size])
		if err != nil {
			n.cfg.Log.Debug("DHT datagram", "from", from, "err", err)
			continue
		}
		select {
		case n.packets <- packet{from, six, m}:
		default:
		}
	}
}

func (n *Node) blocked(a netip.Addr) bool { return n.cfg.Blocked != nil && n.cfg.Blocked(a) }

func (n *Node) send(to netip.AddrPort, m *message) {
	f := n.family(to.Addr().Is6())
	if f.conn == nil || n.blocked(to.Addr()) {
		return
	}
	if _, err := f.conn.WriteToUDPAddrPort(m.append(make([]byte, 0, 512)), to); err != nil {
		n.cfg.Log.Debug("DHT send", "to", to, "err", err)
	}
}

// listen opens the sockets: one family for an address, both for all of them,
// on one port if it can be had.
func listen(addr string) (conns [2]socket, port uint16, err error) {
	if addr == "" {
		addr = ":0"
	}
	host, ports, err := net.SplitHostPort(addr)
	if err != nil {
		return conns, 0, fmt.Errorf("listen for the DHT on %s: %w", addr, err)
	}
	ip, err := netip.ParseAddr(host)
	var errs []error
	for i, network := range []string{"udp4", "udp6"} {
		if err == nil && !ip.IsUnspecified() && ip.Unmap().Is6() != (i == 1) {
			continue
		}
		la, lerr := net.ResolveUDPAddr(network, net.JoinHostPort(host, ports))
		if lerr != nil {
			errs = append(errs, lerr)
			continue
		}
		if port != 0 {
			la.Port = int(port)
		}
		c, lerr := net.ListenUDP(network, la)
		if lerr != nil {
			errs = append(errs, lerr)
			continue
		}
		conns[i], port = c, uint16(c.LocalAddr().(*net.UDPAddr).Port)
	}
	if port == 0 {
		return conns, 0, fmt.Errorf("listen for the DHT on %s: %w", addr, errors.Join(errs...))
	}
	return conns, port, nil
}

func onLoopback(listen string) bool {
	host, _, _ := net.SplitHostPort(listen)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// CheckBootstrap says whether s can be a bootstrap node: host:port.
func CheckBootstrap(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err == nil && host != "" && port != "" && port != "0" {
		if _, err = net.LookupPort("udp", port); err == nil {
			return nil
		}
	}
	return fmt.Errorf("DHT bootstrap node %q is not HOST:PORT", s)
}
