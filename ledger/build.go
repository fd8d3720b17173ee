package ledger

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bttnet/btt/amount"
)

// ErrSigner means that no given signer fits a lock.
var ErrSigner = errors.New("no key given for the lock")

// NewTransfer returns an unsigned transfer without lock time.
func NewTransfer(inputs []OutPoint, outputs []Output) *Tx {
	return &Tx{Kind: Transfer, Inputs: slices.Clone(inputs), Outputs: slices.Clone(outputs)}
}

// FundingTx returns the unsigned T1 of a channel (R11.4): it spends coins,
// output 0 locks deposit to both keys, output 1 returns the change if there is
// any. The error wraps amount.ErrRange when the coins hold less than deposit.
// The change must be 0 or at least Params.MinOutput to be accepted.
func FundingTx(coins []Coin, deposit amount.Amount, k1, k2 PublicKey, change Address) (*Tx, error) {
	var total amount.Amount
	var err error
	t := &Tx{Kind: Transfer, Outputs: []Output{{deposit, Joint(k1, k2)}}}
	for i := range coins {
		t.Inputs = append(t.Inputs, coins[i].OutPoint)
		if total, err = total.Add(coins[i].Amount); err != nil {
			return nil, fmt.Errorf("build funding transaction: %w", err)
		}
	}
	rest, err := total.Sub(deposit)
	if err != nil {
		return nil, fmt.Errorf("build funding transaction: coins hold %s of %s: %w", total, deposit, err)
	}
	if rest > 0 {
		t.Outputs = append(t.Outputs, Output{rest, PayTo(change)})
	}
	return t, nil
}

// RefundTx returns the unsigned T2 of a channel (R11.5): the whole deposit in
// output funding goes to the payer when ledger time reaches lockTime;
// sequence 0, so that every T3 wins over it.
func RefundTx(funding OutPoint, deposit amount.Amount, payer Address, lockTime uint64) *Tx {
	return &Tx{
		Kind: Transfer, LockTime: lockTime, Inputs: []OutPoint{funding},
		Outputs: []Output{{deposit, PayTo(payer)}},
	}
}

// Settlement describes the T3 of a channel (R11.10 to R11.12).
type Settlement struct {
	Funding  OutPoint      // output 0 of T1
	Deposit  amount.Amount // its amount
	Paid     amount.Amount // cumulative sum owed to the payee, at most Deposit
	Payer    Address
	Payee    Address
	Sequence uint32 // at least 1
	// LockTime is 0 for a close. A payee may park a checkpoint (LR5) as
	// insurance against its own failure; its lock time must be at least one
	// clamp before the refund's, since the refund, once final, is taken before
	// what is parked (LR7).
	LockTime uint64
	// MinOutput is Params.MinOutput: a share under it cannot be an output, so
	// it goes to the other side. 0 keeps the exact shares.
	MinOutput amount.Amount
}

// SettlementTx returns the unsigned T3: the payer's share first, the payee's
// second, a zero share omitted. Both sides build it from the same numbers, so
// only the signature and the increment travel (R11.13).
func SettlementTx(s Settlement) (*Tx, error) {
	rest, err := s.Deposit.Sub(s.Paid)
	if err != nil {
		return nil, fmt.Errorf("build settlement: %s paid of a deposit of %s: %w", s.Paid, s.Deposit, err)
	}
	if s.Sequence == 0 {
		return nil, errors.New("build settlement: sequence 0 belongs to the refund; start at 1")
	}
	paid := s.Paid
	switch {
	case s.Deposit < s.MinOutput || s.Deposit == 0:
		return nil, fmt.Errorf("build settlement: deposit %s is under the smallest output: %w", s.Deposit, amount.ErrRange)
	case paid < s.MinOutput && rest > 0:
		paid, rest = 0, s.Deposit
	case rest < s.MinOutput:
		paid, rest = s.Deposit, 0
	}
	t := &Tx{Kind: Transfer, Sequence: s.Sequence, LockTime: s.LockTime, Inputs: []OutPoint{s.Funding}}
	if rest > 0 {
		t.Outputs = append(t.Outputs, Output{rest, PayTo(s.Payer)})
	}
	if paid > 0 {
		t.Outputs = append(t.Outputs, Output{paid, PayTo(s.Payee)})
	}
	return t, nil
}

