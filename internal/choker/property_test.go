package choker

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/speed/auction"
)

// drawCands draws a snapshot a client could be in.
func drawCands(t *rapid.T) []Candidate {
	list := make([]Candidate, rapid.IntRange(0, 40).Draw(t, "n"))
	price := rapid.Int64Range(0, 20)
	for i := range list {
		c := &list[i]
		*c = Candidate{
			ID: uint64(i)*7919 + 3, Interested: rapid.IntRange(0, 5).Draw(t, "interested") > 0,
			Seeding: rapid.Bool().Draw(t, "seeding"), Snubbed: rapid.IntRange(0, 5).Draw(t, "snubbed") == 0,
			Speed: rapid.Bool().Draw(t, "speed"), Bid: amount.Price(price.Draw(t, "bid")),
			Reserve: amount.Price(price.Draw(t, "reserve") / 2), Own: amount.Price(price.Draw(t, "own")),
			Received: rapid.Int64Range(0, 4).Draw(t, "received") << 20, Sent: rapid.Int64Range(0, 4).Draw(t, "sent") << 20,
		}
		before := func() time.Time { return now.Add(-time.Duration(rapid.IntRange(0, 90).Draw(t, "s")) * time.Second) }
		c.WaitingSince = before()
		if rapid.IntRange(0, 3).Draw(t, "owned") == 0 {
			c.Owner = rapid.Uint64Range(1, 4).Draw(t, "owner")
		}
		if rapid.Bool().Draw(t, "served") {
			c.UnchokedAt = before()
			switch rapid.IntRange(0, 4).Draw(t, "state") {
			case 0:
				c.Unchoked = true
			case 1:
				c.Unchoked, c.Optimistic = true, true
			case 2:
				c.Unchoked, c.Paid, c.Price = true, true, amount.Price(price.Draw(t, "running"))
			}
			c.Resting = rapid.IntRange(0, 5).Draw(t, "resting") == 0
			c.Idle = c.Unchoked && rapid.IntRange(0, 3).Draw(t, "idle") == 0
		}
	}
	return list
}

func drawConfig(t *rapid.T) Config {
	cfg := Default(rapid.IntRange(-1, 20).Draw(t, "slots"))
	cfg.Optimistic = rapid.IntRange(0, 5).Draw(t, "optimistic")
	cfg.PaidMaxLeeching = rapid.IntRange(0, 10).Draw(t, "max leeching")
	if rapid.Bool().Draw(t, "weighted") {
		cfg.Strategy = auction.Weighted{}
	}
	cfg.Seed = SeedPolicy(rapid.IntRange(0, 1).Draw(t, "seed"))
	cfg.PaidOnly = rapid.IntRange(0, 3).Draw(t, "paid only") == 0
	cfg.Withheld = max(0, rapid.IntRange(-3, 3).Draw(t, "withheld"))
	cfg.Help, cfg.Helped = rapid.Bool().Draw(t, "help"), uint64(rapid.IntRange(0, 5).Draw(t, "helped"))*7919+3
	return cfg
}

// beside counts who is served beside the slots: one at most, who has no paid slot.
func beside(cfg Config, c Candidate, d Decision) int {
	if cfg.Help && c.ID == cfg.Helped && c.Seeding && c.wants() && (!cfg.PaidOnly || c.Plain) && d.Unchoke && !d.Paid {
		return 1
	}
	return 0
}

func TestRoundProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, cands, entropy := drawConfig(t), drawCands(t), rapid.Uint64().Draw(t, "entropy")
		got := new(Scratch).Round(nil, cfg, now, entropy, cands)
		if len(got) != len(cands) {
			t.Fatalf("%d decisions for %d candidates", len(got), len(cands))
		}
		unchoked, opt, soldLeeching, waiting, lent, sold := 0, 0, 0, 0, 0, 0
		owners := map[uint64]bool{}
		for i, d := range got {
			c := cands[i]
			if !d.Unchoke {
				if d.Paid || d.Optimistic || d.Price != 0 || d.Reprice {
					t.Fatalf("choked, but %+v", d)
				}
				if c.wants() && (!cfg.PaidOnly || !c.Seeding || c.Plain) {
					waiting++
				}
				continue
			}
			help := beside(cfg, c, d)
			unchoked += 1 - help
			if c.Unchoked && c.Idle {
				lent++
			}
			if d.Paid {
				sold++
			}
			if d.Paid && c.Owner != 0 {
				if owners[c.Owner] {
					t.Fatalf("owner %d bought twice", c.Owner)
				}
				owners[c.Owner] = true
			}
			if d.Optimistic {
				opt += 1 - help
			}
			if d.Paid && !c.Seeding {
				soldLeeching++
			}
			if !c.wants() || d.Paid && d.Optimistic || d.Paid && !c.buyer() {
				t.Fatalf("%+v for %+v", d, c)
			}
			if d.Price > c.Bid && d.Paid || d.Paid && d.Price < c.Reserve || !d.Paid && d.Price != 0 {
				t.Fatalf("price of %+v for %+v", d, c)
			}
			if d.Reprice != (c.Unchoked && (c.Paid != d.Paid || c.Paid && c.Price != d.Price)) {
				t.Fatalf("reprice of %+v for %+v", d, c)
			}
		}
		if cfg.Slots >= 0 && (unchoked > cfg.Slots+lent || opt > cfg.Optimistic+lent || sold > max(0, cfg.Slots-cfg.Optimistic-cfg.Withheld)) || soldLeeching > cfg.PaidMaxLeeching {
			t.Fatalf("%d unchoked, %d optimistic, %d sold while leeching of %+v", unchoked, opt, soldLeeching, cfg)
		}
		if waiting > 0 && (cfg.Slots < 0 || unchoked < cfg.Slots+lent) {
			t.Fatalf("%d wait while %d of %d slots are used", waiting, unchoked, cfg.Slots)
		}
	})
}

// TestRoundOrder: the decision does not depend on the order of candidates.
func TestRoundOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, cands, entropy := drawConfig(t), drawCands(t), rapid.Uint64().Draw(t, "entropy")
		want := map[uint64]Decision{}
		for _, d := range new(Scratch).Round(nil, cfg, now, entropy, cands) {
			want[d.ID] = d
		}
		for _, d := range new(Scratch).Round(nil, cfg, now, entropy, rapid.Permutation(cands).Draw(t, "order")) {
			if d != want[d.ID] {
				t.Fatalf("got %+v, want %+v", d, want[d.ID])
			}
		}
	})
}

// TestNoBidderNoDifference: where nobody bids, everybody fares exactly as in a
// client that never heard of bids (R1.10).
func TestNoBidderNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cands, entropy := drawCands(t), rapid.Uint64().Draw(t, "entropy")
		cfg := Default(rapid.IntRange(-1, 20).Draw(t, "slots"))
		legacy := slices.Clone(cands)
		for i := range cands {
			cands[i].Bid, cands[i].Paid, cands[i].Price = 0, false, 0
			legacy[i].Speed, legacy[i].Bid, legacy[i].Reserve, legacy[i].Own = false, 0, 0, 0
			legacy[i].Paid, legacy[i].Price = false, 0
		}
		got, want := new(Scratch).Round(nil, cfg, now, entropy, cands), new(Scratch).Round(nil, cfg, now, entropy, legacy)
		if !slices.Equal(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if !slices.Equal(new(Scratch).Fill(nil, cfg, now, cands), new(Scratch).Fill(nil, cfg, now, legacy)) {
			t.Fatal("Fill differs")
		}
	})
}

// TestBarterIsKept: while leeching, the best barter partners have a slot
// whatever others bid: at least as many as slots that may not be sold (R10.7,
// A18).
func TestBarterIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cands := drawCands(t)
		for i := range cands {
			cands[i].Seeding, cands[i].Snubbed, cands[i].Interested = false, false, true
			cands[i].Received = int64(i+1) << 20
		}
		cfg := Default(rapid.IntRange(1, 20).Draw(t, "slots"))
		got := new(Scratch).Round(nil, cfg, now, 1, cands)
		kept := cfg.Slots - cfg.Optimistic - cfg.PaidMaxLeeching
		for i := len(got) - 1; i >= max(0, len(got)-kept); i-- {
			if !got[i].Unchoke {
				t.Fatalf("partner of rank %d of %d is choked", len(got)-i, kept)
			}
		}
	})
}

