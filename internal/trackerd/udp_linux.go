//go:build linux && (amd64 || arm64)

package trackerd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	reusePort   = true
	batch       = 64   // datagrams of one system call
	receiveSize = 2048 // longer datagrams are cut and then refused
	sendSize    = 4096
	// wakeUp is how often a silent socket looks whether it should end.
	wakeUp = 200 * time.Millisecond
)

var errNoAddress = unix.EADDRNOTAVAIL

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
	_      [4]byte
}

// udpSocket is a blocking SO_REUSEPORT socket: a thread that sleeps in
// recvmmsg costs fewer system calls per datagram than Go's poller.
type udpSocket struct {
	fd      int
	at      netip.AddrPort
	closing *closeFlag
}

func openUDP(network string, at netip.AddrPort, receiveBytes int) (udpSocket, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(cerr, err)
	}}
	pc, err := lc.ListenPacket(context.Background(), network, at.String())
	if err != nil {
		return udpSocket{}, err
	}
	conn := pc.(*net.UDPConn)
	defer conn.Close()                   // we keep a duplicate
	_ = conn.SetReadBuffer(receiveBytes) // the system's limit may be lower: then that
	_ = conn.SetWriteBuffer(receiveBytes)
	file, err := conn.File()
	if err != nil {
		return udpSocket{}, err
	}
	defer file.Close()
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return udpSocket{}, fmt.Errorf("duplicate socket: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(wakeUp))
	if err := errors.Join(unix.SetNonblock(fd, false),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)); err != nil {
		unix.Close(fd)
		return udpSocket{}, fmt.Errorf("prepare socket: %w", err)
	}
	return udpSocket{fd, conn.LocalAddr().(*net.UDPAddr).AddrPort(), newCloseFlag()}, nil
}

func (u udpSocket) port() uint16 { return u.at.Port() }

// close ends serve within wakeUp; if serve never ran the socket is freed here.
func (u udpSocket) close() {
	if u.closing.set() {
		unix.Close(u.fd)
	}
}

// ring is the memory of a batch, made once.
type ring struct {
	in, out [batch]mmsghdr
	inVec   [batch]unix.Iovec
	outVec  [batch]unix.Iovec
	names   [batch]unix.RawSockaddrInet6 // large enough for IPv4 too
	receive [batch][receiveSize]byte
	send    [batch][sendSize]byte
}

func newRing() *ring {
	r := new(ring)
	for i := range batch {
		r.inVec[i].Base = &r.receive[i][0]
		r.inVec[i].SetLen(receiveSize)
		h := &r.in[i].header
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&r.names[i])), uint32(unsafe.Sizeof(r.names[i]))
		h.Iov = &r.inVec[i]
		h.SetIovlen(1)
		r.outVec[i].Base = &r.send[i][0]
		r.out[i].header.Iov = &r.outVec[i]
		r.out[i].header.SetIovlen(1)
	}
	return r
}

// serve answers until close. The goroutine keeps its thread.
func (u udpSocket) serve(w *worker) error {
	if !u.closing.begin() {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer unix.Close(u.fd)
	r := newRing()
	for !u.closing.isSet() {
		n, _, e := syscall.Syscall6(unix.SYS_RECVMMSG, uintptr(u.fd), uintptr(unsafe.Pointer(&r.in)), batch, unix.MSG_WAITFORONE, 0, 0)
		switch e {
		case 0:
		case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
			continue
		default:
			return fmt.Errorf("receive datagrams: %w", e)
		}
		w.tick()
		u.flush(r, r.answer(w, int(n)))
	}
	return nil
}

// answer handles n datagrams and returns how many answers wait in r.out.
func (r *ring) answer(w *worker, n int) (answers int) {
	var from source
	for i := range n {
		h := &r.in[i].header
		name := &r.names[i]
		length := int(r.in[i].length)
		if h.Flags&unix.MSG_TRUNC == 0 && readSource(name, &from) {
			reply := w.handle(r.send[answers][:0], r.receive[i][:length], &from)
			if len(reply) > 0 {
				r.outVec[answers].SetLen(len(reply))
				out := &r.out[answers].header
				out.Name, out.Namelen = h.Name, h.Namelen
				answers++
			}
		}
	}
	// Names are used by r.out until flush; lengths are set anew for the next batch.
	return answers
}

// flush sends the answers; what the socket refuses is lost, as datagrams are.
func (u udpSocket) flush(r *ring, answers int) {
	for sent := 0; sent < answers; {
		n, _, e := syscall.Syscall6(unix.SYS_SENDMMSG, uintptr(u.fd), uintptr(unsafe.Pointer(&r.out[sent])), uintptr(answers-sent), 0, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			n = 1 // skip the one that cannot be sent
		}
		sent += int(n)
	}
	for i := range r.in {
		r.in[i].header.Namelen = uint32(unsafe.Sizeof(r.names[i]))
	}
}

// readSource reads a socket address of either family.
func readSource(name *unix.RawSockaddrInet6, from *source) bool {
	switch name.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		from.is4 = true
		from.ip = [16]byte{10: 0xff, 11: 0xff, 12: a.Addr[0], 13: a.Addr[1], 14: a.Addr[2], 15: a.Addr[3]}
		from.port = networkOrder(a.Port)
		return true
	case unix.AF_INET6:
		from.is4 = false
		from.ip = name.Addr
		from.port = networkOrder(name.Port)
		return true
	}
	return false
}

// networkOrder reads a 16-bit number that lies in memory in network order.
func networkOrder(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}
