package channel

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestLossesAtEveryStep kills either side for ever, or restarts it, before
// each message of a whole life of a channel.
func TestLossesAtEveryStep(t *testing.T) {
	for step := range 24 {
		for side := range 2 {
			for _, mode := range []string{"dies", "restarts", "restarts alone"} {
				name := fmt.Sprintf("step %d side %d %s", step, side, mode)
				w := newWorld(t)
				dead := map[int]bool{}
				for range 200 {
					if w.sent >= step {
						break
					}
					w.deliver(1)
					w.deliver(0)
					w.perform(1)
					w.perform(0)
					w.trade()
				}
				switch mode {
				case "restarts alone": // and the other side is never seen again
					w.crash(side)
					dead[1-side] = true
				case "restarts":
					w.crash(side)
					w.connect()
					w.settleQueues()
					for range 4 {
						w.trade()
						w.settleQueues()
					}
				case "dies":
					dead[side] = true
				}
				w.finish(dead)
				if t.Failed() {
					t.Fatal(name)
				}
				t.Log(name, w.served>>20, w.balance(w.payeeKey))
				w.check(dead)
			}
		}
	}
}

// TestRandomLives runs channels through random orders, losses, repetitions
// and crashes; nobody loses more than LOSSES.md says and nothing stays locked.
func TestRandomLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(5, 80).Draw(t, "steps") {
			switch a := rapid.IntRange(0, 19).Draw(t, "action"); {
			case a < 4:
				w.deliver(0)
			case a < 8:
				w.deliver(1)
			case a < 10:
				w.perform(0)
				w.perform(1)
			case a < 15:
				w.trade()
			case a == 15: // a repeated message
				side := rapid.IntRange(0, 1).Draw(t, "side")
				if q := w.inbox[side]; len(q) > 0 {
					w.inbox[side] = append(q, q[rapid.IntRange(0, len(q)-1).Draw(t, "which")])
				}
			case a == 16: // the connection breaks
				w.disconnect()
				w.connect()
			case a == 17:
				w.crash(rapid.IntRange(0, 1).Draw(t, "side"))
				w.connect()
			case a == 18:
				w.ledger.Advance(uint64(rapid.IntRange(1, 600).Draw(t, "seconds")))
				if w.payer != nil {
					w.payer.Tick(w.now())
				}
				if w.payee != nil {
					w.payee.Tick(w.now())
				}
				w.flushPayer()
				w.flushPayee()
			case a == 19:
				w.settleQueues()
			}
		}
		dead := map[int]bool{}
		switch rapid.IntRange(0, 3).Draw(t, "dead") {
		case 0:
			dead[0] = true
		case 1:
			dead[1] = true
		}
		w.finish(dead)
		payer, payee := w.balance(w.payerKey), w.balance(w.payeeKey)
		value, _ := worldPrice.Owed(w.verified)
		if payer+payee > worldDeposit || !dead[0] && payer < worldDeposit-value {
			t.Fatalf("payer %v, payee %v, verified %v", payer, payee, value)
		}
		if !dead[0] && payer+payee != worldDeposit {
			t.Fatalf("payer %v and payee %v: the rest is stuck", payer, payee)
		}
		if err := w.ledger.Audit(); err != nil {
			t.Fatal(err)
		}
	})
}