// MintTx returns the unsigned mint of a deposit; the operators sign it for
// Lock{Kind: OperatorLock}.
func MintTx(d Deposit, outputs []Output) *Tx {
	return &Tx{Kind: Mint, Outputs: slices.Clone(outputs), Reference: Reference{Chain: d.Chain, Index: d.Index}}
}

// RedeemTx returns the unsigned redeem of sum to a TRON address; outputs take
// the change.
func RedeemTx(inputs []OutPoint, payee Address, sum amount.Amount, outputs ...Output) *Tx {
	return &Tx{
		Kind: Redeem, Inputs: slices.Clone(inputs), Outputs: slices.Clone(outputs),
		Reference: Reference{Payee: payee, Amount: sum},
	}
}

// AddressWitness returns the witness of an address lock.
func AddressWitness(key PublicKey, sig Signature) Witness {
	return Witness{Keys: []PublicKey{key}, Signatures: []Signature{sig}}
}

// JointWitness returns the witness of a joint lock from K1's and K2's
// signatures over Digest.
func JointWitness(sig1, sig2 Signature) Witness {
	return Witness{Signatures: []Signature{sig1, sig2}}
}

// Sign appends to tx the witness of one lock, made by those of signers that
// fit it: the address' key; K1's and K2's; or, for a mint
// (Lock{Kind: OperatorLock}), all signers as operators. Call it once per
// distinct lock in order of first use by the inputs, after the body is
// complete. The error wraps ErrSigner when a key is missing.
func Sign(tx *Tx, net Network, lock Lock, signers ...Signer) error {
	digest := tx.Digest(net, lock)
	var w Witness
	var err error
	switch lock.Kind {
	case AddressLock:
		w, err = signKeys(digest, signers, true, func(s Signer) bool { return s.PublicKey().Address() == lock.Address })
	case JointLock:
		for _, key := range []PublicKey{lock.K1, lock.K2} {
			var one Witness
			if one, err = signKeys(digest, signers, true, func(s Signer) bool { return s.PublicKey() == key }); err != nil {
				break
			}
			w.Signatures = append(w.Signatures, one.Signatures...)
		}
	case OperatorLock:
		sorted := slices.Clone(signers)
		slices.SortFunc(sorted, func(a, b Signer) int {
			ka, kb := a.PublicKey(), b.PublicKey()
			return slices.Compare(ka[:], kb[:])
		})
		w, err = signKeys(digest, sorted, false, func(Signer) bool { return true })
	default:
		err = ErrSigner
	}
	if err != nil {
		return fmt.Errorf("sign %s for lock kind %d: %w", tx.Kind, lock.Kind, err)
	}
	tx.Witnesses = append(tx.Witnesses, w)
	return nil
}

// signKeys signs with the first (one) or all signers that fit.
func signKeys(digest [32]byte, signers []Signer, one bool, fits func(Signer) bool) (Witness, error) {
	var w Witness
	for _, s := range signers {
		if !fits(s) {
			continue
		}
		sig, err := s.Sign(digest)
		if err != nil {
			return Witness{}, err
		}
		w.Keys = append(w.Keys, s.PublicKey())
		w.Signatures = append(w.Signatures, sig)
		if one {
			return w, nil
		}
	}
	if len(w.Keys) == 0 {
		return Witness{}, ErrSigner
	}
	return w, nil
}

// SignInputs replaces the witnesses of tx with one for each distinct lock of
// coins, which are those its inputs name, in the same order.
func SignInputs(tx *Tx, net Network, coins []Coin, signers ...Signer) error {
	if len(coins) != len(tx.Inputs) {
		return fmt.Errorf("sign %s: %d coins for %d inputs", tx.Kind, len(coins), len(tx.Inputs))
	}
	tx.Witnesses = nil
	for i := range coins {
		if coins[i].OutPoint != tx.Inputs[i] {
			return fmt.Errorf("sign %s: coin %d is not its input", tx.Kind, i)
		}
		lock := coins[i].Lock
		if slices.ContainsFunc(coins[:i], func(c Coin) bool { return c.Lock == lock }) {
			continue
		}
		if err := Sign(tx, net, lock, signers...); err != nil {
			return err
		}
	}
	return nil
}
