package autobid

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/speed/auction"
)

// The swarm of the trap: one seed with four slots, equal files, equal wallets,
// and as many newcomers as nearly use the seed up.
const (
	trapRound  = 15 * time.Second
	trapSlots  = 4
	trapRate   = 250 << 10 // bytes/s of a slot
	trapPiece  = 1 << 20
	trapBlock  = 16 << 10
	trapWallet = 100 * amount.BTT
	trapFee    = amount.Amount(10_000) // one channel
	trapLoad   = 0.95
	trapSize   = 700 << 20
	trapPeers  = 300
	trapBudget = trapWallet / 2
	// strandedAfter is from when on a wait for the last percent, which takes half
	// a minute in a slot, counts as stranding.
	strandedAfter = 2 * time.Hour
)

// trapSeeds name three streams of arrivals.
var trapSeeds = []uint64{1, 2, 3}

// trapBid is a rule of bidding under test: what a peer wants to bid.
type trapBid func(balance, spent amount.Amount, left int64) amount.Price

// trapPeer is one leecher.
type trapPeer struct {
	id             uint64
	bidder         Bidder
	balance, spent amount.Amount
	left           int64
	arrived        time.Time
	served         time.Time // end of its last slot
	near           time.Time // when it first lacked 1 % at most
	holds, twice   bool
}

// trapResult is what a run measured.
type trapResult struct {
	times    []time.Duration // from arrival to the last byte, sorted
	stuck    time.Duration   // longest time between 99 % and the last byte
	stranded int             // peers for which that was longer than strandedAfter
	block    int64           // greatest part of a wallet bid for one block, ppm
	spent    amount.Amount   // the most one peer spent
	paid     int             // slots sold, counted each round
	atBid    int             // of them at the winner's own bid
}

func (r *trapResult) log(t *testing.T, seed uint64, name string) {
	t.Logf("seed %d, %s: mean %.2f h, median %.2f h, longest %.2f h; %d stranded, the longest %.2f h; most spent %v, most for a block %d ppm; %d %% of slots at the winner's own bid",
		seed, name, r.mean().Hours(), r.times[len(r.times)/2].Hours(), r.longest().Hours(), r.stranded, r.stuck.Hours(), r.spent, r.block, 100*r.atBid/max(r.paid, 1))
}

func (r *trapResult) mean() time.Duration {
	var sum time.Duration
	for _, d := range r.times {
		sum += d
	}
	return sum / time.Duration(len(r.times))
}

func (r *trapResult) longest() time.Duration { return r.times[len(r.times)-1] }

type trapSwarm struct {
	rng     *rand.Rand
	bid     trapBid
	sold    int // slots for sale; the others go by the longest wait
	now     time.Time
	peers   []*trapPeer
	scratch auction.Scratch
	awards  []auction.Award
	bidders []auction.Bidder
	result  trapResult
}

// runTrap plays the swarm until everybody is done. Arrivals depend on seed
// alone.
func runTrap(seed uint64, sold int, bid trapBid) *trapResult {
	arrivals := rand.New(rand.NewPCG(seed, 1))
	s := &trapSwarm{rng: rand.New(rand.NewPCG(seed, 2)), bid: bid, sold: sold, now: time.Unix(0, 0)}
	gap := float64(trapSize) / (trapLoad * trapSlots * trapRate) // seconds
	next := s.now
	for n := 0; n < trapPeers || len(s.peers) > 0; s.now = s.now.Add(trapRound) {
		for n < trapPeers && !next.After(s.now) {
			n++
			s.peers = append(s.peers, &trapPeer{id: uint64(n), balance: trapWallet, left: trapSize, arrived: next, served: next})
			next = next.Add(time.Duration(arrivals.ExpFloat64() * gap * float64(time.Second)))
		}
		s.round()
	}
	slices.Sort(s.result.times)
	return &s.result
}

