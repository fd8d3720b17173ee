package payments

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/chanlog"
	"github.com/bttnet/btt/ledger"
)

// recover reads the journal, keeps one snapshot for each channel, and writes
// a compact journal. It returns the live channels.
func (b *Book) recover() ([]*channel.Snapshot, error) {
	list, rest, err := chanlog.Read(b.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open payments: %w", err)
	}
	var live []*channel.Snapshot
	var records []channel.Record
	if drop := len(list) - MaxHistory; drop > 0 {
		list = dropFinal(list, drop)
	}
	for _, s := range list {
		b.statements.put(SummaryOf(s))
		if s.Stage.Final() {
			s.T1, s.Lanes = nil, nil
		} else {
			live = append(live, s)
		}
		records = append(records, channel.Record{Snapshot: s})
	}
	b.journal, err = chanlog.Create(b.cfg.Dir, records, rest)
	if err == nil && b.cfg.datasync != nil {
		b.journal.SetSync(b.cfg.datasync)
	}
	return live, err
}

// SummaryOf is the statement of a channel as its records tell it.
func SummaryOf(s *channel.Snapshot) Summary {
	paid := s.Best.Amount
	if s.Stage == channel.Settled {
		paid = s.Contract.Payout(paid) // statements say what the ledger moved
	}
	return Summary{Channel: s.Contract.ID(), Role: s.Role, Account: s.Account(), Deposit: s.Contract.Deposit,
		Paid: paid, Stage: s.Stage, LockTime: s.Contract.LockTime, Funding: s.Contract.Funding}
}

// dropFinal forgets the oldest ended channels beyond the limit.
func dropFinal(list []*channel.Snapshot, drop int) []*channel.Snapshot {
	kept := list[:0]
	for _, s := range list {
		if drop > 0 && s.Stage.Final() {
			drop--
			continue
		}
		kept = append(kept, s)
	}
	return kept
}

// restore hands a live channel to its pair.
func (b *Book) restore(s *channel.Snapshot) {
	signer, err := b.cfg.Purse.ChannelKey(s.KeyIndex)
	if err == nil && signer.PublicKey() != s.OwnKey() {
		err = fmt.Errorf("the wallet's key %d is another one", s.KeyIndex)
	}
	if err != nil {
		b.cfg.Notify(Event{Kind: EventFault, Role: s.Role, Account: s.Account(), Channel: s.Contract.ID(),
			Reason: "restore channel key: " + err.Error() + "; open the wallet that the channel was made with"})
		return
	}
	p := b.pair(s.Account(), s.Role)
	if p == nil {
		return
	}
	// Known before the first message can come; handled before it, too.
	b.claim(&s.Contract, p)
	p.postAlways(op{kind: opRestore, snapshot: s, signer: signer})
	b.drop(p)
}

// ErrNoChannel says that a journal holds no live channel of an id.
var ErrNoChannel = errors.New("no such channel is open; see: btt channel list")

// maxTurns bounds how often one Attend asks the ledger.
const maxTurns = 16

// ReadChannels returns the newest durable state of each channel in a Book's
// directory, in order of opening; none if there is no journal. It may run
// beside the Book: what is being written meanwhile is left out.
func ReadChannels(dir string) ([]*channel.Snapshot, error) {
	list, _, err := chanlog.Read(dir)
	return list, err
}

// WriteChannels makes the journal of a directory from the channels of a backup.
// A channel that the directory knows already stays as it is there: its state is
// newer. No Book may be open.
func WriteChannels(dir string, list []*channel.Snapshot) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("restore channels: %w", err)
	}
	known, rest, err := chanlog.Read(dir)
	if err != nil {
		return fmt.Errorf("restore channels: %w", err)
	}
	seen := make(map[channel.ID]bool)
	var records []channel.Record
	for _, s := range append(known, list...) {
		if id := s.Contract.ID(); !seen[id] {
			seen[id] = true
			records = append(records, channel.Record{Snapshot: s})
		}
	}
	j, err := chanlog.Create(dir, records, rest)
	if err != nil {
		return err
	}
	return j.Close()
}

// Offline names what Attend works with. No Book may be open on Dir.
type Offline struct {
	Dir    string
	Purse  Purse
	Ledger ledger.Client
}

