package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
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
		b.until(get, "download", b.pipe.reached(moment))
		b.kill(get)
		b.pipe.release()
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
		reached := b.pipe.reached(moment)
		b.waitFor("download", func() bool { return reached() || get.hasEnded() })
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
			b.pipe.release()
			loss.kill(b, kills[killedProvider])
			get = b.get(fmt.Sprintf("get%d", i))
		case killedProvider:
			b.kill(b.seed)
			b.sells(listen)
			b.await(b.seed, b.seed.stdout, `"event":"seeding".*"listen":"([^"]+)"`)
		case killedLedger:
			b.restartLedger()
		}
		b.pipe.release()
	}
	b.pipe.release()
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

// TestKillInsidePiece ends downloads in the middle of pieces that are paid by parts, by a
// kill and by an interrupt. What was paid and written of them is neither fetched nor paid
// again: all in all a part more for each end, of sixteen that a piece has.
func TestKillInsidePiece(t *testing.T) {
	for _, g := range []goods{parts, hybridParts} {
		t.Run(g.format, func(t *testing.T) {
			b := openBank(t, g, 0)
			// What two ends leave unpaid is forgiven, so that no penalty holds the test up.
			b.endsInside([]os.Signal{syscall.SIGKILL, syscall.SIGINT}, func(i int) func() bool {
				moment := int64(i)<<20 + 3*killPiece + rand.Int64N(12*killPiece)
				return b.pipe.reached(moment)
			})
		})
	}
}

// endsInside ends downloads by the signals, each at its moment, and lets another one
// complete the file. It looks that each end cost a part of a piece at most.
func (b *bank) endsInside(signals []os.Signal, moment func(i int) func() bool) {
	b.t.Helper()
	for i, s := range signals {
		now := moment(i)
		get := b.get(fmt.Sprintf("get%d", i))
		b.until(get, "download", now)
		if s == syscall.SIGKILL {
			b.kill(get)
		} else if _, err := get.stop(s); err != nil {
			b.t.Fatal(err)
		}
		b.pipe.release()
	}
	b.end(b.get("last"), false)
	const overhead = 64 << 10 // of the messages, a session
	if n, ends := b.pipe.bytes.Load(), int64(len(signals)); n > bankSize+ends*killPiece+(ends+1)*overhead {
		b.t.Errorf("%d bytes were sent for what has %d", n, bankSize)
	}
	b.account(toll{killedRequester: len(signals)})
}

// TestKillProviderForGood: the provider is killed in the middle and never comes back. All
// of the leech's deposit does, at the end of its lock.
func TestKillProviderForGood(t *testing.T) {
	b := newBank(t)
	get := b.get("get")
	b.until(get, "download", b.pipe.reached(bankSize/2))
	b.kill(b.seed)
	b.pipe.release()
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
			b.until(get, "download", b.pipe.reached(tt.moment))
			tt.kills(b, get)
			b.pipe.release()
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

// opening stops the ledger and waits for a piece that no channel can pay: for any, since
// behind the last one, which is short, a whole one is more than is lent.
func (b *bank) opening(get *program) {
	b.t.Helper()
	b.signal(b.ledger, syscall.SIGSTOP)
	b.until(get, "piece", func() bool { return b.onDisk(killPiece) > 0 })
}

// TestLedgerStopped stops the ledger's process, without ending its connections,
// while a channel opens and while it is paid through. The transfer goes on
// meanwhile, and nobody is blamed (A2, R11).
func TestLedgerStopped(t *testing.T) {
	b := newBank(t)
	get := b.get("get")
	for i, moment := range []int64{1, 2 << 20} {
		b.until(get, "download", b.pipe.reached(moment))
		b.signal(b.ledger, syscall.SIGSTOP)
		b.pipe.release()
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
	go func(err error) { // ends with the listener
		for ; err == nil; c, err = l.Accept() { // again if the first one came to nothing
			go b.pipe.pass(c) // ends with the connection
		}
	}(nil)
	b.until(get, "piece", func() bool { return b.onDisk(killPiece) > 0 })
	piece := b.onDisk(killPiece) // the last one is short
	if code, err := get.stop(syscall.SIGINT); err != nil || code == 0 {
		t.Errorf("ended with %d, %v", code, err)
	}
	out, err := os.ReadFile(get.stdout)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), fmt.Sprintf("verified data is not paid: %d bytes of", piece)) {
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
