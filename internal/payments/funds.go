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
	// fundsFor is how old what the ledger said of an account's coins may be
	// until it is asked again, tooLittleFor the same for one that has too few.
	fundsFor     = 30 * time.Second
	tooLittleFor = 5 * time.Second
	// fundsStale is the age from which an answer says nothing any more.
	fundsStale = 5 * time.Minute
	// maxFunds is the number of accounts of which that is kept, maxFundAsks
	// the number of accounts asked for at once.
	maxFunds    = 4096
	maxFundAsks = 4
)

// funds is what accounts that bid here were seen to have. It is a leaf.
type funds struct {
	mu   sync.Mutex
	seen map[ledger.Address]*holding
	asks int
}

// holding is what one account can pay us with.
type holding struct {
	coins  amount.Amount // on the ledger, free
	known  bool          // coins is an answer of the ledger
	asking bool
	at     time.Time                    // of the last question
	rooms  map[channel.ID]amount.Amount // what is left in its channels to us; at most MaxChannels
}

// Funds returns what an account can pay this node with: what is left in its
// channels, and its free coins if they can fund another one. least is what would
// be enough, a sum for which it is not asked again soon. It never blocks: an account
// that is not known yet, and any account while the ledger cannot be reached
// (A2), is unknown, and the ledger is asked meanwhile. It allocates for accounts
// that are met first.
func (b *Book) Funds(account ledger.Address, least amount.Amount) (sum amount.Amount, known bool) {
	now := b.cfg.Now()
	f := &b.funds
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.seen[account]
	if h == nil {
		if h = f.meet(account); h == nil {
			return 0, false
		}
	}
	for _, room := range h.rooms {
		sum += room
	}
	enough := sum >= least
	status, reached := b.head.get()
	sum += b.spendable(h.coins, &status)
	age := now.Sub(h.at)
	again := fundsFor
	if h.known && sum < least {
		again = tooLittleFor
	}
	if !enough && !h.asking && (!h.known || age >= again) && f.asks < maxFundAsks && !b.closing.Load() && (h.at.IsZero() || age >= tooLittleFor) {
		h.asking, h.at = true, now
		f.asks++
		b.start(func() { b.askFunds(account) }) // ends with the request, at most ledgerWait
	}
	return sum, enough || h.known && reached && age < fundsStale
}

// spendable is what an account with so many free coins can pay through a new
// channel: it holds at least the least deposit, and one least output stays with
// the payer.
func (b *Book) spendable(coins amount.Amount, status *ledger.Status) amount.Amount {
	if coins < max(b.cfg.MinDeposit, 2*status.Params.MinOutput) {
		return 0
	}
	return coins - status.Params.MinOutput
}

// meet makes the record of another account; nil while there is no room for it.
// Any account without a channel gives way: it is asked for again.
func (f *funds) meet(account ledger.Address) *holding {
	if f.seen == nil {
		f.seen = make(map[ledger.Address]*holding)
	}
	if len(f.seen) >= maxFunds {
		for a, h := range f.seen {
			if !h.asking && len(h.rooms) == 0 {
				delete(f.seen, a)
				break
			}
		}
		if len(f.seen) >= maxFunds {
			return nil
		}
	}
	h := new(holding)
	f.seen[account] = h
	return h
}

// room notes what is left in a channel of an account to us; a negative room: the
// channel is not one to pay with (any more). What the ledger said of the account's
// coins before a channel came or went says nothing.
func (f *funds) room(account ledger.Address, id channel.ID, left amount.Amount) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.seen[account]
	if h == nil && left >= 0 {
		h = f.meet(account)
	}
	if h == nil {
		return
	}
	_, had := h.rooms[id]
	switch {
	case left < 0 && !had:
		return
	case left < 0:
		delete(h.rooms, id)
	default:
		if h.rooms == nil {
			h.rooms = make(map[channel.ID]amount.Amount)
		}
		h.rooms[id] = left
	}
	if had != (left >= 0) {
		h.known, h.at = false, time.Time{}
	}
}

func (b *Book) askFunds(account ledger.Address) {
	ctx, cancel := context.WithTimeout(b.ctx, ledgerWait)
	defer cancel()
	done := b.head.begin(0)
	coins, err := b.cfg.Ledger.Unspent(ctx, account, ledger.OutPoint{}, ledger.MaxUnspentPage)
	done(err)
	var sum amount.Amount // of different coins, so at most the supply
	for _, c := range coins {
		sum += c.Amount
	}
	f := &b.funds
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asks--
	h := f.seen[account]
	h.asking = false
	if h.at.IsZero() {
		return // a channel came or went meanwhile
	}
	h.coins = sum
	// Of who has more coins than that it is not known how much they are.
	h.known = err == nil && len(coins) < ledger.MaxUnspentPage
}
