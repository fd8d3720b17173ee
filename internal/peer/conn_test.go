package peer

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

const (
	block    = wire.BlockSize
	pieceLen = 4 * block
	total    = 10*pieceLen + block + 5 // the last piece has a whole and a short block
)

func TestPipeline(t *testing.T) {
	r := newRig(t, fast)
	r.c.Grant([]picker.Lease{{Piece: 0, Block: 0, Count: 4}}, 0)
	r.silent() // choked
	r.say(wire.Unchoke)
	r.await(Unchoked)
	r.expect(wire.Request, reqs(0, 4)...)
	var leases []picker.Lease
	for p := uint32(1); p < 10; p++ {
		leases = append(leases, picker.Lease{Piece: p, Count: 4})
	}
	leases = append(leases, picker.Lease{Piece: 10, Count: 2})
	r.c.Grant(leases, 0)
	r.expect(wire.Request, reqs(4, startDepth-4)...)
	r.silent() // the pipeline is full
	if want := r.c.Want(); want != max(0, 2*startDepth-42) {
		t.Errorf("wants %d more", want)
	}
	r.answer(req(1), req(0)) // out of order
	for _, q := range []request{req(1), req(0)} {
		e := r.await(Block)
		if (request{e.Piece, e.Begin, e.Length}) != q || r.store.stored(q) != 1 {
			t.Errorf("event %+v for block %v", e, q)
		}
	}
	r.expect(wire.Request, reqs(startDepth, 4)...) // slow start: two for each
	r.c.SetDepth(100)
	r.answer(req(2))
	r.expect(wire.Request, append(reqs(startDepth+4, 41-startDepth-4), request{10, block, 5})...)
	if n := r.c.Outstanding(); n != 39 {
		t.Errorf("%d outstanding", n)
	}
	r.await(Hungry)
	if got := r.c.Received.Load(); got != 3*block {
		t.Errorf("counts %d bytes", got)
	}
}

// TestChokeFast: a peer with BEP 6 answers every request, also those that it
// got before its choke: with the block or with a reject.
func TestChokeFast(t *testing.T) {
	r := newRig(t, fast)
	r.say(wire.Unchoke)
	r.await(Unchoked)
	r.c.Grant([]picker.Lease{{Piece: 0, Count: 4}}, 0)
	r.expect(wire.Request, reqs(0, 4)...)
	r.say(wire.Choke)
	r.await(Choked)
	if r.c.Want() != 0 || r.c.Outstanding() != 0 {
		t.Errorf("choked: wants %d, %d outstanding", r.c.Want(), r.c.Outstanding())
	}
	r.answer(req(0)) // was on its way
	if e := r.await(Block); e.Begin != 0 || r.store.stored(req(0)) != 1 {
		t.Errorf("late block: %+v", e)
	}
	for _, q := range reqs(1, 3) {
		r.send(wire.AppendBlock(nil, wire.Reject, q.piece, q.begin, q.length))
	}
	r.say(wire.Unchoke)
	r.await(Unchoked)
	r.c.Grant([]picker.Lease{{Piece: 0, Block: 1, Count: 3}}, 1)
	r.expect(wire.Request, reqs(1, 3)...)
	r.answer(req(2))
	r.await(Block)
	r.send(wire.AppendBlock(nil, wire.Reject, 0, 3*block, block))
	if e := r.await(Rejected); e.Piece != 0 || e.Begin != 3*block {
		t.Errorf("rejected %+v", e)
	}
	r.send(wire.AppendBlock(nil, wire.Reject, 7, 0, block)) // never asked: ignored
	r.answer(req(1))
	r.await(Block)
	if n := r.c.Outstanding(); n != 0 {
		t.Errorf("%d outstanding", n)
	}
}

