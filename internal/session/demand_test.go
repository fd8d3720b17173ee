package session

import (
	"testing"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/ledger/ledgertest"
)

// TestTimeOutside: the time that a torrent that was called is out of Speed, by itself or
// with its session, or is stopped, is no part of its stay: nobody could pay for it. Then
// it has the whole of it again.
func TestTimeOutside(t *testing.T) {
	x := newTrader(t, ledgertest.New(), traderConfig{reserve: perGiB(200)})
	dir, torrent := content(t, map[string]int{"a.bin": piece}, piece)
	s := x.seeds(dir, torrent)
	if err := s.SetWhenPaid(true); err != nil {
		t.Fatal(err)
	}
	const stay = time.Minute
	d := market.NewDemand(market.DemandConfig{Stay: stay})
	now := time.Now()
	if s.called.Store(true); !d.Told(s.hash, "tracker", 1<<40, s.ask(), now) {
		t.Fatal("not called")
	}
	for name, let := range map[string]func(in bool) error{
		"session": func(in bool) error { x.SetMarket(in); return nil },
		"torrent": s.SetSpeed,
		"stopped": func(in bool) error {
			if in {
				return s.Start()
			}
			return s.Stop()
		},
	} {
		if err := let(false); err != nil {
			t.Fatal(err)
		}
		x.weigh(d, now)
		now = now.Add(time.Hour)
		x.weigh(d, now)
		if err := let(true); err != nil {
			t.Fatal(err)
		}
		now = now.Add(stay - time.Second)
		if x.weigh(d, now); !s.called.Load() {
			t.Errorf("%s: it rests, and its tracker is taken for a liar, though it was outside", name)
		}
	}
	if x.weigh(d, now.Add(time.Second)); s.called.Load() {
		t.Error("its stay does not end")
	}
}
