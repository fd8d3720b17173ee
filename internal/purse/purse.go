// Package purse is a node's wallet on disk: it makes and opens the encrypted
// recovery phrase, hands out fresh channel keys, chooses coins for channels and
// payments, keeps concurrent openings from using the same coin, and writes every
// movement of money into a journal before it counts (R15.2, R15.5, R15.12,
// R15.13). internal/payments funds channels through it; internal/session, the
// command line and the interface read balance and history.
//
// A Purse is passive: it owns no goroutine. All methods are safe for concurrent
// use. One process at a time may spend; any number may look (Config.ReadOnly).
//
// The directory holds wallet.vault, wallet.key (wallets without a password
// only), wallet.account (the address, for looking at a locked wallet),
// wallet.limits, wallet.lock, channel.next and journal.log; wallet.session while
// "btt wallet unlock" holds. All are readable by their owner alone. Small files
// are replaced whole, the journal only grows (package durable).
package purse

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

var (
	// ErrPasswordNeeded says that the wallet was sealed with a password.
	ErrPasswordNeeded = errors.New("purse: this wallet has a password; give it to open the wallet")
	// ErrFunds says that the free balance does not cover an amount.
	ErrFunds = errors.New("purse: the free balance is too small; add BTT or lower the amount")
	// ErrReserved says that the free balance would do but openings under way
	// hold the coins; trying again soon helps.
	ErrReserved = errors.New("purse: the coins needed are held by channels being opened; try again in a moment")
	// ErrInUse says that another process spends from this wallet.
	ErrInUse = errors.New("purse: the wallet is in use by another program")
	// ErrReadOnly says that a wallet was opened only to look at it.
	ErrReadOnly = errors.New("purse: the wallet is open for looking only")
	// ErrLocked says that the keys are put away until the password is given.
	ErrLocked = errors.New("purse: the wallet is locked; unlock it with its password")
	// ErrIDReused says that a payment id was used before for another payment.
	ErrIDReused = errors.New("purse: this payment id was used for another payment; choose a new id")
)

// Config says where a purse lives and what it works with.
type Config struct {
	Dir      string        // made if it does not exist
	Password string        // "" = a key file beside the vault opens it
	Phrase   string        // restores this phrase if the directory has no wallet yet; "" = a new one
	Ledger   ledger.Client // where the coins are
	// Budget replaces the stored limits while the purse is open; nil = the
	// stored ones, which begin as wallet.DefaultBudget.
	Budget *wallet.Budget
	// ReadOnly looks at a wallet beside the process that spends from it, and
	// needs no password: address, balance, history, limits. What needs the
	// keys or writes fails with ErrReadOnly.
	ReadOnly bool
	// Locked returns the sum that open channels hold for us; nil counts as 0.
	// It is called without any lock of the purse held.
	Locked  func() amount.Amount
	Now     func() time.Time // nil = time.Now
	Entropy io.Reader        // nil = the operating system's

	disk durable.Disk // tests inject failures
}

// Purse is an open wallet directory.
type Purse struct {
	cfg    Config
	store  store
	lock   *durable.Lock // nil when read only
	public ledger.PublicKey
	coins  coinBook

	mu       sync.Mutex // guards all below
	secret   *secret    // nil while locked or read only
	until    time.Time  // when secret goes; zero = never
	journal  *journal
	known    map[string]bool // ids of entries
	sends    map[string]sent
	torrents torrentBook
	recent   []payment // paid in the last day, oldest first
	budget   wallet.Budget
	// perTorrent is the budget's limit, read without mu, which is held during I/O.
	perTorrent atomic.Int64
	nextKey    uint32 // next channel key to hand out
	keyLimit   uint32 // indices below are reserved on disk
}

// payment is one Pay entry of the last 24 hours.
type payment struct {
	at  time.Time
	sum amount.Amount
}

// sent is a payment to an address that may have to be handed in again.
type sent struct {
	raw []byte
	to  string
	sum amount.Amount
}

// secret is what the password protects.
type secret struct {
	keys    *wallet.Wallet
	account *ledger.PrivateKey
}

func openSecret(phrase string) (*secret, error) {
	keys, err := wallet.Open(phrase, "")
	if err != nil {
		return nil, err
	}
	account, err := keys.Key(0)
	if err != nil {
		return nil, err
	}
	return &secret{keys: keys, account: account}, nil
}

// Open opens the wallet in cfg.Dir, or makes one unless it is only to be looked
// at. Errors name the file and the next step; wallet.ErrPassword and
// ErrPasswordNeeded ask for the password, ErrInUse names the other process.
func Open(cfg Config) (*Purse, error) {
	if cfg.Ledger == nil {
		return nil, errors.New("purse: open wallet: no ledger given")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Entropy == nil {
		cfg.Entropy = rand.Reader
	}
	p := &Purse{cfg: cfg, known: map[string]bool{}, sends: map[string]sent{}, torrents: newTorrentBook(),
		store: store{dir: cfg.Dir, disk: cfg.disk, entropy: cfg.Entropy, now: cfg.Now}}
	p.coins.init()
	if cfg.ReadOnly {
		return p, p.look()
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("purse: make directory: %w", err)
	}
	var err error
	if p.lock, err = acquire(cfg.Dir); err != nil {
		return nil, err
	}
	if err := p.load(); err != nil {
		p.lock.Release()
		return nil, err
	}
	p.holdSends()
	return p, nil
}

// load reads the directory, whose lock is held.
func (p *Purse) load() error {
	phrase, err := p.store.vault(p.cfg.Password, p.cfg.Phrase)
	if err != nil {
		return err
	}
	if p.secret, err = openSecret(phrase); err != nil {
		return err
	}
	p.public = p.secret.account.PublicKey()
	if err := p.store.writeAccount(p.public); err != nil {
		return err
	}
	if p.nextKey, err = p.store.readIndex(); err != nil {
		return err
	}
	p.keyLimit = p.nextKey
	if err := p.readBudget(); err != nil {
		return err
	}
	p.journal, err = openJournal(p.cfg.Dir, p.learn)
	return err
}

// look reads what needs neither lock nor password.
func (p *Purse) look() error {
	var err error
	if p.public, err = p.store.account(p.cfg.Password); err != nil {
		return err
	}
	if err := p.readBudget(); err != nil {
		return err
	}
	p.journal, err = lookJournal(p.cfg.Dir, p.learn)
	return err
}

// Close ends the use of the directory. Calls after it fail.
func (p *Purse) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.secret = nil
	if p.journal.err == nil {
		p.journal.err = errors.New("purse: closed")
	}
	return errors.Join(p.journal.file.Close(), p.lock.Release())
}

