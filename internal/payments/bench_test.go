package payments

import (
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// raised is when the allowance rose.
var raised atomic.Int64

// directWire joins two links without queues: the receiver's Receive runs in
// the sender's goroutine, as cheap as a transport can be.
func directWire(b *testing.B, requester, provider *Book) *wire {
	w := &wire{wakes: make(chan struct{}, 1)}
	w.requester = requester.Link(LinkConfig{Account: provider.cfg.Purse.Account(), Infohash: [20]byte{1}, Send: func(m []byte) { _ = w.provider.Receive(m) }})
	w.provider = provider.Link(LinkConfig{Account: requester.cfg.Purse.Account(), Infohash: [20]byte{1}, Send: func(m []byte) { _ = w.requester.Receive(m) }, Wake: func() {
		raised.Store(time.Now().UnixNano())
		select {
		case w.wakes <- struct{}{}:
		default:
		}
	}})
	b.Cleanup(func() { w.requester.Close(); w.provider.Close() })
	return w
}

// BenchmarkStopAndWait is the latency from "quantum verified" at the payer to
// "allowance raised" at the payee, with two journals on disk and a window of one
// quantum always. The sync of a payment runs beside, and must have ended before the
// next one counts at that window (docs/rfcs/0042); the pause stands for the transfer of a quantum.
func BenchmarkStopAndWait(b *testing.B) {
	for _, pause := range []time.Duration{0, 500 * time.Microsecond} {
		b.Run("transfer="+pause.String(), func(b *testing.B) {
			m := ledgertest.New()
			dir := b.TempDir() // TMPDIR must be on a disk for a real sync
			at := func(name string) func(*Config) {
				return func(c *Config) { c.Dir, c.DepositBytes, c.Credit = filepath.Join(dir, name), 1<<40, 1 }
			}
			buyer := newNode(b, m, "buyer", 100_000*amount.BTT, at("buyer"))
			seller := newNode(b, m, "seller", 0, at("seller"))
			w := directWire(b, buyer.book, seller.book)
			trade(b, buyer, seller, w, price, 1<<40)
			for range 4 { // until the channel is open and warm
				cycle(w)
			}
			var cycles []time.Duration
			for b.Loop() {
				if pause > 0 {
					time.Sleep(pause)
				}
				start := time.Now()
				cycle(w)
				cycles = append(cycles, time.Duration(raised.Load()-start.UnixNano()))
			}
			slices.Sort(cycles)
			b.ReportMetric(float64(cycles[len(cycles)/10].Microseconds()), "p10-us")
			b.ReportMetric(float64(cycles[len(cycles)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(cycles[len(cycles)*9/10].Microseconds()), "p90-us")
		})
	}
}

// cycle serves, verifies and pays one quantum, and waits for the next allowance.
func cycle(w *wire) {
	w.provider.Served(1 << 20)
	w.requester.Verified(1 << 20)
	for w.provider.Allowance().Load() < w.provider.served.Load()+1<<20 {
		<-w.wakes
	}
}
