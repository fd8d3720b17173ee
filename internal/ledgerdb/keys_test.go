package ledgerdb

import (
	"bytes"
	"testing"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// FuzzDecode reads arbitrary values as each of the records: nothing panics, and
// what is read encodes to a value that reads the same.
func FuzzDecode(f *testing.F) {
	a, b := ledgertest.Key("a"), ledgertest.Key("b")
	for _, c := range []cell{{amount: 5, height: 1, lock: ledger.PayTo(a.Address())}, {amount: 1 << 40, height: 1 << 20, lock: ledger.Joint(a.PublicKey(), b.PublicKey())}} {
		f.Add(c.encode(nil))
		f.Add(encodeOwned(nil, &c))
	}
	f.Add((&Row{Offset: 1 << 40, Size: 250, Height: 7, LedgerTime: 1_700_000_000, Index: 3, State: ledger.Parked}).encode(nil))
	f.Add((&Position{Head: ledger.GenesisHead(ledgertest.Genesis()), Place: Place{Start: 5, End: 900}, Coins: 8}).encode(nil))
	f.Add(encodeEvents(nil, []ledger.Event{{Cursor: 9, Kind: ledger.EventParked, TxID: ledger.TxID{1}, LockTime: 5, Addresses: []ledger.Address{a.Address()}}, {Cursor: 10, TxID: ledger.TxID{1}, By: ledger.TxID{2}}}))
	f.Add(encodeParked(nil, &ledger.Pending{TxID: ledger.TxID{1}, Height: 5, Tx: &ledger.Tx{Kind: ledger.Transfer, Inputs: []ledger.OutPoint{{}}, Outputs: []ledger.Output{{Amount: 5000, Lock: ledger.PayTo(a.Address())}}}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		again := func(encode func() []byte, decode func(raw []byte) ([]byte, error)) {
			first := encode()
			second, err := decode(first)
			if err != nil || !bytes.Equal(first, second) {
				t.Fatalf("%x reads as %x, %v", first, second, err)
			}
		}
		if c, err := decodeCell(raw); err == nil {
			again(func() []byte { return c.encode(nil) }, func(raw []byte) ([]byte, error) {
				c, err := decodeCell(raw)
				return c.encode(nil), err
			})
		}
		if r, err := decodeRow(raw); err == nil {
			again(func() []byte { return r.encode(nil) }, func(raw []byte) ([]byte, error) {
				r, err := decodeRow(raw)
				return r.encode(nil), err
			})
		}
		if p, err := decodePosition(raw); err == nil {
			again(func() []byte { return p.encode(nil) }, func(raw []byte) ([]byte, error) {
				p, err := decodePosition(raw)
				return p.encode(nil), err
			})
		}
		if list, err := decodeEvents(raw); err == nil && len(list) > 0 {
			again(func() []byte { return encodeEvents(nil, list) }, func(raw []byte) ([]byte, error) {
				list, err := decodeEvents(raw)
				return encodeEvents(nil, list), err
			})
		}
		if p, err := decodeParked(ledger.OutPoint{}, raw); err == nil {
			again(func() []byte { return encodeParked(nil, p) }, func(raw []byte) ([]byte, error) {
				p, err := decodeParked(ledger.OutPoint{}, raw)
				return encodeParked(nil, p), err
			})
		}
		_, _ = decodeOwned(addressKey(a.Address(), ledger.OutPoint{}), raw)
	})
}
