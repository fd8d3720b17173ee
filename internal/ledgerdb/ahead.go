package ledgerdb

import "github.com/bttnet/btt/ledger"

// Ahead is the store behind a ledger.State that runs ahead of the disk: a DB,
// which holds published blocks only, under the blocks that were executed since.
// It belongs to the goroutine of its State.
type Ahead struct {
	db       *DB
	blocks   []*ledger.Delta // executed, not yet seen published
	coins    map[ledger.OutPoint]ledger.Coin
	spent    map[ledger.OutPoint]struct{}
	deposits map[ledger.Deposit]struct{}
}

var _ ledger.Coins = (*Ahead)(nil)

// Ahead returns a view for one State, at the DB's position.
func (db *DB) Ahead() *Ahead {
	return &Ahead{
		db: db, coins: map[ledger.OutPoint]ledger.Coin{},
		spent: map[ledger.OutPoint]struct{}{}, deposits: map[ledger.Deposit]struct{}{},
	}
}

// Get implements ledger.Coins.
func (a *Ahead) Get(o ledger.OutPoint) (ledger.Coin, bool, error) {
	if c, ok := a.coins[o]; ok {
		return c, true, nil
	}
	if _, gone := a.spent[o]; gone {
		return ledger.Coin{}, false, nil
	}
	return a.db.Coin(o)
}

// Used implements ledger.Coins.
func (a *Ahead) Used(d ledger.Deposit) (bool, error) {
	if _, ok := a.deposits[d]; ok {
		return true, nil
	}
	return a.db.Used(d)
}

// Apply implements ledger.Coins.
func (a *Ahead) Apply(d *ledger.Delta) error {
	a.forget()
	for i := range d.Created {
		a.coins[d.Created[i].OutPoint] = d.Created[i]
	}
	for i := range d.Spent {
		o := d.Spent[i].Coin.OutPoint
		delete(a.coins, o)
		a.spent[o] = struct{}{}
	}
	for _, x := range d.Deposits {
		a.deposits[x] = struct{}{}
	}
	a.blocks = append(a.blocks, d)
	return nil
}

// forget drops what the DB has by now.
func (a *Ahead) forget() {
	published := a.db.height.Load()
	for len(a.blocks) > 0 && a.blocks[0].Head.Height <= published {
		d := a.blocks[0]
		a.blocks[0] = nil
		a.blocks = a.blocks[1:]
		for i := range d.Created {
			delete(a.coins, d.Created[i].OutPoint)
		}
		for i := range d.Spent {
			delete(a.spent, d.Spent[i].Coin.OutPoint)
		}
		for _, x := range d.Deposits {
			delete(a.deposits, x)
		}
	}
}
