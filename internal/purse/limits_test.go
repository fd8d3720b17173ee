package purse

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// fund opens a channel for a torrent and returns its id and transaction.
func (b *bench) fund(sum amount.Amount, torrent string) (string, *ledger.Tx) {
	b.Helper()
	tx, err := b.purse.Fund(b.Context(), sum, b.channelLock(), torrent)
	if err != nil {
		b.Fatal(err)
	}
	return channel.MakeID(tx.ID(b.network())).String(), tx
}

func (b *bench) network() ledger.Network {
	b.Helper()
	s, err := b.ledger.Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return s.Network
}

func (b *bench) refusedBy(sum amount.Amount, torrent string, limit wallet.Limit) {
	b.Helper()
	tx, err := b.purse.Fund(b.Context(), sum, b.channelLock(), torrent)
	var l *wallet.LimitError
	if !errors.As(err, &l) || l.Limit != limit {
		b.Errorf("%v for %q: %v, want limit %q", sum, torrent, err, limit)
	}
	b.purse.Release(tx)
}

// TestTorrentLimit opens channels until the limit of a torrent is reached: what
// is set aside counts, what came back does not, what was paid does for ever.
func TestTorrentLimit(t *testing.T) {
	b := newBench(t)
	b.gift(1000 * amount.BTT)
	b.cfg.Budget = &wallet.Budget{PerDay: wallet.Unlimited, PerTorrent: 50 * amount.BTT, PerChannel: wallet.Unlimited}
	b.reopen()
	one, t1 := b.fund(30*amount.BTT, "aa")
	b.submit(t1)
	b.refusedBy(21*amount.BTT, "aa", wallet.LimitTorrent)
	_, t2 := b.fund(20*amount.BTT, "aa")
	b.refusedBy(amount.BTT, "aa", wallet.LimitTorrent)
	other, t3 := b.fund(50*amount.BTT, "bb")
	b.submit(t3)
	b.purse.Release(t2)

	// A channel opened for another torrent pays for this one: that counts too.
	b.purse.Paid(other, "aa", 15*amount.BTT)
	b.refusedBy(6*amount.BTT, "aa", wallet.LimitTorrent)
	if left := b.purse.TorrentLeft("aa"); left != 35*amount.BTT {
		t.Errorf("bids may count with %v, want 35 BTT", left)
	}
	b.purse.Paid(one, "aa", 10*amount.BTT)
	if left := b.purse.TorrentLeft("aa"); left != 25*amount.BTT {
		t.Errorf("bids may count with %v, want 25 BTT", left)
	}
	for _, e := range []Entry{
		{Kind: Pay, Amount: 10 * amount.BTT, Channel: one, ID: "pay:1"},
		{Kind: Unlock, Amount: 20 * amount.BTT, Channel: one, ID: "unlock:1"},
		{Kind: Pay, Amount: 40 * amount.BTT, Channel: other, ID: "pay:2"},
	} {
		if err := b.purse.Record(e); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // and after a restart
		if a, bb := b.purse.TorrentLeft("aa"), b.purse.TorrentLeft("bb"); a != 25*amount.BTT || bb != 25*amount.BTT {
			t.Errorf("left %v and %v, want 25 BTT each", a, bb)
		}
		b.refusedBy(26*amount.BTT, "aa", wallet.LimitTorrent)
		b.reopen()
	}
}

// TestDayCountsOpenChannels: what was paid in a channel counts towards the day while
// the channel is open as much as when it ended.
func TestDayCountsOpenChannels(t *testing.T) {
	b := newBench(t)
	b.gift(1000 * amount.BTT)
	b.cfg.Budget = &wallet.Budget{PerDay: 50 * amount.BTT, PerTorrent: wallet.Unlimited, PerChannel: wallet.Unlimited}
	left := amount.Amount(0)
	b.cfg.Locked = func() amount.Amount { return left }
	b.reopen()
	one, t1 := b.fund(30*amount.BTT, "aa")
	b.submit(t1)
	for _, left = range []amount.Amount{30 * amount.BTT, 10 * amount.BTT, 0} { // it is paid out bit by bit
		b.refusedBy(21*amount.BTT, "bb", wallet.LimitDay)
	}
	b.reopen()
	b.refusedBy(21*amount.BTT, "bb", wallet.LimitDay)
	if err := b.purse.Record(Entry{Kind: Pay, Amount: 10 * amount.BTT, Channel: one, ID: "pay:1"}); err != nil {
		t.Fatal(err)
	}
	b.refusedBy(41*amount.BTT, "bb", wallet.LimitDay)
	b.fund(40*amount.BTT, "bb")
}

