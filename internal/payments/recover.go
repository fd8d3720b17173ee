package payments

import (
	"fmt"
	"path/filepath"

	"github.com/bttnet/btt/channel"
)

// keepPays is how many of a channel's newest payment records recovery looks
// at: the last may be torn in meaning (its signature does not verify), those
// before it were answered.
const keepPays = 4

// recover reads the journal, keeps one snapshot for each channel, and writes
// a compact journal. It returns the live channels.
func (b *Book) recover() ([]*channel.Snapshot, error) {
	list, rest, err := readChannels(filepath.Join(b.cfg.Dir, journalName))
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
	b.journal, err = newJournal(b.cfg.Dir, records, rest)
	if err == nil && b.cfg.datasync != nil {
		b.journal.mu.Lock()
		b.journal.sync = b.cfg.datasync
		b.journal.mu.Unlock()
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

// readChannels reads a journal and returns the newest state of each channel, in
// order of opening. rest is set when something behind the last whole record
// could not be read.
func readChannels(path string) (list []*channel.Snapshot, rest bool, err error) {
	byID := make(map[channel.ID]*channel.Snapshot)
	pays := make(map[channel.ID][]channel.Record)
	rest, err = readJournal(path, func(r channel.Record) error {
		id := r.ID()
		s := byID[id]
		switch {
		case r.Pay != nil && s != nil:
			if list := append(pays[id], r); len(list) > keepPays {
				pays[id] = append(list[:0], list[1:]...)
			} else {
				pays[id] = list
			}
		case r.Snapshot != nil && s == nil:
			byID[id] = r.Snapshot
			list = append(list, r.Snapshot)
		case r.Snapshot != nil:
			best := s.Best
			*s = *r.Snapshot
			if best.Sequence > s.Best.Sequence {
				s.Best = best
			}
		case s != nil:
			return s.Apply(r)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	for _, s := range list {
		for p := pays[s.Contract.ID()]; len(p) > 0; p = p[:len(p)-1] {
			if s.Apply(p[len(p)-1]) == nil {
				break // the newest that verifies
			}
		}
	}
	return list, rest, nil
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
