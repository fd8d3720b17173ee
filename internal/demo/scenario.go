package demo

import (
	"fmt"
	"strings"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/speed/reserve"
)

// MaxPeers is the greatest number of peers that download.
const MaxPeers = 64

// part is one actor before it enters.
type part struct {
	name    string
	role    role
	balance amount.Amount
	file    bool         // it has the file
	most    amount.Price // the highest price it bids; 0 = no limit
	// reserve is what a provider asks; nil = nothing. whenPaid rests it while
	// nobody bids that much.
	reserve  *btt.Reserve
	whenPaid bool
	// enters says when the actor comes; nil = at the start.
	enters func(e *economy) bool
}

// scenario is a cast and what is to happen.
type scenario struct {
	name, about string
	cast        []part
	// watch sees the economy four times a second; problem says at the end what
	// did not happen, "" if all did.
	watch   func(e *economy)
	problem func(e *economy) string
}

var scenarios = []*scenario{
	{name: "auction", about: "one seed sells two slots to peers with different wallets; one has none", cast: []part{
		{name: "seed", role: provider, file: true},
		{name: "alice", role: requester, balance: 300 * amount.BTT},
		{name: "bob", role: requester, balance: 120 * amount.BTT},
		{name: "carol", role: requester, balance: 40 * amount.BTT},
		{name: "dave", role: plain},
	}},
	{name: "reserve", about: "a lone seed's reserve price rises until a second source proves that it has the file too", cast: []part{
		{name: "seed", role: provider, file: true, reserve: growing(2 * perGiB)},
		{name: "alice", role: requester, balance: 300 * amount.BTT},
		{name: "bob", role: requester, balance: 300 * amount.BTT, enters: after(3 * time.Second)},
		{name: "erin", role: provider, file: true, reserve: growing(perGiB / 2), enters: func(e *economy) bool {
			return e.peak >= 4*perGiB && e.actor("bob").node != nil && after(6*time.Second)(e)
		}},
	}, watch: (*economy).watchReserve, problem: (*economy).noRiseAndFall},
	{name: "dying", about: "the last seed rests because nobody pays; a bid that the tracker tells brings it back", cast: []part{
		{name: "seed", role: provider, file: true, reserve: &btt.Reserve{Fixed: 10 * perGiB}, whenPaid: true},
		{name: "carol", role: requester, balance: 40 * amount.BTT, most: 1 * perGiB, enters: (*economy).dead},
		{name: "alice", role: requester, balance: 300 * amount.BTT, enters: func(e *economy) bool {
			return e.dead() && e.actor("carol").node != nil && time.Since(e.entered) > 3*time.Second
		}},
	}, watch: (*economy).watchDying, problem: (*economy).noReturn},
}

const perGiB = amount.Price(amount.BTT)

// growing is a reserve price that rises by so much a second.
func growing(second amount.Price) *btt.Reserve {
	return &btt.Reserve{Growth: reserve.Growth{Slope: second * 86_400, Cap: 40 * perGiB, Step: perGiB / 2}}
}

func after(d time.Duration) func(*economy) bool {
	return func(e *economy) bool { return time.Since(e.began) >= d }
}

// Scenarios names what can be shown, one a line, with what it is.
func Scenarios() string {
	var b strings.Builder
	for _, s := range scenarios {
		fmt.Fprintf(&b, "  %-8s %s\n", s.name, s.about)
	}
	return b.String()
}

func scenarioOf(name string) (*scenario, error) {
	if name == "" {
		return scenarios[0], nil
	}
	for _, s := range scenarios {
		if s.name == name {
			return s, nil
		}
	}
	var names []string
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return nil, fmt.Errorf("%w: there is no scenario %q but %s", ErrOptions, name, strings.Join(names, ", "))
}

// parts is the cast with as many peers that download as wanted; 0 = those of
// the scenario. Further ones have smaller and smaller wallets, each fourth none.
func (s *scenario) parts(peers int) []part {
	var out []part
	have := 0
	for _, p := range s.cast {
		if p.role != provider {
			if have++; peers > 0 && have > peers {
				continue
			}
		}
		out = append(out, p)
	}
	for i := have + 1; i <= peers; i++ {
		p := part{name: fmt.Sprintf("peer%d", i), role: requester, balance: max(2, amount.Amount(200/i)) * amount.BTT}
		if i%4 == 0 {
			p.role, p.balance = plain, 0
		}
		out = append(out, p)
	}
	return out
}

func (e *economy) actor(name string) *actor {
	for _, a := range e.actors {
		if a.name == name {
			return a
		}
	}
	return &actor{}
}

// watchReserve tells how the seed's reserve price moves.
func (e *economy) watchReserve() {
	st := e.actors[0].status
	e.peak = max(e.peak, st.Reserve)
	if st.Proofs > e.proofs {
		e.proofs, e.fell = st.Proofs, st.Reserve
		e.report.Event("proof", fmt.Sprintf("another source proved to have the file: the seed's reserve price falls from %s to %s", e.told, st.Reserve),
			terminal.Fields{"from": int64(e.told), "reserve": int64(st.Reserve)})
		e.told = st.Reserve
		return
	}
	if st.Reserve >= e.told+4*perGiB {
		e.told = st.Reserve
		e.report.Event("reserve", fmt.Sprintf("nobody else proved to have the file: the seed's reserve price is %s", st.Reserve),
			terminal.Fields{"reserve": int64(st.Reserve)})
	}
}

func (e *economy) noRiseAndFall() string {
	if e.peak == 0 || e.proofs == 0 || e.fell >= e.peak {
		return fmt.Sprintf("the reserve price rose to %s and fell to %s after %d proofs", e.peak, e.fell, e.proofs)
	}
	return ""
}

// dead says whether the seed rests.
func (e *economy) dead() bool { return e.actors[0].status.Resting }

// watchDying tells when the seed rests and returns.
func (e *economy) watchDying() {
	resting := e.dead()
	if resting == e.rested {
		return
	}
	e.rested = resting
	if resting {
		e.report.Event("resting", "nobody bids the seed's price: it rests, and no peer has the file", nil)
		return
	}
	e.returns++
	e.report.Event("returned", "the tracker tells of a bid that pays: the seed is back", nil)
}

func (e *economy) noReturn() string {
	switch {
	case e.returns == 0:
		return "the seed never came back"
	case e.byBalance("carol") != e.actor("carol").start:
		return "the peer that bid under the price was charged"
	}
	return ""
}

// byBalance is what an actor's start and status leave it.
func (e *economy) byBalance(name string) amount.Amount {
	a := e.actor(name)
	return a.start - a.status.Paid + a.status.Earned
}