// Address is where others pay this node: the same on the ledger and on TRON.
func (p *Purse) Address() ledger.Address { return p.public.Address() }

// Account is the public key of Address: the node's identity towards peers.
func (p *Purse) Account() ledger.PublicKey { return p.public }

// AccountKey signs for Address, e.g. a message that proves its ownership. It
// fails with ErrLocked while the wallet is locked.
func (p *Purse) AccountKey() ledger.Signer { return accountSigner{p} }

type accountSigner struct{ p *Purse }

func (s accountSigner) PublicKey() ledger.PublicKey { return s.p.public }

func (s accountSigner) Sign(digest [32]byte) (ledger.Signature, error) {
	k, err := s.p.keys()
	if err != nil {
		return ledger.Signature{}, err
	}
	return k.account.Sign(digest)
}

// NewChannelKey returns a key that was never handed out before, and its index for
// ChannelKey. The index is durable before the key is returned, so no crash makes
// two channels share a key; a crash may skip some indices.
func (p *Purse) NewChannelKey() (uint32, ledger.Signer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, err := p.unlocked()
	if err != nil {
		return 0, nil, err
	}
	if p.nextKey == p.keyLimit {
		limit := p.keyLimit + indexStride
		if limit > 1<<31 {
			return 0, nil, errors.New("purse: all channel keys of this wallet are used; make a new wallet and send the balance to it")
		}
		if err := p.store.writeIndex(limit); err != nil {
			return 0, nil, err
		}
		p.keyLimit = limit
	}
	index := p.nextKey
	p.nextKey++
	key, err := k.keys.ChannelKey(index)
	if err != nil {
		return 0, nil, err
	}
	return index, key, nil
}

// ChannelKey returns the channel key that NewChannelKey gave out under index. A
// key in use keeps working when the wallet is locked, so that open channels can
// be paid and settled.
func (p *Purse) ChannelKey(index uint32) (ledger.Signer, error) {
	k, err := p.keys()
	if err != nil {
		return nil, err
	}
	return k.keys.ChannelKey(index)
}

// Record adds a movement to the journal; it is durable on return. An entry whose
// ID is already there is ignored, so callers may repeat it after a crash.
func (p *Purse) Record(e Entry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.record(e)
}

// record is Record with p.mu held.
func (p *Purse) record(e Entry) error {
	if e.Time.IsZero() {
		e.Time = p.cfg.Now().UTC()
	}
	if err := e.check(); err != nil {
		return err
	}
	if e.ID != "" && p.known[e.ID] {
		return nil
	}
	if e.Kind == Pay && e.Channel != "" && len(e.Shares) == 0 && e.Torrent == "" {
		e.Shares = p.torrents.shares(e.Channel, e.Amount)
	}
	if err := p.journal.append(&e); err != nil {
		return err
	}
	p.learn(&e)
	return nil
}

// learn takes one journal entry into the sums, when it is new and on start.
func (p *Purse) learn(e *Entry) {
	if e.ID != "" {
		p.known[e.ID] = true
	}
	p.torrents.learn(e)
	switch e.Kind {
	case Pay:
		p.recent = append(p.recent, payment{e.Time, e.Amount})
	case Send:
		if len(e.Raw) == 0 {
			break // another program's note of a payment, nothing to hand in
		}
		p.sends[e.ID] = sent{raw: e.Raw, to: e.Counterparty, sum: e.Amount}
	case Cancel:
		delete(p.sends, e.Reason)
		delete(p.known, e.Reason)
	}
}

// History reads the journal, oldest entry first, as it is at the call.
func (p *Purse) History() iter.Seq2[Entry, error] {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.journal.entries()
}

// Balance is what the wallet holds.
type Balance struct {
	Free     amount.Amount // at the own address, not reserved
	Reserved amount.Amount // set aside for channels being opened
	Locked   amount.Amount // in open channels, as Config.Locked says
	Coins    int           // at the own address
}

// Balance asks the ledger for the own coins.
func (p *Purse) Balance(ctx context.Context) (Balance, error) {
	b := Balance{Locked: p.locked()}
	coins, err := p.list(ctx)
	if err != nil {
		return Balance{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b.Coins = len(coins)
	for _, c := range coins {
		sum := &b.Free
		if _, held := p.coins.held[c.OutPoint]; held {
			sum = &b.Reserved
		}
		if *sum, err = sum.Add(c.Amount); err != nil {
			return Balance{}, fmt.Errorf("purse: add up coins: %w", err)
		}
	}
	return b, nil
}

func (p *Purse) locked() amount.Amount {
	if p.cfg.Locked == nil {
		return 0
	}
	return p.cfg.Locked()
}
