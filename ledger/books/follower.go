package books

import (
	"errors"
	"fmt"

	"github.com/bttnet/btt/ledger"
)

// ErrOlder means a head of fewer blocks than one seen before: the ledger was put
// back, or somebody answers in its place. It is no evidence: both heads may be
// of one history.
var ErrOlder = errors.New("the ledger shows an older history than it signed before")

// ForkError says that the operator signed two histories. Evidence shows it to
// anybody.
type ForkError struct{ Evidence Document }

// Error says what happened and what to do.
func (e *ForkError) Error() string {
	return fmt.Sprintf("operator %s of ledger %s signed two different histories; pay nothing through it and publish the evidence", e.Evidence.Operator, e.Evidence.Network)
}

// Follower remembers the newest head of a ledger and accepts only what continues
// it. It belongs to one goroutine; the caller keeps Note between runs.
type Follower struct {
	network  ledger.Network
	operator ledger.PublicKey
	head     Head
	note     string
}

// NewFollower returns a follower that has seen the head in note; "" means none.
// Errors wrap ErrHead.
func NewFollower(net ledger.Network, operator ledger.PublicKey, note string) (*Follower, error) {
	f := &Follower{network: net, operator: operator}
	if note == "" {
		return f, nil
	}
	var err error
	if f.head, err = OpenHead(note, net, operator); err != nil {
		return nil, err
	}
	f.note = note
	return f, nil
}

// Head returns the newest head seen; zero when there is none.
func (f *Follower) Head() Head { return f.head }

// Note returns the newest head as it was signed; "" when there is none.
func (f *Follower) Note() string { return f.note }

// Operator returns the key whose heads are followed.
func (f *Follower) Operator() ledger.PublicKey { return f.operator }

// Extend takes a head that continues the newest one. A *ForkError means that it
// does not, with evidence. Other errors prove nothing: ErrHead (not signed by the
// operator), ErrOlder, ErrProof. After an error the follower is unchanged.
func (f *Follower) Extend(x *Extension) error {
	head, err := OpenHead(x.Head, f.network, f.operator)
	if err != nil {
		return err
	}
	switch {
	case head.Size < f.head.Size:
		return fmt.Errorf("%w: %d blocks, %d before", ErrOlder, head.Size, f.head.Size)
	case head.Size == f.head.Size && f.note != "":
		if head.Root != f.head.Root {
			return f.fork(x)
		}
		return nil
	case f.head.Size > 0:
		if x.From != f.head.Size {
			return fmt.Errorf("%w: it starts at %d blocks, %d are known", ErrProof, x.From, f.head.Size)
		}
		old, root, err := CheckPrefix(x.Prefix, x.From, head.Size)
		if err != nil {
			return err
		}
		if root != head.Root {
			return fmt.Errorf("%w: it does not lead to the head", ErrProof)
		}
		if old != f.head.Root {
			return f.fork(x)
		}
	}
	f.head, f.note = head, x.Head
	return nil
}

// Include takes a proof for transaction id: its head must continue the newest one
// and hold the transaction. It returns the block's header.
func (f *Follower) Include(p *Proof, id ledger.TxID) (ledger.Header, error) {
	if p.TxID != id {
		return ledger.Header{}, fmt.Errorf("%w: it is for transaction %s", ErrProof, p.TxID)
	}
	if err := f.Extend(&p.Extension); err != nil {
		return ledger.Header{}, err
	}
	return p.include(f.head)
}

func (f *Follower) fork(x *Extension) error {
	return &ForkError{Evidence: Document{
		Kind: KindFork, Network: f.network, Operator: f.operator,
		Fork: &Fork{Old: f.note, New: x.Head, Prefix: x.Prefix},
	}}
}
