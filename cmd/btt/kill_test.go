package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/bttnet/btt/amount"
)

// TestKillGet kills a download at random moments. A restart hashes again and
// fetches nothing that a kill left on disk but what was in progress, a kill loses no more than the pieces in progress,
// and the file is right at the end.
func TestKillGet(t *testing.T) {
	const (
		size, piece, kills = 8<<20 + 12345, 64 << 10, 5
		inProgress         = 12 * piece // pieces that one peer of this speed may have begun
		overhead           = 64 << 10   // of the messages, a session
	)
	w := newTown(t)
	want := w.content(size)
	w.run("create", "share/film.bin", "--piece-size", "64KiB")
	seed := w.start("seed", "seed", "share/film.bin", "--home", "seed", "--listen", "127.0.0.1:0", "--limit-up", "2MiB", "--json")
	pipe := w.pipe(w.await(seed, seed.stdout, `"listen":"([^"]+)"`))
	var had int64
	for i := range kills + 1 {
		before := pipe.bytes.Load()
		get := w.start(fmt.Sprintf("get%d", i), "get", "share/film.bin.torrent", "-o", "download", "--home", "leech", "--peer", pipe.Addr().String(), "--json", "--verbose")
		if i == kills {
			w.end(get, false)
		} else {
			moment := before + rand.Int64N(min(2*size/(kills+2), (size-had)/2)) // while there is something left to kill
			w.until(get, "download", pipe.reached(moment))
			w.kill(get)
			pipe.release()
		}
		if n := w.checked(get); i > 0 && n > inProgress/piece {
			t.Errorf("run %d: %d pieces were hashed again", i, n)
		}
		has, received := w.onDisk(piece), pipe.bytes.Load()-before
		t.Logf("run %d: %d bytes received, %d more on disk", i, received, has-had)
		if has < had {
			t.Errorf("run %d: %d bytes are right on disk, before it were %d", i, has, had)
		}
		if received > has-had+inProgress+overhead {
			t.Errorf("run %d: %d bytes received for %d more on disk", i, received, has-had)
		}
		had = has
	}
	if w.sum("download/film.bin") != want {
		t.Error("the file differs")
	}
	if total := pipe.bytes.Load(); total > size+(kills+1)*overhead+kills*inProgress {
		t.Errorf("%d bytes received for a file of %d", total, size)
	}
	w.end(seed, true)
}

// bank is a town with a ledger, a paying leech and a selling seed.
type bank struct {
	*town
	url          string
	ledger, seed *program
	seeds        []*program // all runs of the seed
	pipe         *pipe
	want         [32]byte
	lends        int64 // bytes that the seed may lose beyond a piece for each kill
	goods        goods
	name         string // of what is sold
	source       string // by which it is downloaded, with these
	flags        []string
}

// goods are what a bank's seed sells: by killPiece, whole pieces or parts of them.
type goods struct{ format, piece, quantum string }

var (
	wholePieces = goods{"v1", "64KiB", "piece"}
	parts       = goods{"v2", "1MiB", "64KiB"}
	hybridParts = goods{"hybrid", "1MiB", "64KiB"}
)

const (
	bankSize  = 6<<20 + 4321
	bankGrant = 100 * amount.BTT
	bankPrice = "20 BTT/GiB" // a piece costs more than the ledger's least output
)

// newBank has a seed that risks a piece and no more, lendingBank one with the default
// of --credit, which lends a 64th of what was paid besides.
func newBank(t *testing.T) *bank              { return openBank(t, wholePieces, 0) }
func lendingBank(t *testing.T, g goods) *bank { return openBank(t, g, bankSize/64) }

func openBank(t *testing.T, g goods, lends int64) *bank {
	w := newTown(t)
	w.content(bankSize)
	return w.bank("film.bin", g, lends)
}

