package channel

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// IDSize is the length of a channel id in bytes.
const IDSize = 16

// ID names a channel: the first bytes of T1's transaction id.
type ID [IDSize]byte

// String returns the id in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MakeID returns the id of the channel that T1 with this id funds.
func MakeID(t1 ledger.TxID) (id ID) {
	copy(id[:], t1[:])
	return id
}

// Tag binds a lane to what it pays for: the infohash of a torrent or the tag
// of another service.
type Tag [20]byte

// Contract is what both sides of a channel agreed on; it fixes T2 and every
// T3 byte for byte, so that only signatures and amounts travel (R11.13).
type Contract struct {
	Network   ledger.Network
	Payer     ledger.PublicKey // account of the requester; T2 and its share of T3 pay to its address
	Payee     ledger.PublicKey // account of the provider
	K1, K2    ledger.PublicKey // channel keys of payer and payee
	Funding   ledger.OutPoint  // T1's joint output
	Deposit   amount.Amount
	MinOutput amount.Amount // least output of the ledger
	LockTime  uint64        // of T2, in ledger seconds

	payerAddress, payeeAddress ledger.Address // of Payer and Payee, kept by fix
}

// fix computes the addresses once: a key's address costs a curve operation.
func (c *Contract) fix() {
	c.payerAddress, c.payeeAddress = c.Payer.Address(), c.Payee.Address()
}

// ID returns the channel's id.
func (c *Contract) ID() ID { return MakeID(c.Funding.TxID) }

// Lock returns the 2-of-2 lock of T1's output (R11.6).
func (c *Contract) Lock() ledger.Lock {
	return ledger.Joint(c.K1, c.K2)
}

// Capacity is the most that can be paid. One least output stays with the
// payer, so that T3 is always valid and the payer never loses dust.
func (c *Contract) Capacity() amount.Amount { return max(0, c.Deposit-c.MinOutput) }

// Refund builds T2: everything back to the payer, locked until LockTime
// (R11.5). It carries no witness.
func (c *Contract) Refund() *ledger.Tx {
	return &ledger.Tx{
		Kind:     ledger.Transfer,
		LockTime: c.LockTime,
		Inputs:   []ledger.OutPoint{c.Funding},
		Outputs:  []ledger.Output{{Amount: c.Deposit, Lock: ledger.PayTo(c.Payer.Address())}},
	}
}

// Settlement builds T3 number sequence, which gives the payee sum and the
// payer the rest (R11.10, R11.12). A sum under the ledger's least output
// cannot be an output; such a T3 pays everything back to the payer.
func (c *Contract) Settlement(sum amount.Amount, sequence uint32) *ledger.Tx {
	if c.payerAddress.IsZero() {
		c.fix()
	}
	sum = c.Payout(sum)
	outputs := make([]ledger.Output, 0, 2)
	if rest := c.Deposit - sum; rest > 0 {
		outputs = append(outputs, ledger.Output{Amount: rest, Lock: ledger.PayTo(c.payerAddress)})
	}
	if sum > 0 {
		outputs = append(outputs, ledger.Output{Amount: sum, Lock: ledger.PayTo(c.payeeAddress)})
	}
	return &ledger.Tx{
		Kind:     ledger.Transfer,
		Sequence: sequence,
		Inputs:   []ledger.OutPoint{c.Funding},
		Outputs:  outputs,
	}
}

// Payout is what the ledger gives the payee for a channel that was paid sum: all
// of it, or nothing where sum is under the least output.
func (c *Contract) Payout(sum amount.Amount) amount.Amount {
	if sum < c.MinOutput {
		return 0
	}
	return sum
}

// payeeShare returns what a settlement gave to the payee.
func (c *Contract) payeeShare(t *ledger.Tx) amount.Amount {
	rest := c.Deposit
	for _, o := range t.Outputs {
		if o.Lock == ledger.PayTo(c.Payer.Address()) {
			rest -= min(rest, o.Amount)
		}
	}
	return rest
}

// refundDigest is what both keys sign for T2.
func (c *Contract) refundDigest() [32]byte { return c.Refund().Digest(c.Network, c.Lock()) }

// paymentDigest is what both keys sign for T3.
func (c *Contract) paymentDigest(sum amount.Amount, sequence uint32) [32]byte {
	return c.Settlement(sum, sequence).Digest(c.Network, c.Lock())
}

// complete returns t with the joint lock's two signatures.
func (c *Contract) complete(t *ledger.Tx, first, second ledger.Signature) *ledger.Tx {
	t.Witnesses = []ledger.Witness{{Signatures: []ledger.Signature{first, second}}}
	return t
}

// Causes of a refused T1.
var (
	errFundingID   = errors.New("T1 has another id than the channel was opened with")
	errFundingLock = errors.New("T1's output is not locked to both channel keys")
	errFundingSum  = errors.New("T1's output is not the agreed deposit")
)

// checkFunding reports whether raw is the T1 that the contract names.
func (c *Contract) checkFunding(raw []byte) (*ledger.Tx, error) {
	t1, err := ledger.DecodeTx(raw)
	if err != nil {
		return nil, fmt.Errorf("decode T1: %w", err)
	}
	if t1.ID(c.Network) != c.Funding.TxID {
		return nil, errFundingID
	}
	return t1, c.checkFundingOutput(t1)
}

func (c *Contract) checkFundingOutput(t1 *ledger.Tx) error {
	index := int(c.Funding.Index)
	if index >= len(t1.Outputs) || t1.Outputs[index].Lock != c.Lock() {
		return errFundingLock
	}
	if t1.Outputs[index].Amount != c.Deposit {
		return errFundingSum
	}
	if t1.LockTime != 0 {
		return errors.New("T1 carries a lock time")
	}
	return nil
}
