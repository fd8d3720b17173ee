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
	mute  bool // after an unchoke nothing reaches the requester before a block comes, or a choke

	mu              sync.Mutex
	unchoked, block time.Time // the last unchoke before the first block, and that block
	chokes          int       // before it
}

func newSlowLine(t testing.TB, to netip.AddrPort, rtt time.Duration, mute bool) *slowLine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &slowLine{addr: l.Addr().(*net.TCPAddr).AddrPort(), delay: rtt / 2, mute: mute}
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
			go x.relay(b, a, func(said []byte) []byte { return said })
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

// relay passes on what see returns. It ends with either connection.
func (x *slowLine) relay(to, from net.Conn, see func([]byte) []byte) {
	line := make(chan slowChunk, 1<<12)
	go func() {
		defer to.Close()
		for c := range line {
			time.Sleep(time.Until(c.due))
			if _, err := to.Write(see(c.data)); err != nil {
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

// watch reads what the provider says, and returns what of it passes.
func (x *slowLine) watch() func([]byte) []byte {
	var held, kept []byte // what is no whole message yet; what did not pass
	at, passed := 0, 0    // positions: of held, and of kept
	end := -1             // what passes, less than all while the line is mute
	shook := false
	see := func(m *wire.Message) {
		switch {
		case !x.block.IsZero():
		case m.ID == wire.Unchoke:
			if x.unchoked = time.Now(); end < 0 && x.mute {
				end = at
			}
		case m.ID == wire.Choke && end >= 0:
			x.chokes, end = x.chokes+1, -1
		case m.ID == wire.Piece:
			x.block, end = time.Now(), -1
		}
	}
	return func(b []byte) []byte {
		held, kept = append(held, b...), append(kept, b...)
		x.mu.Lock()
		defer x.mu.Unlock()
		if !shook && len(held) >= wire.HandshakeLen {
			shook, held, at = true, held[wire.HandshakeLen:], wire.HandshakeLen
		}
		for shook {
			m, n, err := wire.Next(held)
			if err != nil || n == 0 {
				// The block's head is enough: its first byte is here.
				if len(held) > 4 && wire.ID(held[4]) == wire.Piece {
					see(&wire.Message{ID: wire.Piece})
				}
				break
			}
			held, at = held[n:], at+n
			see(&m)
		}
		n := len(kept)
		if end >= 0 {
			n = end - passed
		}
		pass := kept[:n]
		kept, passed = kept[n:], passed+n
		return pass
	}
}

// TestFirstPaidByte holds that no second round trip is between an unchoke at the
// requester and its first paid byte: nothing that the provider says after the unchoke
// reaches it before. The channel opens meanwhile. It tells the time beyond a round trip,
// what the two nodes take; BenchmarkFirstPaidByte measures it.
func TestFirstPaidByte(t *testing.T) {
	const rtt, times = 60 * time.Millisecond, 3
	l := ledgertest.New()
	dir, torrent := content(t, map[string]int{"a.bin": 1 << 20}, piece)
	seed := newTrader(t, l, traderConfig{reserve: perGiB(2)})
	seed.seeds(dir, torrent)
	chokes := 0
	for range times {
		line := newSlowLine(t, seed.Addr(), rtt, true)
		leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5)})
		g, _ := leech.gets(torrent, line.addr)
		await(t, g)
		line.mu.Lock()
		t.Logf("beyond a round trip of %v: %v, %d chokes", rtt, line.block.Sub(line.unchoked)-rtt, line.chokes)
		chokes += min(line.chokes, 1)
		line.mu.Unlock()
		leech.settle()
	}
	if chokes == times { // one may be of the market
		t.Error("no first paid byte comes before the requester hears more than the unchoke")
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
	line := newSlowLine(b, l.Addr().(*net.TCPAddr).AddrPort(), simulatedRTT, false)
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
		line := newSlowLine(b, seed.Addr(), simulatedRTT, false)
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
