package peer

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/disk"
	"github.com/bttnet/btt/internal/picker"
	"github.com/bttnet/btt/wire"
)

// line is a connection to a seed that answers each request after a round trip, at
// the line's rate and, with a tick, at the end of the tick only. Time is the test's.
type line struct {
	net.Conn  // none: what the test does not use
	rate      float64
	delay     time.Duration
	tick      time.Duration
	mu        sync.Mutex
	in        []byte // of a request that is not whole
	sent      []sent
	free      time.Time // when the line has sent what it was asked for
	closed    bool
	more      chan struct{}
	asked, at int64 // blocks
	buys      bool  // the connection is not paced
}

type sent struct {
	due  time.Time
	data []byte
}

func (l *line) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in = append(l.in, b...)
	for len(l.in) >= 4 && len(l.in) >= 4+int(binary.BigEndian.Uint32(l.in)) {
		m, n, err := wire.Next(l.in)
		if err != nil {
			return 0, err
		}
		l.in = l.in[n:]
		if m.ID == wire.Request {
			l.asked++
			l.answer(m.Index, m.Begin, m.Length)
		}
	}
	select {
	case l.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (l *line) answer(piece, begin, length uint32) {
	data := append(wire.AppendPieceHeader(nil, piece, begin, length), payload[:length]...)
	start := time.Now().Add(l.delay)
	if start.Before(l.free) {
		start = l.free
	}
	l.free = start.Add(time.Duration(float64(len(data)) / l.rate * float64(time.Second)))
	due := l.free
	if l.tick > 0 {
		due = due.Truncate(l.tick).Add(l.tick)
	}
	l.sent = append(l.sent, sent{due, data})
}

var payload [wire.BlockSize]byte

func (l *line) Read(b []byte) (n int, err error) {
	for {
		l.mu.Lock()
		now, wait := time.Now(), time.Hour
		for len(l.sent) > 0 && n < len(b) && !l.sent[0].due.After(now) {
			k := copy(b[n:], l.sent[0].data)
			n += k
			if l.sent[0].data = l.sent[0].data[k:]; len(l.sent[0].data) == 0 {
				l.sent = l.sent[1:]
				l.at++
			}
		}
		if len(l.sent) > 0 {
			wait = l.sent[0].due.Sub(now)
		}
		closed := l.closed
		l.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if closed {
			return 0, io.EOF
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-l.more:
		}
		t.Stop()
	}
}

func (l *line) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return nil
}

// ahead is the number of blocks that were asked for and not read.
func (l *line) ahead() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked - l.at
}

// taker takes blocks at a rate that may change.
type taker struct{ took func(n int) time.Duration }

func (s taker) BlockFrom(_, _, _ uint32, data []byte) (disk.Result, error) {
	if d := s.took(len(data)); d > 0 {
		time.Sleep(d)
	}
	return disk.Stored, nil
}

func (taker) Read([]byte, uint32, uint32) error { return nil }

// runLine downloads over a line for some seconds, as a swarm does, and gives the bytes that
// came in each of them, and how many blocks were ahead at the end.
func runLine(l *line, seconds int, took func(second, n int) time.Duration) (each []int64, ahead int64) {
	l.more = make(chan struct{}, 1)
	o := &owner{ready: make(chan struct{}, 1)}
	c := New(Config{Net: l, Owner: o})
	begin := time.Now()
	c.SetStore(taker{func(n int) time.Duration { return took(int(time.Since(begin)/time.Second), n) }},
		NewPieces(1<<20), 1<<20, 1<<40)
	c.SetReqq(MaxQueued)
	c.choked = false
	c.Pace(!l.buys)
	c.Start()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	next, before, rate := uint32(0), int64(0), int64(0)
	feed := func() {
		for range (c.Want() + 63) / 64 {
			c.Grant([]picker.Lease{{Piece: next, Count: 64}}, 0)
			next++
		}
	}
	feed()
	for len(each) < seconds {
		select {
		case <-o.ready:
			o.spare = c.Events(o.spare)
			feed()
		case <-tick.C:
			got := c.Received.Load()
			each = append(each, got-before)
			rate = (rate + got - before) / 2
			before = got
			c.SetDepth(int(3 * rate / wire.BlockSize))
		}
	}
	ahead = l.ahead()
	c.Close(io.EOF)
	for range o.ready {
		o.spare = c.Events(o.spare)
		for _, e := range o.spare {
			if e.Kind == Closed {
				return each, ahead
			}
		}
	}
	return each, ahead
}

