package session

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/wire"
)

// slowLine is a relay that delays every byte by half a round trip, and notes when
// unchokes and blocks reach the requester.
type slowLine struct {
	addr  netip.AddrPort
	delay time.Duration

	mu              sync.Mutex
	unchoked, block time.Time // the last unchoke before the first block, and that block
}

func newSlowLine(t testing.TB, to netip.AddrPort, rtt time.Duration) *slowLine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &slowLine{addr: l.Addr().(*net.TCPAddr).AddrPort(), delay: rtt / 2}
	go func() { // ends with the listener
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
			go x.relay(b, a, func([]byte) {})
			go x.relay(a, b, x.watch())
		}
	}()
	t.Cleanup(func() { l.Close() })
	return x
}

type slowChunk struct {
	due  time.Time
	data []byte
}

// relay ends with either connection.
func (x *slowLine) relay(to, from net.Conn, see func([]byte)) {
	line := make(chan slowChunk, 1<<12)
	go func() {
		defer to.Close()
		for c := range line {
			time.Sleep(time.Until(c.due))
			see(c.data)
			if _, err := to.Write(c.data); err != nil {
				break
			}
		}
		for range line { // until the reader ends
		}
	}()
	defer close(line)
	defer from.Close()
	for {
		buf := make([]byte, 64<<10)
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		line <- slowChunk{time.Now().Add(x.delay), buf[:n]}
	}
}

// watch reads what the provider says.
func (x *slowLine) watch() func([]byte) {
	var held []byte
	shook := false
	return func(b []byte) {
		held = append(held, b...)
		if !shook {
			if len(held) < wire.HandshakeLen {
				return
			}
			shook, held = true, held[wire.HandshakeLen:]
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		for {
			m, n, err := wire.Next(held)
			if err != nil || n == 0 {
				// The block's head is enough: its first byte is here.
				if len(held) > 4 && wire.ID(held[4]) == wire.Piece && x.block.IsZero() {
					x.block = time.Now()
				}
				return
			}
			switch {
			case m.ID == wire.Unchoke && x.block.IsZero():
				x.unchoked = time.Now()
			case m.ID == wire.Piece && x.block.IsZero():
				x.block = time.Now()
			}
			held = held[n:]
		}
	}
}

// TestFirstPaidByte measures the time from an unchoke at the requester to the
// first paid byte: one round trip and what the two nodes take. The channel opens
// meanwhile. It holds that no second round trip is in between.
func TestFirstPaidByte(t *testing.T) {
	const rtt = 60 * time.Millisecond
	l := ledgertest.New()
	dir, torrent := content(t, map[string]int{"a.bin": 1 << 20}, piece)
	seed := newTrader(t, l, traderConfig{reserve: perGiB(2)})
	seed.seeds(dir, torrent)
	var over []time.Duration
	for range 9 {
		line := newSlowLine(t, seed.Addr(), rtt)
		leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5)})
		g, _ := leech.gets(torrent, line.addr)
		await(t, g)
		line.mu.Lock()
		over = append(over, line.block.Sub(line.unchoked)-rtt)
		line.mu.Unlock()
		leech.settle()
	}
	slices.Sort(over)
	t.Logf("beyond a round trip of %v: least %v, median %v, most %v", rtt, over[0], over[len(over)/2], over[len(over)-1])
	if over[0] < -rtt/10 || over[0] > rtt {
		t.Errorf("the first paid byte comes %v after the unchoke, a round trip takes %v", over[0]+rtt, rtt)
	}
}

// BenchmarkFirstPaidByte measures, over a round trip of 20 ms, how much later than that
// the first paid byte comes after an unchoke: each iteration is a torrent of one piece.
// "first" opens a channel beside it, in "reused" one is there; "echo" is what a peer takes
// that answers a byte by a byte, so what line and machine take.
func BenchmarkFirstPaidByte(b *testing.B) {
	b.Run("echo", echoes)
	for _, name := range []string{"first", "reused"} {
		b.Run(name, func(b *testing.B) { firstBytes(b, name == "reused") })
	}
}

// simulatedRTT is the round trip of the benchmark's line.
const simulatedRTT = 20 * time.Millisecond

// echoes measures the line alone.
func echoes(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener and its one connection
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c)
	}()
	line := newSlowLine(b, l.Addr().(*net.TCPAddr).AddrPort(), simulatedRTT)
	c, err := net.Dial("tcp", line.addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var over []time.Duration
	one := []byte{1}
	for b.Loop() {
		began := time.Now()
		if _, err := c.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, one); err != nil {
			b.Fatal(err)
		}
		over = append(over, time.Since(began)-simulatedRTT)
	}
	reportOver(b, over)
}

// reportOver reports what goes beyond a round trip.
func reportOver(b *testing.B, over []time.Duration) {
	slices.Sort(over)
	for unit, percent := range map[string]int{"ms-over-p50": 50, "ms-over-p99": 99, "ms-over-most": 100} {
		b.ReportMetric(float64(over[min(len(over)*percent/100, len(over)-1)])/float64(time.Millisecond), unit)
	}
}

func firstBytes(b *testing.B, reused bool) {
	l := ledgertest.New()
	seed := newTrader(b, l, traderConfig{reserve: perGiB(2), session: Config{MaxSeeds: -1}})
	leech := newTrader(b, l, traderConfig{funds: 1000 * amount.BTT, cap: perGiB(5)})
	var over []time.Duration
	for b.Loop() {
		b.StopTimer()
		if !reused {
			leech.settle()
			leech = newTrader(b, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5)})
		}
		dir, torrent := content(b, map[string]int{"a.bin": piece}, piece)
		s := seed.seeds(dir, torrent)
		line := newSlowLine(b, seed.Addr(), simulatedRTT)
		b.StartTimer()
		g, _ := leech.gets(torrent, line.addr)
		await(b, g)
		b.StopTimer()
		line.mu.Lock()
		over = append(over, line.block.Sub(line.unchoked)-simulatedRTT)
		line.mu.Unlock()
		until(b, "payment", func() bool { return s.Status().Earned > 0 })
		for _, t := range []*Torrent{g, s} {
			if err := t.Stop(); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
	reportOver(b, over)
}