// round is one choke round: bids, auction, free slots, bytes.
func (s *trapSwarm) round() {
	s.bidders = s.bidders[:0]
	for _, p := range s.peers {
		p.bidder.Step(s.now, s.bid(p.balance, p.spent, p.left))
		b := auction.Bidder{ID: p.id, Bid: p.bidder.Sent(), Tie: s.rng.Uint64() >> 1}
		if p.holds {
			b.Tie |= 1 << 63
		}
		if trapAfford(p.balance, b.Bid) < trapBlock && b.Bid > 0 {
			b.Bid = 0 // its channel covers no block
		}
		s.bidders = append(s.bidders, b)
		p.holds = false
		if p.balance > 0 {
			cost, _ := b.Bid.Owed(min(trapBlock, p.left))
			s.result.block = max(s.result.block, int64(cost)*PPM/int64(p.balance))
		}
	}
	s.awards = auction.Run(s.awards[:0], &s.scratch, auction.Rules{Slots: s.sold, MaxCapped: s.sold}, s.bidders)
	taken := len(s.awards)
	for _, a := range s.awards {
		s.result.paid++
		if a.Price == s.bidders[a.Index].Bid {
			s.result.atBid++
		}
		p := s.peers[a.Index]
		p.holds = true
		s.serve(p, a.Price)
	}
	if taken == trapSlots {
		s.peers = slices.DeleteFunc(s.peers, s.done)
		return
	}
	free := make([]*trapPeer, 0, len(s.peers))
	for _, p := range s.peers {
		if !p.holds {
			free = append(free, p)
		}
	}
	slices.SortStableFunc(free, func(a, b *trapPeer) int { return a.served.Compare(b.served) })
	for _, p := range free[:min(len(free), trapSlots-taken)] {
		s.serve(p, 0)
	}
	s.peers = slices.DeleteFunc(s.peers, s.done)
}

// trapAfford is how many bytes a balance buys.
func trapAfford(balance amount.Amount, price amount.Price) int64 {
	if price <= 0 {
		return 1 << 40
	}
	return int64(balance) << 30 / int64(price)
}

// serve gives a peer one round of a slot. Every hundredth piece on average is
// damaged and fetched again, and so is the last one, an end-game duplicate.
func (s *trapSwarm) serve(p *trapPeer, price amount.Price) {
	p.served = s.now
	if price > 0 && p.spent == 0 {
		p.balance -= trapFee
		p.spent += trapFee
	}
	n := min(trapRate*int64(trapRound/time.Second), p.left, trapAfford(p.balance, price))
	cost, err := price.Owed(n)
	if err != nil {
		panic(err)
	}
	p.balance -= cost
	p.spent += cost
	p.left -= n
	if s.rng.Float64() < float64(n)/trapPiece/100 {
		p.left += trapPiece
	}
	if p.left == 0 && !p.twice {
		p.twice, p.left = true, trapPiece
	}
	if p.near.IsZero() && p.left <= trapSize/100 {
		p.near = s.now
	}
}

func (s *trapSwarm) done(p *trapPeer) bool {
	if p.left > 0 {
		return false
	}
	end := s.now.Add(trapRound)
	s.result.times = append(s.result.times, end.Sub(p.arrived))
	wait := end.Sub(p.near)
	s.result.stuck = max(s.result.stuck, wait)
	if wait > strandedAfter {
		s.result.stranded++
	}
	s.result.spent = max(s.result.spent, p.spent)
	return true
}

// Rules of bidding: none, the paper's formula alone, and what a node does, with
// the wallet or a lower budget as the limit.
var (
	trapFree  trapBid = func(amount.Amount, amount.Amount, int64) amount.Price { return 0 }
	trapNaive trapBid = func(balance, _ amount.Amount, left int64) amount.Price {
		return Price(Config{SpendRate: PPM}, balance, Torrent{Left: left, Share: PPM, Budget: NoBudget})
	}
	trapGuarded trapBid = func(balance, _ amount.Amount, left int64) amount.Price {
		return Price(Default(), balance, Torrent{Left: left, Size: trapSize, PieceLength: trapPiece, Share: PPM, Budget: NoBudget})
	}
	trapBudgeted trapBid = func(balance, spent amount.Amount, left int64) amount.Price {
		return Price(Default(), balance, Torrent{Left: left, Size: trapSize, PieceLength: trapPiece, Share: PPM, Budget: max(trapBudget-spent, 0)})
	}
)