// TestChokePlain: without BEP 6 a choke discards all requests.
func TestChokePlain(t *testing.T) {
	r := newRig(t, plain)
	r.say(wire.Unchoke)
	r.await(Unchoked)
	r.c.Grant([]picker.Lease{{Piece: 0, Count: 2}}, 0)
	r.expect(wire.Request, reqs(0, 2)...)
	r.say(wire.Choke)
	r.await(Choked)
	r.say(wire.Unchoke)
	r.await(Unchoked)
	r.c.Grant([]picker.Lease{{Piece: 0, Count: 2}}, 1)
	r.expect(wire.Request, reqs(0, 2)...)
	r.answer(req(0), req(1))
	r.await(Block)
	r.await(Block)
}

func TestServe(t *testing.T) {
	for _, bits := range []wire.Reserved{plain, fast} {
		r := newRig(t, bits)
		for p := range uint32(11) {
			if p != 3 {
				r.have.Set(p)
			}
		}
		isFast := r.c.Fast()
		r.ask(req(0)) // choked
		if isFast {
			r.expect(wire.Reject, req(0))
		} else {
			r.silent()
		}
		r.c.Unchoke()
		r.expectID(wire.Unchoke)
		r.ask(req(1), req(0), request{10, block, 5}, request{2, 100, 77}, request{4, 0, pieceLen})
		r.expect(wire.Piece, req(1), req(0), request{10, block, 5}, request{2, 100, 77}, request{4, 0, pieceLen})
		r.ask(req(12)) // we do not have it
		if isFast {
			r.expect(wire.Reject, req(12))
		} else {
			r.silent()
		}
		gate := &testGate{}
		r.c.SetGate(gate) // nothing may be served
		r.ask(reqs(0, 3)...)
		r.send(wire.AppendBlock(nil, wire.Cancel, 0, block, block))
		if isFast {
			r.expect(wire.Reject, req(1))
		}
		r.silent()
		if n := r.c.Waiting(); n != 2 || !r.c.Gated() {
			t.Errorf("%d waiting, gated %v", n, r.c.Gated())
		}
		r.c.Choke()
		r.expectID(wire.Choke)
		if isFast {
			r.expect(wire.Reject, req(0), req(2))
		}
		r.silent()
		if got := r.c.Sent.Load(); got != 2*block+5+77+pieceLen {
			t.Errorf("counts %d bytes sent", got)
		}
	}
}

// TestHostile: what no honest client does ends the connection with a reason.
func TestHostile(t *testing.T) {
	many := func(n int, b []byte) []byte { return bytes.Repeat(b, n) }
	unasked := append(wire.AppendPieceHeader(nil, 0, 0, 10), make([]byte, 10)...)
	for name, msg := range map[string][]byte{
		"message of 4 GiB":        {0xff, 0xff, 0xff, 0xff, 20},
		"message over the limit":  binary.BigEndian.AppendUint32(nil, wire.MaxMessage+1),
		"request of no bytes":     wire.AppendBlock(nil, wire.Request, 0, 0, 0),
		"request of 1 MiB":        wire.AppendBlock(nil, wire.Request, 0, 0, 1<<20),
		"request beyond a piece":  wire.AppendBlock(nil, wire.Request, 0, pieceLen-1, 2),
		"request of piece 2^32-1": wire.AppendBlock(nil, wire.Request, 1<<32-1, 0, block),
		"request at 2^32-1":       wire.AppendBlock(nil, wire.Request, 10, 1<<32-1, block),
		"short request":           {0, 0, 0, 5, 6, 0, 0, 0, 0},
		"long choke":              {0, 0, 0, 2, 0, 0},
		"block without a place":   {0, 0, 0, 5, 7, 0, 0, 0, 0},
		"unasked blocks":          many(maxUnasked+1, unasked),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fast)
			r.c.Unchoke()
			_, _ = r.nc.Write(msg)
			r.closes(ErrHostile)
			if len(r.store.blocks) > 0 {
				t.Error("something was stored")
			}
		})
	}
	t.Run("unknown messages are skipped", func(t *testing.T) {
		r := newRig(t, fast)
		r.send([]byte{0, 0, 0, 3, 200, 1, 2, 0, 0, 0, 0}) // and a keep-alive
		r.say(wire.Interested)
		r.await(Interested)
	})
	t.Run("a few unasked blocks are dropped", func(t *testing.T) {
		r := newRig(t, fast)
		r.send(many(maxUnasked, unasked))
		r.say(wire.Interested)
		r.await(Interested)
		if len(r.store.blocks) > 0 {
			t.Error("something was stored")
		}
	})
}

