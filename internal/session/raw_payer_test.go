package session

import (
	"context"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// rawPayer is a raw peer with money: it drives a payer's machine by hand, so
// that a test can stop, repeat or forge any step.
type rawPayer struct {
	*raw
	h    *hostileSeed
	key  *ledger.PrivateKey
	k1   *ledger.PrivateKey
	coin ledger.Coin
	p    *channel.Payer
	lane uint32
	seen []channel.Message
	sum  amount.Amount // of the funds
}

const rawDeposit = amount.BTT

// newPayer connects, bids and wins a slot.
func (h *hostileSeed) newPayer(t *testing.T, name string) *rawPayer {
	t.Helper()
	x := &rawPayer{h: h, key: ledgertest.Key(name), k1: ledgertest.Key(name + " K1"), sum: 2 * rawDeposit}
	coin, err := h.ledger.Fund(x.key.Address(), x.sum)
	if err != nil {
		t.Fatal(err)
	}
	x.coin = coin
	x.raw = h.customer(t, x.key)
	return x
}

// fund makes T1 with an output of the given sum.
func (x *rawPayer) fund(sum amount.Amount) (*ledger.Tx, channel.Terms) {
	x.t.Helper()
	terms, err := channel.DecodeTerms(x.terms)
	if err != nil {
		x.t.Fatal(err)
	}
	coins := []ledger.Coin{x.coin}
	t1, err := ledger.FundingTx(coins, sum, x.k1.PublicKey(), terms.K2, x.key.Address())
	if err != nil {
		x.t.Fatal(err)
	}
	if err := ledger.SignInputs(t1, x.h.net, coins, x.key); err != nil {
		x.t.Fatal(err)
	}
	return t1, terms
}

// propose starts a channel; nothing is sent yet.
func (x *rawPayer) propose(t1 *ledger.Tx, terms channel.Terms) {
	x.t.Helper()
	st, err := x.h.ledger.Status(context.Background())
	if err != nil {
		x.t.Fatal(err)
	}
	x.p, err = channel.NewPayer(channel.PayerConfig{Terms: terms, Account: x.key.PublicKey(), Signer: x.k1, T1: t1,
		Network: x.h.net, MinOutput: st.Params.MinOutput, Now: st.LedgerTime, LockTime: st.LedgerTime + uint64(terms.MinLock) + 120})
	if err != nil {
		x.t.Fatal(err)
	}
}

// flush sends what the machine wants said.
func (x *rawPayer) flush() {
	x.t.Helper()
	for _, m := range x.p.Ready().Messages {
		x.say(m)
	}
}

func (x *rawPayer) say(m channel.Message) {
	x.t.Helper()
	x.speed(speed.Channel{Payload: channel.Encode(m)})
}

// hear reads up to a channel message of this type; the machine steps on each.
func (x *rawPayer) hear(want channel.Type) channel.Message {
	x.t.Helper()
	var got channel.Message
	x.until(want.String(), func(m *wire.Message) bool {
		c, ok := speedOf(m).(speed.Channel)
		if !ok {
			return false
		}
		cm, err := channel.Decode(c.Payload)
		if err != nil {
			x.t.Fatal(err)
		}
		got = cm
		x.seen = append(x.seen, cm)
		if x.p != nil && cm.Channel() == x.p.ID() {
			_ = x.p.Step(cm)
		}
		return cm.Type() == want
	})
	return got
}

// opens takes the channel to its open state and attaches the lane.
func (x *rawPayer) opens() {
	x.t.Helper()
	x.opensWith(rawDeposit)
}

// opensWith is opens with another deposit.
func (x *rawPayer) opensWith(deposit amount.Amount) {
	x.t.Helper()
	x.propose(x.fund(deposit))
	x.flush()
	x.hear(channel.TypeRefundSig)
	x.flush()
	x.hear(channel.TypeConfirm)
	x.attaches()
}

func (x *rawPayer) attaches() {
	x.t.Helper()
	var err error
	if x.lane, err = x.p.Attach(channel.Tag(x.torrent.InfoHash), 0, channel.Tariff{{From: 0, Price: perGiB(200)}}); err != nil {
		x.t.Fatal(err)
	}
	x.flush()
	x.hear(channel.TypeState)
}

// pays signs for the stream up to a position.
func (x *rawPayer) pays(position int64) *channel.Pay {
	x.t.Helper()
	if err := x.p.Pay(x.lane, position); err != nil {
		x.t.Fatal(err)
	}
	for _, m := range x.p.Ready().Messages {
		x.say(m)
		if m, ok := m.(*channel.Pay); ok {
			return m
		}
	}
	x.t.Fatal("the machine does not pay")
	return nil
}

// takes reads until so many bytes came in all.
func (x *rawPayer) takes(n int64) {
	x.t.Helper()
	if x.got < n {
		x.until("blocks", func(*wire.Message) bool { return x.got >= n })
	}
}

// starves asserts that the provider sends no byte beyond n and chokes.
func (x *rawPayer) starves(n int64) {
	x.t.Helper()
	if !x.choked {
		x.until("choke", func(*wire.Message) bool { return x.choked })
	}
	if x.got > n {
		x.t.Errorf("%d bytes served, at most %d are covered", x.got, n)
	}
}

// left is what the payer owns on the ledger, channels left out.
func (x *rawPayer) left() amount.Amount { return holds(x.t, x.h.ledger, x.key.Address()) }

// settled closes the provider and compares all balances: it has want, and the
// hostile payer the rest of its money or, before T2's lock, not yet.
func (h *hostileSeed) settled(t *testing.T, want amount.Amount) {
	t.Helper()
	h.settle()
	if got := h.gained(); got != int64(want) {
		t.Errorf("the provider has %d more, want %d", got, want)
	}
	if err := h.ledger.Audit(); err != nil {
		t.Error(err)
	}
}

func pieces(n int64) int64 { return n * piece }
