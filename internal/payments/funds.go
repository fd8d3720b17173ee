package payments

import (
	"context"
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

const (
	// fundsFor is how long what the ledger said of an account is believed,
	// tooLittleFor the same for one that has too little.
	fundsFor     = 30 * time.Second
	tooLittleFor = 5 * time.Second
	// maxFunds is the number of accounts of which that is kept, maxFundAsks
	// the number of accounts asked for at once.
	maxFunds    = 4096
	maxFundAsks = 4
)

// funds is what accounts were seen to have. It is a leaf.
type funds struct {
	mu   sync.Mutex
	seen map[ledger.Address]holding
	asks int
}

// holding is what one account can pay us with.
type holding struct {
	sum    amount.Amount
	known  bool
	asking bool
	at     time.Time // of the last question
}

// Affords says whether an account can pay a sum, from its free coins or from its
// channels to us. It never blocks: an account that is not known yet, and any
// account while the ledger cannot be reached, counts as one that can (A2), and
// the ledger is asked meanwhile. An answer is good for half a
// minute, or seconds if the account has too little.
func (b *Book) Affords(account ledger.Address, sum amount.Amount) bool {
	f, now := &b.funds, b.cfg.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	h, met := f.seen[account]
	enough, again := !h.known || h.sum >= sum, fundsFor
	if !enough {
		again = tooLittleFor
	}
	if !h.asking && now.Sub(h.at) >= again && f.asks < maxFundAsks && !b.closing.Load() && (met || f.room(now)) {
		h.asking, h.at = true, now
		f.seen[account] = h
		f.asks++
		b.start(func() { b.askFunds(account) }) // ends with the request, at most ledgerWait
	}
	return enough
}

// room makes room for another account.
func (f *funds) room(now time.Time) bool {
	if f.seen == nil {
		f.seen = make(map[ledger.Address]holding)
	}
	if len(f.seen) < maxFunds {
		return true
	}
	for a, h := range f.seen {
		if !h.asking && now.Sub(h.at) >= fundsFor {
			delete(f.seen, a)
		}
	}
	return len(f.seen) < maxFunds
}

func (b *Book) askFunds(account ledger.Address) {
	ctx, cancel := context.WithTimeout(b.ctx, ledgerWait)
	defer cancel()
	coins, err := b.cfg.Ledger.Unspent(ctx, account, ledger.OutPoint{}, ledger.MaxUnspentPage)
	var sum amount.Amount // of different coins and deposits, so at most the supply
	for _, c := range coins {
		sum += c.Amount
	}
	for _, s := range b.Summary() {
		if s.Role == channel.RolePayee && s.Stage == channel.Opened && s.Account.Address() == account {
			sum += s.Deposit - s.Paid
		}
	}
	f := &b.funds
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.seen[account]
	h.asking, h.sum = false, sum
	h.known = err == nil && len(coins) < ledger.MaxUnspentPage // who has more coins than that has enough
	f.seen[account] = h
	f.asks--
}
