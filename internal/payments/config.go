package payments

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// Limits of a Book.
const (
	MaxPairs    = 4096 // pairs at once
	MaxChannels = 8    // live channels of one pair and role
	MaxMailbox  = 256  // waiting messages of a connection, superseded payments left out; more disconnect the peer
	MaxQuotes   = 8    // unread price changes of a link
	MaxHistory  = 4096 // ended channels kept for statements
	MaxDebts    = 1024 // tags whose unpaid rest a pair remembers
	maxOffers   = 16   // K2 keys on offer at once
	maxSigned   = 1024 // proposals that one K2 may serve of which nothing comes
	maxAccounts = 4096 // remembered, besides those that are connected or have channels
	// moreAccounts is the number that may come between two looks at what to forget.
	moreAccounts = 512
	// maxProposals is the greatest number of channels of one account that are
	// agreed on and not funded.
	maxProposals = 8
)

// Defaults of Config.
const (
	DefaultQuantum        = 1 << 20
	DefaultCredit         = 16 << 20
	DefaultDepositBytes   = 64 << 20
	DefaultPaymentTimeout = 10 * time.Second
	MaxTimeoutFactor      = 6 // the longest payment timeout, in payment timeouts
	DefaultLockBase       = 2 * time.Hour
	DefaultLockFactor     = 4
	DefaultIdleSettle     = 10 * time.Minute
	DefaultMinLock        = time.Hour
	DefaultMaxLock        = 7 * 24 * time.Hour
	BanAfter              = 3                // failed payments (R12.2, A25)
	BanTime               = 10 * time.Minute // the first ban; each further one doubles it
	MaxBanTime            = 7 * 24 * time.Hour
)

// LastPaymentWait bounds how long a requester that leaves waits until what it verified
// is paid, channels that still open for it included.
const LastPaymentWait = 10 * time.Second

// LastEarningWait is how long a provider that leaves waits for the payment of what it
// served; a buyer that verified it pays within a round trip, and of what is no whole
// quantum no payment comes. A payment that came is waited for until it is booked.
const LastEarningWait = 500 * time.Millisecond

// latencyFactor is how often the measured latency of payments is added to the
// payment timeout.
const latencyFactor = 4

// unlimited is the allowance of a link that serves free of charge.
const unlimited = math.MaxInt64

// blockSize is the largest unit that a peer's writer sends at once.
const blockSize = 16 << 10

// openTimeout is how long a side waits for an answer while a channel opens.
const openTimeout = 30 * time.Second

// expectedRate is the rate in bytes a second that lock times assume.
const expectedRate = 1 << 20

// Purse is the wallet as channels see it. Fund reserves coins and returns a
// signed T1 with one output of the given amount and lock (among change), for a
// channel opened for a torrent (info-hash, hexadecimal), whose limit it keeps;
// Release frees a T1 that was never shown to anybody. NewChannelKey never
// returns a key twice, over restarts too.
type Purse interface {
	Fund(ctx context.Context, sum amount.Amount, lock ledger.Lock, torrent string) (*ledger.Tx, error)
	Release(t1 *ledger.Tx)
	NewChannelKey() (uint32, ledger.Signer, error)
	ChannelKey(index uint32) (ledger.Signer, error)
	Address() ledger.Address
	Account() ledger.PublicKey
}

