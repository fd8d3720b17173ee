package bench

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/metainfo"
)

// BenchmarkPaid downloads the same file plain and paid by turns, so that what
// else the machine does meets both alike, in version 1, where the provider risks
// a piece, and in version 2, where it risks a part of one. For each it gives the
// rate, the processor time of both nodes and the ledger for a GiB, and the ratio
// of paid to plain as the median over the pairs of turns.
func BenchmarkPaid(b *testing.B) {
	for _, v := range []metainfo.Version{metainfo.V1, metainfo.V2} {
		b.Run(v.String(), func(b *testing.B) {
			client, grant := paidLedger(b)
			dir := scratch(b)
			torrent := content(b, dir, size(b), v)
			quantum := knob(b, "BTT_BENCH_QUANTUM", 0)
			plain := &runner{name: "plain", dir: dir, torrent: torrent}
			paid := &runner{name: "paid", dir: dir, torrent: torrent, buyer: &btt.SpeedConfig{Ledger: client, Phrase: grant, Quantum: quantum}}
			plain.seeds(b, nil)
			paid.seeds(b, &btt.SpeedConfig{Ledger: client, EarnOnly: true, Quantum: quantum, Reserve: 2 * amount.Price(amount.BTT)})
			plain.run(b) // the first touch of the files
			plain.turns = nil
			b.ResetTimer()
			for i := range b.N {
				pair := []*runner{plain, paid}
				if i%2 == 1 { // neither always follows the other
					slices.Reverse(pair)
				}
				for _, r := range pair {
					r.run(b)
				}
			}
			b.StopTimer()
			report(b, plain, paid)
		})
	}
}

// runner downloads a torrent again and again from a seed of its own.
type runner struct {
	name    string
	dir     string
	torrent *metainfo.Torrent
	buyer   *btt.SpeedConfig
	seed    *btt.Node
	turns   []turn
}

// turn is one download: its time and what the process used meanwhile.
type turn struct{ wall, cpu time.Duration }

func (r *runner) seeds(b *testing.B, seller *btt.SpeedConfig) {
	r.seed = node(b, seller)
	s, err := r.seed.Add(btt.Add{Torrent: r.torrent, Dir: r.dir})
	if err != nil {
		b.Fatal(err)
	}
	wait(b, s)
}

func (r *runner) run(b *testing.B) {
	leech, to := node(b, r.buyer), filepath.Join(r.dir, "to")
	start, used := time.Now(), cpu()
	l, err := leech.Add(btt.Add{Torrent: r.torrent, Dir: to, Peers: []netip.AddrPort{r.seed.Addr()}})
	if err != nil {
		b.Fatal(err)
	}
	wait(b, l)
	r.turns = append(r.turns, turn{time.Since(start), cpu() - used})
	if paid := l.Status().Paid; r.buyer != nil && paid < amount.Amount(size(b)*2*int64(amount.BTT)/(1<<30)*9/10) {
		b.Fatalf("only %s was paid", paid)
	}
	close(b, leech)
	os.RemoveAll(to)
}

func report(b *testing.B, plain, paid *runner) {
	gib := float64(size(b)) / (1 << 30)
	for _, r := range []*runner{plain, paid} {
		rate := spread(r.turns, func(t turn) float64 { return float64(size(b)) / 1e6 / t.wall.Seconds() })
		used := spread(r.turns, func(t turn) float64 { return t.cpu.Seconds() / gib })
		b.Logf("%-5s %4.0f MB/s (%.0f-%.0f), %.2f CPU s/GiB (%.2f-%.2f)", r.name, rate[1], rate[0], rate[2], used[1], used[0], used[2])
	}
	var rates, work []float64
	for i := range paid.turns {
		rates = append(rates, plain.turns[i].wall.Seconds()/paid.turns[i].wall.Seconds())
		work = append(work, paid.turns[i].cpu.Seconds()/plain.turns[i].cpu.Seconds())
	}
	slices.Sort(rates)
	slices.Sort(work)
	b.Logf("paid runs at %.3f of plain (%s), for %.3f of its processor time (%s)", rates[len(rates)/2], show(rates), work[len(work)/2], show(work))
	b.ReportMetric(rates[len(rates)/2], "paid/plain")
	b.ReportMetric(work[len(work)/2], "cpu-paid/plain")
}

// spread is the least, the median and the greatest.
func spread(turns []turn, f func(turn) float64) [3]float64 {
	var all []float64
	for _, t := range turns {
		all = append(all, f(t))
	}
	slices.Sort(all)
	return [3]float64{all[0], all[len(all)/2], all[len(all)-1]}
}

func show(sorted []float64) string {
	return fmt.Sprintf("%.3f-%.3f", sorted[0], sorted[len(sorted)-1])
}
