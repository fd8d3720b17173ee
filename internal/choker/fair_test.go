package choker

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
)

// fluid is a swarm of one seed whose peers get all from it: the worst case for
// who is not served. Its rate is shared evenly by those it serves.
type fluid struct {
	cfg   Config
	rate  float64 // bytes a second
	size  float64
	bids  []amount.Price // of each peer; 0 = free
	joins []time.Duration
	takes []float64 // most that each takes, of the rate; 0 = no limit
	share *Share    // nil = none
}

// run plays the swarm and returns when each peer was complete.
func (f *fluid) run(rng *rand.Rand) []float64 {
	const step = 250 * time.Millisecond
	n := len(f.bids)
	cands, had, done := make([]Candidate, n), make([]float64, n), make([]float64, n)
	for i, id := range rng.Perm(n) {
		cands[i] = Candidate{ID: uint64(id), Seeding: true, Speed: f.bids[i] > 0, Bid: f.bids[i]}
	}
	offset := time.Duration(rng.Int64N(int64(Period)))
	left := n
	for t := time.Duration(0); left > 0; t += step {
		at := now.Add(t)
		changed := false
		for i := range cands {
			c := &cands[i]
			if !c.Interested && done[i] == 0 && t >= f.joins[i] {
				c.Interested, c.WaitingSince, changed = true, at, true
			}
		}
		w := Weights{Free: 1, Bidder: 1}
		if f.share != nil {
			w = f.share.Weigh(cands, func(i int) (bool, bool) { return cands[i].Unchoked, cands[i].Paid })
		}
		weight := func(i int) float64 { return float64(w.Of(cands[i].ID, cands[i].Bid > 0)) }
		rates := f.divide(cands, weight)
		for i := range cands {
			c := &cands[i]
			if !c.Unchoked || !c.Interested {
				continue
			}
			had[i] += rates[i] * step.Seconds()
			c.Sent += int64(rates[i] * step.Seconds())
			if had[i] >= f.size {
				c.Interested, c.Unchoked, c.Paid, c.Optimistic, changed = false, false, false, false, true
				done[i] = (t + step - f.joins[i]).Seconds()
				left--
			}
		}
		var ds []Decision
		cfg := f.cfg
		round := (t+offset)%Period < step
		for i := range cands {
			cands[i].Left = int64(f.size - had[i])
		}
		if f.share != nil {
			if round {
				f.share.Book(f.cfg.Keep, cands)
			}
			cfg = f.share.Apply(cfg, cands)
		}
		if round {
			ds = new(Scratch).Round(nil, cfg, at, rng.Uint64(), cands)
		} else if changed {
			ds = new(Scratch).Fill(nil, cfg, at, cands)
		}
		if round {
			for i := range cands {
				cands[i].Sent = 0
			}
		}
		for _, d := range ds {
			for i := range cands {
				if c := &cands[i]; c.ID == d.ID {
					if d.Unchoke && !c.Unchoked {
						c.UnchokedAt = at
					}
					if !d.Unchoke && c.Unchoked {
						c.WaitingSince = at
					}
					c.Unchoked, c.Optimistic, c.Paid, c.Price = d.Unchoke, d.Optimistic, d.Paid, d.Price
				}
			}
		}
	}
	return done
}

// divide shares the rate by weight; what somebody can not take the others do.
func (f *fluid) divide(cands []Candidate, weight func(int) float64) []float64 {
	rates, full := make([]float64, len(cands)), make([]bool, len(cands))
	for again := true; again; {
		again = false
		left, weights := f.rate, 0.0
		for i := range cands {
			switch c := &cands[i]; {
			case !c.Unchoked || !c.Interested:
			case full[i]:
				left -= rates[i]
			default:
				weights += weight(i)
			}
		}
		for i := range cands {
			if c := &cands[i]; c.Unchoked && c.Interested && !full[i] {
				rates[i] = left * weight(i) / weights
				if most := f.takes[i] * f.rate; most > 0 && rates[i] > most {
					rates[i], full[i], again = most, true, true
				}
			}
		}
	}
	return rates
}

// even is when each peer would be complete if all shared the rate evenly at any
// time.
func (f *fluid) even() []float64 {
	const step = 250 * time.Millisecond
	had, done := make([]float64, len(f.bids)), make([]float64, len(f.bids))
	left := len(f.bids)
	for t := time.Duration(0); left > 0; t += step {
		n := 0
		for i := range had {
			if done[i] == 0 && t >= f.joins[i] {
				n++
			}
		}
		for i := range had {
			if done[i] > 0 || t < f.joins[i] {
				continue
			}
			if had[i] += f.rate * step.Seconds() / float64(n); had[i] >= f.size {
				done[i] = (t + step - f.joins[i]).Seconds()
				left--
			}
		}
	}
	return done
}

