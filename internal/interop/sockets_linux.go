package interop

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets asks the kernel of one host for its connections (sock_diag(7)), without
// a process for each look. Not for concurrent use.
type sockets struct {
	fd  int
	buf []byte
}

// connection is one established TCP connection and what the other side has
// acknowledged of it.
type connection struct {
	from, to netip.AddrPort
	acked    int64
}

// Layout of <linux/inet_diag.h>: a request, the fixed part of an answer, and where
// an answer has its addresses.
const (
	diagRequestLen = 56
	diagAnswerLen  = 72
	diagPorts      = 4
	diagAddrs      = diagPorts + 4
	diagInfo       = 2 // INET_DIAG_INFO, an attribute that holds tcp_info
	established    = 1 // TCP_ESTABLISHED
)

// ackedOffset is where tcp_info counts the bytes that were acknowledged.
const ackedOffset = int(unsafe.Offsetof(unix.TCPInfo{}.Bytes_acked))

// openSockets opens the host's list of connections; close it with close.
func openSockets(h *Host) (*sockets, error) {
	type result struct {
		fd  int
		err error
	}
	done := make(chan result, 1)
	go func() { // its thread is in the host's namespace and ends with it
		runtime.LockOSThread()
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("enter namespace of %s: %w", h.Addr, err)}
			return
		}
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
		done <- result{fd, err}
	}()
	r := <-done
	if r.err != nil {
		return nil, fmt.Errorf("open list of connections of %s: %w", h.Addr, r.err)
	}
	return &sockets{fd: r.fd, buf: make([]byte, 64<<10)}, nil
}

func (s *sockets) close() { unix.Close(s.fd) }

// list calls f for each established connection of IPv4, also those over sockets
// of IPv6.
func (s *sockets) list(f func(connection)) error {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		req := make([]byte, unix.NLMSG_HDRLEN+diagRequestLen)
		binary.NativeEndian.PutUint32(req, uint32(len(req)))
		binary.NativeEndian.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
		binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
		body := req[unix.NLMSG_HDRLEN:]
		body[0], body[1], body[2] = family, unix.IPPROTO_TCP, 1<<(diagInfo-1)
		binary.NativeEndian.PutUint32(body[4:], 1<<established)
		if err := unix.Sendto(s.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("ask for connections: %w", err)
		}
		for more := true; more; {
			n, _, err := unix.Recvfrom(s.fd, s.buf, 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return fmt.Errorf("read connections: %w", err)
			}
			if more, err = eachAnswer(s.buf[:n], f); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachAnswer takes the messages of one datagram and reports whether more follow.
func eachAnswer(data []byte, f func(connection)) (more bool, err error) {
	for len(data) >= unix.NLMSG_HDRLEN {
		size, kind := int(binary.NativeEndian.Uint32(data)), binary.NativeEndian.Uint16(data[4:])
		if size < unix.NLMSG_HDRLEN || size > len(data) {
			return false, fmt.Errorf("read connections: message of %d bytes in %d", size, len(data))
		}
		body := data[unix.NLMSG_HDRLEN:size]
		switch kind {
		case unix.NLMSG_DONE:
			return false, nil
		case unix.NLMSG_ERROR:
			return false, fmt.Errorf("read connections: the kernel refuses: % x", body[:min(len(body), 4)])
		default:
			if c, ok := readAnswer(body); ok {
				f(c)
			}
		}
		data = data[min((size+3)&^3, len(data)):]
	}
	return true, nil
}

// readAnswer takes one inet_diag_msg with its attributes.
func readAnswer(b []byte) (c connection, ok bool) {
	if len(b) < diagAnswerLen {
		return c, false
	}
	addr := func(at int) netip.Addr {
		if b[0] == unix.AF_INET {
			return netip.AddrFrom4([4]byte(b[at:]))
		}
		return netip.AddrFrom16([16]byte(b[at:])).Unmap()
	}
	c.from = netip.AddrPortFrom(addr(diagAddrs), binary.BigEndian.Uint16(b[diagPorts:]))
	c.to = netip.AddrPortFrom(addr(diagAddrs+16), binary.BigEndian.Uint16(b[diagPorts+2:]))
	for rest := b[diagAnswerLen:]; len(rest) >= 4; {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			return c, false
		}
		if kind == diagInfo && size >= 4+ackedOffset+8 {
			c.acked = int64(binary.NativeEndian.Uint64(rest[4+ackedOffset:]))
			return c, true
		}
		rest = rest[min((size+3)&^3, len(rest)):]
	}
	return c, false
}
