package peer

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/internal/ratelimit"
	"github.com/bttnet/btt/wire"
)

// limited is a connection under a download limiter, and the peer's end of it. What the
// peer writes arrives at once; time is the test's.
func limited(t *testing.T, id uint32, l *ratelimit.Limiter) (*rig, func()) {
	t.Helper()
	ours, theirs := net.Pipe()
	r := &rig{t: t, o: &owner{ready: make(chan struct{}, 1)}, nc: theirs, store: &memory{blocks: map[request]int{}}, have: NewPieces(11)}
	r.c = New(Config{ID: id, Net: ours, Handshake: wire.Handshake{Reserved: fast}, Owner: r.o, Down: []*ratelimit.Limiter{nil, l}})
	r.c.SetStore(r.store, r.have, pieceLen, total)
	r.c.Start()
	return r, func() {
		r.c.Close(errors.New("test is over"))
		theirs.Close()
		time.Sleep(maxPause) // its goroutines end
	}
}

// flood sends blocks, as many as a read holds at a time, until the connection ends.
func flood(r *rig) {
	b := bytes.Repeat(append(wire.AppendPieceHeader(nil, 0, 0, block), make([]byte, block)...), bufferSize/block)
	for {
		if _, err := r.nc.Write(b); err != nil {
			return
		}
	}
}

// TestWordsBesideALimit: what one peer says in words is heard at once while another
// one's blocks take all of the download limit. A payment channel opens by a handful of
// words, each an answer to the one before.
func TestWordsBesideALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ratelimit.New(48 << 10)
		blocks, end := limited(t, 1, l)
		defer end()
		words, end := limited(t, 2, l)
		defer end()
		go flood(blocks)
		time.Sleep(10 * time.Second)
		for i := range 20 {
			began := time.Now()
			words.send(wire.AppendIndex(nil, wire.Have, uint32(i%11)))
			words.await(Have)
			if took := time.Since(began); took > 10*time.Millisecond {
				t.Fatalf("word %d was heard after %v", i, took)
			}
		}
	})
}

// TestLimitByTurns: blocks of one peer that come behind a flood of another's wait for
// their turn, and not for all that the flood left in the socket.
func TestLimitByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ratelimit.New(48 << 10)
		first, end := limited(t, 1, l)
		defer end()
		second, end := limited(t, 2, l)
		defer end()
		go flood(first)
		time.Sleep(10 * time.Second)
		began := time.Now()
		for range 4 {
			second.answer(req(0)) // not asked for, which costs as much
		}
		second.send(wire.AppendIndex(nil, wire.Have, 1))
		second.await(Have)
		// 64 KiB beside as much of the other's take less than three seconds.
		if took := time.Since(began); took < time.Second || took > 4*time.Second {
			t.Errorf("four blocks took %v", took)
		}
	})
}

// TestWordsAreBounded: who sends words without end waits for the limit as others do.
func TestWordsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, seconds = 8 << 10, 60
		r, end := limited(t, 1, ratelimit.New(rate))
		defer end()
		word := wire.AppendIndex(nil, wire.Have, 1)
		sent := 0
		for began := time.Now(); time.Since(began) < seconds*time.Second; {
			r.send(word)
			sent += len(word)
			r.o.kept = r.o.kept[:0]
			r.await(Have)
		}
		if most := rate*seconds + freeControl + ratelimit.MinBurst + rate; sent > most {
			t.Errorf("%d bytes in %d s at %d B/s, at most %d", sent, seconds, rate, most)
		}
	})
}

// TestFewInFlightUnderALimit: no more is asked for than the download limit lets pass in
// a second, or words would come seconds behind the blocks of their own connection.
func TestFewInFlightUnderALimit(t *testing.T) {
	for rate, want := range map[int64]int{16 << 10: minDepth, 128 << 10: 8, 1 << 40: startDepth} {
		synctest.Test(t, func(t *testing.T) {
			r, end := limited(t, 1, ratelimit.New(rate))
			defer end()
			r.say(wire.Unchoke)
			r.await(Unchoked)
			var leases []picker.Lease
			for p := range uint32(10) {
				leases = append(leases, picker.Lease{Piece: p, Count: 4})
			}
			r.c.Grant(leases, 0)
			r.expect(wire.Request, reqs(0, want)...)
			r.silent()
			r.c.SetDepth(100)
			r.answer(req(0))
			r.await(Block)
			more := 40 - want
			if rate < 1<<40 {
				more = 1
			}
			r.expect(wire.Request, reqs(want, more)...)
			r.silent()
		})
	}
}