// TestLimitsCountWhatIsUnderWay: of two openings at once the second counts the first,
// also while that one is not in the journal yet.
func TestLimitsCountWhatIsUnderWay(t *testing.T) {
	for limit, budget := range map[wallet.Limit]wallet.Budget{
		wallet.LimitDay:     {PerDay: 50 * amount.BTT, PerTorrent: wallet.Unlimited, PerChannel: wallet.Unlimited},
		wallet.LimitTorrent: {PerDay: wallet.Unlimited, PerTorrent: 50 * amount.BTT, PerChannel: wallet.Unlimited},
	} {
		b := newBench(t)
		b.gift(1000 * amount.BTT)
		b.cfg.Budget = &budget
		b.reopen()
		tx, err := b.purse.prepare(t.Context(), 30*amount.BTT, b.channelLock(), &limited{"aa"})
		if err != nil {
			t.Fatal(err)
		}
		b.refusedBy(21*amount.BTT, "aa", limit)
		b.purse.drop(tx)
		b.fund(50*amount.BTT, "aa")
	}
}

// TestManyTorrentsOfAChannel: no torrent's part of a payment is lost, however many
// there are.
func TestManyTorrentsOfAChannel(t *testing.T) {
	book := newTorrentBook()
	book.learn(&Entry{Kind: Lock, Channel: "c", Torrent: "first", Amount: 1000})
	for i := range MaxShares + 10 {
		book.pay("c", strconv.Itoa(i), 2)
	}
	book.pay("c", "first", 1)
	sum := amount.Amount(0)
	list := book.shares("c", 2*(MaxShares+10)+1)
	for _, s := range list {
		sum += s.Amount
	}
	if len(list) > MaxShares || sum != 2*(MaxShares+10)+1 {
		t.Errorf("%d shares of %d", len(list), sum)
	}
}

// TestSharesNeverExceedThePayment splits random payments.
func TestSharesNeverExceedThePayment(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		book := newTorrentBook()
		book.learn(&Entry{Kind: Lock, Channel: "c", Torrent: "a", Amount: 1000})
		noted := amount.Amount(0)
		for range rapid.IntRange(0, 6).Draw(t, "payments") {
			sum := amount.Amount(rapid.Int64Range(0, 100).Draw(t, "sum"))
			book.pay("c", rapid.SampledFrom([]string{"a", "b", "d", ""}).Draw(t, "torrent"), sum)
			noted += sum
		}
		total := amount.Amount(rapid.Int64Range(0, 700).Draw(t, "total"))
		sum, seen := amount.Amount(0), map[string]bool{}
		for _, s := range book.shares("c", total) {
			if s.Amount <= 0 || seen[s.Torrent] {
				t.Fatalf("share %+v", s)
			}
			seen[s.Torrent] = true
			sum += s.Amount
		}
		if sum != total {
			t.Fatalf("shares of %d sum to %d (noted %d)", total, sum, noted)
		}
	})
}