// TestHoldersStable: if nothing changes between two rounds, no paid slot
// changes hands or price, whatever the random word. (Weighted may take one
// more round to choose between the connections of one owner.)
func TestHoldersStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, cands := drawConfig(t), drawCands(t)
		if cfg.Strategy != (auction.Paper{}) {
			for i := range cands {
				cands[i].Owner = 0
			}
		}
		first := new(Scratch).Round(nil, cfg, now, rapid.Uint64().Draw(t, "first"), cands)
		for i, d := range first {
			c := &cands[i]
			if d.Unchoke && !c.Unchoked {
				c.UnchokedAt = now
			}
			if !d.Unchoke && c.Unchoked {
				c.WaitingSince = now
			}
			c.Unchoked, c.Optimistic, c.Paid, c.Price = d.Unchoke, d.Optimistic, d.Paid, d.Price
		}
		second := new(Scratch).Round(nil, cfg, now.Add(Period), rapid.Uint64().Draw(t, "second"), cands)
		for i, d := range second {
			if first[i].Paid && (!d.Paid || d.Price != first[i].Price || d.Reprice) {
				t.Fatalf("peer %d had %+v, now %+v", d.ID, first[i], d)
			}
		}
	})
}

func TestFillProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg, cands := drawConfig(t), drawCands(t)
		unchoked, soldLeeching, lent := 0, 0, 0
		byID := map[uint64]Candidate{}
		for _, c := range cands {
			byID[c.ID] = c
			if c.Unchoked {
				unchoked += 1 - beside(cfg, c, Decision{Unchoke: true, Paid: c.Paid})
			}
			if c.Unchoked && c.Idle {
				lent++
			}
			if c.Unchoked && c.Paid && !c.Seeding {
				soldLeeching++
			}
		}
		for _, d := range new(Scratch).Fill(nil, cfg, now, cands) {
			c := byID[d.ID]
			if c.Unchoked || !d.Unchoke || !c.wants() || d.Paid && (!c.buyer() || d.Price != c.Reserve || d.Price > c.Bid) {
				t.Fatalf("%+v for %+v", d, c)
			}
			if beside(cfg, c, d) == 1 {
				continue
			}
			unchoked++
			if d.Paid && !c.Seeding {
				if soldLeeching++; soldLeeching > cfg.PaidMaxLeeching {
					t.Fatal("too many sold while leeching")
				}
			}
			if cfg.Slots >= 0 && unchoked > cfg.Slots+lent {
				t.Fatalf("%d unchoked of %d, %d idle", unchoked, cfg.Slots, lent)
			}
		}
	})
}

// play runs n rounds over the same peers, carrying decisions over, and returns
// how many rounds each was unchoked.
func play(cfg Config, cands []Candidate, n int) []int {
	rounds := make([]int, len(cands))
	at := now
	for i := range n {
		at = at.Add(Period)
		for j, d := range new(Scratch).Round(nil, cfg, at, uint64(i), cands) {
			c := &cands[j]
			if d.Unchoke && !c.Unchoked {
				c.UnchokedAt = at
			}
			if !d.Unchoke && c.Unchoked {
				c.WaitingSince = at
			}
			c.Unchoked, c.Optimistic, c.Paid, c.Price = d.Unchoke, d.Optimistic, d.Paid, d.Price
			if d.Unchoke {
				rounds[j]++
			}
		}
	}
	return rounds
}

// TestOptimisticReachesAll: while bidders hold every regular slot, the
// optimistic one goes round among all others (R10.5).
func TestOptimisticReachesAll(t *testing.T) {
	cands := make([]Candidate, 12)
	for i := range cands {
		cands[i] = Candidate{ID: uint64(i), Interested: true, Seeding: true, WaitingSince: now}
		if i < 6 {
			cands[i].Speed, cands[i].Bid = true, amount.Price(100+i)
		}
	}
	for i, n := range play(Default(3), cands, 60) {
		if n < 4 || (i == 4 || i == 5) != (n == 60) {
			t.Errorf("peer %d was unchoked in %d of 60 rounds", i, n)
		}
	}
}

