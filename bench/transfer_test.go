package bench

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/metainfo"
)

// size is the number of bytes moved: 512 MiB, or $BTT_BENCH_MIB.
func size(b *testing.B) int64 {
	mib := 512
	if s := os.Getenv("BTT_BENCH_MIB"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		mib = n
	}
	return int64(mib) << 20
}

// BenchmarkTransfer moves a file from a seed to a leech over loopback TCP,
// both in this process, in pieces of 1 MiB, with the files on tmpfs where
// there is one; wallets, channels and the ledger are on a real disk.
//
//	plain         BitTorrent alone
//	paid          every byte paid; the window may grow to 16 MiB with the payer's history
//	paid-credit4  the same to 4 MiB (A24)
func BenchmarkTransfer(b *testing.B) {
	b.Run("plain", func(b *testing.B) { transfer(b, nil, nil) })
	for name, credit := range map[string]int64{"paid": 0, "paid-credit4": 4 << 20} {
		b.Run(name, func(b *testing.B) {
			client, grant := paidLedger(b)
			seller := &btt.SpeedConfig{Ledger: client, EarnOnly: true, Reserve: 2 * amount.Price(amount.BTT), Credit: credit}
			transfer(b, seller, &btt.SpeedConfig{Ledger: client, Phrase: grant})
		})
	}
}

func transfer(b *testing.B, seller, buyer *btt.SpeedConfig) {
	dir := scratch(b)
	torrent := content(b, dir, size(b), metainfo.V1)
	seed := node(b, seller)
	s, err := seed.Add(btt.Add{Torrent: torrent, Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	wait(b, s)
	b.SetBytes(size(b))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		leech, to := node(b, buyer), filepath.Join(dir, "to")
		b.StartTimer()
		l, err := leech.Add(btt.Add{Torrent: torrent, Dir: to, Peers: []netip.AddrPort{seed.Addr()}})
		if err != nil {
			b.Fatal(err)
		}
		wait(b, l)
		b.StopTimer()
		if paid := l.Status().Paid; buyer != nil && paid < amount.Amount(size(b)*2*int64(amount.BTT)/(1<<30)*9/10) {
			b.Fatalf("only %s was paid", paid)
		}
		close(b, leech)
		os.RemoveAll(to)
		b.StartTimer()
	}
}

// paidLedger starts a ledger and returns it with the phrase of a wallet that
// owns 1,000,000 BTT.
func paidLedger(b *testing.B) (ledger.Client, string) {
	p, err := purse.Open(purse.Config{Dir: b.TempDir(), Ledger: purse.Offline{}})
	if err != nil {
		b.Fatal(err)
	}
	phrase, err := p.Phrase("")
	if err != nil {
		b.Fatal(err)
	}
	genesis, err := ledgerd.DevGenesis(p.Address())
	if err != nil {
		b.Fatal(err)
	}
	srv, err := ledgerd.Open(ledgerd.Config{Dir: b.TempDir(), Genesis: genesis})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { srv.Close() })
	return srv.Client(), phrase
}

func content(b *testing.B, dir string, size int64, v metainfo.Version) *metainfo.Torrent {
	path := filepath.Join(dir, "data")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		b.Fatal(err)
	}
	f.Close()
	torrent, err := create.Torrent(context.Background(), path, create.Options{PieceLength: knob(b, "BTT_BENCH_PIECE", 1<<20), Version: v})
	if err != nil {
		b.Fatal(err)
	}
	return torrent
}

// knob is a size in bytes from the environment.
func knob(b *testing.B, name string, otherwise int64) int64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return n
}

func scratch(b *testing.B) string {
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "btt-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func node(b *testing.B, speed *btt.SpeedConfig) *btt.Node {
	cfg := btt.Config{Listen: "127.0.0.1:0", Speed: speed, NoResume: true, Choker: choker.Default(8)}
	if speed != nil {
		cfg.Home = b.TempDir()
	}
	n, err := btt.Open(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	if speed == nil || speed.EarnOnly {
		b.Cleanup(func() { close(b, n) })
	}
	return n
}

func close(b *testing.B, n *btt.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		b.Error(err)
	}
}

func wait(b *testing.B, t *btt.Torrent) {
	for {
		switch st := t.Status(); st.State {
		case btt.Seeding:
			return
		case btt.Failed:
			b.Fatal(st.Err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