func TestBudgetIsKept(t *testing.T) {
	b := newBench(t)
	b.cfg.Budget = nil
	b.reopen()
	if got := b.purse.Budget(); got != wallet.DefaultBudget() {
		t.Errorf("a new wallet has %+v", got)
	}
	want := wallet.Budget{PerDay: 7, PerTorrent: wallet.Unlimited, PerChannel: 5, KeepBack: 250}
	if err := b.purse.SetBudget(want); err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if got := b.purse.Budget(); got != want {
		t.Errorf("after a restart %+v, want %+v", got, want)
	}
	if err := b.purse.SetBudget(wallet.Budget{KeepBack: 1001}); err == nil {
		t.Error("nonsense kept")
	}
	b.purse.Close()
	if err := os.WriteFile(filepath.Join(b.cfg.Dir, limitsFile), []byte(`{"per_day":"7"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(b.cfg); !errors.Is(err, wallet.ErrBudget) {
		t.Errorf("opened without limits: %v", err)
	}
}

func TestLockAndUnlock(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	b := newBench(t)
	b.gift(10 * amount.BTT)
	if err := b.purse.Lock(); !errors.Is(err, ErrNoPassword) {
		t.Errorf("locked without a password: %v", err)
	}
	if err := b.purse.SetPassword("", "pw"); err != nil {
		t.Fatal(err)
	}
	if err := b.purse.Lock(); err != nil {
		t.Fatal(err)
	}
	lock := ledger.PayTo(b.purse.Address())
	if _, err := b.purse.Fund(t.Context(), amount.BTT, lock, ""); !errors.Is(err, ErrLocked) {
		t.Errorf("funded while locked: %v", err)
	}
	if _, err := b.purse.AccountKey().Sign([32]byte{1}); !errors.Is(err, ErrLocked) {
		t.Errorf("signed while locked: %v", err)
	}
	if _, _, err := b.purse.NewChannelKey(); !errors.Is(err, ErrLocked) {
		t.Errorf("key while locked: %v", err)
	}
	if b.balance().Free != 10*amount.BTT {
		t.Error("a locked wallet does not tell its balance")
	}
	if err := b.purse.Unlock("bad", 0); !errors.Is(err, wallet.ErrPassword) {
		t.Errorf("wrong password: %v", err)
	}
	if err := b.purse.Unlock("pw", time.Minute); err != nil || b.purse.Locked() {
		t.Fatalf("unlock: %v", err)
	}
	b.clock.advance(time.Minute)
	if !b.purse.Locked() {
		t.Error("open after its time")
	}
	if err := b.purse.Unlock("pw", MaxUnlock+1); err == nil {
		t.Error("unlocked for longer than the limit")
	}
}

func TestSession(t *testing.T) {
	for _, runtime := range []string{"", t.TempDir()} {
		t.Setenv("XDG_RUNTIME_DIR", runtime)
		b := newBench(t)
		if err := b.purse.SetPassword("", "pw"); err != nil {
			t.Fatal(err)
		}
		b.purse.Close()
		entropy := &counter{}
		if _, err := StartSession(b.cfg.Dir, "no", time.Hour, b.clock.Now(), entropy); !errors.Is(err, wallet.ErrPassword) {
			t.Errorf("session with a wrong password: %v", err)
		}
		open := func() error {
			p, err := Open(b.cfg)
			if err == nil {
				err = p.Close()
			}
			return err
		}
		start := func() {
			t.Helper()
			if _, err := StartSession(b.cfg.Dir, "pw", time.Hour, b.clock.Now(), entropy); err != nil {
				t.Fatal(err)
			}
			if err := open(); err != nil {
				t.Fatalf("during the session: %v", err)
			}
		}
		start()
		if _, err := Phrase(b.cfg.Dir, ""); !errors.Is(err, ErrPasswordNeeded) {
			t.Errorf("a session gives the phrase away: %v", err)
		}
		b.clock.advance(time.Hour)
		if err := open(); !errors.Is(err, ErrPasswordNeeded) {
			t.Errorf("after the session: %v", err)
		}
		if _, err := os.Stat(filepath.Join(b.cfg.Dir, sessionFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the session's file is still there: %v", err)
		}
		start()
		if err := EndSession(b.cfg.Dir); err != nil {
			t.Fatal(err)
		}
		if err := open(); !errors.Is(err, ErrPasswordNeeded) {
			t.Errorf("after its end: %v", err)
		}
	}
}

// counter is an entropy source of no surprise.
type counter struct{ n byte }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = c.n
	}
	return len(b), nil
}

// TestOneSpendsManyLook opens a wallet beside the one that uses it.
func TestOneSpendsManyLook(t *testing.T) {
	b := newBench(t)
	b.gift(10 * amount.BTT)
	if err := b.purse.Record(Entry{Kind: Earn, Amount: 3, ID: "x"}); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if _, used := InUse(none); used {
		t.Error("a wallet that is not there is in use")
	}
	if _, err := os.Stat(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking made a folder: %v", err)
	}
	if process, used := InUse(b.cfg.Dir); !used || process != os.Getpid() {
		t.Errorf("in use: %v by %d", used, process)
	}
	if _, err := Open(b.cfg); !errors.Is(err, ErrInUse) {
		t.Fatalf("a second spender: %v", err)
	}
	if err := b.purse.SetPassword("", "pw"); err != nil {
		t.Fatal(err)
	}
	cfg := b.cfg
	cfg.ReadOnly = true
	look, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	if v, err := look.Balance(t.Context()); err != nil || v.Free != 10*amount.BTT || look.Address() != b.purse.Address() {
		t.Errorf("it sees %+v of %s, %v", v, look.Address(), err)
	}
	n := 0
	for _, err := range look.History() {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 1 {
		t.Errorf("it sees %d movements, want 1", n)
	}
	to := ledger.PayTo(b.purse.Address())
	for what, err := range map[string]error{
		"fund":     second(look.Fund(t.Context(), amount.BTT, to, "")),
		"send":     second(look.Send(t.Context(), b.purse.Address(), amount.BTT, "id")),
		"limits":   look.SetBudget(wallet.DefaultBudget()),
		"record":   look.Record(Entry{Kind: Earn, Amount: 1}),
		"unlock":   look.Unlock("pw", 0),
		"password": look.SetPassword("pw", ""),
	} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("%s: %v, want ErrReadOnly", what, err)
		}
	}
	cfg.Dir = t.TempDir()
	if _, err := Open(cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looked at nothing: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestReleaseOfACopy gives coins back by a transaction that was decoded anew, as
// a channel does that was refused; the node's own entry for it counts once.
func TestReleaseOfACopy(t *testing.T) {
	b := newBench(t)
	b.gift(10 * amount.BTT)
	id, tx := b.fund(10*amount.BTT, "aa")
	again, err := ledger.DecodeTx(tx.Encode())
	if err != nil {
		t.Fatal(err)
	}
	b.purse.Release(again)
	if v := b.balance(); v.Free != 10*amount.BTT || v.Reserved != 0 {
		t.Errorf("balance %+v", v)
	}
	if err := b.purse.Record(Entry{Kind: Unlock, Amount: 10 * amount.BTT, Channel: id, ID: "unlock:" + id}); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range b.history() {
		if e.Kind == Unlock {
			n++
		}
	}
	if _, left := b.purse.torrents.committed("aa"); n != 1 || left != 0 {
		t.Errorf("%d entries for one return, %v still set aside", n, left)
	}
	b.purse.Release(&ledger.Tx{Kind: ledger.Transfer})
}

// TestChoose picks coins that cover a sum and leave no change too small to exist;
// one coin where one does, and nothing only where nothing would do.
func TestChoose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const smallest = 10
		var free []ledger.Coin
		total := amount.Amount(0)
		for i, sum := range rapid.SliceOfN(rapid.Int64Range(smallest, 200), 0, 12).Draw(t, "coins") {
			free = append(free, ledger.Coin{OutPoint: ledger.OutPoint{Index: uint16(i)}, Amount: amount.Amount(sum)})
			total += amount.Amount(sum)
		}
		value := amount.Amount(rapid.Int64Range(smallest, 600).Draw(t, "value"))
		chosen, sum := choose(append([]ledger.Coin(nil), free...), value, smallest)
		if chosen == nil {
			if total >= value+smallest {
				t.Fatalf("nothing chosen for %d of %v", value, free)
			}
			return
		}
		got, seen := amount.Amount(0), map[ledger.OutPoint]bool{}
		for _, c := range chosen {
			if seen[c.OutPoint] {
				t.Fatal("a coin twice")
			}
			seen[c.OutPoint] = true
			got += c.Amount
		}
		if got != sum || sum < value || sum > value && sum < value+smallest {
			t.Fatalf("%d in coins (said %d) for %d", got, sum, value)
		}
		for _, c := range free {
			if len(chosen) > 1 && (c.Amount == value || c.Amount >= value+smallest) {
				t.Fatalf("%d coins chosen where one of %d does", len(chosen), c.Amount)
			}
		}
	})
}
