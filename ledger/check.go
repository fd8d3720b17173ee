package ledger

import (
	"bytes"
	"slices"

	"github.com/bttnet/btt/amount"
)

// CheckShape checks what needs no state: counts, ranges, kinds, duplicates,
// minimum outputs, partial sums and 2-of-2 keys. It returns nil or the reason
// for refusal.
func CheckShape(tx *Tx, p *Params) *Rejection {
	if len(tx.Inputs) > MaxInputs || len(tx.Outputs) > MaxOutputs || len(tx.Witnesses) > MaxInputs {
		return refuse(CodeOversized, "%d inputs, %d outputs, %d witnesses", len(tx.Inputs), len(tx.Outputs), len(tx.Witnesses))
	}
	if rej := checkKind(tx, p); rej != nil {
		return rej
	}
	if encodedSize(tx) > MaxTxBytes {
		return refuse(CodeOversized, "more than %d bytes", MaxTxBytes)
	}
	if repeated(tx.Inputs) {
		return refuse(CodeDuplicate, "an input is named twice")
	}
	for i := range tx.Inputs {
		if tx.Inputs[i].Shard != 0 {
			return refuse(CodeMalformed, "input %d is on shard %d", i, tx.Inputs[i].Shard)
		}
	}
	return checkOutputs(tx, p)
}

// checkKind checks the fields that each kind may use.
func checkKind(tx *Tx, p *Params) *Rejection {
	ref := tx.Reference
	switch tx.Kind {
	case Transfer:
		if len(tx.Inputs) == 0 || len(tx.Outputs) == 0 || ref != (Reference{}) {
			return refuse(CodeMalformed, "a transfer has inputs, outputs and no reference")
		}
		return nil
	case Mint:
		if len(tx.Inputs) != 0 || len(tx.Outputs) == 0 || !ref.Payee.IsZero() || ref.Amount != 0 || tx.Sequence != 0 {
			return refuse(CodeMalformed, "a mint has outputs and a deposit, no inputs, payee, amount or sequence")
		}
	case Redeem:
		if len(tx.Inputs) == 0 || ref.Chain != [32]byte{} || ref.Index != 0 || ref.Payee.IsZero() || tx.Sequence != 0 {
			return refuse(CodeMalformed, "a redeem has inputs, a payee and an amount, no deposit or sequence")
		}
		if rej := checkAmount(ref.Amount, p); rej != nil {
			return rej
		}
	default:
		return refuse(CodeMalformed, "unknown transaction %s", tx.Kind)
	}
	if tx.LockTime != 0 {
		return refuse(CodeNotFinal, "a %s cannot have a lock time", tx.Kind)
	}
	return nil
}

func checkAmount(a amount.Amount, p *Params) *Rejection {
	switch {
	case a <= 0:
		return refuse(CodeNegative, "%d micro-BTT", int64(a))
	case a > amount.Supply:
		return refuse(CodeOverflow, "%s is above the supply", a)
	case a < p.MinOutput:
		return refuse(CodeDust, "%s is under the smallest output of %s", a, p.MinOutput)
	}
	return nil
}

// checkOutputs checks amounts, their sum with a redeem's amount, and locks.
func checkOutputs(tx *Tx, p *Params) *Rejection {
	total := tx.Reference.Amount
	for i := range tx.Outputs {
		o := &tx.Outputs[i]
		if rej := checkAmount(o.Amount, p); rej != nil {
			return rej
		}
		var err error
		if total, err = total.Add(o.Amount); err != nil {
			return refuse(CodeOverflow, "outputs sum above the supply")
		}
		switch o.Lock.Kind {
		case AddressLock:
			if !o.Lock.K1.IsZero() || !o.Lock.K2.IsZero() {
				return refuse(CodeMalformed, "output %d has an address lock with keys", i)
			}
		case JointLock:
			if o.Lock.Address != (Address{}) {
				return refuse(CodeMalformed, "output %d has a joint lock with an address", i)
			}
			if !o.Lock.K1.Valid() || !o.Lock.K2.Valid() {
				return refuse(CodeKey, "output %d is locked to a key that does not exist", i)
			}
		default:
			return refuse(CodeMalformed, "output %d has lock kind %d", i, o.Lock.Kind)
		}
	}
	return nil
}

