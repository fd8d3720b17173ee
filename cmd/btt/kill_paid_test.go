package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
)

// killPiece is the piece length of a bank's torrent: the most that a kill may cost
// either side.
const killPiece = 64 << 10

// TestKillPayer kills the paying side at random moments. It pays on after each
// restart, and what the seed acknowledged before a kill is settled.
func TestKillPayer(t *testing.T) {
	b := newBank(t)
	const kills = 3
	for i := range kills {
		get := b.get(fmt.Sprintf("get%d", i))
		moment := b.pipe.bytes.Load() + rand.Int64N(2*bankSize/(kills+2))
		b.until(get, "download", func() bool { return b.pipe.bytes.Load() >= moment })
		b.kill(get)
	}
	b.end(b.get("last"), false)
	b.account(kills)
}

// TestKillAny kills requester, provider or ledger at random moments of paid
// downloads, BTT_KILLS times in all.
func TestKillAny(t *testing.T) {
	kills := 5
	if s := os.Getenv("BTT_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	const each = 5 // kills of one download
	for life := 0; kills > 0; life++ {
		n := min(each, kills)
		kills -= n
		t.Run(fmt.Sprintf("download %d", life), func(t *testing.T) {
			newBank(t).downloadWithKills(n)
		})
	}
}

func (b *bank) downloadWithKills(n int) {
	listen := b.pipe.to
	get := b.get("get")
	done := 0
	for i := range n {
		moment := b.pipe.bytes.Load() + rand.Int64N(bankSize/int64(n+1))
		b.waitFor("download", func() bool { return b.pipe.bytes.Load() >= moment || get.hasEnded() })
		if get.hasEnded() {
			break // the file is complete already
		}
		done++
		who := rand.IntN(3)
		b.t.Logf("kill %d: %s after %d bytes", i, [...]string{"requester", "provider", "ledger"}[who], b.pipe.bytes.Load())
		switch who {
		case 0:
			if _, err := get.stop(syscall.SIGKILL); err != nil {
				b.t.Fatal(err)
			}
			get = b.get(fmt.Sprintf("get%d", i))
		case 1:
			b.kill(b.seed)
			b.sells(listen)
			b.await(b.seed, b.seed.stdout, `"event":"seeding".*"listen":"([^"]+)"`)
		case 2:
			b.restartLedger()
		}
	}
	b.end(get, false)
	b.account(done)
}

// waitFor waits for a condition.
func (w *town) waitFor(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s", what)
		}
	}
}

// account ends the seed and compares every sum after so many kills: nothing is
// missing, no side lost more than a piece for each kill, and what is locked comes
// back at its lock.
func (b *bank) account(kills int) {
	b.t.Helper()
	if b.sum("download/film.bin") != b.want {
		b.t.Error("the file differs")
	}
	acknowledged := b.earnings()
	b.end(b.seed, true)
	spent, earned := bankGrant-b.balance("leech"), b.balance("seed")
	var locked amount.Amount
	for _, e := range b.run("channel", "list", "--home", "leech", "--ledger", b.url) {
		if e["event"] != "channel" {
			continue
		}
		at, _ := e["lock_time"].(float64)
		if left := time.Until(time.Unix(int64(at), 0)); left > 8*24*time.Hour {
			b.t.Errorf("a deposit is locked for %v", left)
		}
		locked += b.amount(e["deposit"])
	}
	price, err := amount.ParsePrice("2 BTT/GiB")
	if err != nil {
		b.t.Fatal(err)
	}
	cost := func(bytes int64) amount.Amount {
		a, err := price.Owed(bytes)
		if err != nil {
			b.t.Fatal(err)
		}
		return a
	}
	// The leech may have ended before it heard of the settlement; then the list
	// names a deposit that is back.
	if spent != earned && spent != earned+locked || earned == 0 {
		b.t.Errorf("the leech lacks %s, the seed got %s, %s is locked", spent, earned, locked)
	}
	if earned < acknowledged {
		b.t.Errorf("the seed acknowledged %s and got %s", acknowledged, earned)
	}
	most := int64(kills+1) * killPiece
	if earned > cost(bankSize+most) {
		b.t.Errorf("the leech paid %s for a file of %s after %d kills", earned, cost(bankSize), kills)
	}
	if sent := b.pipe.bytes.Load(); earned < cost(min(sent-sent/32, bankSize)-most) {
		b.t.Errorf("the seed got %s for %d bytes after %d kills", earned, sent, kills)
	}
	b.t.Logf("%d kills: %d bytes sent, paid %s, the file costs %s, %s is locked", kills, b.pipe.bytes.Load(), earned, cost(bankSize), locked)
	b.end(b.ledger, true)
	if e := b.run("ledger", "audit", "--dir", "ledger"); e[0]["reconciled"] != true {
		b.t.Errorf("audit: %v", e)
	}
}

// TestLedgerStopped stops the ledger's process, without ending its connections,
// while a channel opens and while it is paid through. The transfer goes on
// meanwhile, and nobody is blamed (A2, R11).
func TestLedgerStopped(t *testing.T) {
	b := newBank(t)
	get := b.get("get")
	for i, moment := range []int64{1, 2 << 20} {
		b.until(get, "download", func() bool { return b.pipe.bytes.Load() >= moment })
		b.signal(b.ledger, syscall.SIGSTOP)
		if i > 0 { // the channel is open: it is paid through
			at := b.pipe.bytes.Load() + 2<<20
			b.until(get, "download without a ledger", func() bool { return b.pipe.bytes.Load() >= at })
		} else {
			time.Sleep(3 * time.Second)
		}
		b.signal(b.ledger, syscall.SIGCONT)
	}
	b.end(get, false)
	for _, p := range b.seeds {
		out, err := os.ReadFile(p.stdout)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out)+p.complaint(), `"code":"timeout"`) {
			t.Error("the seed blames the leech for the ledger")
		}
	}
	b.account(0)
}

func (w *town) signal(p *program, s os.Signal) {
	w.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}
