package purse

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// MaxShares is how many torrents one Pay entry names; what more there are
// counts for the first.
const MaxShares = 64

// Share is the part of a payment that went to one torrent.
type Share struct {
	Torrent string        `json:"torrent"` // info-hash, hexadecimal
	Amount  amount.Amount `json:"amount"`
}

// readBudget takes the limits of the directory, unless the caller gave its own.
func (p *Purse) readBudget() error {
	defer func() { p.perTorrent.Store(int64(p.budget.PerTorrent)) }()
	if p.cfg.Budget != nil {
		p.budget = *p.cfg.Budget
		return p.budget.Check()
	}
	text, err := p.store.read(limitsFile)
	if errors.Is(err, fs.ErrNotExist) {
		p.budget = wallet.DefaultBudget()
		return nil
	}
	if err == nil {
		p.budget, err = wallet.ParseBudget(text)
	}
	if err != nil {
		return fmt.Errorf("purse: read %s: %w", limitsFile, err)
	}
	return nil
}

// Budget returns the limits in force.
func (p *Purse) Budget() wallet.Budget {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.budget
}

// SetBudget replaces the limits, for good: they are on the disk on return.
func (p *Purse) SetBudget(b wallet.Budget) error {
	if p.cfg.ReadOnly {
		return ErrReadOnly
	}
	if err := b.Check(); err != nil {
		return err
	}
	text, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("purse: encode limits: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.store.write(limitsFile, append(text, '\n')); err != nil {
		return err
	}
	p.budget = b
	p.perTorrent.Store(int64(b.PerTorrent))
	return nil
}

// Left returns what the budget still lets this node spend on a torrent ("" = no
// torrent in particular) and which limit says so. The deposits of open channels
// count as spent today, and as spent on the torrent they were set aside for, until
// what is left of them comes back.
func (p *Purse) Left(ctx context.Context, torrent string) (amount.Amount, wallet.Limit, error) {
	b, err := p.Balance(ctx)
	if err != nil {
		return 0, "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.spending(b, torrent)
	if err != nil {
		return 0, "", err
	}
	return p.limitsFor(torrent).Left(s)
}

// limitsFor is the budget for a torrent, or for none in particular, with p.mu
// held.
func (p *Purse) limitsFor(torrent string) wallet.Budget {
	limits := p.budget
	if torrent == "" {
		limits.PerTorrent = wallet.Unlimited
	}
	return limits
}

// TorrentLeft returns what the limit per torrent leaves for payments on a
// torrent: what was set aside for it may be paid, what was paid may not be paid
// again. It asks nobody, so that bids can count with it.
// It waits for no disk.
func (p *Purse) TorrentLeft(torrent string) amount.Amount {
	return max(0, amount.Amount(p.perTorrent.Load())-p.torrents.spent(torrent))
}

// Paid notes a payment in an open channel. It becomes an entry of the journal
// when the channel ends; until then it counts towards the torrent's limit.
func (p *Purse) Paid(channel, torrent string, sum amount.Amount) {
	p.torrents.pay(channel, torrent, sum)
}

// spending counts where the wallet stands, with p.mu held.
func (p *Purse) spending(b Balance, torrent string) (wallet.Spending, error) {
	since := p.cfg.Now().Add(-24 * time.Hour)
	for len(p.recent) > 0 && p.recent[0].at.Before(since) {
		p.recent = p.recent[1:]
	}
	locked, err := b.Locked.Add(b.Reserved)
	if err != nil {
		return wallet.Spending{}, fmt.Errorf("purse: add up channels: %w", err)
	}
	day, spent := p.torrents.committed(torrent)
	day = max(day, b.Locked) // channels that a restored wallet found are in no journal
	for _, r := range p.recent {
		day = plus(day, r.sum)
	}
	for _, f := range p.coins.values {
		if f.id != (ledger.TxID{}) {
			continue // in the journal
		}
		day = plus(day, f.value)
		if torrent != "" && f.torrent == torrent {
			spent = plus(spent, f.value)
		}
	}
	return wallet.Spending{Free: b.Free, Locked: locked, Day: day, Torrent: spent}, nil
}

// torrentBook counts what each torrent cost: paid in channels that ended, set
// aside in channels opened for it, and paid so far in open channels. A leaf
// with a lock of its own, because payments come faster than the journal syncs.
type torrentBook struct {
	mu   *sync.Mutex
	paid map[string]amount.Amount // by torrent, channels that ended
	open map[string]*openChannel  // by channel id, while locked
}

// openChannel is money set aside that has not come back.
type openChannel struct {
	torrent string // that it was opened for
	tx      string // T1's id, hexadecimal
	deposit amount.Amount
	paid    map[string]amount.Amount // so far, by torrent
}

func newTorrentBook() torrentBook {
	return torrentBook{mu: new(sync.Mutex), paid: map[string]amount.Amount{}, open: map[string]*openChannel{}}
}

// learn takes one journal entry in.
func (t *torrentBook) learn(e *Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case Lock:
		if e.Channel != "" {
			t.open[e.Channel] = &openChannel{torrent: e.Torrent, tx: e.Transaction, deposit: e.Amount, paid: map[string]amount.Amount{}}
		}
	case Unlock:
		delete(t.open, e.Channel)
	case Pay:
		delete(t.open, e.Channel)
		for _, s := range e.Shares {
			t.paid[s.Torrent] = plus(t.paid[s.Torrent], s.Amount)
		}
		if len(e.Shares) == 0 && e.Torrent != "" {
			t.paid[e.Torrent] = plus(t.paid[e.Torrent], e.Amount)
		}
	}
}