func encodedSize(tx *Tx) int {
	n := 64 + len(tx.Inputs)*outPointSize
	for i := range tx.Outputs {
		n += 8 + 21
		if tx.Outputs[i].Lock.Kind == JointLock {
			n += 66 - 20
		}
	}
	for i := range tx.Witnesses {
		n += 2 + 33*len(tx.Witnesses[i].Keys) + 65*len(tx.Witnesses[i].Signatures)
	}
	return n
}

func repeated(list []OutPoint) bool {
	if len(list) < 2 {
		return false
	}
	if len(list) <= 8 {
		for i := range list {
			if slices.Contains(list[:i], list[i]) {
				return true
			}
		}
		return false
	}
	sorted := slices.SortedFunc(slices.Values(list), OutPoint.Compare)
	return len(slices.Compact(sorted)) != len(list)
}

// matchWitnesses appends the signature checks of tx to list: exactly one
// witness for each distinct lock of coins in order of first use, or the
// operators' for a mint.
func matchWitnesses(tx *Tx, net Network, coins []Coin, p *Params, body [32]byte, list []SignatureCheck) ([]SignatureCheck, *Rejection) {
	if tx.Kind == Mint {
		return matchOperators(tx, net, p, body, list)
	}
	next := 0
	var seen map[Lock]struct{}
	if len(coins) > 8 {
		seen = make(map[Lock]struct{}, len(coins))
	}
	for i := range coins {
		lock := coins[i].Lock
		if seen != nil {
			if _, ok := seen[lock]; ok {
				continue
			}
			seen[lock] = struct{}{}
		} else if slices.ContainsFunc(coins[:i], func(c Coin) bool { return c.Lock == lock }) {
			continue
		}
		if next >= len(tx.Witnesses) {
			return list, refuse(CodeWitness, "a lock of input %d has no witness", i)
		}
		w := &tx.Witnesses[next]
		next++
		var rej *Rejection
		if list, rej = matchLock(w, lock, spendDigest(net, body, lock), list); rej != nil {
			return list, rej
		}
	}
	if next != len(tx.Witnesses) {
		return list, refuse(CodeWitness, "%d witnesses for %d locks", len(tx.Witnesses), next)
	}
	return list, nil
}

func matchLock(w *Witness, lock Lock, digest [32]byte, list []SignatureCheck) ([]SignatureCheck, *Rejection) {
	switch lock.Kind {
	case AddressLock:
		if len(w.Keys) != 1 || len(w.Signatures) != 1 {
			return list, refuse(CodeWitness, "an address lock takes one key and one signature")
		}
		if a, ok := w.Keys[0].address(); !ok || a != lock.Address {
			return list, refuse(CodeWitness, "key %s is not that of %s", w.Keys[0], lock.Address)
		}
		return append(list, SignatureCheck{w.Keys[0], digest, w.Signatures[0]}), nil
	case JointLock:
		if len(w.Keys) != 0 || len(w.Signatures) != 2 {
			return list, refuse(CodeWitness, "a joint lock takes two signatures and no keys")
		}
		return append(list, SignatureCheck{lock.K1, digest, w.Signatures[0]}, SignatureCheck{lock.K2, digest, w.Signatures[1]}), nil
	}
	return list, refuse(CodeWitness, "lock kind %d cannot be spent", lock.Kind)
}

func matchOperators(tx *Tx, net Network, p *Params, body [32]byte, list []SignatureCheck) ([]SignatureCheck, *Rejection) {
	if p.Threshold == 0 {
		return list, refuse(CodeWitness, "this network has no operators, so nothing can be minted")
	}
	if len(tx.Witnesses) != 1 || len(tx.Witnesses[0].Keys) != p.Threshold || len(tx.Witnesses[0].Signatures) != p.Threshold {
		return list, refuse(CodeWitness, "a mint takes %d operators' keys and signatures", p.Threshold)
	}
	w := &tx.Witnesses[0]
	digest := spendDigest(net, body, Lock{Kind: OperatorLock})
	for i, key := range w.Keys {
		if !slices.Contains(p.Operators, key) {
			return list, refuse(CodeWitness, "key %s is no operator's", key)
		}
		if i > 0 && bytes.Compare(w.Keys[i-1][:], key[:]) >= 0 {
			return list, refuse(CodeWitness, "operators' keys are not in ascending order")
		}
		list = append(list, SignatureCheck{key, digest, w.Signatures[i]})
	}
	return list, nil
}