// TestRoundRobinIsFair: free peers of a seed get equal time.
func TestRoundRobinIsFair(t *testing.T) {
	cands := make([]Candidate, 12)
	for i := range cands {
		cands[i] = Candidate{ID: uint64(i), Interested: true, Seeding: true, WaitingSince: now}
	}
	for i, n := range play(Default(4), cands, 600) { // 600 × 4 / 12 = 200 each
		if n < 180 || n > 220 {
			t.Errorf("peer %d was unchoked in %d of 600 rounds", i, n)
		}
	}
}

// TestScratch: a steady round allocates nothing, with the books of shares, the weights
// and the filling of free slots; and what a Scratch held before changes no decision.
func TestScratch(t *testing.T) {
	var scratch Scratch
	var share Share
	var dst []Decision
	for _, n := range []int{200, 50} {
		cands := make([]Candidate, n)
		for i := range cands {
			cands[i] = Candidate{
				ID: uint64(i), Owner: uint64(i / 4), Interested: true, Seeding: i%2 == 0, Speed: i%3 == 0, Bid: amount.Price(i * 7919 % 1000),
				Reserve: 50, Received: int64(i * 31 % 100), WaitingSince: now.Add(-time.Duration(i*17%600) * time.Second),
				Sent: 1 << 20, Left: int64(i) << 24,
			}
		}
		round := func() { dst = whole(&scratch, &share, dst, cands) }
		round()
		dst = scratch.Round(dst[:0], Default(20), now, 1, cands)
		if want := new(Scratch).Round(nil, Default(20), now, 1, cands); !slices.Equal(dst, want) {
			t.Errorf("%d candidates: a used scratch decides otherwise", n)
		}
		if got, want := scratch.Fill(nil, Default(20), now, cands), new(Scratch).Fill(nil, Default(20), now, cands); !slices.Equal(got, want) {
			t.Errorf("%d candidates: a used scratch fills otherwise", n)
		}
		if a := testing.AllocsPerRun(20, round); a > 0 {
			t.Errorf("%d candidates: a steady round allocates %v times", n, a)
		}
	}
}

// whole is what a session does of a round: books, auction, weights, and slots that
// are filled between two rounds.
func whole(s *Scratch, share *Share, dst []Decision, cands []Candidate) []Decision {
	share.Book(Keep{}, cands)
	cfg := share.Apply(Default(20), cands)
	dst = s.Round(dst[:0], cfg, now, 1, cands)
	share.Weigh(cands, func(i int) (bool, bool) { return dst[i].Unchoke, dst[i].Paid })
	return s.Fill(dst[:0], cfg, now, cands)
}

// BenchmarkWhole is a whole round with its books.
func BenchmarkWhole(b *testing.B) {
	cands := make([]Candidate, 1000)
	for i := range cands {
		cands[i] = Candidate{
			ID: uint64(i), Owner: uint64(i + 1), Interested: true, Seeding: true, Speed: i%3 == 0, Bid: amount.Price(i * 7919 % 1000), Sent: 1 << 20,
			Left: int64(i) << 20, Reserve: 50, Received: int64(i * 31 % 100), WaitingSince: now.Add(-time.Duration(i*17%600) * time.Second),
		}
	}
	var dst []Decision
	var scratch Scratch
	var share Share
	b.ReportAllocs()
	for b.Loop() {
		dst = whole(&scratch, &share, dst, cands)
	}
}

func BenchmarkRound(b *testing.B) {
	for _, n := range []int{50, 1000} {
		cands := make([]Candidate, n)
		for i := range cands {
			cands[i] = Candidate{
				ID: uint64(i), Interested: true, Seeding: i%2 == 0, Speed: i%3 == 0, Bid: amount.Price(i * 7919 % 1000),
				Reserve: 50, Received: int64(i * 31 % 100), WaitingSince: now.Add(-time.Duration(i*17%600) * time.Second),
			}
		}
		b.Run(map[int]string{50: "50", 1000: "1000"}[n], func(b *testing.B) {
			b.ReportAllocs()
			var dst []Decision
			var scratch Scratch
			for b.Loop() {
				dst = scratch.Round(dst[:0], Default(20), now, 1, cands)
			}
		})
	}
}
