package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/ledgerhttp"
)

// killPiece is what a bank's torrent is sold by, a piece or a part of one: the most that a
// kill may cost either side.
const killPiece = 64 << 10

// TestKillPayer kills the paying side at random moments. It pays on after each
// restart, and what the seed acknowledged before a kill is settled.
func TestKillPayer(t *testing.T) {
	b := newBank(t)
	const kills = 3
	for i := range kills {
		get := b.get(fmt.Sprintf("get%d", i))
		moment := b.pipe.bytes.Load() + rand.Int64N(bankSize/(kills+1)) // the file is not complete before the last
		b.until(get, "download", func() bool { return b.pipe.bytes.Load() >= moment })
		b.kill(get)
	}
	b.end(b.get("last"), false)
	b.account(toll{killedRequester: kills})
}

// TestKillAny kills requester, provider or ledger at random moments of paid
// downloads, BTT_KILLS times in all: of whole pieces, and of parts of pieces of version 2
// and of hybrids.
func TestKillAny(t *testing.T) {
	kills := 6
	if s := os.Getenv("BTT_KILLS"); s != "" {
		var err error
		if kills, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	each := max(3, min(5, kills/4)) // kills of one download
	for life := 0; kills > 0; life++ {
		n := min(each, kills)
		kills -= n
		t.Run(fmt.Sprintf("download %d", life), func(t *testing.T) {
			switch life % 4 {
			case 0:
				newBank(t).downloadWithKills(n)
			case 1:
				openBank(t, parts, 0).downloadWithKills(n)
			case 2:
				lendingBank(t, wholePieces).downloadWithKills(n)
			case 3:
				lendingBank(t, []goods{parts, hybridParts}[life/4%2]).downloadWithKills(n)
			}
		})
	}
}

func (b *bank) downloadWithKills(n int) {
	listen := b.pipe.to
	get := b.get("get")
	var kills toll
	var loss losses
	for i := range n {
		moment := b.pipe.bytes.Load() + rand.Int64N(bankSize/int64(n+1))
		b.waitFor("download", func() bool { return b.pipe.bytes.Load() >= moment || get.hasEnded() })
		if get.hasEnded() {
			break // the file is complete already
		}
		who := rand.IntN(len(kills))
		kills[who]++
		b.t.Logf("kill %d: %s after %d bytes", i, [...]string{"requester", "provider", "ledger"}[who], b.pipe.bytes.Load())
		switch who {
		case killedRequester:
			if _, err := get.stop(syscall.SIGKILL); err != nil {
				b.t.Fatal(err)
			}
			loss.kill(b, kills[killedProvider])
			get = b.get(fmt.Sprintf("get%d", i))
		case killedProvider:
			b.kill(b.seed)
			b.sells(listen)
			b.await(b.seed, b.seed.stdout, `"event":"seeding".*"listen":"([^"]+)"`)
		case killedLedger:
			b.restartLedger()
		}
	}
	b.waitFor("end", get.hasEnded)
	b.end(get, false)
	b.account(kills)
}

// penance is how long a requester may wait that was killed again and again with a piece
// under way: for one minute, two and four (RFC 27), and for all else.
const penance = 7*time.Minute + patience

// waitFor waits for a condition that penalties may hold up.
func (w *town) waitFor(what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(penance); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("no %s", what)
		}
	}
}

// losses compares, at each kill of the requester, what the provider was paid for with
// what is in the requester's files: a kill may move neither ahead of the other by more
// than a piece, nor may one of the provider since; by what a provider lends besides, the
// files may be ahead.
type losses struct {
	ahead     int64 // bytes paid more than there are in files, at the last kill
	providers int   // kills of the provider until then
}

// kill judges a kill of the requester that just happened, after as many kills of the
// provider in all.
func (x *losses) kill(b *bank, providers int) {
	b.t.Helper()
	paid := b.paid()
	for last := int64(-1); last != paid; paid = b.paid() { // the newest payment is on its way
		last = paid
		time.Sleep(20 * time.Millisecond)
	}
	ahead := paid - b.onDisk(killPiece)
	const rounding = 1024 // bytes: a channel's sum is rounded down
	if most := int64(1+providers-x.providers)*killPiece + rounding; ahead-x.ahead > most || x.ahead-ahead > most+b.lends {
		b.t.Errorf("the requester had paid %d bytes more than were in its files, now %d: one kill cost more than a piece", x.ahead, ahead)
	}
	x.ahead, x.providers = ahead, providers
}

