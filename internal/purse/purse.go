// Package purse is a node's wallet on disk: it makes and opens the encrypted
// recovery phrase, hands out fresh channel keys, chooses coins for channels and
// payments, keeps concurrent openings from using the same coin, and writes every
// movement of money into a journal before it counts (R15.2, R15.5, R15.12,
// R15.13). internal/payments funds channels through it; internal/session, the
// command line and the interface read balance and history.
//
// A Purse is passive: it owns no goroutine. All methods are safe for concurrent
// use. The directory holds wallet.vault, wallet.key (wallets without a password
// only), channel.next and journal.log, all readable by their owner alone.
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
	"time"

	"github.com/bttnet/btt/amount"
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
	// ErrIDReused says that a payment id was used before for another payment.
	ErrIDReused = errors.New("purse: this payment id was used for another payment; choose a new id")
)

// Config says where a purse lives and what it works with.
type Config struct {
	Dir      string        // made if it does not exist
	Password string        // "" = a key file beside the vault opens it
	Phrase   string        // restores this phrase if the directory has no wallet yet; "" = a new one
	Ledger   ledger.Client // where the coins are
	Budget   *wallet.Budget
	// Locked returns the sum that open channels hold for us; nil counts as 0.
	// It is called without any lock of the purse held.
	Locked  func() amount.Amount
	Now     func() time.Time // nil = time.Now
	Entropy io.Reader        // nil = the operating system's
}

// Purse is an open wallet directory. One process uses a directory at a time.
type Purse struct {
	cfg     Config
	keys    *wallet.Wallet
	account *ledger.PrivateKey
	coins   coinBook

	mu         sync.Mutex // guards all below
	journal    *journal
	known      map[string]bool // ids of entries
	sends      map[string]sent
	perTorrent map[string]amount.Amount // paid
	recent     []payment                // paid in the last day, oldest first
	budget     wallet.Budget
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

// Open opens the wallet in cfg.Dir, or makes one. Errors name the file and the
// next step; wallet.ErrPassword and ErrPasswordNeeded ask for the password.
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
	p := &Purse{cfg: cfg, known: map[string]bool{}, sends: map[string]sent{}, perTorrent: map[string]amount.Amount{}, budget: wallet.DefaultBudget()}
	p.coins.init()
	if cfg.Budget != nil {
		p.budget = *cfg.Budget
	}
	if err := p.budget.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("purse: make directory: %w", err)
	}
	phrase, err := readVault(cfg.Dir, cfg.Password, cfg.Phrase, cfg.Entropy)
	if err != nil {
		return nil, err
	}
	if p.keys, err = wallet.Open(phrase, ""); err != nil {
		return nil, err
	}
	if p.account, err = p.keys.Key(0); err != nil {
		return nil, err
	}
	if p.nextKey, err = readIndex(cfg.Dir); err != nil {
		return nil, err
	}
	p.keyLimit = p.nextKey
	if p.journal, err = openJournal(cfg.Dir, p.learn); err != nil {
		return nil, err
	}
	p.holdSends()
	return p, nil
}

// Close ends the use of the directory. Calls after it fail.
func (p *Purse) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.journal.err == nil {
		p.journal.err = errors.New("purse: closed")
	}
	return p.journal.file.Close()
}

// Address is where others pay this node: the same on the ledger and on TRON.
func (p *Purse) Address() ledger.Address { return p.account.Address() }

// Account is the public key of Address: the node's identity towards peers.
func (p *Purse) Account() ledger.PublicKey { return p.account.PublicKey() }

// AccountKey signs for Address, e.g. a message that proves its ownership.
func (p *Purse) AccountKey() ledger.Signer { return p.account }

// Phrase returns the recovery phrase, for the backup step. It asks for the
// password again so that an unlocked node does not give it away.
func (p *Purse) Phrase(password string) (string, error) {
	return readVault(p.cfg.Dir, password, "", p.cfg.Entropy)
}

// SetPassword seals the wallet under a new password ("" = a key file).
func (p *Purse) SetPassword(old, password string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	phrase, err := readVault(p.cfg.Dir, old, "", p.cfg.Entropy)
	if err != nil {
		return err
	}
	return replaceVault(p.cfg.Dir, phrase, password, p.cfg.Entropy)
}

// NewChannelKey returns a key that was never handed out before, and its index for
// ChannelKey. The index is durable before the key is returned, so no crash makes
// two channels share a key; a crash may skip some indices.
func (p *Purse) NewChannelKey() (uint32, ledger.Signer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.nextKey == p.keyLimit {
		limit := p.keyLimit + indexStride
		if limit > 1<<31 {
			return 0, nil, errors.New("purse: all channel keys of this wallet are used; make a new wallet and send the balance to it")
		}
		if err := writeIndex(p.cfg.Dir, limit); err != nil {
			return 0, nil, err
		}
		p.keyLimit = limit
	}
	index := p.nextKey
	p.nextKey++
	key, err := p.keys.ChannelKey(index)
	if err != nil {
		return 0, nil, err
	}
	return index, key, nil
}

// ChannelKey returns the channel key that NewChannelKey gave out under index.
func (p *Purse) ChannelKey(index uint32) (ledger.Signer, error) {
	return p.keys.ChannelKey(index)
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
	switch e.Kind {
	case Pay:
		p.recent = append(p.recent, payment{e.Time, e.Amount})
		if e.Torrent != "" {
			if sum, err := p.perTorrent[e.Torrent].Add(e.Amount); err == nil {
				p.perTorrent[e.Torrent] = sum
			} else {
				p.perTorrent[e.Torrent] = amount.Supply
			}
		}
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

// Budget returns the limits in force.
func (p *Purse) Budget() wallet.Budget {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.budget
}

// SetBudget replaces the limits.
func (p *Purse) SetBudget(b wallet.Budget) error {
	if err := b.Check(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = b
	return nil
}

// Left returns what the budget still lets this node spend on a torrent ("" = no
// torrent in particular) and which limit says so. Money in open channels counts
// as spent today until it comes back.
func (p *Purse) Left(ctx context.Context, torrent string) (amount.Amount, wallet.Limit, error) {
	b, err := p.Balance(ctx)
	if err != nil {
		return 0, "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.spending(b)
	if err != nil {
		return 0, "", err
	}
	limits := p.budget
	if s.Torrent = p.perTorrent[torrent]; torrent == "" {
		limits.PerTorrent = wallet.Unlimited
	}
	return limits.Left(s)
}

// spending counts where the wallet stands, with p.mu held.
func (p *Purse) spending(b Balance) (wallet.Spending, error) {
	since := p.cfg.Now().Add(-24 * time.Hour)
	for len(p.recent) > 0 && p.recent[0].at.Before(since) {
		p.recent = p.recent[1:]
	}
	locked, err := b.Locked.Add(b.Reserved)
	if err != nil {
		return wallet.Spending{}, fmt.Errorf("purse: add up channels: %w", err)
	}
	day, err := b.Locked.Add(p.coins.funding)
	for i := 0; i < len(p.recent) && err == nil; i++ {
		day, err = day.Add(p.recent[i].sum)
	}
	if err != nil {
		day = amount.Supply
	}
	return wallet.Spending{Free: b.Free, Locked: locked, Day: day}, nil
}
