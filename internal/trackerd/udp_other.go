//go:build !(linux && (amd64 || arm64))

package trackerd

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// reusePort is false: one socket, one goroutine.
const (
	reusePort   = false
	receiveSize = 2048
	sendSize    = 4096
)

var errNoAddress = syscall.EADDRNOTAVAIL

type udpSocket struct {
	conn *net.UDPConn
}

func openUDP(network string, at netip.AddrPort, receiveBytes int) (udpSocket, error) {
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(at))
	if err != nil {
		return udpSocket{}, err
	}
	_ = conn.SetReadBuffer(receiveBytes) // the system's limit may be lower: then that
	return udpSocket{conn}, nil
}

func (u udpSocket) port() uint16 { return uint16(u.conn.LocalAddr().(*net.UDPAddr).Port) }

func (u udpSocket) close() { u.conn.Close() }

// serve answers until close.
func (u udpSocket) serve(w *worker) error {
	in, out := make([]byte, receiveSize), make([]byte, 0, sendSize)
	for {
		n, addr, err := u.conn.ReadFromUDPAddrPort(in)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil || n == len(in) {
			continue
		}
		w.tick()
		ip := addr.Addr()
		from := source{ip.As16(), addr.Port(), ip.Is4() || ip.Is4In6()}
		if reply := w.handle(out, in[:n], &from); len(reply) > 0 {
			_, _ = u.conn.WriteToUDPAddrPort(reply, addr) // a lost answer is like a lost datagram
		}
	}
}