// attended is what Attend needs of either machine.
type attended interface {
	Ready() channel.Ready
	Stage() channel.Stage
	Snapshot() *channel.Snapshot
	Look()
	Close()
	Tick(now uint64)
	LookedUp(s ledger.OutpointState, spender *ledger.Tx, err error)
	Submitted(kind channel.TaskKind, err error, rejected bool)
}

// Attend looks after one live channel without a peer: it asks the ledger what
// became of it and, where that is due, takes the refund (R11.16) or, with
// settle, hands in the newest settlement of a channel that this node earned on
// (R11.15), or gives up a proposal that nobody funded. It returns the channel's state after it; every step is in the
// journal before it counts. Errors: ErrNoChannel, or a failure to reach the
// ledger or to write the journal.
func Attend(ctx context.Context, cfg Offline, id channel.ID, settle bool) (*channel.Snapshot, error) {
	list, rest, err := chanlog.Read(cfg.Dir)
	if err != nil {
		return nil, err
	}
	var records []channel.Record
	var found *channel.Snapshot
	for _, s := range list {
		records = append(records, channel.Record{Snapshot: s})
		if s.Contract.ID() == id && !s.Stage.Final() {
			found = s
		}
	}
	if found == nil {
		return nil, ErrNoChannel
	}
	status, err := cfg.Ledger.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask ledger: %w", err)
	}
	m, err := cfg.revive(found, &status, settle)
	if err != nil {
		return nil, err
	}
	j, err := chanlog.Create(cfg.Dir, records, rest)
	if err != nil {
		return nil, err
	}
	m.Look()
	err = cfg.drive(ctx, j, m)
	if err == nil && !m.Stage().Final() {
		if settle {
			m.Close()
		}
		m.Tick(status.LedgerTime)
		err = cfg.drive(ctx, j, m)
	}
	return m.Snapshot(), errors.Join(err, j.Close())
}

// revive makes the machine of a snapshot.
func (cfg *Offline) revive(s *channel.Snapshot, status *ledger.Status, settle bool) (attended, error) {
	if s.Contract.Network != status.Network {
		return nil, fmt.Errorf("channel %v is on another ledger (%v); name that one", s.Contract.ID(), s.Contract.Network)
	}
	signer, err := cfg.Purse.ChannelKey(s.KeyIndex)
	if err != nil {
		return nil, fmt.Errorf("find channel key: %w", err)
	}
	if signer.PublicKey() != s.OwnKey() {
		return nil, fmt.Errorf("channel %v was made by another wallet; open that one", s.Contract.ID())
	}
	if s.Role == channel.RolePayee {
		p := channel.RestorePayee(s, signer, status.LedgerTime)
		if settle {
			p.Abandon() // a proposal only: nothing can have been earned, and nobody is there to fund it
		}
		return p, nil
	}
	p := channel.RestorePayer(s, signer, status.LedgerTime)
	p.Abandon(channel.CodeClosing, "restart") // a proposal only: T1 was never shown
	return p, nil
}

// drive does what the machine wants until it wants nothing. There is no peer, so
// messages go nowhere.
func (cfg *Offline) drive(ctx context.Context, j *chanlog.Log, m attended) error {
	for range maxTurns {
		rd := m.Ready()
		if rd.Empty() {
			return nil
		}
		if len(rd.Records) > 0 {
			mark, err := j.Append(rd.Records...)
			if err == nil {
				err = j.Wait(mark)
			}
			if err != nil {
				return err
			}
		}
		for _, t := range rd.Tasks {
			if err := cfg.do(ctx, m, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// do runs one task. A failure that is no verdict of the ledger ends the drive;
// the next Attend goes on from the journal.
func (cfg *Offline) do(ctx context.Context, m attended, t channel.Task) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerWait)
	defer cancel()
	if t.Kind == channel.TaskLookup {
		b := Book{cfg: Config{Ledger: cfg.Ledger}}
		state, spender, err := b.lookup(ctx, t.Outpoint)
		m.LookedUp(state, spender, err)
		return err
	}
	receipt, err := cfg.Ledger.Submit(ctx, t.Raw)
	if err == nil && receipt.State != ledger.Committed {
		err = fmt.Errorf("transaction %v is %v", receipt.TxID, receipt.State)
	}
	verdict := rejected(err)
	m.Submitted(t.Kind, err, verdict)
	if verdict {
		return nil
	}
	return err
}
