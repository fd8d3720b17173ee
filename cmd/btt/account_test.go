package main

import (
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/ledgerhttp"
)

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
	b.waitFor("end of the connection", func() bool { return b.pipe.open.Load() == 0 }) // the seed has read all
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
