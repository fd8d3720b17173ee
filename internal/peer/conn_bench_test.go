package peer

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

// BenchmarkBlockIn: decode, book and store of one block, request included.
func BenchmarkBlockIn(b *testing.B) { benchmarkIn(b) }

type sink struct{ memory }

func (*sink) BlockFrom(uint32, uint32, uint32, []byte) (disk.Result, error) { return disk.Stored, nil }

func benchmarkIn(b *testing.B) {
	ours, theirs := socketPair(b)
	defer theirs.Close()
	o := &benchOwner{blocks: make(chan int, 1<<16)}
	c := New(Config{ID: 1, Net: ours, Handshake: wire.Handshake{Reserved: fast}, Owner: o})
	c.SetStore(&sink{}, NewPieces(1<<20), pieceLen, 1<<44)
	o.grow = func(c *Conn) {
		if n := c.Want(); n >= 4 {
			o.leases = o.leases[:0]
			for ; n >= 4; n -= 4 {
				o.leases = append(o.leases, picker.Lease{Piece: o.next, Count: 4})
				o.next++
			}
			c.Grant(o.leases, 0)
		}
	}
	c.Start()
	defer c.Close(io.EOF)
	go func() { // the seed: answers each request; ends with the connection
		var q [17]byte
		out := make([]byte, wire.PieceHeaderLen+block)
		if _, err := theirs.Write(wire.AppendEmpty(nil, wire.Unchoke)); err != nil {
			return
		}
		for {
			if _, err := io.ReadFull(theirs, q[:]); err != nil {
				return
			}
			m, _, _ := wire.Next(q[:])
			wire.AppendPieceHeader(out[:0], m.Index, m.Begin, m.Length)
			if _, err := theirs.Write(out); err != nil {
				return
			}
		}
	}()
	for got := 0; got < 1000; {
		got += <-o.blocks
	}
	b.SetBytes(block)
	b.ReportAllocs()
	b.ResetTimer()
	for got := 0; got < b.N; {
		got += <-o.blocks
	}
	b.StopTimer()
}

// benchOwner keeps the pipeline full and counts blocks, as a swarm would.
type benchOwner struct {
	mu     sync.Mutex
	events []Event
	leases []picker.Lease
	next   uint32
	grow   func(*Conn)
	blocks chan int
}

func (o *benchOwner) Ready(c *Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.events = c.Events(o.events)
	n := 0
	for i := range o.events {
		if o.events[i].Kind == Block {
			n++
		}
	}
	o.grow(c)
	if n > 0 {
		o.blocks <- n
	}
}

// BenchmarkBlockOut: one request read, its block loaded and written.
func BenchmarkBlockOut(b *testing.B) {
	ours, theirs := socketPair(b)
	defer theirs.Close()
	o := &benchOwner{blocks: make(chan int, 16), grow: func(*Conn) {}}
	c := New(Config{ID: 1, Net: ours, Handshake: wire.Handshake{Reserved: fast}, Owner: o})
	have := NewPieces(1)
	have.Set(0)
	c.SetStore(&blank{}, have, pieceLen, pieceLen)
	g := &testGate{}
	g.allowance.Store(1 << 60)
	c.SetGate(g)
	c.Start()
	defer c.Close(io.EOF)
	c.Unchoke()
	const run = 64
	ask := bytes.Repeat(wire.AppendBlock(nil, wire.Request, 0, 0, block), run)
	in := make([]byte, run*(wire.PieceHeaderLen+block))
	if _, err := io.ReadFull(theirs, in[:5]); err != nil {
		b.Fatal(err)
	}
	round := func() {
		if _, err := theirs.Write(ask); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(theirs, in); err != nil {
			b.Fatal(err)
		}
	}
	for range 20 {
		round()
	}
	b.SetBytes(block)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += run {
		round()
	}
	b.StopTimer()
}

type blank struct{ memory }

func (*blank) Read([]byte, uint32, uint32) error { return nil }
