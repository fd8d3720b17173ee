package ledgerd

import (
	"errors"
	"math"
	"slices"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// book checks one transaction against the auditor's books and enters it.
func (a *auditor) book(tx *ledger.Tx, id ledger.TxID) error {
	in, err := a.inputs(tx)
	if err != nil {
		return err
	}
	out, err := sumOutputs(tx)
	if err != nil {
		return err
	}
	switch tx.Kind {
	case ledger.Transfer:
		if in != out {
			return errors.New("a transfer does not balance")
		}
	case ledger.Redeem:
		if tx.Reference.Amount <= 0 || tx.Reference.Amount > in || in-tx.Reference.Amount != out {
			return errors.New("a redeem does not balance")
		}
		a.report.Burned += tx.Reference.Amount
	case ledger.Mint:
		if len(tx.Inputs) != 0 || a.deposits[tx.Reference] {
			return errors.New("a mint has inputs or uses a deposit again")
		}
		if out > math.MaxInt64-a.report.Minted || a.report.Minted+out-a.report.Burned > amount.Supply {
			return errors.New("a mint exceeds the supply")
		}
		a.deposits[tx.Reference] = true
		a.report.Minted += out
	}
	if err := a.witnesses(tx); err != nil {
		return err
	}
	if tx.LockTime > a.report.LedgerTime {
		return a.park(tx)
	}
	a.move(tx, id)
	return nil
}

// inputs returns the sum of the inputs, each of which must be unspent.
func (a *auditor) inputs(tx *ledger.Tx) (amount.Amount, error) {
	var sum amount.Amount
	for i, o := range tx.Inputs {
		coin, ok := a.coins[o]
		if !ok || slices.Contains(tx.Inputs[:i], o) {
			return 0, errors.New("an input does not exist or is spent")
		}
		if a.releases[o] > a.report.LedgerTime {
			return 0, errors.New("a coin of the genesis is spent before its release")
		}
		var err error
		if sum, err = sum.Add(coin.Amount); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

func sumOutputs(tx *ledger.Tx) (amount.Amount, error) {
	var sum amount.Amount
	for _, out := range tx.Outputs {
		if out.Amount <= 0 {
			return 0, errors.New("an output holds nothing")
		}
		var err error
		if sum, err = sum.Add(out.Amount); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// park enters a transaction that waits for its lock time (LR4, LR5).
func (a *auditor) park(tx *ledger.Tx) error {
	if tx.Kind != ledger.Transfer || len(tx.Inputs) != 1 || a.coins[tx.Inputs[0]].Lock.Kind != ledger.JointLock {
		return errors.New("a transaction waits that must not")
	}
	if old := a.slots[tx.Inputs[0]]; old != nil && tx.Sequence <= old.Sequence {
		return errors.New("an older transaction replaces a newer one")
	}
	a.slots[tx.Inputs[0]] = tx
	return nil
}

// move takes the inputs out of the books and enters the outputs.
func (a *auditor) move(tx *ledger.Tx, id ledger.TxID) {
	for _, o := range tx.Inputs {
		delete(a.coins, o)
		delete(a.slots, o)
	}
	for i, out := range tx.Outputs {
		a.coins[ledger.OutPoint{TxID: id, Index: uint16(i)}] = out
	}
}

// witnesses gathers the signatures that tx needs: one witness for each distinct
// lock of its inputs, in order of first use, or the operators' of a mint.
func (a *auditor) witnesses(tx *ledger.Tx) error {
	if tx.Kind == ledger.Mint {
		return a.mintWitness(tx)
	}
	var locks []ledger.Lock
	seen := map[ledger.Lock]bool{}
	for _, o := range tx.Inputs {
		if lock := a.coins[o].Lock; !seen[lock] {
			seen[lock] = true
			locks = append(locks, lock)
		}
	}
	if len(locks) != len(tx.Witnesses) {
		return errors.New("witnesses do not fit the inputs")
	}
	for i, lock := range locks {
		w := &tx.Witnesses[i]
		var keys []ledger.PublicKey
		switch {
		case lock.Kind == ledger.AddressLock && len(w.Keys) == 1 && w.Keys[0].Address() == lock.Address:
			keys = w.Keys
		case lock.Kind == ledger.JointLock && len(w.Keys) == 0:
			keys = []ledger.PublicKey{lock.K1, lock.K2}
		}
		if len(keys) == 0 || len(keys) != len(w.Signatures) {
			return errors.New("a witness does not fit its lock")
		}
		a.gather(tx.Digest(a.report.Network, lock), keys, w.Signatures)
	}
	return nil
}

func (a *auditor) mintWitness(tx *ledger.Tx) error {
	p := &a.genesis.Params
	if p.Threshold == 0 || len(tx.Witnesses) != 1 || len(tx.Witnesses[0].Keys) != p.Threshold || len(tx.Witnesses[0].Signatures) != p.Threshold {
		return errors.New("a mint is not signed by enough operators")
	}
	w := &tx.Witnesses[0]
	for i, k := range w.Keys {
		if !slices.Contains(p.Operators, k) || slices.Contains(w.Keys[:i], k) {
			return errors.New("a mint is signed by a key that is no operator's, or twice by one")
		}
	}
	a.gather(tx.Digest(a.report.Network, ledger.Lock{Kind: ledger.OperatorLock}), w.Keys, w.Signatures)
	return nil
}

func (a *auditor) gather(digest [32]byte, keys []ledger.PublicKey, signatures []ledger.Signature) {
	for i, k := range keys {
		a.checks = append(a.checks, ledger.SignatureCheck{Key: k, Digest: digest, Signature: signatures[i]})
	}
}
