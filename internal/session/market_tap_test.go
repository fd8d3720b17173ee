package session

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// tap is a relay between a requester and a provider that reads along. What it
// has passed on is never more than the provider sent, and a payment passes it
// before the provider sees it, so the exposure it counts is exact from the
// provider's side: it can be below the true one, never above.
type tap struct {
	addr  netip.AddrPort
	limit int64 // of the exposure; a piece unless set before the first connection

	mu        sync.Mutex
	problems  []string
	prices    []amount.Price // of bid responses, in order
	served    int64          // bytes of paid slots
	free      int64
	most      int64 // exposure
	requested int
	rejects   int
	chokes    int // of a peer that was unchoked
	reprices  int // choke, bid response, unchoke
	log       []string
}

// tapped is one connection through a tap. There may be several: peers tell each other
// of the tap's address, and a provider refuses who is connected already.
type tapped struct {
	*tap
	choked     bool
	responded  bool // a bid response came since the last choke
	paying     bool
	sent       int64 // bytes of paid slots on this connection's stream
	paid       int64 // stream position paid
	from, base int64 // of the newest attach
	requests   map[[3]uint32]int
}

func newTap(t *testing.T, to netip.AddrPort) *tap {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &tap{addr: l.Addr().(*net.TCPAddr).AddrPort(), limit: piece}
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the listener
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to.String())
			if err != nil {
				a.Close()
				return
			}
			c := &tapped{tap: x, choked: true, requests: map[[3]uint32]int{}}
			wg.Go(func() { x.relay(b, a, c.fromRequester) })
			wg.Go(func() { x.relay(a, b, c.fromProvider) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		if t.Failed() {
			x.mu.Lock()
			defer x.mu.Unlock()
			t.Logf("relay: %d served for pay, %v", x.served, x.log)
		}
	})
	return x
}

// relay passes whole messages on after see looked at them.
func (x *tap) relay(to, from net.Conn, see func(*wire.Message)) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 512<<10)
	if _, err := io.ReadFull(from, buf[:wire.HandshakeLen]); err != nil {
		return
	}
	if _, err := to.Write(buf[:wire.HandshakeLen]); err != nil {
		return
	}
	w := 0
	for {
		n, err := from.Read(buf[w:])
		if err != nil {
			return
		}
		w += n
		r := 0
		for {
			m, n, err := wire.Next(buf[r:w])
			if err != nil || n == 0 {
				break
			}
			x.mu.Lock()
			see(&m)
			x.mu.Unlock()
			r += n
		}
		if _, err := to.Write(buf[:r]); err != nil {
			return
		}
		w = copy(buf, buf[r:w])
	}
}

// note keeps the channel messages but for runs of payments.
func (x *tap) note(format string, args ...any) {
	x.log = append(x.log, fmt.Sprintf(format, args...))
}

func (x *tap) problem(format string, args ...any) {
	if len(x.problems) < 20 {
		x.problems = append(x.problems, fmt.Sprintf(format, args...))
	}
}

// speedOf decodes a btt_speed message; both sides use the same id for it.
func speedOf(m *wire.Message) speed.Message {
	if m.ID != wire.Extended || m.Sub != wire.SubSpeed {
		return nil
	}
	msg, err := speed.Decode(m.Payload)
	if err != nil {
		return nil
	}
	return msg
}

func (c *tapped) fromRequester(m *wire.Message) {
	switch m.ID {
	case wire.Request:
		c.requests[[3]uint32{m.Index, m.Begin, m.Length}]++
		c.requested++
		return
	}
	msg, ok := speedOf(m).(speed.Channel)
	if !ok {
		return
	}
	cm, err := channel.Decode(msg.Payload)
	if err != nil {
		c.problem("requester sends %v", err)
		return
	}
	switch cm := cm.(type) {
	case *channel.Attach:
		c.note("attach at %d", cm.From)
		c.from, c.base = cm.From, cm.Bytes
		c.paid = max(c.paid, cm.From)
	case *channel.Pay:
		c.paid = max(c.paid, cm.Bytes-c.base+c.from)
	}
}

func (c *tapped) fromProvider(m *wire.Message) {
	switch m.ID {
	case wire.Choke:
		if !c.choked {
			c.chokes++
		}
		c.choked, c.responded, c.paying = true, false, false
		c.note("choke at %d (%d paid)", c.sent, c.paid)
		return
	case wire.Unchoke:
		c.note("unchoke")
		if c.responded && c.chokes > 0 {
			c.reprices++
		}
		c.choked = false
		c.paying = c.responded && c.prices[len(c.prices)-1] > 0
		return
	case wire.Reject:
		c.rejects++
		c.answered(m)
		return
	case wire.Piece:
		c.block(m)
		return
	}
	switch msg := speedOf(m).(type) {
	case speed.BidResponse:
		if !c.choked {
			c.problem("bid response while unchoked")
		}
		if c.responded {
			c.problem("two bid responses for one unchoke")
		}
		c.responded = true
		c.prices = append(c.prices, msg.Price)
	case speed.Channel:
		cm, err := channel.Decode(msg.Payload)
		if err != nil {
			c.problem("provider sends %v", err)
		}
		if q, ok := cm.(*channel.Quote); ok {
			c.note("quote %v from %d", q.Price, q.From)
			if q.From != c.sent {
				c.problem("price quoted from byte %d, %d were served", q.From, c.sent)
			}
		}
	}
}

func (c *tapped) answered(m *wire.Message) {
	k := [3]uint32{m.Index, m.Begin, m.Length}
	if c.requests[k] == 0 {
		c.problem("answer %d to a request that was not made: %v", m.ID, k)
		return
	}
	c.requests[k]--
}

func (c *tapped) block(m *wire.Message) {
	c.answered(m)
	if c.choked {
		c.problem("block while choked")
	}
	if !c.paying {
		c.free += int64(len(m.Payload))
		return
	}
	c.sent += int64(len(m.Payload))
	c.served += int64(len(m.Payload))
	c.most = max(c.most, c.sent-c.paid)
	if e := c.sent - c.paid; e > c.limit {
		c.problem("exposure %d at byte %d", e, c.sent)
	}
}

// check asserts what holds on every connection: no problem, prices at most the
// bid (R10.16) and among those allowed.
func (x *tap) check(t *testing.T, bid amount.Price, allowed ...amount.Price) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.problems {
		t.Error(p)
	}
	for _, p := range x.prices {
		if p > bid {
			t.Errorf("price %v is above the bid %v", p, bid)
		}
		ok := false
		for _, a := range allowed {
			ok = ok || a == p
		}
		if !ok {
			t.Errorf("price %v is none of %v", p, allowed)
		}
	}
	t.Logf("prices %v, %d requests, %d rejects, %d chokes, %d reprices, most exposed %d, free %d, paid slot bytes %d",
		x.prices, x.requested, x.rejects, x.chokes, x.reprices, x.most, x.free, x.served)
}

// priced says whether the provider asked a price.
func (x *tap) priced(p amount.Price) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Contains(x.prices, p)
}

// repriced counts choke, bid response, unchoke.
func (x *tap) repriced() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.reprices
}
