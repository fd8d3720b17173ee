package purse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// Limits of a Scan.
const (
	scanAddresses    = 20       // of the TRON path, as other wallets look
	scanKeys         = 8 * 1024 // channel keys that are tried; each restore skips keyGap
	scanTransactions = 20_000   // looked at, newest events first to last
	scanQuiet        = 3 * time.Second
)

// Found is what a ledger holds for a recovery phrase.
type Found struct {
	Coins     int
	Sum       amount.Amount // at the wallet's address
	Elsewhere []Elsewhere   // at further addresses of the phrase, which this wallet does not use
	Channels  []FoundChannel
	NextKey   uint32 // one above the highest channel key in use
	// Incomplete says that the ledger no longer keeps all events, so that
	// channels and keys of long ago may be missing.
	Incomplete bool
}

// Elsewhere is money at another address of the same phrase.
type Elsewhere struct {
	Index   uint32
	Address ledger.Address
	Sum     amount.Amount
}

// FoundChannel is a deposit of ours that is still locked.
type FoundChannel struct {
	ID       channel.ID
	Funding  ledger.OutPoint
	Deposit  amount.Amount
	KeyIndex uint32
	Provider ledger.PublicKey // its channel key
}

// scan looks through a ledger for a wallet.
type scan struct {
	client  ledger.Client
	keys    *wallet.Wallet
	account ledger.PublicKey
	index   map[ledger.PublicKey]uint32 // channel keys, made when first needed
	seen    map[ledger.TxID]bool
	found   Found
}

// Scan compares a recovery phrase with a ledger: coins, coins at the phrase's
// other addresses, and deposits that are locked in channels. It needs nothing
// but the phrase and moves nothing.
func Scan(ctx context.Context, phrase string, client ledger.Client) (Found, error) {
	k, err := openSecret(phrase)
	if err != nil {
		return Found{}, err
	}
	s := &scan{client: client, keys: k.keys, account: k.account.PublicKey(), seen: make(map[ledger.TxID]bool)}
	if err := s.coins(ctx); err != nil {
		return Found{}, err
	}
	if err := s.history(ctx); err != nil {
		return Found{}, err
	}
	return s.found, nil
}

func (s *scan) coins(ctx context.Context) error {
	for i := range uint32(scanAddresses) {
		key, err := s.keys.Key(i)
		if err != nil {
			return err
		}
		address := key.PublicKey().Address()
		list, err := listCoins(ctx, s.client, address)
		if err != nil {
			return err
		}
		sum := amount.Amount(0)
		for _, c := range list {
			sum = plus(sum, c.Amount)
		}
		if i == 0 {
			s.found.Coins, s.found.Sum = len(list), sum
		} else if sum > 0 {
			s.found.Elsewhere = append(s.found.Elsewhere, Elsewhere{Index: i, Address: address, Sum: sum})
		}
	}
	return nil
}

// history looks at every transaction that touched the wallet's address.
func (s *scan) history(ctx context.Context) error {
	status, err := s.client.Status(ctx)
	if err != nil {
		return fmt.Errorf("purse: ask ledger: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	address := s.account.Address()
	events, err := s.client.Watch(ctx, ledger.Filter{Addresses: []ledger.Address{address}}, 0)
	if err != nil {
		s.found.Incomplete = true
		return s.walk(ctx)
	}
	quiet := time.NewTimer(scanQuiet)
	defer quiet.Stop()
	for len(s.seen) < scanTransactions {
		select {
		case e, ok := <-events:
			if !ok { // the stream broke: what came so far counts
				s.found.Incomplete = true
				return s.walk(ctx)
			}
			if err := s.look(ctx, e.TxID); err != nil {
				return err
			}
			if e.Cursor >= status.Cursor {
				return nil
			}
			quiet.Reset(scanQuiet)
		case <-quiet.C: // the rest is not about this wallet
			return nil
		case <-ctx.Done():
			return fmt.Errorf("purse: look through ledger: %w", context.Cause(ctx))
		}
	}
	s.found.Incomplete = true
	return nil
}

// walk goes back from the coins through the transactions that made them: less
// than the events tell, but no ledger forgets it.
func (s *scan) walk(ctx context.Context) error {
	coins, err := listCoins(ctx, s.client, s.account.Address())
	if err != nil {
		return err
	}
	var next []ledger.TxID
	for _, c := range coins {
		next = append(next, c.OutPoint.TxID)
	}
	for len(next) > 0 && len(s.seen) < scanTransactions {
		id := next[0]
		next = next[1:]
		if s.seen[id] {
			continue
		}
		tx, err := s.examine(ctx, id)
		if err != nil {
			return err
		}
		if tx != nil {
			for _, in := range tx.Inputs {
				next = append(next, in.TxID)
			}
		}
	}
	return nil
}

// look examines a transaction and, if it came out of a channel, that channel's
// funding: it may name a key of ours.
func (s *scan) look(ctx context.Context, id ledger.TxID) error {
	tx, err := s.examine(ctx, id)
	if err != nil || tx == nil {
		return err
	}
	if len(tx.Witnesses) == 1 && len(tx.Witnesses[0].Keys) == 0 && len(tx.Inputs) == 1 { // both keys of a channel signed it
		_, err = s.examine(ctx, tx.Inputs[0].TxID)
	}
	return err
}

// examine reads one transaction, once, for outputs locked to a channel key of
// ours.
func (s *scan) examine(ctx context.Context, id ledger.TxID) (*ledger.Tx, error) {
	if s.seen[id] {
		return nil, nil
	}
	s.seen[id] = true
	record, err := s.client.Transaction(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil // a share of the genesis
	}
	if err != nil {
		return nil, fmt.Errorf("purse: read transaction: %w", err)
	}
	tx, err := ledger.DecodeTx(record.Raw)
	if err != nil {
		return nil, fmt.Errorf("purse: read transaction %s: %w", id, err)
	}
	for i, out := range tx.Outputs {
		if out.Lock.Kind != ledger.JointLock {
			continue
		}
		if err := s.joint(ctx, out, ledger.OutPoint{TxID: id, Index: uint16(i)}); err != nil {
			return nil, err
		}
	}
	return tx, nil
}

// joint notes an output of a channel: its key if it is ours, and the deposit if
// we made it and it is still locked.
func (s *scan) joint(ctx context.Context, out ledger.Output, at ledger.OutPoint) error {
	if err := s.derive(); err != nil {
		return err
	}
	if i, ok := s.index[out.Lock.K2]; ok {
		s.found.NextKey = max(s.found.NextKey, i+1)
	}
	i, ok := s.index[out.Lock.K1]
	if !ok {
		return nil
	}
	s.found.NextKey = max(s.found.NextKey, i+1)
	state, err := s.client.Outpoint(ctx, at)
	if err != nil {
		return fmt.Errorf("purse: look up deposit: %w", err)
	}
	if state.Status == ledger.OutpointUnspent || state.Status == ledger.OutpointParked {
		s.found.Channels = append(s.found.Channels, FoundChannel{ID: channel.MakeID(at.TxID), Funding: at, Deposit: out.Amount,
			KeyIndex: i, Provider: out.Lock.K2})
	}
	return nil
}

func (s *scan) derive() error {
	if s.index != nil {
		return nil
	}
	s.index = make(map[ledger.PublicKey]uint32, scanKeys)
	for i := range uint32(scanKeys) {
		key, err := s.keys.ChannelKey(i)
		if err != nil {
			return err
		}
		s.index[key.PublicKey()] = i
	}
	return nil
}
