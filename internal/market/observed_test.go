package market

import (
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/speed/reserve"
)

// clock is a swarm of which only the time matters.
type clock struct {
	Swarm
	now time.Time
}

func (c *clock) Now() time.Time { return c.now }

// TestFollow: a reserve price follows the prices of deals that were paid, until
// these are old; the defaults hold while there are none, and what the user chose
// holds always.
func TestFollow(t *testing.T) {
	own := reserve.Growth{Slope: 100, Cap: 1000}
	c := &clock{now: time.Unix(1_000_000, 0)}
	k := &Node{}
	open := func(follow bool) *Torrent {
		x := New(Config{Node: k, Swarm: c, Reserve: Reserve{Growth: own, Follow: follow}})
		x.reserving = &reserving{linear: &reserve.Linear{Growth: own}}
		return x
	}
	follows, chosen := open(true), open(false)
	expect := func(what string, want reserve.Growth) {
		t.Helper()
		follows.follow()
		chosen.follow()
		if got := follows.reserving.linear.Growth; got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
		if got := chosen.reserving.linear.Growth; got != own {
			t.Errorf("%s: what the user chose became %+v", what, got)
		}
	}
	expect("nothing seen", own)

	// The deals are another torrent's of the node.
	pays := func(p *Trade, kind payments.EventKind) {
		chosen.trades[1] = p
		chosen.onLink(1, payments.LinkEvent{Kind: kind, Sum: 1})
	}
	p := &Trade{boughtAt: 5000, boughtUnseen: true}
	expect("a price that was told", own)
	pays(p, payments.EventPaid)
	expect("a price that was paid", reserve.Growth{Slope: 500, Cap: 5000})
	for range 10 {
		pays(p, payments.EventPaid)
	}
	for _, price := range []amount.Price{7000, 9000} {
		pays(&Trade{soldAt: price, soldUnseen: true}, payments.EventEarned)
	}
	pays(&Trade{soldAt: 1}, payments.EventEarned) // at our own reserve price
	expect("each deal once", reserve.Growth{Slope: 700, Cap: 7000})

	for range MaxSightings {
		k.observed.note(300, c.now)
	}
	k.observed.note(0, c.now)
	expect("newer ones in the place of all", reserve.Growth{Slope: 30, Cap: 300})
	c.now = c.now.Add(observedFor - time.Second)
	expect("still of late", reserve.Growth{Slope: 30, Cap: 300})
	c.now = c.now.Add(time.Second)
	expect("none of late", own)
}
