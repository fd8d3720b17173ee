package session

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

const (
	bigPiece = 4 << 20
	unit     = 64 << 10
)

// bigFiles are of several pieces, of less than one, and of no more than a unit.
var bigFiles = map[string]int{"a.bin": 9<<20 + 12_345, "b.bin": 300_000, "c.bin": 5 << 20, "d.bin": 50_000, "e.bin": 4<<20 + 611_393}

// evenFiles end with a block: in hybrids what pads a last block is sent and paid.
var evenFiles = map[string]int{"a.bin": 9<<20 + 16<<10, "b.bin": 288 << 10, "c.bin": 5 << 20, "d.bin": 48 << 10}

func inUnits(size int64) func(*market.Node) { return func(n *market.Node) { n.Quantum = size } }

// TestPaidUnits: in torrents with hashes of version 2 the provider risks a unit,
// whatever the length of a piece, and every byte is paid once.
func TestPaidUnits(t *testing.T) {
	for v, files := range map[metainfo.Version]map[string]int{metainfo.V2: bigFiles, metainfo.Hybrid: evenFiles} {
		t.Run(v.String(), func(t *testing.T) {
			l := ledgertest.New()
			dir, torrent := contentV2(t, files, bigPiece, v)
			seed := newTrader(t, l, traderConfig{reserve: perGiB(2), market: inUnits(unit), payments: payments.Config{Credit: unit}})
			s := seed.seeds(dir, torrent)
			leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5), market: inUnits(unit)})
			tap := newTap(t, seed.Addr())
			tap.limit = unit
			g, to := leech.gets(torrent, tap.addr)
			await(t, g)
			sameFiles(t, dir, to, files)
			want := owed(t, perGiB(2), torrent.Info.ContentLength())
			until(t, "the last payment", func() bool { return s.Status().Earned == want })
			tap.check(t, perGiB(5), perGiB(2))
			if n, bytes, _ := leech.seen(payments.EventPaid); bytes != torrent.Info.ContentLength() || int64(n) < bytes/unit/2 {
				t.Errorf("%d payments for %d bytes of %d", n, bytes, torrent.Info.ContentLength())
			}
			settleAll(leech, seed)
			reconcile(t, l, seed, leech)
		})
	}
}

// TestUnitWindow: the window of a payer with a history grows, but never beyond
// what a broken connection is forgiven.
func TestUnitWindow(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := contentV2(t, bigFiles, bigPiece, metainfo.V2)
	seed := newTrader(t, l, traderConfig{reserve: perGiB(2), market: inUnits(unit)})
	seed.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5), market: inUnits(unit)})
	tap := newTap(t, seed.Addr())
	tap.limit = unit + torrent.Info.ContentLength()/64
	g, _ := leech.gets(torrent, tap.addr)
	await(t, g)
	tap.check(t, perGiB(5), perGiB(2))
}

// TestUnitsOneSided: the seller's unit counts if the buyer pays by it, else the least by
// which the buyer pays; where one side knows only whole pieces, they are paid.
func TestUnitsOneSided(t *testing.T) {
	for _, c := range []struct{ seller, buyer, want int64 }{
		{-1, unit, bigPiece}, {unit, -1, bigPiece}, {bigPiece, unit, bigPiece}, {unit, 2 * unit, 2 * unit}, {2 * unit, unit, 2 * unit},
		{0, 0, market.DefaultQuantum}, {0, unit, market.DefaultQuantum}, {unit, 0, market.DefaultPays},
	} {
		t.Run(fmt.Sprintf("%d-%d", c.seller, c.buyer), func(t *testing.T) {
			l := ledgertest.New()
			dir, torrent := contentV2(t, bigFiles, bigPiece, metainfo.V2)
			seed := newTrader(t, l, traderConfig{reserve: perGiB(2), market: inUnits(c.seller), payments: payments.Config{Credit: c.want}})
			s := seed.seeds(dir, torrent)
			leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5), market: inUnits(c.buyer)})
			tap := newTap(t, seed.Addr())
			tap.limit = c.want
			g, to := leech.gets(torrent, tap.addr)
			await(t, g)
			sameFiles(t, dir, to, bigFiles)
			want := owed(t, perGiB(2), torrent.Info.ContentLength())
			until(t, "the last payment", func() bool { return s.Status().Earned == want })
			tap.check(t, perGiB(5), perGiB(2))
			if tap.most <= c.want/2 {
				t.Errorf("most exposed %d, which is a smaller unit than %d", tap.most, c.want)
			}
		})
	}
}

