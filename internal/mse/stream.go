package mse

import (
	"net"
	"sync"
)

// writeMax is the number of bytes encrypted and written at once.
const writeMax = 256 << 10

// scratch holds the buffers into which writers encrypt; idle connections have
// none.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, writeMax); return &b }}

// Stream is a connection whose both directions are encrypted with RC4. Like
// any connection it may be read and written at the same time; unlike others,
// not by two readers or two writers at once. After an error of Write the
// stream is out of step and good for nothing but Close.
type Stream struct {
	net.Conn
	in, out *cipher
}

// NetConn returns the connection below.
func (s *Stream) NetConn() net.Conn { return s.Conn }

// Read reads and decrypts in place.
func (s *Stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.in.XORKeyStream(b[:n], b[:n])
	return n, err
}

// Write encrypts b, which it does not change, and writes it.
func (s *Stream) Write(b []byte) (int, error) {
	n, err := s.WriteBuffers(net.Buffers{b})
	return int(n), err
}

// WriteBuffers encrypts the bytes of all buffers, which it does not change,
// into one and writes that with few system calls: up to 256 KiB each.
func (s *Stream) WriteBuffers(bufs net.Buffers) (int64, error) {
	p := scratch.Get().(*[]byte)
	defer scratch.Put(p)
	out, total := (*p)[:0], int64(0)
	for _, b := range bufs {
		for len(b) > 0 {
			n := min(len(b), writeMax-len(out))
			at := len(out)
			out = out[:at+n]
			s.out.XORKeyStream(out[at:], b[:n])
			b = b[n:]
			if len(out) < writeMax {
				continue
			}
			wrote, err := s.Conn.Write(out)
			total += int64(wrote)
			if err != nil {
				return total, err
			}
			out = out[:0]
		}
	}
	if len(out) == 0 {
		return total, nil
	}
	wrote, err := s.Conn.Write(out)
	return total + int64(wrote), err
}

// primed is a connection of which some bytes were read already.
type primed struct {
	net.Conn
	early []byte
}

func (p *primed) Read(b []byte) (int, error) {
	if len(p.early) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.early)
	p.early = p.early[n:]
	return n, nil
}

// WriteBuffers passes the buffers on as they would go without p.
func (p *primed) WriteBuffers(bufs net.Buffers) (int64, error) {
	if s, ok := p.Conn.(*Stream); ok {
		return s.WriteBuffers(bufs)
	}
	return bufs.WriteTo(p.Conn)
}

// Bare takes the wrapper of [Accept] off a connection once the bytes that it
// held back are read. Any other connection is returned as it is.
func Bare(nc net.Conn) net.Conn {
	if p, ok := nc.(*primed); ok && len(p.early) == 0 {
		return p.Conn
	}
	return nc
}
