package ledgerd

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// benchWindow is how many transactions are under way at once in a closed loop.
const benchWindow = 4000

// benchKey returns key i of a benchmark.
func benchKey(i int) *ledger.PrivateKey {
	var scalar [32]byte
	binary.BigEndian.PutUint32(scalar[28:], uint32(i+1))
	k, err := ledger.NewPrivateKey(scalar)
	if err != nil {
		panic(err)
	}
	return k
}

// payChains signs n transfers of 1 input and 2 outputs in chains, one chain for
// each of width keys, and returns the genesis that they start from.
func payChains(b testing.TB, width, n int) (ledger.Genesis, [][][]byte) {
	g := ledger.Genesis{Name: "bench", Time: 1_700_000_000, Params: ledger.DefaultParams()}
	share := ledger.Share{Name: "all"}
	keys := make([]*ledger.PrivateKey, width)
	each := amount.Supply / amount.Amount(width)
	rest := amount.Supply
	for i := range keys {
		keys[i] = benchKey(i)
		sum := each
		if i == width-1 {
			sum = rest
		}
		rest -= sum
		share.Grants = append(share.Grants, ledger.Grant{Address: keys[i].Address(), Amount: sum})
	}
	g.Shares = []ledger.Share{share}
	if err := g.Validate(); err != nil {
		b.Fatal(err)
	}
	network := g.Hash()
	coins := g.Coins()
	chains := make([][][]byte, width)
	var wg sync.WaitGroup
	for part := range 2 {
		wg.Go(func() {
			for i := part; i < width; i += 2 {
				coin := coins[i]
				for range n/width + min(1, max(0, n%width-i)) {
					tx := transfer(network, keys[i], coin, ledger.PayTo(keys[(i+1)%width].Address()), 2000)
					chains[i] = append(chains[i], tx.Encode())
					coin = ledger.Coin{OutPoint: tx.OutPoint(network, 1), Amount: tx.Outputs[1].Amount, Lock: coin.Lock}
				}
			}
		})
	}
	wg.Wait()
	return g, chains
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDurableTransfers is the closed loop: benchWindow senders in process,
// each waits for its transfer to be durable. Run with -benchtime 200000x.
func BenchmarkDurableTransfers(b *testing.B) {
	width := min(benchWindow, b.N)
	g, chains := payChains(b, width, b.N)
	s := openServer(b, Config{Dir: b.TempDir(), Genesis: g, OperatorKey: key(200), Heartbeat: -1})
	closedLoop(b, s, chains, b.N, 1)
}

// closedLoop hands in chains of n transactions, one sender for each chain, and
// reports throughput, also as a multiple of what one signature after the other
// would allow on all cores, measured before and after.
func closedLoop(b *testing.B, s *Server, chains [][][]byte, n int, signatures float64) {
	bound := singleBound(b)
	c := s.Client()
	cpu := cpuTime()
	b.ResetTimer()
	var wg sync.WaitGroup
	for _, chain := range chains {
		wg.Go(func() {
			for _, raw := range chain {
				if _, err := c.Submit(context.Background(), raw); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	perTx := float64((cpuTime() - cpu).Nanoseconds()) / 1000 / float64(n)
	after := singleBound(b)
	rate := float64(n) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "tx/s")
	b.ReportMetric(perTx, "cpu-µs/tx")
	b.ReportMetric(float64(n)/float64(s.head().Height), "tx/block")
	b.ReportMetric(rate*signatures/((bound.rate+after.rate)/2), "x-single")
	b.ReportMetric((bound.cpu+after.cpu)/2*signatures/perTx, "x-single-cpu")
}

// single is what checking signatures one by one gives.
type single struct {
	rate float64 // a second, on all cores
	cpu  float64 // microseconds each
}

// singleBound checks signatures one by one on all cores for a while.
func singleBound(b *testing.B) single {
	digest := [32]byte{1, 2, 3}
	sig, err := key(1).Sign(digest)
	if err != nil {
		b.Fatal(err)
	}
	const each = 2000
	start, cpu := time.Now(), cpuTime()
	var wg sync.WaitGroup
	cores := runtime.GOMAXPROCS(0)
	for range cores {
		wg.Go(func() {
			for range each {
				if !ledger.VerifySignature(key(1).PublicKey(), digest, sig) {
					b.Error("a good signature is refused")
					return
				}
			}
		})
	}
	wg.Wait()
	n := float64(each * cores)
	return single{n / time.Since(start).Seconds(), float64((cpuTime() - cpu).Nanoseconds()) / 1000 / n}
}

// BenchmarkChannels is the closed loop with channels instead of transfers: T1,
// which locks, then T3, which settles; three signatures for two transactions. Run
// with -benchtime 50000x pairs.
func BenchmarkChannels(b *testing.B) {
	width := min(benchWindow, b.N)
	g, _ := payChains(b, width, 0)
	network, coins := g.Hash(), g.Coins()
	chains := make([][][]byte, width)
	var wg sync.WaitGroup
	for part := range 2 {
		wg.Go(func() {
			for i := part; i < width; i += 2 {
				payer, payee, coin := benchKey(i), benchKey((i+1)%width), coins[i]
				joint := ledger.Joint(payer.PublicKey(), payee.PublicKey())
				for range b.N/width + min(1, max(0, b.N%width-i)) {
					t1 := transfer(network, payer, coin, joint, 5000)
					t3 := &ledger.Tx{Kind: ledger.Transfer, Sequence: 1, Inputs: []ledger.OutPoint{t1.OutPoint(network, 0)}, Outputs: []ledger.Output{
						{Amount: 2000, Lock: ledger.PayTo(payer.Address())}, {Amount: 3000, Lock: ledger.PayTo(payee.Address())}}}
					sign(network, t3, joint, payer, payee)
					chains[i] = append(chains[i], t1.Encode(), t3.Encode())
					coin = ledger.Coin{OutPoint: t1.OutPoint(network, 1), Amount: t1.Outputs[1].Amount, Lock: coin.Lock}
				}
			}
		})
	}
	wg.Wait()
	s := openServer(b, Config{Dir: b.TempDir(), Genesis: g, OperatorKey: key(200), Heartbeat: -1})
	closedLoop(b, s, chains, 2*b.N, 1.5)
}

// BenchmarkOpenLoop submits 1,000 transfers a second, on time whatever the
// answers do, and reports the latency to durable. Run with -benchtime 5000x.
func BenchmarkOpenLoop(b *testing.B) {
	g, chains := payChains(b, b.N, b.N)
	s := openServer(b, Config{Dir: b.TempDir(), Genesis: g, OperatorKey: key(200), Heartbeat: -1})
	c := s.Client()
	latency := make([]time.Duration, b.N)
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for i := range b.N {
		due := start.Add(time.Duration(i) * time.Millisecond)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			if _, err := c.Submit(context.Background(), chains[i][0]); err != nil {
				b.Error(err)
			}
			latency[i] = time.Since(due)
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(latency)
	b.ReportMetric(float64(latency[b.N/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(latency[b.N*99/100].Microseconds()), "p99-µs")
}

// BenchmarkReplay opens a log of b.N transfers without its database, which is
// built again. Run with -benchtime 100000x.
func BenchmarkReplay(b *testing.B) {
	g, chains := payChains(b, min(benchWindow, b.N), b.N)
	cfg := Config{Dir: b.TempDir(), Genesis: g, OperatorKey: key(200), Heartbeat: -1}
	s := openServer(b, cfg)
	var wg sync.WaitGroup
	for _, chain := range chains {
		wg.Go(func() {
			for _, raw := range chain {
				if _, err := s.Client().Submit(context.Background(), raw); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.Close()
	if err := os.RemoveAll(filepath.Join(cfg.Dir, cacheDir)); err != nil {
		b.Fatal(err)
	}
	cpu := cpuTime()
	b.ResetTimer()
	s = openServer(b, cfg)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1000/float64(b.N), "cpu-µs/tx")
	if s.head().Cursor != uint64(2*b.N) {
		b.Fatalf("replayed %d events", s.head().Cursor)
	}
}

// BenchmarkSync is the disk alone: one 4 KiB append and fdatasync.
func BenchmarkSync(b *testing.B) {
	f, err := openLogFile(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, 4096)
	for b.Loop() {
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}