// Config makes a Book. Zero values mean the defaults.
type Config struct {
	Dir     string // of the journal; made if missing
	Purse   Purse
	Ledger  ledger.Client
	Quantum int64 // bytes served ahead of payment, to anyone
	// Credit is the greatest window in bytes. It begins at a link's quantum, which it
	// never falls below, and grows by one for each 64 quanta that the account paid
	// (A24, docs/rfcs/0042). 0 means DefaultCredit; a quantum or less keeps it at
	// one quantum, whatever the history (R12.5).
	Credit int64
	// DepositBytes is how many bytes of each torrent a channel's deposit covers at most, at
	// the agreed price: 16 times as many with a provider that was paid as much before.
	DepositBytes   int64
	MinDeposit     amount.Amount
	MaxDeposit     amount.Amount
	LockBase       time.Duration // lock time: base + factor x expected time
	LockFactor     int
	MinLock        time.Duration // accepted from payers
	MaxLock        time.Duration
	PaymentTimeout time.Duration // R12.1; grows with the measured latency
	IdleSettle     time.Duration // a payee settles when the payer is gone for so long
	Now            func() time.Time
	Entropy        io.Reader   // reserved for batched checks; may be nil
	Notify         func(Event) // every change of any channel; must not block

	datasync  func(*os.File) error // in the place of fdatasync, for tests
	closeWait time.Duration        // in the place of closeWait, for tests
}

func (c *Config) defaults() error {
	if c.Dir == "" || c.Purse == nil || c.Ledger == nil {
		return errors.New("payments: Dir, Purse and Ledger are required")
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	if c.Quantum <= 0 {
		c.Quantum = DefaultQuantum
	}
	c.Quantum = min(c.Quantum, math.MaxUint32)
	if c.Credit <= 0 {
		c.Credit = DefaultCredit
	}
	if c.DepositBytes <= 0 {
		c.DepositBytes = DefaultDepositBytes
	}
	if c.MinDeposit <= 0 {
		c.MinDeposit = 10 * ledger.DefaultMinOutput
	}
	if c.MaxDeposit <= 0 {
		c.MaxDeposit = amount.Supply
	}
	set(&c.LockBase, DefaultLockBase)
	set(&c.MinLock, DefaultMinLock)
	set(&c.MaxLock, DefaultMaxLock)
	set(&c.PaymentTimeout, DefaultPaymentTimeout)
	set(&c.IdleSettle, DefaultIdleSettle)
	set(&c.closeWait, closeWait)
	if c.LockFactor <= 0 {
		c.LockFactor = DefaultLockFactor
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Notify == nil {
		c.Notify = func(Event) {}
	}
	return nil
}

// EventKind says what happened.
type EventKind uint8

// Events of a Book and its links.
const (
	EventOpened   EventKind = 1 // Amount: deposit
	EventPaid     EventKind = 2 // requester: Sum, Bytes of this payment
	EventEarned   EventKind = 3 // provider: Sum, Bytes of this payment
	EventRefused  EventKind = 4 // Code, Reason
	EventOverdue  EventKind = 5 // provider: no payment in time (R12.1): choke; CodeLedger: nobody's failure
	EventNoFunds  EventKind = 6 // requester: no channel could be funded; Reason
	EventSettled  EventKind = 7 // Amount: what the payee got
	EventRefunded EventKind = 8 // T2 took everything back
	EventClosing  EventKind = 9
	EventResumed  EventKind = 10 // payer: the channel goes on after a restart
	EventFault    EventKind = 11 // the journal failed: nothing is paid or sold until a restart
	EventProven   EventKind = 12 // provider: the connection is Account's: it signed for a channel that Account funded
	EventDenied   EventKind = 13 // requester: the provider denies payments that it settled: nothing more is paid on the link
)

func (k EventKind) String() string {
	return [...]string{"none", "opened", "paid", "earned", "refused", "overdue", "nofunds", "settled", "refunded",
		"closing", "resumed", "fault", "proven", "denied"}[min(k, 13)]
}

// Event reports a change of a channel or link.
type Event struct {
	Kind    EventKind
	Role    channel.Role
	Account ledger.PublicKey // of the other side, zero if unknown
	Channel channel.ID
	Tag     channel.Tag
	Sum     amount.Amount // of this payment
	Bytes   int64         // of this payment
	Amount  amount.Amount // cumulative, or as the kind says
	Code    channel.Code
	Reason  string
	Clean   bool // EventEarned: earlier failures of the account are to be forgotten
}

// LinkEvent is the Event of one link.
type LinkEvent = Event