// TestUnitsNotUpgraded: a seller of a hybrid that answers by the version 1 hash with which
// it was called, and says units, is paid by them: its word stands for the hashes (BEP 52).
func TestUnitsNotUpgraded(t *testing.T) {
	l := ledgertest.New()
	dir, torrent := contentV2(t, evenFiles, bigPiece, metainfo.Hybrid)
	seed := newTrader(t, l, traderConfig{reserve: perGiB(2), market: inUnits(unit), payments: payments.Config{Credit: unit}})
	seed.seeds(dir, torrent)
	leech := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(5), market: inUnits(unit)})
	g, to := leech.gets(torrent, relayed(t, seed.Addr(), func(a, b net.Conn) {
		defer a.Close()
		defer b.Close()
		var h [wire.HandshakeLen]byte
		if _, err := io.ReadFull(b, h[:]); err != nil {
			return
		}
		if [20]byte(h[28:48]) != torrent.InfoHashV2.Truncated() {
			t.Errorf("it was answered with %x", h[28:48])
		}
		copy(h[28:48], torrent.InfoHash[:])
		if _, err := a.Write(h[:]); err == nil {
			_, _ = io.Copy(a, b)
		}
	}))
	await(t, g)
	sameFiles(t, dir, to, evenFiles)
	settleAll(leech, seed)
	if _, paid, _ := leech.seen(payments.EventPaid); paid != torrent.Info.ContentLength() {
		t.Errorf("%d bytes paid for %d", paid, torrent.Info.ContentLength())
	}
	reconcile(t, l, seed, leech)
}

// TestUnitsNeverPaid: a buyer that says it pays by units gets one and no more,
// and after a payment inside the piece exactly one more.
func TestUnitsNeverPaid(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), func(c *traderConfig) { c.market = inUnits(unit) })
	h.dir, h.torrent = contentV2(t, map[string]int{"b.bin": 3 << 20}, 1<<20, metainfo.Hybrid)
	h.seeds(h.dir, h.torrent)
	x := &rawPayer{h: h, key: ledgertest.Key("mallory"), k1: ledgertest.Key("mallory K1"), sum: 2 * rawDeposit}
	coin, err := h.ledger.Fund(x.key.Address(), x.sum)
	if err != nil {
		t.Fatal(err)
	}
	x.coin, x.raw = coin, dialRaw(t, h.Addr(), h.torrent, x.key, h.net)
	x.speed(speed.Units{Size: unit})
	x.bids(perGiB(500))
	x.sold(perGiB(200))
	if terms, err := channel.DecodeTerms(x.terms); err != nil || terms.Quantum != unit {
		t.Errorf("terms of a quantum of %d, %v", terms.Quantum, err)
	}
	x.opens()
	x.asks(0, 64)
	x.takes(unit)
	x.pays(unit)
	x.takes(2 * unit)
	x.starves(2 * unit)
	h.settled(t, owed(t, perGiB(200), unit))
}

// mangle relays between a requester and a provider; change sees each message of
// the provider with its bytes and says what is sent in its place, nil = the end.
func mangle(t *testing.T, to netip.AddrPort, change func(m *wire.Message, raw []byte) []byte) netip.AddrPort {
	t.Helper()
	return relayed(t, to, func(a, b net.Conn) { mangled(a, b, change) })
}

// relayed relays between a requester and a provider; back carries what the provider
// says, and ends with its connection.
func relayed(t *testing.T, to netip.AddrPort, back func(requester, provider net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
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
			go func() { _, _ = io.Copy(b, a); b.Close() }() // ends with the requester's connection
			go back(a, b)                                   // ends with the provider's
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

func mangled(to, from net.Conn, change func(m *wire.Message, raw []byte) []byte) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 512<<10)
	if _, err := io.ReadFull(from, buf[:wire.HandshakeLen]); err != nil {
		return
	}
	if _, err := to.Write(buf[:wire.HandshakeLen]); err != nil {
		return
	}
	for w := 0; ; {
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
			out := change(&m, buf[r:r+n])
			if out == nil {
				return
			}
			if _, err := to.Write(out); err != nil {
				return
			}
			r += n
		}
		w = copy(buf, buf[r:w])
	}
}

