package ledgerd

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// openDir names the directory that this test binary, run again, opens once to
// measure time and memory of a fresh process.
const openDir = "LEDGERD_OPEN_DIR"

// openOnce opens dir and prints seconds, unspent outputs and the most memory the
// process ever had, in MiB.
func openOnce(dir string) error {
	start := time.Now()
	s, err := Open(Config{Dir: dir, OperatorKey: key(200), Heartbeat: -1})
	if err != nil {
		return err
	}
	if _, err := s.Client().Unspent(context.Background(), key(1).Address(), ledger.OutPoint{}, 10); err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	fmt.Println(seconds, s.db.Position().Coins, peakMiB())
	return s.Close()
}

// peakMiB is the peak resident size of this process; 0 where it is not known.
func peakMiB() (mib float64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kib float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kib); n == 1 {
			mib = kib / 1024
		}
	}
	return mib
}

// fanOut fills a directory with a ledger of at least n unspent outputs, each of
// another address.
func fanOut(b *testing.B, dir string, n int) {
	const wide = 254
	g := devGenesis(b, 1)
	s := openServer(b, Config{Dir: dir, Genesis: g, OperatorKey: key(200), Heartbeat: -1})
	c := s.Client()
	split := func(coin ledger.Coin, outputs int, lock func(i int) ledger.Lock) *ledger.Tx {
		tx := &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{coin.OutPoint}}
		for i := range outputs {
			tx.Outputs = append(tx.Outputs, ledger.Output{Amount: coin.Amount / amount.Amount(outputs), Lock: lock(i)})
		}
		tx.Outputs[0].Amount += coin.Amount % amount.Amount(outputs)
		sign(s.Network(), tx, coin.Lock, key(1))
		return tx
	}
	own := func(int) ledger.Lock { return ledger.PayTo(key(1).Address()) }
	level := []ledger.Coin{coinOf(b, c, key(1).Address(), amount.BTT)}
	for len(level)*wide < n {
		var next []ledger.Coin
		for _, coin := range level[:min(len(level), n/wide/wide+1)] {
			tx := split(coin, wide, own)
			mustSubmit(b, c, tx)
			for i, o := range tx.Outputs {
				next = append(next, ledger.Coin{OutPoint: tx.OutPoint(s.Network(), i), Amount: o.Amount, Lock: o.Lock})
			}
		}
		level = next
	}
	var wg sync.WaitGroup
	for part := range 64 {
		wg.Go(func() {
			for at := part; at < n/wide+1; at += 64 {
				tx := split(level[at], wide, func(i int) (l ledger.Lock) {
					l.Kind = ledger.AddressLock
					binary.BigEndian.PutUint32(l.Address[:], uint32(at*wide+i+1))
					return l
				})
				if _, err := c.Submit(b.Context(), tx.Encode()); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen opens a ledger of a million unspent outputs in a process of its
// own: as a server left it, and with the log alone.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	fanOut(b, dir, 1_000_000)
	for _, name := range []string{"closed", "log-only"} {
		b.Run(name, func(b *testing.B) {
			var seconds, coins, mib float64
			for range b.N {
				if name == "log-only" {
					if err := os.RemoveAll(filepath.Join(dir, cacheDir)); err != nil {
						b.Fatal(err)
					}
				}
				cmd := exec.Command(os.Args[0], "-test.run=^$")
				cmd.Env = append(os.Environ(), openDir+"="+dir)
				cmd.Stderr = os.Stderr
				out, err := cmd.Output()
				if err != nil {
					b.Fatal(err)
				}
				var s, c, m float64
				if _, err := fmt.Sscan(string(out), &s, &c, &m); err != nil || c < 1_000_000 {
					b.Fatalf("%q: %v", out, err)
				}
				seconds, coins, mib = seconds+s, c, max(mib, m)
			}
			b.ReportMetric(seconds/float64(b.N), "s/open")
			b.ReportMetric(coins, "outputs")
			b.ReportMetric(mib, "peak-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}