// paid is how many bytes the provider's channels were paid for, as its journal tells.
func (b *bank) paid() int64 {
	b.t.Helper()
	price, err := amount.ParsePrice(bankPrice)
	if err != nil {
		b.t.Fatal(err)
	}
	var sum amount.Amount
	for _, e := range b.run("channel", "list", "--all", "--home", "seed", "--ledger", b.url) {
		if e["event"] == "channel" {
			sum += b.amount(e["paid"])
		}
	}
	return int64(sum) << 30 / int64(price)
}

// toll is how often each of the three was killed.
type toll [3]int

const (
	killedRequester = iota
	killedProvider
	killedLedger
)

// account ends everything, lets the ledger's time pass until the last lock is over, and
// compares every sum: each deposit is back, what the leech lacks is what the seed got, to
// the last unit, and a kill cost either side a piece at most; one of the ledger cost
// nothing.
func (b *bank) account(kills toll) {
	b.t.Helper()
	if b.sum("download/"+b.name) != b.want {
		b.t.Error("the file differs")
	}
	acknowledged := b.earnings()
	b.end(b.seed, true)
	b.end(b.ledger, true)
	returned, channels, closed := b.returns("seed", "leech")
	spent, earned := bankGrant-b.balance("leech"), b.balance("seed")
	if spent != earned || earned == 0 {
		b.t.Errorf("the leech lacks %s, the seed got %s", spent, earned)
	}
	if earned < acknowledged {
		b.t.Errorf("the seed acknowledged %s and got %s", acknowledged, earned)
	}
	price, err := amount.ParsePrice(bankPrice)
	if err != nil {
		b.t.Fatal(err)
	}
	cost := func(bytes int) amount.Amount {
		a, err := price.Owed(int64(bytes))
		if err != nil {
			b.t.Fatal(err)
		}
		return a
	}
	rounding := amount.Amount(channels) // each channel rounds its sum down
	if most := cost(bankSize + kills[killedRequester]*killPiece); earned > most {
		b.t.Errorf("the leech paid %s for a file of %s, at most %s are right", earned, cost(bankSize), most)
	}
	if least := cost(bankSize-(kills[killedRequester]+kills[killedProvider])*killPiece-int(b.lends)) - rounding; earned < least {
		b.t.Errorf("the seed got %s for a file of %s, at least %s are right", earned, cost(bankSize), least)
	}
	b.t.Logf("kills of requester, provider, ledger %v: %d bytes sent, paid %s, the file costs %s, %d channels, %s came back after the lock, "+
		"%d penalties of a minute or more", kills, b.pipe.bytes.Load(), earned, cost(bankSize), channels, returned, b.penalties())
	closed()
	if e := b.run("ledger", "audit", "--dir", "ledger"); e[0]["reconciled"] != true {
		b.t.Errorf("audit: %v", e)
	}
}

