package payments

import (
	"slices"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestDebtorsOutliveProcess: a payer that pays, takes what it is lent and goes, before each
// of its provider's restarts, takes a quantum and a 64th of what it paid in all, as from one
// that never ends; what goes beyond is a failed payment, and a ban stays one.
func TestDebtorsOutliveProcess(t *testing.T) {
	const q = 64 << 10
	m := ledgertest.New()
	buyer := newNode(t, m, "buyer", 10_000*amount.BTT, nil)
	seller := newNode(t, m, "seller", 0, func(c *Config) { c.Credit, c.PaymentTimeout = 16*q, patience })
	account := buyer.purse.Account()
	restart := func() {
		t.Helper()
		list := seller.book.Debtors()
		seller.kill()
		seller.open()
		seller.book.SetDebtors(list)
	}
	var paid, taken int64
	for round := range 4 {
		w := newWire(t, buyer.book, seller.book, 1, q)
		trade(t, buyer, seller, w, price, 1<<40)
		w.serve(t, share*q, q)
		w.paid(t)
		paid += share * q
		taken += w.drain()
		w.cut()
		eventually(t, "the debt", func() bool {
			d := seller.book.Debtors()
			return len(d) == 1 && d[0].Unpaid+d[0].Forgiven == taken
		})
		if most := q + paid/share; taken > most {
			t.Errorf("round %d: %d bytes taken for %d paid, want at most %d", round, taken, paid, most)
		}
		restart()
	}
	if d := seller.book.Debtors(); len(d) != 1 || d[0].Paid < paid/2 || d[0].Unpaid+d[0].Forgiven != taken {
		t.Errorf("%+v after %d paid and %d taken", d, paid, taken)
	}
	if n := seller.book.Strikes(account); n != 0 {
		t.Errorf("%d failures: what was lent counts as one", n)
	}
	w := newWire(t, buyer.book, seller.book, 2, q) // another torrent
	trade(t, buyer, seller, w, price, 1<<40)
	w.serve(t, q, q)
	w.paid(t)
	if d := seller.book.Debtors(); d[0].Unpaid != 0 || d[0].Forgiven != taken {
		t.Errorf("%+v: what an earlier run left is not judged", d)
	}
	w.cut()
	for range BanAfter {
		seller.book.strike(account)
	}
	before, _ := seller.book.Banned(account)
	restart()
	until, banned := seller.book.Banned(account)
	if !banned || !until.Equal(before) || seller.book.Strikes(account) != BanAfter {
		t.Errorf("after a restart: banned %v until %v, before it until %v", banned, until, before)
	}
	for range BanAfter {
		seller.book.strike(account)
	}
	if until, _ := seller.book.Banned(account); time.Until(until) < BanTime*3/2 {
		t.Errorf("the second ban ends in %v", time.Until(until))
	}
}

// TestDebtorsInBounds: what is old, of times to come, makes no sense or is too much is left
// out, and no ban is longer than the longest.
func TestDebtorsInBounds(t *testing.T) {
	seller := newNode(t, ledgertest.New(), "seller", 0, nil)
	now := time.Now()
	list := []Debtor{
		{Account: key(1), Strikes: 1, Until: now.Add(1000 * time.Hour), Changed: now.Add(-time.Hour)},
		{Account: key(2), Strikes: 1, Changed: now.Add(-DebtorForget)},
		{Account: key(3), Strikes: 1, Changed: now.Add(time.Hour)},
		{Account: key(4), Unpaid: -1, Changed: now.Add(-time.Hour)},
		{Account: key(5), Bans: 1 << 40, Changed: now.Add(-time.Hour)},
		{Account: key(6), Paid: 1 << 60, Changed: now.Add(-time.Hour)},
		{Strikes: 1, Changed: now.Add(-time.Hour)},
		{Account: key(7), Strikes: 1},
	}
	for i := range MaxDebtors + 10 {
		list = append(list, Debtor{Account: key(100 + i), Forgiven: 1, Changed: now.Add(-time.Hour)})
	}
	seller.book.SetDebtors(list)
	got := seller.book.Debtors()
	if len(got) != MaxDebtors-7 {
		t.Errorf("%d debtors, want %d", len(got), MaxDebtors-7)
	}
	if until, banned := seller.book.Banned(key(1)); !banned || until.After(now.Add(MaxBanTime+time.Minute)) {
		t.Errorf("banned %v until %v", banned, until)
	}
	for i := 2; i <= 7; i++ {
		if seller.book.Strikes(key(i)) != 0 {
			t.Errorf("account %d counts", i)
		}
	}
}

// key is the i-th of many accounts.
func key(i int) (k ledger.PublicKey) {
	k[0], k[1], k[2] = 2, byte(i), byte(i>>8)
	return k
}

// TestFloodOfAccounts: accounts in any number push out neither who failed, nor who owes
// as much as they do, nor, of those that owe nothing, who paid more; those that are connected at once have room of their
// own, and what is remembered is bounded.
func TestFloodOfAccounts(t *testing.T) {
	const q = 1 << 20
	seller := newNode(t, ledgertest.New(), "seller", 0, nil)
	b := seller.book
	met := func(i int, change func(s *standing)) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if change(b.standing(key(i))); len(b.accounts) > maxAccounts+MaxPairs+moreAccounts {
			t.Fatalf("%d accounts are remembered", len(b.accounts))
		}
	}
	owes := func(bytes int64) func(*standing) {
		return func(s *standing) { s.owe(channel.Tag{1}, bytes, 1, 16*q, time.Now()) }
	}
	nothing := func(*standing) {}
	const owing, failed, payer = 1, 2, 3
	met(owing, owes(q))
	met(failed, nothing)
	b.strike(key(failed))
	met(payer, func(s *standing) { s.history.Add(2 * share * q) })
	check := func(after string, who ...int) {
		t.Helper()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, i := range who {
			if b.accounts[key(i)] == nil {
				t.Errorf("account %d forgotten after %s", i, after)
			}
		}
	}
	next := 100
	for range 2 * maxAccounts {
		next++
		met(next, nothing)
	}
	check("names that did nothing", owing, failed, payer)
	for range 2 * maxAccounts {
		next++
		met(next, func(s *standing) { s.history.Add(q) })
	}
	check("accounts that paid less", owing, failed, payer)
	for range maxAccounts + 100 { // each is newer, and owes as much at most
		next++
		met(next, owes(q-int64(next%2)))
	}
	check("accounts that owe no more", owing, failed)
	var pairs []*pair
	for range MaxPairs { // connected at once
		next++
		pairs = append(pairs, b.pair(key(next), channel.RolePayee))
	}
	met(next+1, nothing)
	check("many connections at once", owing, failed)
	for _, p := range pairs {
		b.drop(p)
		b.retire(p)
	}
	for range moreAccounts {
		next++
		met(next, nothing)
	}
	if b.mu.Lock(); len(b.accounts) > maxAccounts+moreAccounts {
		t.Errorf("%d accounts when all are gone", len(b.accounts))
	}
	b.mu.Unlock()
	check("all", owing, failed)
	list := b.Debtors()
	if len(list) != MaxDebtors || !slices.ContainsFunc(list, func(d Debtor) bool { return d.Account == key(failed) }) {
		t.Errorf("%d debtors of %d, or not who failed", len(list), MaxDebtors)
	}
}
