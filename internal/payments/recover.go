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
	byID := make(map[channel.ID]*channel.Snapshot)
	pays := make(map[channel.ID][]channel.Record)
	var order []channel.ID
	path := filepath.Join(b.cfg.Dir, journalName)
	rest, err := readJournal(path, func(r channel.Record) error {
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
			order = append(order, id)
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
		return nil, fmt.Errorf("open payments: %w", err)
	}
	var live []*channel.Snapshot
	var records []channel.Record
	if drop := len(order) - MaxHistory; drop > 0 {
		order = dropFinal(order, byID, drop)
	}
	for _, id := range order {
		s := byID[id]
		for list := pays[id]; len(list) > 0; list = list[:len(list)-1] {
			if s.Apply(list[len(list)-1]) == nil {
				break // the newest that verifies
			}
		}
		b.statements.put(Summary{Channel: id, Role: s.Role, Account: s.Account(), Deposit: s.Contract.Deposit,
			Paid: s.Best.Amount, Stage: s.Stage, LockTime: s.Contract.LockTime, Funding: s.Contract.Funding})
		if s.Stage.Final() {
			s.T1, s.Lanes = nil, nil
		} else {
			live = append(live, s)
		}
		records = append(records, channel.Record{Snapshot: s})
	}
	b.journal, err = newJournal(b.cfg.Dir, records, rest)
	return live, err
}

// dropFinal forgets the oldest ended channels beyond the limit.
func dropFinal(order []channel.ID, byID map[channel.ID]*channel.Snapshot, drop int) []channel.ID {
	kept := order[:0]
	for _, id := range order {
		if drop > 0 && byID[id].Stage.Final() {
			drop--
			continue
		}
		kept = append(kept, id)
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
	p.postWait(op{kind: opRestore, snapshot: s, signer: signer})
	b.drop(p)
}
