package btt

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// ExportWallet reads what a backup of the wallet in home holds: the phrase, the
// limits, the movements and every channel that is not over. It writes nothing
// and may run beside the node. Seal it with [wallet.SealBackup].
func ExportWallet(home, password string, now time.Time) (*wallet.Backup, error) {
	b, err := purse.Export(filepath.Join(home, walletDir), password, now)
	if err != nil {
		return nil, err
	}
	list, err := payments.ReadChannels(filepath.Join(home, channelsDir))
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		if !s.Stage.Final() {
			r := channel.Record{Snapshot: s}
			b.Channels = append(b.Channels, r.Append(nil))
		}
	}
	return b, nil
}

// RestoreConfig makes a wallet again.
type RestoreConfig struct {
	Home string
	// Backup is what [ExportWallet] gave; or, without one, Phrase.
	Backup   *wallet.Backup
	Phrase   string
	Password string        // of the new wallet; "" = a key file
	Ledger   ledger.Client // to compare with
	// Rehearse compares and reports but writes nothing.
	Rehearse bool
	Now      func() time.Time
	Entropy  io.Reader
}

// Restored is what a restore found.
type Restored struct {
	Address ledger.Address
	Ledger  purse.Found
	// Channels are those of the backup that were open, as they are now.
	Channels []Channel
	// Lost are deposits on the ledger of which the backup knows nothing: only
	// the provider's settlement brings them back.
	Lost []purse.FoundChannel
}

// RestoreWallet makes a wallet from a backup or from its phrase, compares it
// with the ledger, and takes back what is due: channels that were settled or
// whose lock is over. The folder must hold no wallet.
func RestoreWallet(ctx context.Context, cfg RestoreConfig) (Restored, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	b := cfg.Backup
	if b == nil {
		b = &wallet.Backup{Version: 1, Phrase: wallet.Normalize(cfg.Phrase), Limits: wallet.DefaultBudget()}
	}
	if err := b.Check(); err != nil && cfg.Backup != nil {
		return Restored{}, err
	}
	account, err := purse.AccountOf(b.Phrase)
	if err != nil {
		return Restored{}, err
	}
	channels, err := decodeChannels(b.Channels)
	if err != nil {
		return Restored{}, err
	}
	dir := filepath.Join(cfg.Home, walletDir)
	if !cfg.Rehearse && purse.Exists(dir) {
		return Restored{}, purse.ErrExists
	}
	out := Restored{Address: account.Address()}
	if out.Ledger, err = purse.Scan(ctx, b.Phrase, cfg.Ledger); err != nil {
		return out, err
	}
	out.Lost = unknown(out.Ledger.Channels, channels)
	if cfg.Rehearse {
		out.Channels, err = compare(ctx, &cfg, channels)
		return out, err
	}
	if err := payments.WriteChannels(filepath.Join(cfg.Home, channelsDir), channels); err != nil {
		return out, err
	}
	if err := purse.Import(dir, b, cfg.Password, out.Ledger.NextKey, cfg.Entropy); err != nil {
		return out, err
	}
	out.Channels, err = attendAll(ctx, &cfg, channels)
	return out, err
}

func decodeChannels(records [][]byte) ([]*channel.Snapshot, error) {
	var list []*channel.Snapshot
	for _, raw := range records {
		r, err := channel.DecodeRecord(raw)
		if err != nil {
			return nil, fmt.Errorf("read backup: %w", err)
		}
		if r.Snapshot == nil {
			return nil, fmt.Errorf("read backup: %w", channel.ErrRecord)
		}
		list = append(list, r.Snapshot)
	}
	return list, nil
}

// unknown are the deposits of which a backup holds no record.
func unknown(found []purse.FoundChannel, known []*channel.Snapshot) (lost []purse.FoundChannel) {
	ids := make(map[channel.ID]bool)
	for _, s := range known {
		ids[s.Contract.ID()] = true
	}
	for _, f := range found {
		if !ids[f.ID] {
			lost = append(lost, f)
		}
	}
	return lost
}

// compare tells what became of the channels of a backup, changing nothing.
func compare(ctx context.Context, cfg *RestoreConfig, list []*channel.Snapshot) ([]Channel, error) {
	status, err := cfg.Ledger.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask ledger: %w", err)
	}
	w := &Wallet{cfg: WalletConfig{Now: cfg.Now}}
	var out []Channel
	for _, s := range list {
		state, err := cfg.Ledger.Outpoint(ctx, s.Contract.Funding)
		if err != nil {
			return nil, fmt.Errorf("look up channel: %w", err)
		}
		c := w.describe(s, &status)
		if state.Status == ledger.OutpointSpent {
			c.Stage = channel.Settled
			if state.By == s.Contract.Refund().ID(s.Contract.Network) {
				c.Stage = channel.Refunded
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// attendAll looks after each restored channel once.
func attendAll(ctx context.Context, cfg *RestoreConfig, list []*channel.Snapshot) ([]Channel, error) {
	w, err := OpenWallet(WalletConfig{Home: cfg.Home, Password: cfg.Password, Ledger: cfg.Ledger, Now: cfg.Now})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	var out []Channel
	for _, s := range list {
		if s.Role == channel.RolePayee {
			// Its payer may hold newer payments: those come before a settlement.
			out = append(out, w.describe(s, w.status(ctx)))
			continue
		}
		c, err := w.Settle(ctx, s.Contract.ID())
		if err != nil && c.ID != s.Contract.ID() {
			return out, err
		}
		out = append(out, c)
	}
	return out, nil
}
