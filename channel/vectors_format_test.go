package channel_test

import (
	"encoding/json"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// vectorFile is what independent implementations check themselves against.
// Sums are micro-BTT, prices micro-BTT per GiB; both are texts, for JSON
// readers that take numbers for floats.
type vectorFile struct {
	About     string            `json:"about"`
	Network   ledger.Network    `json:"network"`
	MinOutput string            `json:"min_output"`
	Keys      []vectorKey       `json:"keys"`
	Coin      vectorCoin        `json:"coin"`
	Contract  vectorContract    `json:"contract"`
	Messages  []vectorMessage   `json:"messages"`
	Malformed []vectorMalformed `json:"malformed"`
	Example   []vectorStep      `json:"example"`
	Payments  []vectorPayment   `json:"payments"`
	Refund    vectorTx          `json:"refund"`
	Runs      []vectorRun       `json:"runs"`
	Refusals  []vectorRefusal   `json:"refusals"`
}

type vectorKey struct {
	Name    string           `json:"name"`
	Private string           `json:"private_key"`
	Public  ledger.PublicKey `json:"public_key"`
	Address ledger.Address   `json:"address"`
}

// vectorCoin is what T1 spends.
type vectorCoin struct {
	Outpoint string `json:"outpoint"` // hex of id, index u16, shard u8
	Amount   string `json:"amount"`
}

type vectorContract struct {
	Opened   uint64 `json:"opened"`
	LockTime uint64 `json:"lock_time"`
	Margin   uint64 `json:"margin"`
	Deposit  string `json:"deposit"`
	Capacity string `json:"capacity"`
	T1       string `json:"t1"`
	T1ID     string `json:"t1_id"`
	ID       string `json:"channel_id"`
}

type vectorMessage struct {
	Name   string          `json:"name"`
	Type   uint8           `json:"type"`
	Fields json.RawMessage `json:"fields"`
	Hex    string          `json:"hex"`
}

type vectorMalformed struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
}

// vectorStep is one message of the worked example. Price and Position are what
// the sender acts on.
type vectorStep struct {
	From     string `json:"from"`
	Type     string `json:"type"`
	Hex      string `json:"hex"`
	Price    string `json:"price,omitempty"`    // quote: of the stream from Position on
	Position int64  `json:"position,omitempty"` // pay: bytes verified
	Owed     string `json:"owed,omitempty"`     // pay: cumulative
}

// vectorPayment is T3 number Sequence.
type vectorPayment struct {
	Sequence uint32 `json:"sequence"`
	Amount   string `json:"amount"`
	Digest   string `json:"digest"`
	K1       string `json:"k1_signature"`
	K2       string `json:"k2_signature"`
	Raw      string `json:"raw"`
	ID       string `json:"id"`
}

type vectorTx struct {
	Digest string `json:"digest"`
	K1     string `json:"k1_signature"`
	K2     string `json:"k2_signature"`
	Raw    string `json:"raw"`
	ID     string `json:"id"`
}

// vectorRun is what a ledger that holds Coin answers, in order.
type vectorRun struct {
	Name    string          `json:"name"`
	Submits []vectorVerdict `json:"submits"`
	Payer   string          `json:"payer_holds"`
	Payee   string          `json:"payee_holds"`
}

type vectorVerdict struct {
	Advance uint64 `json:"advance,omitempty"` // seconds of ledger time before it
	Tx      string `json:"tx"`                // t1, t2, t2-unsigned, t3-N, t3-N-unsigned; "" = only time passes
	Verdict string `json:"verdict"`           // committed, parked, or the code of the refusal
}

// vectorRefusal is a message that a side refuses after the first Given messages
// of the example reached it.
type vectorRefusal struct {
	Name  string `json:"name"`
	Side  string `json:"side"`
	Given int    `json:"given"`
	Now   uint64 `json:"now"`             // ledger time
	Hex   string `json:"hex,omitempty"`   // the message
	Terms string `json:"terms,omitempty"` // instead of a message: terms on which a payer is to open
	Spent string `json:"spent,omitempty"` // a transaction that the ledger committed before the message came
	Code  uint8  `json:"code"`
	Word  string `json:"word"`
}

const (
	vectorOpened  = ledgertest.StartTime
	vectorLock    = vectorOpened + 4*3600
	vectorDeposit = amount.Amount(50_000)
	vectorPrice   = 2 * amount.Price(amount.BTT)
	vectorHigher  = 3 * amount.Price(amount.BTT)
	mib           = int64(1) << 20
)