// plus adds and stops at the supply: a sum that cannot be is a limit reached.
func plus(a, b amount.Amount) amount.Amount {
	if sum, err := a.Add(b); err == nil {
		return sum
	}
	return amount.Supply
}

func (t *torrentBook) pay(channel, torrent string, sum amount.Amount) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.open[channel]
	if c == nil || sum <= 0 {
		return // of before this version kept count
	}
	// One place is kept for the torrent that it was opened for.
	if _, known := c.paid[torrent]; torrent == "" || !known && len(c.paid) >= MaxShares-1 {
		torrent = c.torrent
	}
	c.paid[torrent] = plus(c.paid[torrent], sum)
}

// spent is what was paid on a torrent.
func (t *torrentBook) spent(torrent string) amount.Amount {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := t.paid[torrent]
	for _, c := range t.open {
		sum = plus(sum, c.paid[torrent])
	}
	return sum
}

// committed is what is set aside in all channels, what was paid from it included,
// and what was paid on a torrent or is set aside for it; 0 for none in particular.
func (t *torrentBook) committed(torrent string) (open, sum amount.Amount) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.open {
		open = plus(open, c.deposit)
	}
	if torrent == "" {
		return open, 0
	}
	sum = t.paid[torrent]
	for _, c := range t.open {
		if c.torrent == torrent {
			sum = plus(sum, c.deposit)
		} else {
			sum = plus(sum, c.paid[torrent])
		}
	}
	return open, sum
}

// shares splits what a channel paid in the end over its torrents: as noted while
// it was open, what was not noted (a restart forgets) to the torrent it was
// opened for, and what the provider did not claim off the largest.
func (t *torrentBook) shares(channel string, total amount.Amount) []Share {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.open[channel]
	if c == nil {
		return nil
	}
	noted := amount.Amount(0)
	list := make([]Share, 0, len(c.paid)+1)
	for torrent, sum := range c.paid {
		list = append(list, Share{Torrent: torrent, Amount: sum})
		noted = plus(noted, sum)
	}
	if noted < total && c.torrent != "" {
		list = append(list, Share{Torrent: c.torrent, Amount: total - noted})
	}
	slices.SortFunc(list, func(a, b Share) int {
		return cmp.Or(cmp.Compare(b.Amount, a.Amount), cmp.Compare(a.Torrent, b.Torrent))
	})
	for i := 0; i < len(list) && noted > total; i++ {
		cut := min(list[i].Amount, noted-total)
		list[i].Amount -= cut
		noted -= cut
	}
	return merge(list)
}

// merge joins shares of one torrent and drops empty ones.
func merge(list []Share) []Share {
	var out []Share
	for _, s := range list {
		i := slices.IndexFunc(out, func(o Share) bool { return o.Torrent == s.Torrent })
		switch {
		case s.Amount == 0:
		case i >= 0:
			out[i].Amount = plus(out[i].Amount, s.Amount)
		default:
			out = append(out, s)
		}
	}
	return out[:min(len(out), MaxShares)]
}