// crowdOf makes a swarm of bidders, the richest first, and free peers, which come
// within a time.
func crowdOf(rng *rand.Rand, cfg Config, bidders, free, rounds int, within time.Duration) *fluid {
	f := &fluid{cfg: cfg, rate: 1e6, size: 1e6 * Period.Seconds() * float64(rounds)}
	for i := range bidders + free {
		bid := amount.Price(0)
		if i < bidders {
			bid = amount.Price(1000 * (bidders - i))
		}
		f.bids = append(f.bids, bid)
		f.takes = append(f.takes, 0)
		f.joins = append(f.joins, time.Duration(rng.Int64N(int64(within))))
	}
	return f
}

func meanOf(list []float64) (sum float64) {
	for _, x := range list {
		sum += x / float64(len(list))
	}
	return sum
}

// TestFreeBesideBidders plays swarms of one seed with and without bids, in which
// nobody has anything from anybody else. On average over many, free peers take
// less time beside bidders than without, while those who bid most are far faster.
func TestFreeBesideBidders(t *testing.T) {
	const swarms = 40
	for _, k := range []struct {
		slots, optimistic, bidders, free, rounds int
		slow                                     float64 // part of the rate that the last free peer can take
		most                                     float64 // times as long that free peers take
		rich                                     float64 // and the highest bidder
	}{
		{2, 1, 2, 3, 20, 0, 0.97, 0.65},
		{2, 1, 2, 3, 5, 0, 0.98, 0.7},
		{2, 1, 2, 3, 15, 0.2, 0.99, 0.65},
		{4, 1, 5, 5, 10, 0, 0.95, 0.7},
		{8, 1, 2, 20, 20, 0, 0.99, 0.45},
		{8, 1, 10, 10, 20, 0, 0.9, 0.7},
		{8, 1, 20, 5, 20, 0, 0.87, 0.5},
		{8, 1, 3, 5, 20, 0, 0.92, 0.8},  // a slot for each
		{2, 1, 3, 1, 15, 0, 1.01, 0.65}, // one alone gets no more than that
		{2, 1, 5, 1, 15, 0, 1.01, 0.45},
		{2, 1, 1, 1, 15, 0, 1.01, 0.9},
	} {
		var rich, poor, free, free0, all0 float64
		for seed := range uint64(swarms) {
			cfg := Default(k.slots)
			cfg.Optimistic = k.optimistic
			f := crowdOf(rand.New(rand.NewPCG(seed, 1)), cfg, k.bidders, k.free, k.rounds, 5*time.Second)
			f.takes[len(f.takes)-1] = k.slow
			f.share = &Share{}
			paid := f.run(rand.New(rand.NewPCG(seed, 2)))
			f.share, f.bids = nil, make([]amount.Price, len(f.bids))
			plain := f.run(rand.New(rand.NewPCG(seed, 2)))
			rich, poor = rich+paid[0]/swarms, poor+paid[k.bidders-1]/swarms
			free, free0 = free+meanOf(paid[k.bidders:])/swarms, free0+meanOf(plain[k.bidders:])/swarms
			all0 += meanOf(plain) / swarms
		}
		t.Logf("%+v: free peers %.3f times as long as without bids, the highest bidder %.2f, the lowest %.2f", k, free/free0, rich/all0, poor/all0)
		if free > k.most*free0 {
			t.Errorf("%+v: free peers take %.3f times as long beside bidders", k, free/free0)
		}
		if rich > k.rich*all0 || poor < 0.98*rich {
			t.Errorf("%+v: the highest bidder takes %.2f times as long as without bids, the lowest %.2f", k, rich/all0, poor/all0)
		}
	}
}

// TestFreeWhenBiddersKeepComing: peers come all the time, and half of them bid.
// Without the share free peers wait for all bidders; with it they are complete
// about as soon as if all had shared evenly.
func TestFreeWhenBiddersKeepComing(t *testing.T) {
	const swarms, bidders, free = 12, 24, 24
	var with, without, even, rich float64
	for seed := range uint64(swarms) {
		// 48 files in 1.1 times the time that sending them takes
		f := crowdOf(rand.New(rand.NewPCG(seed, 3)), Default(4), bidders, free, 10, 48*10*11*Period/10)
		base := f.even()
		unshared := f.run(rand.New(rand.NewPCG(seed, 4)))
		f.share = &Share{}
		shared := f.run(rand.New(rand.NewPCG(seed, 4)))
		with, without = with+meanOf(shared[bidders:])/swarms, without+meanOf(unshared[bidders:])/swarms
		even, rich = even+meanOf(base[bidders:])/swarms, rich+meanOf(shared[:bidders/3])/swarms
	}
	t.Logf("free peers %.0f s with the share, %.0f s without, %.0f s if all shared evenly; the third that bids most %.0f s", with, without, even, rich)
	if with > 0.95*even || with >= without || rich >= 0.95*even {
		t.Error("free peers lose by bidders that keep coming")
	}
}