// TestSlowReader: a peer that does not read cannot make us keep more than
// maxOut for it, whatever it sends.
func TestSlowReader(t *testing.T) {
	floods := map[string]func(r *rig){
		"owner's messages": func(r *rig) {
			for range 2 * (maxOut + 16<<20) >> 16 {
				r.c.Send(make([]byte, 1<<16))
			}
		},
		"rejects": func(r *rig) { // choked: each request costs a reject
			b := bytes.Repeat(wire.AppendBlock(nil, wire.Request, 0, 0, block), 1<<12)
			for range (maxOut + 16<<20) / len(b) {
				if _, err := r.nc.Write(b); err != nil {
					return
				}
			}
		},
		"cancels": func(r *rig) {
			g := &testGate{}
			r.have.Set(0)
			r.c.SetGate(g)
			r.c.Unchoke()
			one := wire.AppendBlock(wire.AppendBlock(nil, wire.Request, 0, 0, block), wire.Cancel, 0, 0, block)
			b := bytes.Repeat(one, 1<<11)
			for range 2 * (maxOut + 16<<20) / len(b) {
				if _, err := r.nc.Write(b); err != nil {
					return
				}
			}
		},
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fast)
			flood(r)
			r.closes(ErrSlow)
			r.c.mu.Lock()
			defer r.c.mu.Unlock()
			if n := cap(r.c.out); n > 4*maxOut {
				t.Errorf("keeps %d bytes", n)
			}
		})
	}
}

// TestRequestFlood: beyond MaxQueued requests wait in nobody's memory.
func TestRequestFlood(t *testing.T) {
	r := newRig(t, fast)
	r.have.Set(0)
	r.c.SetGate(&testGate{})
	r.c.Unchoke()
	r.expectID(wire.Unchoke)
	for range MaxQueued + 100 {
		r.ask(req(0))
	}
	for range 100 {
		r.expect(wire.Reject, req(0))
	}
	if n := r.c.Waiting(); n != MaxQueued {
		t.Errorf("%d requests waiting", n)
	}
}

// TestReads: the mark of the reader stands while the peer says nothing, moves
// with a keep-alive, and is not that of a waiting reader while the owner holds
// it back.
func TestReads(t *testing.T) {
	r := newRig(t, fast)
	settled := func(want bool) uint64 {
		t.Helper()
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if mark, waiting := r.c.Reads(); waiting == want {
				return mark
			}
		}
		t.Fatalf("the reader never waits for the peer: %v", !want)
		return 0
	}
	first := settled(true)
	time.Sleep(20 * time.Millisecond)
	if mark, waiting := r.c.Reads(); mark != first || !waiting {
		t.Fatalf("mark went from %d to %d by nothing", first, mark)
	}
	r.send(wire.AppendKeepAlive(nil))
	for end := time.Now().Add(patience); settled(true) == first; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a keep-alive leaves the mark")
		}
	}
	r.send(bytes.Repeat(wire.AppendIndex(nil, wire.Have, 1), maxEvents+2)) // nobody takes them
	for end := time.Now().Add(patience); ; {
		held := settled(false)
		time.Sleep(20 * time.Millisecond)
		if mark, waiting := r.c.Reads(); mark == held && !waiting {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a reader that is held back seems to wait for the peer")
		}
	}
}
