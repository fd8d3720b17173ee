package speed

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// wireEnd is one side of a connection: its session and what is on the way to
// it, in order.
type wireEnd struct {
	s     *Session
	inbox []flight
}

type flight struct {
	at      time.Time
	payload []byte
}

// TestHonestPair: two sessions whose owners do as they please, over a
// connection with delay in both directions, never accuse each other, and what
// both believe agrees once everything has arrived.
func TestHonestPair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_000_000, 0)
		ends := [2]*wireEnd{
			{s: met(Config{Account: ledger.Address{1}, Nonce: [NonceLen]byte{1}}, ledger.Address{2})},
			{s: met(Config{Account: ledger.Address{2}, Nonce: [NonceLen]byte{2}}, ledger.Address{1})},
		}
		deliver := func(all bool) {
			for i, e := range ends {
				for len(e.inbox) > 0 && (all || !e.inbox[0].at.After(now)) {
					if _, err := e.s.Step(e.inbox[0].payload, now); err != nil {
						t.Fatalf("side %d after %v: %v", i, now.Sub(time.Unix(1_000_000, 0)), err)
					}
					e.inbox = e.inbox[1:]
				}
			}
		}
		post := func(to int, frames ...[]byte) {
			for _, f := range frames {
				if f == nil {
					continue
				}
				at := now.Add(time.Duration(rapid.Int64Range(0, int64(4*time.Second)).Draw(t, "delay")))
				if q := ends[to].inbox; len(q) > 0 && at.Before(q[len(q)-1].at) {
					at = q[len(q)-1].at
				}
				ends[to].inbox = append(ends[to].inbox, flight{at, f})
			}
		}
		var proved [2]Reserve // the challenge each side answered last
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(int64(5*time.Second), int64(30*time.Second)).Draw(t, "dt")))
			deliver(false)
			for i, e := range ends {
				price := amount.Price(rapid.Int64Range(0, 1e6).Draw(t, "price"))
				switch rapid.SampledFrom([]int{0, 0, 0, 1, 1, 2, 2, 3, 4}).Draw(t, "action") {
				case 0:
					post(1-i, e.s.SetBid(price, rapid.Bool().Draw(t, "user"), now))
				case 1:
					post(1-i, e.s.SetReserve(price, uint32(price)%3, 7, now))
				case 2:
					if bid := e.s.Snapshot().TheirBid; bid > 0 {
						f, err := e.s.Respond(min(price, bid), []byte("terms"))
						if err != nil {
							t.Fatal(err)
						}
						post(1-i, f)
					}
				case 3:
					r, ok := e.s.Challenge()
					if same := r.Piece == proved[i].Piece && r.Chunk == proved[i].Chunk; !ok || same {
						break // an owner answers each challenge once
					}
					proved[i] = r
					f, err := e.s.Prove(r.Piece, r.Chunk, [HashLen]byte{1})
					if err != nil {
						t.Fatal(err)
					}
					post(1-i, f)
				case 4:
					f, err := e.s.Send([]byte{1, 2, 3})
					if err != nil {
						t.Fatal(err)
					}
					post(1-i, f)
				}
				post(1-i, e.s.Tick(now)...)
			}
		}
		now = now.Add(10 * time.Second)
		deliver(true)
		a, b := ends[0].s.Snapshot(), ends[1].s.Snapshot()
		if a.TheirBid != b.OurBid || b.TheirBid != a.OurBid || a.TheirReserve != b.OurReserve || b.TheirReserve != a.OurReserve ||
			a.TheirPrice != b.OurPrice || b.TheirPrice != a.OurPrice {
			t.Fatalf("the sides disagree: %+v, %+v", a, b)
		}
	})
}