// bank opens a bank that sells what lies in the folder "share" under a name.
func (w *town) bank(name string, g goods, lends int64) *bank {
	w.t.Helper()
	b := &bank{town: w, want: w.sum("share/" + name), lends: lends, goods: g, name: name, source: "share/" + name + ".torrent"}
	w.run("create", "share/"+name, "--piece-size", g.piece, "--format", g.format)
	leech := w.run("wallet", "init", "--home", "leech")[0]["address"].(string)
	w.run("wallet", "init", "--home", "seed")
	w.run("ledger", "init", "--dir", "ledger", "--grant", leech+"=100")
	b.serve("127.0.0.1:0")
	b.url = w.await(b.ledger, b.ledger.stdout, `"url":"([^"]+)"`)
	b.sells("127.0.0.1:0")
	b.pipe = w.pipe(w.await(b.seed, b.seed.stdout, `"event":"seeding".*"listen":"([^"]+)"`))
	return b
}

// sells starts a seed.
func (b *bank) sells(listen string) {
	b.t.Helper()
	args := []string{"seed", "share/" + b.name, "--home", "seed", "--listen", listen, "--limit-up", "2MiB",
		"--speed", "--ledger", b.url, "--quantum", b.goods.quantum, "--reserve", bankPrice, "--paid-only", "--choke-interval", "1s", "--verbose", "--json"}
	if b.lends == 0 {
		args = append(args, "--credit", "64KiB")
	}
	b.seed = b.start(fmt.Sprintf("seed%d", len(b.seeds)), args...)
	b.seeds = append(b.seeds, b.seed)
}

func (b *bank) serve(listen string) {
	b.t.Helper()
	b.ledger = b.start("ledger", "ledger", "serve", "--dir", "ledger", "--listen", listen, "--json")
}

// restartLedger kills the ledger and starts it at the same address.
func (b *bank) restartLedger() {
	b.t.Helper()
	b.kill(b.ledger)
	b.serve(strings.TrimPrefix(b.url, "http://"))
	b.until(b.ledger, "ledger", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (b *bank) get(name string) *program {
	b.t.Helper()
	return b.start(name, append([]string{"get", b.source, "-o", "download", "--home", "leech", "--listen", "off",
		"--peer", b.pipe.Addr().String(), "--speed", "--ledger", b.url, "--quantum", b.goods.quantum, "--verbose", "--json"}, b.flags...)...)
}

func (b *bank) balance(home string) amount.Amount {
	b.t.Helper()
	return b.amount(b.run("wallet", "balance", "--home", home, "--ledger", b.url)[0]["free"])
}

// reconcile ends the seed, which settles, and checks the file and every sum:
// what the leech lost is what the seed has, it is not more than what was sent
// costs, and the audit agrees. It returns what was paid.
func (b *bank) reconcile() amount.Amount {
	b.t.Helper()
	if b.sum("download/"+b.name) != b.want {
		b.t.Error("the file differs")
	}
	b.end(b.seed, true)
	paid, earned := bankGrant-b.balance("leech"), b.balance("seed")
	if paid != earned || earned == 0 {
		b.t.Errorf("the leech lost %s, the seed got %s", paid, earned)
	}
	b.end(b.ledger, true)
	if e := b.run("ledger", "audit", "--dir", "ledger"); e[0]["reconciled"] != true {
		b.t.Errorf("audit: %v", e)
	}
	return earned
}

// earnings are the sums that the seed reported as earned.
func (b *bank) earnings() (sum amount.Amount) {
	b.t.Helper()
	for _, p := range b.seeds {
		out, err := os.ReadFile(p.stdout)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, e := range b.parse(out) {
			if e["event"] == "payment" && e["kind"] == "earned" {
				sum += b.amount(e["sum"])
			}
		}
	}
	return sum
}

func (w *town) amount(field any) amount.Amount {
	w.t.Helper()
	s, _ := field.(string)
	a, err := amount.Parse(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// TestKillLedger kills the ledger while a channel opens and while it is paid
// through. The download goes on, and nothing that was acknowledged is lost.
func TestKillLedger(t *testing.T) {
	b := newBank(t)
	get := b.get("get")
	for _, moment := range []int64{rand.Int64N(64 << 10), 1<<20 + rand.Int64N(1<<20), 3<<20 + rand.Int64N(1<<20)} {
		b.until(get, "download", b.pipe.reached(moment))
		b.restartLedger()
		b.pipe.release()
	}
	b.end(get, false)
	acknowledged := b.earnings()
	if got := b.reconcile(); got < acknowledged {
		t.Errorf("the seed acknowledged %s and got %s", acknowledged, got)
	}
}