// TestPace: the requests in flight follow from what the line holds and from how fast blocks
// are taken, whatever the delay: no line runs slower than it could, and where it is the
// reader who is slow little waits for it.
func TestPace(t *testing.T) {
	const gbit = 125e6
	at := func(rate float64) func(int, int) time.Duration {
		return func(_, n int) time.Duration { return time.Duration(float64(n) / rate * float64(time.Second)) }
	}
	for _, test := range []struct {
		name    string
		line    *line
		took    func(second, n int) time.Duration
		seconds int
		from    int     // second
		rate    float64 // at least this, in each second from then on
		ahead   int64   // at most, at the end
	}{
		{"fast line, slower reader", &line{rate: 4e9, delay: 100 * time.Microsecond}, at(800e6), 2, 1, 0.99 * 800e6, pacedDepth},
		{"1 Gbit/s, 100 ms", &line{rate: gbit, delay: 100 * time.Millisecond}, at(4e9), 5, 2, 0.99 * gbit, MaxQueued},
		{"1 Gbit/s, 100 ms, reader hardly slower", &line{rate: gbit, delay: 100 * time.Millisecond}, at(120e6), 8, 2, 0.995 * 120e6, MaxQueued},
		{"1 Gbit/s, 100 ms, reader of half", &line{rate: gbit, delay: 100 * time.Millisecond}, at(60e6), 6, 2, 0.995 * 60e6, MaxQueued},
		{"10 Gbit/s, 10 ms, slower reader", &line{rate: 10 * gbit, delay: 10 * time.Millisecond}, at(500e6), 3, 1, 0.97 * 500e6, 640},
		{"5 Gbit/s, 1 ms, reader slower for two seconds", &line{rate: 5 * gbit, delay: time.Millisecond}, func(second, n int) time.Duration {
			if second < 2 {
				return at(400e6)(0, n)
			}
			return at(4e9)(0, n)
		}, 3, 2, 0.95 * 5 * gbit, MaxQueued},
		{"1 Gbit/s, 100 ms, disk slow for three seconds", &line{rate: gbit, delay: 100 * time.Millisecond}, func(second, n int) time.Duration {
			if second < 3 {
				return at(10e6)(0, n)
			}
			return at(4e9)(0, n)
		}, 8, 5, 0.99 * gbit, MaxQueued},
		{"bursts each 250 ms", &line{rate: 40e6, delay: time.Millisecond, tick: 250 * time.Millisecond}, at(1e9), 6, 3, 0.95 * 40e6, MaxQueued},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				each, ahead := runLine(test.line, test.seconds, test.took)
				t.Logf("%d bytes a second, %d blocks ahead", each, ahead)
				for i, n := range each[test.from:] {
					if float64(n) < test.rate {
						t.Errorf("second %d: %d bytes, want %.0f", test.from+i, n, test.rate)
					}
				}
				if ahead > test.ahead {
					t.Errorf("%d blocks ahead, want at most %d", ahead, test.ahead)
				}
			})
		})
	}
}

// TestPaceOfBuyers: what is bought is asked for ahead as before, however slow the reader
// is; the seller's window bounds it.
func TestPaceOfBuyers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(_, n int) time.Duration { return time.Duration(float64(n) / 800e6 * float64(time.Second)) }
		_, ahead := runLine(&line{rate: 4e9, delay: 100 * time.Microsecond, buys: true}, 2, took)
		if ahead <= 2*pacedDepth {
			t.Errorf("%d blocks ahead", ahead)
		}
	})
}