// TestEqualWalletsTrap: the paper's formula alone, in a swarm of equal wallets
// at 0.95 of the seed's capacity, leaves peers next to the end without money for
// the last bytes while newcomers outbid them: they wait for many hours, and
// the mean is a multiple of what the same arrivals need in turn.
func TestEqualWalletsTrap(t *testing.T) {
	var sum time.Duration
	for _, seed := range trapSeeds {
		fair, r := runTrap(seed, trapSlots, trapFree), runTrap(seed, trapSlots, trapNaive)
		r.log(t, seed, "formula alone")
		sum += r.mean()
		if r.stuck < 8*time.Hour || r.stranded < trapPeers/20 {
			t.Errorf("seed %d: the longest wait for the last percent is %v, %d peers stranded: the scenario tests nothing", seed, r.stuck, r.stranded)
		}
		if r.mean() < 2*fair.mean() {
			t.Errorf("seed %d: mean %v, in turn %v", seed, r.mean(), fair.mean())
		}
		if r.block < PPM/4 {
			t.Errorf("seed %d: no block took a bid of more than %d ppm of a wallet", seed, r.block)
		}
	}
	if mean := sum / time.Duration(len(trapSeeds)); mean < 10*time.Hour || mean > 30*time.Hour {
		t.Errorf("mean %v, want the order of the 18 h known of this trap", mean)
	}
}

// TestEqualWalletsFinish: the guards cure the trap. The formula's own guards
// alone end the stranding; with the slot that is never sold nobody needs longer
// than the last one does where all are served in turn. Equal budgets below the
// wallet are the same case.
func TestEqualWalletsFinish(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bid   trapBid
		sold  int
		limit amount.Amount
	}{
		{"wallet, all slots sold", trapGuarded, trapSlots, trapWallet},
		{"wallet", trapGuarded, trapSlots - 1, trapWallet},
		{"budget, all slots sold", trapBudgeted, trapSlots, trapBudget},
		{"budget", trapBudgeted, trapSlots - 1, trapBudget},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, seed := range trapSeeds {
				fair, r := runTrap(seed, trapSlots, trapFree), runTrap(seed, tt.sold, tt.bid)
				r.log(t, seed, tt.name)
				if len(r.times) != trapPeers || r.stranded > 0 || r.stuck > 30*time.Minute {
					t.Errorf("seed %d: %d of %d done, %d stranded, the last percent took %v", seed, len(r.times), trapPeers, r.stranded, r.stuck)
				}
				if r.mean() > fair.mean() {
					t.Errorf("seed %d: mean %v, in turn %v", seed, r.mean(), fair.mean())
				}
				if tt.sold < trapSlots && r.longest() > fair.longest() {
					t.Errorf("seed %d: the longest took %v, in turn %v", seed, r.longest(), fair.longest())
				}
				if r.spent > tt.limit {
					t.Errorf("seed %d: spent %v of %v", seed, r.spent, tt.limit)
				}
				if r.block > PPM/50 {
					t.Errorf("seed %d: bid %d ppm of a wallet for one block", seed, r.block)
				}
				if r.paid < trapPeers {
					t.Errorf("seed %d: %d slots sold: the scenario tests nothing", seed, r.paid)
				}
			}
		})
	}
}

// TestTrapIsDeterministic: equal seeds, equal swarms.
func TestTrapIsDeterministic(t *testing.T) {
	if a, b := runTrap(2, trapSlots, trapGuarded), runTrap(2, trapSlots, trapGuarded); !slices.Equal(a.times, b.times) || a.spent != b.spent {
		t.Error("two runs of one seed differ")
	}
}
