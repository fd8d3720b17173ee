package peer

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/wire"
)

// memory is a store whose every byte is that of its position.
type memory struct {
	mu     sync.Mutex
	blocks map[request]int
	result disk.Result
}

func (m *memory) BlockFrom(_, piece, begin uint32, data []byte) (disk.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocks[request{piece, begin, uint32(len(data))}]++
	return m.result, nil
}

func (m *memory) Read(buf []byte, piece, begin uint32) error {
	for i := range buf {
		buf[i] = at(piece, begin+uint32(i))
	}
	return nil
}

func at(piece, off uint32) byte { return byte(piece*31 + off*7 + off>>8) }

func (m *memory) stored(q request) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocks[q]
}

// owner collects a connection's events.
type owner struct {
	ready chan struct{}
	kept  []Event
	spare []Event
}

func (o *owner) Ready(*Conn) {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// rig is a connection and the peer at its other end, played by the test.
type rig struct {
	t     testing.TB
	c     *Conn
	o     *owner
	store *memory
	have  *Pieces
	nc    net.Conn
}

var plain, fast = wire.Reserved{}, wire.OurReserved()

func newRig(t testing.TB, bits wire.Reserved) *rig {
	t.Helper()
	ours, theirs := socketPair(t)
	r := &rig{t: t, o: &owner{ready: make(chan struct{}, 1)}, nc: theirs, store: &memory{blocks: map[request]int{}}, have: NewPieces(11)}
	r.c = New(Config{ID: 1, Net: ours, Handshake: wire.Handshake{Reserved: bits}, Owner: r.o})
	r.c.SetStore(r.store, r.have, pieceLen, total)
	r.c.Start()
	t.Cleanup(func() { r.c.Close(errors.New("test is over")); theirs.Close() })
	return r
}

func socketPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// patience is how long anything may take before a test gives up on it; nothing is
// measured by it.
const patience = 2 * time.Minute

// await returns the next event of a kind; others before it are kept.
func (r *rig) await(k Kind) Event {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		for i, e := range r.o.kept {
			if e.Kind == k {
				r.o.kept = append(r.o.kept[:i:i], r.o.kept[i+1:]...)
				return e
			}
		}
		select {
		case <-r.o.ready:
			r.o.spare = r.c.Events(r.o.spare)
			r.o.kept = append(r.o.kept, r.o.spare...)
		case <-timeout:
			r.t.Fatalf("no event %d; have %+v", k, r.o.kept)
		}
	}
}

func (r *rig) send(b []byte) {
	r.t.Helper()
	if _, err := r.nc.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) say(id wire.ID) { r.t.Helper(); r.send(wire.AppendEmpty(nil, id)) }

// next reads one message of the connection within d.
func (r *rig) next(d time.Duration) (wire.Message, error) {
	_ = r.nc.SetReadDeadline(time.Now().Add(d))
	var head [4]byte
	if _, err := io.ReadFull(r.nc, head[:]); err != nil {
		return wire.Message{}, err
	}
	b := append(head[:], make([]byte, binary.BigEndian.Uint32(head[:]))...)
	_ = r.nc.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(r.nc, b[4:]); err != nil {
		return wire.Message{}, err
	}
	m, _, err := wire.Next(b)
	return m, err
}

// expect reads messages that must be these, in order.
func (r *rig) expect(id wire.ID, qs ...request) {
	r.t.Helper()
	for _, q := range qs {
		m, err := r.next(patience)
		if err != nil {
			r.t.Fatalf("want %d %v: %v", id, q, err)
		}
		if m.ID != id || (request{m.Index, m.Begin, m.Length}) != q {
			r.t.Fatalf("got %d %d/%d/%d, want %d %v", m.ID, m.Index, m.Begin, m.Length, id, q)
		}
		if id == wire.Piece {
			for i, c := range m.Payload {
				if c != at(q.piece, q.begin+uint32(i)) {
					r.t.Fatalf("block %v is wrong at byte %d", q, i)
				}
			}
		}
	}
}

func (r *rig) expectID(id wire.ID) {
	r.t.Helper()
	if m, err := r.next(patience); err != nil || m.ID != id {
		r.t.Fatalf("got %d, %v; want message %d", m.ID, err, id)
	}
}

// silent checks that the connection has nothing to say.
func (r *rig) silent() {
	r.t.Helper()
	if m, err := r.next(30 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Fatalf("unexpected message %d %d/%d/%d, %v", m.ID, m.Index, m.Begin, m.Length, err)
	}
}

// closes checks that the connection ends with a reason.
func (r *rig) closes(reason error) {
	r.t.Helper()
	if e := r.await(Closed); !errors.Is(e.Err, reason) {
		r.t.Fatalf("closed with %v, want %v", e.Err, reason)
	}
}

func req(i int) request { // the i-th block of the torrent
	return request{uint32(i / 4), uint32(i%4) * block, block}
}

func reqs(from, n int) (list []request) {
	for i := from; i < from+n; i++ {
		list = append(list, req(i))
	}
	return list
}

func (r *rig) answer(qs ...request) {
	r.t.Helper()
	for _, q := range qs {
		r.send(append(wire.AppendPieceHeader(nil, q.piece, q.begin, q.length), make([]byte, q.length)...))
	}
}

func (r *rig) ask(qs ...request) {
	r.t.Helper()
	for _, q := range qs {
		r.send(wire.AppendBlock(nil, wire.Request, q.piece, q.begin, q.length))
	}
}
