package session

import (
	"sync/atomic"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// saysChannel says whether a message is one of a channel, of the given type.
func saysChannel(m *wire.Message, want channel.Type) bool {
	c, ok := speedOf(m).(speed.Channel)
	if !ok {
		return false
	}
	got, err := channel.Decode(c.Payload)
	return err == nil && got.Type() == want
}

// TestSellerVanishes: a provider that goes away at any step costs the requester nothing
// that it did not verify; another one finishes, nothing is paid twice, and every deposit
// comes back.
func TestSellerVanishes(t *testing.T) {
	at := func(want channel.Type) func(*wire.Message, int64) bool {
		return func(m *wire.Message, _ int64) bool { return saysChannel(m, want) }
	}
	for name, gone := range map[string]func(m *wire.Message, served int64) bool{
		"at the bid response":       func(m *wire.Message, _ int64) bool { _, is := speedOf(m).(speed.BidResponse); return is },
		"at the unchoke":            func(m *wire.Message, _ int64) bool { return m.ID == wire.Unchoke },
		"at the first block":        func(_ *wire.Message, served int64) bool { return served > 0 },
		"at the refund's signature": at(channel.TypeRefundSig),
		"at the confirmation":       at(channel.TypeConfirm),
		"at the state":              at(channel.TypeState),
		"inside a piece":            func(_ *wire.Message, served int64) bool { return served > 3*piece+piece/2 },
		"before it settles":         at(channel.TypeClose),
	} {
		t.Run(name, func(t *testing.T) {
			l := ledgertest.New()
			files := map[string]int{"a.bin": 1 << 20}
			dir, torrent := content(t, files, piece)
			config := traderConfig{reserve: perGiB(200)}
			first := newTrader(t, l, config)
			one := first.seeds(dir, torrent)
			var served atomic.Int64
			var left atomic.Bool
			relay := mangle(t, first.Addr(), func(m *wire.Message, raw []byte) []byte {
				if m.ID == wire.Piece {
					served.Add(int64(len(m.Payload)))
				}
				if left.Load() || gone(m, served.Load()) {
					left.Store(true)
					return nil
				}
				return raw
			})
			leech := newTrader(t, l, traderConfig{funds: 100 * amount.BTT, cap: perGiB(500)})
			g, to := leech.gets(torrent, relay)
			if name != "before it settles" {
				until(t, "the first provider to go", left.Load)
				until(t, "it to be gone", func() bool { return len(one.Status().Peers) == 0 })
			}
			second := newTrader(t, l, config)
			second.seeds(dir, torrent)
			g.AddPeers(second.Addr())
			await(t, g)
			sameFiles(t, dir, to, files)
			settleAll(leech, second, first)
			if _, paid, _ := leech.seen(payments.EventPaid); paid > torrent.Info.TotalLength {
				t.Errorf("%d bytes paid for %d", paid, torrent.Info.TotalLength)
			}
			// What it signed last may not have reached who vanished: a piece at most.
			all := torrent.Info.TotalLength
			least, most := owed(t, perGiB(200), all-piece), owed(t, perGiB(200), all)
			if got := -leech.gained(); got < int64(least) || got > int64(most) {
				t.Errorf("the requester paid %d, want %d to %d", got, least, most)
			}
			if sum := leech.gained() + first.gained() + second.gained(); sum != 0 {
				t.Errorf("together they have %d more than before", sum)
			}
			if err := l.Audit(); err != nil {
				t.Error(err)
			}
		})
	}
}