// TestUnitSellers: a seller that stops inside a piece, that sends a bad block,
// or that keeps the hashes back, is paid for the units that were right and for
// nothing else; another finishes, and nothing is paid twice.
func TestUnitSellers(t *testing.T) {
	const stop = 3*unit + 40_000
	for _, c := range []struct {
		name   string
		least  int64 // what the first seller is paid for
		most   int64
		change func(served *int64, m *wire.Message, raw []byte) []byte
	}{
		{"stops", 2 * unit, 3 * unit, func(served *int64, m *wire.Message, raw []byte) []byte {
			if m.ID == wire.Piece {
				if *served += int64(len(m.Payload)); *served > stop {
					return nil
				}
			}
			return raw
		}},
		{"garbage", 2 * unit, 3 * unit, func(served *int64, m *wire.Message, raw []byte) []byte {
			if m.ID == wire.Piece {
				if *served += int64(len(m.Payload)); *served > 3*unit {
					raw[len(raw)-1] ^= 1
				}
			}
			return raw
		}},
		{"no hashes", 0, 0, func(_ *int64, m *wire.Message, raw []byte) []byte {
			if m.ID == wire.Hashes {
				r, _, _, err := wire.ParseHashRange(wire.Hashes, m.Payload)
				if err != nil {
					return nil
				}
				return wire.AppendHashRange(nil, wire.HashReject, &r)
			}
			return raw
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ledgertest.New()
			files := map[string]int{"a.bin": 7 << 20}
			dir, torrent := contentV2(t, files, bigPiece, metainfo.V2)
			config := traderConfig{reserve: perGiB(200), market: inUnits(unit), payments: payments.Config{Credit: unit}}
			first := newTrader(t, l, config)
			one := first.seeds(dir, torrent)
			var mu sync.Mutex
			var served int64
			bad := mangle(t, first.Addr(), func(m *wire.Message, raw []byte) []byte {
				mu.Lock()
				defer mu.Unlock()
				return c.change(&served, m, raw)
			})
			leech := newTrader(t, l, traderConfig{funds: 1000 * amount.BTT, cap: perGiB(500), market: inUnits(unit)})
			g, to := leech.gets(torrent, bad)
			until(t, "the first seller to go", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(g.Status().Peers) == 0 && len(one.Status().Peers) == 0 && (c.most == 0 || served >= 3*unit)
			})
			_, paid, _ := leech.seen(payments.EventPaid)
			if paid < c.least || paid > c.most {
				t.Errorf("%d bytes paid to the first seller, want %d to %d", paid, c.least, c.most)
			}
			second := newTrader(t, l, config)
			second.seeds(dir, torrent)
			g.AddPeers(second.Addr())
			await(t, g)
			sameFiles(t, dir, to, files)
			settleAll(leech, second, first)
			_, all, _ := leech.seen(payments.EventPaid)
			if all > torrent.Info.ContentLength() || all < torrent.Info.ContentLength()-unit {
				t.Errorf("%d bytes paid for %d", all, torrent.Info.ContentLength())
			}
			reconcile(t, l, first, second, leech)
		})
	}
}

// TestUnitsOfTwoSizes: what one seller began in larger units, another sells the rest
// of in smaller ones, and is paid for each of them: nobody waits for the other.
func TestUnitsOfTwoSizes(t *testing.T) {
	l := ledgertest.New()
	files := map[string]int{"a.bin": 7 << 20}
	dir, torrent := contentV2(t, files, bigPiece, metainfo.V2)
	config := traderConfig{reserve: perGiB(200), market: inUnits(8 * unit), payments: payments.Config{Credit: unit}}
	first := newTrader(t, l, config)
	one := first.seeds(dir, torrent)
	var served int64
	var mu sync.Mutex
	leaves := mangle(t, first.Addr(), func(m *wire.Message, raw []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		if m.ID == wire.Piece {
			if served += int64(len(m.Payload)); served > 9*unit {
				return nil
			}
		}
		return raw
	})
	leech := newTrader(t, l, traderConfig{funds: 1000 * amount.BTT, cap: perGiB(500), market: inUnits(unit)})
	g, to := leech.gets(torrent, leaves)
	until(t, "the first seller to go", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(g.Status().Peers) == 0 && len(one.Status().Peers) == 0 && served > 9*unit
	})
	if _, paid, _ := leech.seen(payments.EventPaid); paid != 8*unit {
		t.Errorf("%d bytes paid to the first seller, want %d", paid, 8*unit)
	}
	config.market = inUnits(unit)
	second := newTrader(t, l, config)
	second.seeds(dir, torrent)
	g.AddPeers(second.Addr())
	await(t, g)
	sameFiles(t, dir, to, files)
	settleAll(leech, second, first)
	if n, _, _ := second.seen(payments.EventOverdue); n > 0 {
		t.Errorf("%d payments were late: the buyer could not verify what it got", n)
	}
	if _, all, _ := leech.seen(payments.EventPaid); all > torrent.Info.ContentLength() || all < torrent.Info.ContentLength()-unit {
		t.Errorf("%d bytes paid for %d", all, torrent.Info.ContentLength())
	}
	reconcile(t, l, first, second, leech)
}