// returns serves the ledger by a clock of the test's own, and lets the owners of open
// channels end them, one owner after the other: what was earned at once, deposits when
// their lock is over. It returns the sum of those deposits and the number of channels that there were, and what
// ends the ledger. Everybody else has ended.
func (b *bank) returns(owners ...string) (sum amount.Amount, channels int, closed func()) {
	b.t.Helper()
	clock := &clockLedger{now: time.Now()}
	s, err := ledgerd.Open(ledgerd.Config{Dir: b.path("ledger"), Now: clock.Now})
	if err != nil {
		b.t.Fatal(err)
	}
	clock.server = s
	web := httptest.NewServer(ledgerhttp.Handler(s.Client()))
	closed = sync.OnceFunc(func() {
		web.CloseClientConnections()
		web.Close()
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(closed)
	b.url = web.URL
	if len(owners) > 1 {
		b.run("channel", "close", "--all", "--home", owners[0], "--ledger", b.url)
	}
	var last int64
	for _, e := range b.channels("leech") {
		at, _ := e["lock_time"].(float64)
		if left := time.Until(time.Unix(int64(at), 0)); left > 8*24*time.Hour {
			b.t.Errorf("a deposit is locked for %v", left)
		}
		last = max(last, int64(at))
		sum += b.amount(e["deposit"])
	}
	before := b.balance("leech")
	if last > 0 {
		if err := clock.elapse(time.Until(time.Unix(last, 0)) + time.Minute); err != nil {
			b.t.Fatal(err)
		}
		b.run("channel", "close", "--all", "--home", "leech", "--ledger", b.url)
	}
	for _, home := range owners {
		if left := b.channels(home); len(left) > 0 {
			b.t.Errorf("%s still has open channels: %v", home, left)
		}
	}
	for _, e := range b.run("channel", "list", "--all", "--home", "leech", "--ledger", b.url) {
		if e["event"] == "channel" {
			channels++
		}
	}
	if sum > 0 {
		sum = b.balance("leech") - before // the leech may have ended before it heard of a settlement
	}
	return sum, channels, closed
}

// penalties is how often the seed took a killed leech for one that does not pay: before
// its channel was open, or for a second unfinished piece in few (RFC 27).
func (b *bank) penalties() (n int) {
	b.t.Helper()
	for _, p := range b.seeds {
		log, err := os.ReadFile(p.stderr)
		if err != nil {
			b.t.Fatal(err)
		}
		n += strings.Count(string(log), "payment overdue") + strings.Count(string(log), "excused=false pardoned=false")
	}
	return n
}

// channels are the open channels of a wallet.
func (b *bank) channels(home string) (list []map[string]any) {
	b.t.Helper()
	for _, e := range b.run("channel", "list", "--home", home, "--ledger", b.url) {
		if e["event"] == "channel" {
			list = append(list, e)
		}
	}
	return list
}

// TestKillInsidePiece ends downloads in the middle of pieces that are paid by parts, by a
// kill and by an interrupt. What was paid and written of them is neither fetched nor paid
// again: all in all a part more for each end, of sixteen that a piece has.
func TestKillInsidePiece(t *testing.T) {
	for _, g := range []goods{parts, hybridParts} {
		t.Run(g.format, func(t *testing.T) {
			b := openBank(t, g, 0)
			const ends = 2 // what they leave unpaid is forgiven, so that no penalty holds the test up
			for i := range ends {
				get := b.get(fmt.Sprintf("get%d", i))
				moment := int64(i)<<20 + 3*killPiece + rand.Int64N(12*killPiece)
				b.until(get, "download", func() bool { return b.pipe.bytes.Load() >= moment })
				if i == 0 {
					b.kill(get)
				} else if _, err := get.stop(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
			b.end(b.get("last"), false)
			const overhead = 64 << 10 // of the messages, a session
			if n := b.pipe.bytes.Load(); n > bankSize+ends*killPiece+(ends+1)*overhead {
				t.Errorf("%d bytes were sent for a file of %d", n, bankSize)
			}
			b.account(toll{killedRequester: ends})
		})
	}
}

// TestKillProviderForGood: the provider is killed in the middle and never comes back. All
// of the leech's deposit does, at the end of its lock.
func TestKillProviderForGood(t *testing.T) {
	b := newBank(t)
	get := b.get("get")
	b.until(get, "download", func() bool { return b.pipe.bytes.Load() >= bankSize/2 })
	b.kill(b.seed)
	if _, err := get.stop(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if left := bankGrant - b.balance("leech"); left == 0 {
		t.Error("nothing was locked")
	}
	b.end(b.ledger, true)
	returned, _, _ := b.returns("leech")
	if got := b.balance("leech"); got != bankGrant || returned == 0 {
		t.Errorf("the leech has %s of %s; %s came back", got, bankGrant, returned)
	}
}

// TestKillEarly kills a download when its first data come, before or while its channel
// opens. It goes on at once after a restart: it is no payer that failed (RFC 44).
func TestKillEarly(t *testing.T) {
	b := newBank(t)
	get := b.get("get")
	b.until(get, "download", func() bool { return b.pipe.bytes.Load() >= 2<<10 })
	b.kill(get)
	b.end(b.get("again"), false)
	if n := b.penalties(); n > 0 {
		t.Errorf("%d penalties for a kill", n)
	}
	b.account(toll{killedRequester: 1})
}

// TestKillForGood: provider, ledger or all three are killed while a channel opens, is
// paid through or closes, and what is killed stays away until everybody has ended. Then
// the provider gets what it earned, and every deposit is back when its lock is over.
func TestKillForGood(t *testing.T) {
	for name, tt := range map[string]struct {
		moment int64
		kills  func(b *bank, get *program)
	}{
		"provider while a channel opens": {1, func(b *bank, get *program) {
			b.opening(get)
			b.signal(b.ledger, syscall.SIGCONT)
			b.kill(b.seed)
		}},
		"provider in the middle of payments": {1 + rand.Int64N(bankSize*3/4), func(b *bank, _ *program) { b.kill(b.seed) }},
		"ledger while a channel opens": {1, func(b *bank, get *program) {
			b.opening(get)
			b.kill(b.ledger)
		}},
		"ledger before channels close": {bankSize / 2, func(b *bank, _ *program) { b.kill(b.ledger) }},
		"all": {1 + rand.Int64N(bankSize*3/4), func(b *bank, get *program) {
			b.kill(get)
			b.kill(b.ledger)
			b.kill(b.seed)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t)
			get := b.get("get")
			b.until(get, "download", func() bool { return b.pipe.bytes.Load() >= tt.moment })
			tt.kills(b, get)
			for _, p := range []*program{get, b.seed, b.ledger} {
				if _, err := p.stop(syscall.SIGINT); err != nil { // what ends without its ledger may say that it failed
					t.Error(err)
				}
			}
			acknowledged := b.earnings()
			returned, channels, _ := b.returns("seed", "leech")
			spent, earned := bankGrant-b.balance("leech"), b.balance("seed")
			if spent != earned || earned < acknowledged {
				t.Errorf("the leech lacks %s, the seed got %s and acknowledged %s", spent, earned, acknowledged)
			}
			t.Logf("%d bytes sent, paid %s, acknowledged %s, %d channels, %s came back after the lock", b.pipe.bytes.Load(), earned, acknowledged, channels, returned)
		})
	}
}

// opening stops the ledger and waits for a piece that no channel can pay.
func (b *bank) opening(get *program) {
	b.t.Helper()
	b.signal(b.ledger, syscall.SIGSTOP)
	b.until(get, "piece", func() bool { return b.onDisk(killPiece) >= killPiece })
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
	b.account(toll{})
}

// TestLeaveUnpaid interrupts a download whose channel cannot open because the ledger
// stands still. It ends within a bound, and says what it verified and could not pay.
func TestLeaveUnpaid(t *testing.T) {
	b := newBank(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	get := b.start("get", "get", "share/film.bin.torrent", "-o", "download", "--home", "leech", "--listen", "off",
		"--peer", l.Addr().String(), "--speed", "--ledger", b.url, "--json")
	c, err := l.Accept() // the ledger has told its state by now
	if err != nil {
		t.Fatal(err)
	}
	b.signal(b.ledger, syscall.SIGSTOP)
	go b.pipe.pass(c) // ends with the connection
	b.until(get, "piece", func() bool { return b.onDisk(killPiece) >= killPiece })
	if code, err := get.stop(syscall.SIGINT); err != nil || code == 0 {
		t.Errorf("ended with %d, %v", code, err)
	}
	out, err := os.ReadFile(get.stdout)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "verified data is not paid: 65536 bytes of") {
		t.Errorf("no word of the unpaid piece: %s\n%s", tail(out), get.complaint())
	}
	b.signal(b.ledger, syscall.SIGCONT)
}

func (w *town) signal(p *program, s os.Signal) {
	w.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}
