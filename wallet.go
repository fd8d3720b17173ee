package btt

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// Folders of a node's home.
const (
	walletDir   = "wallet"
	channelsDir = "channels"
)

// ErrNotYet says that a channel's money cannot come back yet; the message names
// the time.
var ErrNotYet = errors.New("the deposit is still locked")

// WalletConfig opens a node's wallet without the node.
type WalletConfig struct {
	Home     string
	Password string
	Ledger   ledger.Client // nil = none: only what needs no ledger works
	// ReadOnly looks at the wallet, also while a node uses it and without its
	// password.
	ReadOnly bool
	Now      func() time.Time // nil = time.Now
}

// Wallet is a node's wallet and its channels, used without the node. Its methods
// are safe for concurrent use; it owns no goroutine.
type Wallet struct {
	cfg   WalletConfig
	purse *purse.Purse
}

// OpenWallet opens the wallet in cfg.Home, or makes one unless it is read only.
// Errors are those of the wallet: a wrong password, or that another program
// spends from it now.
func OpenWallet(cfg WalletConfig) (*Wallet, error) {
	if cfg.Home == "" {
		return nil, ErrNoHome
	}
	if cfg.Ledger == nil {
		cfg.Ledger = purse.Offline{}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	w := &Wallet{cfg: cfg}
	var err error
	w.purse, err = purse.Open(purse.Config{Dir: filepath.Join(cfg.Home, walletDir), Password: cfg.Password, Ledger: cfg.Ledger,
		ReadOnly: cfg.ReadOnly, Now: cfg.Now, Locked: w.locked})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Close ends the use of the wallet.
func (w *Wallet) Close() error { return w.purse.Close() }

// Purse returns the wallet itself: address, payments, limits, history.
func (w *Wallet) Purse() *purse.Purse { return w.purse }

// locked is what open channels still hold for us, as their journal tells.
func (w *Wallet) locked() amount.Amount {
	list, err := payments.ReadChannels(filepath.Join(w.cfg.Home, channelsDir))
	if err != nil {
		return 0
	}
	var sum amount.Amount
	for _, s := range list {
		if s.Role == channel.RolePayer {
			sum += s.Unsettled()
		}
	}
	return sum
}

// Channel is one payment channel in plain terms.
type Channel struct {
	ID      channel.ID
	Role    channel.Role
	Account ledger.Address // of the other side
	Stage   channel.Stage
	Deposit amount.Amount
	// Paid is the sum that is known to have gone over; AtMost is what may have:
	// a payer stores an upper bound ahead of its payments. They are equal in a
	// channel that ended and on the earning side.
	Paid, AtMost amount.Amount
	Opened       uint64 // ledger seconds
	LockTime     uint64 // ledger seconds; from then on the payer may take the refund
	// Returns is when LockTime will come by this machine's clock, zero without a
	// ledger. The ledger's time stands still while the ledger is down.
	Returns time.Time
	Funding ledger.OutPoint
	// Refundable: this side pays and holds the provider's signature on T2.
	Refundable bool
}

// describe tells a snapshot in plain terms; status may be nil.
func (w *Wallet) describe(s *channel.Snapshot, status *ledger.Status) Channel {
	sum := payments.SummaryOf(s)
	c := Channel{ID: sum.Channel, Role: s.Role, Account: sum.Account.Address(), Stage: s.Stage, Deposit: sum.Deposit,
		Paid: sum.Paid, AtMost: sum.Paid, Opened: s.Opened, LockTime: sum.LockTime, Funding: sum.Funding}
	if s.Role == channel.RolePayer && !s.Stage.Final() {
		c.AtMost = max(sum.Paid, min(s.Ceiling.Amount, s.Contract.Capacity()))
		c.Refundable = s.Refund != ledger.Signature{}
	}
	if status != nil {
		c.Returns = w.cfg.Now().Add(time.Duration(int64(c.LockTime)-int64(status.LedgerTime)) * time.Second)
	}
	return c
}

// Channels returns all channels that the journal knows, in order of opening,
// those that ended included. Without a ledger Returns is zero.
func (w *Wallet) Channels(ctx context.Context) ([]Channel, error) {
	list, err := payments.ReadChannels(filepath.Join(w.cfg.Home, channelsDir))
	if err != nil {
		return nil, err
	}
	status := w.status(ctx)
	out := make([]Channel, len(list))
	for i, s := range list {
		out[i] = w.describe(s, status)
	}
	return out, nil
}

// status is the ledger's, or nil if it cannot be had.
func (w *Wallet) status(ctx context.Context) *ledger.Status {
	s, err := w.cfg.Ledger.Status(ctx)
	if err != nil {
		return nil
	}
	return &s
}

// Settle looks after one channel now. What this node earned is handed in; a
// deposit whose lock is over comes back; what ended meanwhile is noted. It
// returns the channel's state after it. ErrNotYet says that only the provider
// can settle it before its lock ends. Nobody else may use the wallet.
func (w *Wallet) Settle(ctx context.Context, id channel.ID) (Channel, error) {
	if w.cfg.ReadOnly {
		return Channel{}, purse.ErrReadOnly
	}
	offline := payments.Offline{Dir: filepath.Join(w.cfg.Home, channelsDir), Purse: w.purse, Ledger: w.cfg.Ledger}
	s, err := payments.Attend(ctx, offline, id, true)
	if err != nil {
		return Channel{}, err
	}
	c := w.describe(s, w.status(ctx))
	if !s.Stage.Final() {
		if s.Role == channel.RolePayer {
			return c, fmt.Errorf("%w until %s unless the provider settles first", ErrNotYet, c.Returns.Format(time.DateTime))
		}
		return c, fmt.Errorf("settle channel %v: the ledger has not answered yet; try again", id)
	}
	sum := payments.SummaryOf(s)
	for _, e := range entriesOf(&sum) {
		if e.Amount == 0 {
			continue
		}
		if err := w.purse.Record(e); err != nil {
			return c, err
		}
	}
	return c, nil
}

// Statement is where all the money of a wallet is.
type Statement struct {
	Address  ledger.Address
	Total    amount.Amount // Free + Reserved + Locked
	Free     amount.Amount // at the address; its owner may send all of it
	Reserved amount.Amount // going into channels right now
	Locked   amount.Amount // in channels, still ours, as far as is known
	Owed     amount.Amount // in channels, paid to providers at least, until they settle
	OwedMost amount.Amount // what it may be at most: part of Locked may be paid too
	Earned   amount.Amount // paid to us in channels that are not settled; not in Total
	KeptBack amount.Amount // share of Total that the node never spends
	Left     amount.Amount // what the node may spend by itself now
	Limit    wallet.Limit  // which limit says so
	Returns  time.Time     // when all of Locked is back at the latest; zero if nothing is locked
	Coins    int           // at the address
	Paying   int           // open channels in which this node pays
	Earning  int           // open channels in which it earns
}

// Statement asks the ledger and the channels' journal.
func (w *Wallet) Statement(ctx context.Context) (Statement, error) {
	b, err := w.purse.Balance(ctx)
	if err != nil {
		return Statement{}, err
	}
	st := Statement{Address: w.purse.Address(), Free: b.Free, Reserved: b.Reserved, Coins: b.Coins}
	list, err := w.Channels(ctx)
	if err != nil {
		return Statement{}, err
	}
	for _, c := range list {
		switch {
		case c.Stage.Final() || c.Stage < channel.Funded:
		case c.Role == channel.RolePayee:
			st.Earned += c.Paid
			st.Earning++
		default:
			st.Locked += c.Deposit - c.Paid
			st.Owed += c.Paid
			st.OwedMost += c.AtMost
			st.Paying++
			if c.Returns.After(st.Returns) {
				st.Returns = c.Returns
			}
		}
	}
	if st.Total, err = amount.Sum(st.Free, st.Reserved, st.Locked); err != nil {
		return Statement{}, fmt.Errorf("add up the wallet: %w", err)
	}
	st.KeptBack = w.purse.Budget().Kept(st.Total)
	st.Left, st.Limit, err = w.purse.Left(ctx, "")
	return st, err
}
