package channel_test

import (
	"encoding/hex"
	"strings"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// vectorMessages are one or two of each type.
func vectorMessages(s *stage) []vectorMessage {
	c := s.payee.Contract()
	id := c.ID()
	sig := func(n byte) (out ledger.Signature) {
		for i := range out {
			out[i] = n
		}
		return out
	}
	next := s.terms
	next.K2 = s.pub("other")
	list := []struct {
		name string
		m    channel.Message
	}{
		{"open", &channel.Open{Payer: c.Payer, K1: c.K1, K2: c.K2, Funding: c.Funding, Deposit: c.Deposit, LockTime: c.LockTime}},
		{"refundsig", &channel.RefundSig{ID: id, Signature: sig(1)}},
		{"fund", &channel.Fund{ID: id, First: sig(2), T1: s.t1.Encode()}},
		{"confirm", &channel.Confirm{ID: id}},
		{"confirm with terms of a successor", &channel.Confirm{ID: id, Next: &next}},
		{"attach", &channel.Attach{ID: id, Lane: 0xaabb0000, Tag: channel.Tag{0xaa, 0xbb}, From: 5 * mib, Bytes: 7 * mib}},
		{"state", &channel.State{ID: id, Lane: 0xaabb0000, Bytes: 7 * mib, Payment: channel.Payment{Sequence: 9, Amount: 8788, Signature: sig(3)}, Attached: true}},
		{"state of a stream that is paid for less", &channel.State{ID: id, Lane: 1, Bytes: mib, Payment: channel.Payment{Sequence: 2, Amount: 1953, Signature: sig(4)}}},
		{"pay", &channel.Pay{ID: id, Lane: 0xaabb0000, Bytes: 8 * mib, Payment: channel.Payment{Sequence: 10, Amount: 11_717, Signature: sig(5)}}},
		{"close", &channel.Close{ID: id}},
		{"closed", &channel.Closed{ID: id, Amount: 8788}},
		{"quote", &channel.Quote{From: 3 * mib, Price: vectorHigher}},
		{"quote of a free stream", &channel.Quote{}},
		{"refuse", &channel.Refuse{ID: id, Code: channel.CodeAmount, Reason: "0.001 BTT paid, 0.001953 BTT owed"}},
		{"refuse with other terms", &channel.Refuse{ID: id, Code: channel.CodeKeyUsed, Terms: &next}},
		{"largest numbers", &channel.Pay{ID: channel.ID{0xff}, Lane: 1<<32 - 1, Bytes: 1<<63 - 1, Payment: channel.Payment{Sequence: 1<<32 - 1, Amount: amount.Supply}}},
	}
	var out []vectorMessage
	for _, l := range list {
		out = append(out, vectorMessage{Name: l.name, Type: uint8(l.m.Type()), Fields: fieldsOf(l.m), Hex: hex.EncodeToString(channel.Encode(l.m))})
	}
	return out
}

// vectorsMalformed are bytes that no side may take for a message.
func vectorsMalformed(s *stage) []vectorMalformed {
	id := strings.Repeat("11", channel.IDSize)
	sig := strings.Repeat("00", 65)
	good := hex.EncodeToString(channel.Encode(&channel.Close{ID: s.payee.ID()}))
	return []vectorMalformed{
		{"empty", ""},
		{"type 0", "00" + id},
		{"type 12", "0c" + id},
		{"close, a byte short", good[:len(good)-2]},
		{"close, a byte more", good + "00"},
		{"pay of more than the supply", "07" + id + "00000001" + "0000000000000001" + "00000001" + "0dbd2fc137a30001" + sig},
		{"pay with a negative byte count", "07" + id + "00000001" + "8000000000000000" + "00000001" + "0000000000000001" + sig},
		{"state with flag 2", "06" + id + "00000001" + "0000000000000001" + "00000001" + "0000000000000001" + sig + "02"},
		{"confirm with flag 2", "04" + id + "02"},
		{"quote of a price above the supply", "0a" + "0000000000000000" + "0dbd2fc137a30001"},
		{"refuse with code 0", "0b" + id + "00" + "0000" + "00"},
		{"refuse with a reason of 201 bytes", "0b" + id + "01" + "00c9" + strings.Repeat("41", 201) + "00"},
		{"refuse with a reason that is not UTF-8", "0b" + id + "01" + "0001" + "ff" + "00"},
		{"fund with 16385 bytes of T1", "03" + id + sig + "4001" + strings.Repeat("00", 16385)},
	}
}

// vectorRuns are orders in which T1, T2 and T3 reach a ledger; playRun fills in
// the verdicts.
func vectorRuns() []vectorRun {
	return []vectorRun{
		{Name: "settled: the newest T3 counts, T2 and older ones come too late", Submits: []vectorVerdict{{Tx: "t1"}, {Tx: "t3-4"}, {Tx: "t3-3"}, {Tx: "t2"}}},
		{Name: "refunded: the payee vanished", Submits: []vectorVerdict{{Tx: "t1"}, {Tx: "t2", Advance: 4*3600 - 1}, {Advance: 1}, {Tx: "t3-4"}}},
		{Name: "early close: T2 is parked, the newest T3 displaces it", Submits: []vectorVerdict{{Tx: "t1"}, {Tx: "t2"}, {Tx: "t3-4", Advance: 600}, {Advance: 4 * 3600}}},
		{Name: "T3 in time at the last second", Submits: []vectorVerdict{{Tx: "t1"}, {Tx: "t3-4", Advance: 4*3600 - 1}}},
		{Name: "after the lock the first to come wins", Submits: []vectorVerdict{{Tx: "t1"}, {Tx: "t2", Advance: 4 * 3600}, {Tx: "t3-4"}}},
		{Name: "without a witness nothing moves", Submits: []vectorVerdict{{Tx: "t1"}, {Tx: "t3-4-unsigned"}, {Tx: "t2-unsigned"}, {Tx: "t3-2"}}},
		{Name: "nothing before T1", Submits: []vectorVerdict{{Tx: "t3-4"}, {Tx: "t2"}, {Tx: "t1"}, {Tx: "t1"}}},
	}
}

// vectorRefusals are messages out of order or out of bounds; Given counts the
// example's messages that came before.
func vectorRefusals(s *stage) []vectorRefusal {
	c := s.payee.Contract()
	id, lane := c.ID(), s.lane
	open := func(change func(*channel.Open)) channel.Message {
		m := channel.Open{Payer: c.Payer, K1: c.K1, K2: c.K2, Funding: c.Funding, Deposit: c.Deposit, LockTime: c.LockTime}
		change(&m)
		return &m
	}
	pay := func(sequence uint32, sum amount.Amount, bytes int64, key string) channel.Message {
		sig, err := s.keys[key].Sign(c.Settlement(sum, sequence).Digest(s.network, c.Lock()))
		if err != nil {
			s.Fatal(err)
		}
		return &channel.Pay{ID: id, Lane: lane, Bytes: bytes, Payment: channel.Payment{Sequence: sequence, Amount: sum, Signature: sig}}
	}
	state := func(sequence uint32, sum amount.Amount) channel.Message {
		return &channel.State{ID: id, Lane: lane, Payment: pay(sequence, sum, 0, "K1").(*channel.Pay).Payment, Attached: true}
	}
	foreign := ledger.NewTransfer(s.t1.Inputs, s.t1.Outputs[:1])
	const now = vectorOpened
	list := []struct {
		name, side string
		given      int
		now        uint64
		m          channel.Message
	}{
		{"another K2 than the one on offer", "payee", 0, now, open(func(m *channel.Open) { m.K2 = s.pub("other") })},
		{"deposit below what is asked for", "payee", 0, now, open(func(m *channel.Open) { m.Deposit = 9_999 })},
		{"deposit above what is taken", "payee", 0, now, open(func(m *channel.Open) { m.Deposit = 1_000_001 })},
		{"lock too short", "payee", 0, now, open(func(m *channel.Open) { m.LockTime = now + 3599 })},
		{"lock too long", "payee", 0, now, open(func(m *channel.Open) { m.LockTime = now + 7*86400 + 1 })},
		{"lock over already", "payee", 0, now, open(func(m *channel.Open) { m.LockTime = now - 1 })},
		{"one key for both sides", "payee", 0, now, open(func(m *channel.Open) { m.K1 = c.K2 })},
		{"payer's account is no key", "payee", 0, now, open(func(m *channel.Open) { m.Payer = ledger.PublicKey{2} })},
		{"the same channel with another deposit", "payee", 1, now, open(func(m *channel.Open) { m.Deposit = 60_000 })},
		{"another channel's message", "payee", 1, now, &channel.Close{ID: channel.ID{1}}},
		{"a payee's message to a payee", "payee", 1, now, &channel.Confirm{ID: id}},
		{"payment before T1", "payee", 1, now, pay(2, 1953, mib, "K1")},
		{"T1 of another id", "payee", 1, now, &channel.Fund{ID: id, T1: foreign.Encode()}},
		{"T1 that is no transaction", "payee", 1, now, &channel.Fund{ID: id, T1: []byte{1, 2, 3}}},
		{"first settlement signed by somebody else", "payee", 1, now, &channel.Fund{ID: id, T1: s.t1.Encode(), First: pay(1, 0, 0, "other").(*channel.Pay).Payment.Signature}},
		{"T1 too near the lock", "payee", 1, vectorLock - 1440, s.decode(s.steps[2].Hex)},
		{"less than is owed", "payee", 6, now, pay(2, 1952, mib, "K1")},
		{"more than the deposit covers", "payee", 6, now, pay(2, 49_001, mib, "K1")},
		{"signed by somebody else", "payee", 6, now, pay(2, 1953, mib, "other")},
		{"the sum falls", "payee", 7, now, pay(3, 1952, mib, "K1")},
		{"lane bound to another service", "payee", 6, now, &channel.Attach{ID: id, Lane: lane, Tag: channel.Tag{1}}},
		{"payment near the lock", "payee", 6, vectorLock - 1440, pay(2, 1953, mib, "K1")},
		{"payment while it settles", "payee", 11, now, pay(5, 11_717, 5*mib, "K1")},
		{"refund signed by somebody else", "payer", 1, now, &channel.RefundSig{ID: id, Signature: pay(1, 0, 0, "other").(*channel.Pay).Payment.Signature}},
		{"a payer's message to a payer", "payer", 1, now, &channel.Attach{ID: id}},
		{"a payment that was never made", "payer", 7, now, state(9, 20_000)},
		{"a price for bytes that are paid", "payer", 7, now, &channel.Quote{From: mib - 1, Price: vectorHigher}},
	}
	var out []vectorRefusal
	for _, l := range list {
		out = append(out, vectorRefusal{Name: l.name, Side: l.side, Given: l.given, Now: l.now, Hex: hex.EncodeToString(channel.Encode(l.m))})
	}
	abroad := s.terms
	abroad.Network[0] ^= 1
	return append(out,
		vectorRefusal{Name: "terms on another ledger", Side: "payer", Now: now, Terms: hex.EncodeToString(abroad.Append(nil))},
		vectorRefusal{Name: "T1 whose coin is spent", Side: "payee", Given: 1, Now: now, Hex: s.steps[2].Hex, Spent: s.elsewhere()})
}

// elsewhere spends the coin of T1 on something else.
func (s *stage) elsewhere() string {
	s.Helper()
	tx := ledger.NewTransfer([]ledger.OutPoint{s.coin.OutPoint}, []ledger.Output{{Amount: s.coin.Amount, Lock: ledger.PayTo(s.keys["other"].Address())}})
	if err := ledger.SignInputs(tx, s.network, []ledger.Coin{s.coin}, s.keys["payer"]); err != nil {
		s.Fatal(err)
	}
	return hex.EncodeToString(tx.Encode())
}
