package choker

import (
	"slices"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/speed/auction"
)

var now = time.Unix(1_000_000, 0)

// ago is a time before the round.
func ago(s int) time.Time { return now.Add(-time.Duration(s) * time.Second) }

// waiting is a choked, interested peer.
func waiting(id uint64, f ...func(*Candidate)) Candidate {
	c := Candidate{ID: id, Interested: true, WaitingSince: ago(5)}
	for _, g := range f {
		g(&c)
	}
	return c
}

func bid(p amount.Price) func(*Candidate) {
	return func(c *Candidate) { c.Speed, c.Bid = true, p }
}
func owner(o uint64) func(*Candidate)         { return func(c *Candidate) { c.Owner = o } }
func reserve(p amount.Price) func(*Candidate) { return func(c *Candidate) { c.Reserve = p } }
func seeding(c *Candidate)                    { c.Seeding = true }
func snubbed(c *Candidate)                    { c.Snubbed = true }
func got(n int64) func(*Candidate)            { return func(c *Candidate) { c.Received = n } }
func waits(s int) func(*Candidate)            { return func(c *Candidate) { c.WaitingSince = ago(s) } }
func served(s int) func(*Candidate)           { return func(c *Candidate) { c.UnchokedAt = ago(s) } }
func holds(s int) func(*Candidate) {
	return func(c *Candidate) { c.Unchoked, c.UnchokedAt = true, ago(s) }
}
func optimistic(s int) func(*Candidate) {
	return func(c *Candidate) { c.Unchoked, c.Optimistic, c.UnchokedAt = true, true, ago(s) }
}
func paying(p amount.Price) func(*Candidate) {
	return func(c *Candidate) { c.Unchoked, c.Paid, c.Price, c.UnchokedAt = true, true, p, ago(20) }
}

// kind renders a decision: "-" choked, "f" free, "o" optimistic, "$" paid.
func kind(d Decision) string {
	switch {
	case !d.Unchoke:
		return "-"
	case d.Optimistic:
		return "o"
	case d.Paid:
		return "$"
	default:
		return "f"
	}
}

func TestRound(t *testing.T) {
	slots := func(n, opt int) Config { c := Default(n); c.Optimistic = opt; return c }
	with := func(c Config, f func(*Config)) Config { f(&c); return c }
	tests := []struct {
		name   string
		config Config
		cands  []Candidate
		want   string // one letter per candidate
		prices []amount.Price
	}{
		{"not interested is choked", slots(4, 1), []Candidate{{ID: 1, Unchoked: true}}, "-", nil},
		{"idle slots serve everyone, also below the reserve", slots(4, 1), []Candidate{
			waiting(1, seeding, reserve(9)), waiting(2, seeding, reserve(9), bid(3)), waiting(3, snubbed),
		}, "fff", nil},
		{"figure 2 at a seed", slots(4, 1), []Candidate{
			waiting(1, seeding, reserve(4), bid(9)), waiting(2, seeding, reserve(4), bid(7)), waiting(3, seeding, reserve(4), bid(6)),
			waiting(4, seeding, reserve(4), bid(5)), waiting(5, seeding, reserve(4), bid(2)),
		}, "$$$o-", []amount.Price{5, 5, 5, 0, 0}},
		{"a single bidder pays the reserve", slots(3, 1), []Candidate{waiting(1, seeding, reserve(4), bid(9)), waiting(2, seeding)}, "$f", []amount.Price{4, 0}},
		{"a bid without the extension counts nothing", slots(3, 1), []Candidate{
			waiting(1, seeding, func(c *Candidate) { c.Bid = 9 }),
		}, "f", nil},
		{"leeching sells half at most, barter keeps the rest", slots(5, 1), []Candidate{
			waiting(1, bid(9)), waiting(2, bid(8)), waiting(3, bid(7)), waiting(4, got(100)), waiting(5, got(50)), waiting(6, got(10)),
		}, "$$off-", []amount.Price{7, 7, 0, 0, 0, 0}},
		{"barter by bytes received, snubbed last", slots(3, 1), []Candidate{
			waiting(1, got(10)), waiting(2, got(30)), waiting(3, got(99), snubbed, waits(1)), waiting(4, got(20)),
		}, "of-f", nil},
		{"a seed does not barter", slots(2, 1), []Candidate{
			waiting(1, seeding, got(1000), waits(5)), waiting(2, seeding, waits(50)), waiting(3, seeding, waits(20)),
		}, "-fo", nil},
		{"round robin: a holder keeps its slot for its time", slots(2, 1), []Candidate{
			waiting(1, seeding, holds(30)), waiting(2, seeding, waits(500), served(600)), waiting(3, seeding, waits(400), served(600)),
		}, "fo-", nil},
		{"round robin: then the longest wait", slots(2, 1), []Candidate{
			waiting(1, seeding, holds(60)), waiting(2, seeding, waits(500), served(600)), waiting(3, seeding, waits(400), served(600)),
		}, "-fo", nil},
		{"fastest upload", with(slots(2, 1), func(c *Config) { c.Seed = FastestUpload }), []Candidate{
			waiting(1, seeding, holds(60), func(c *Candidate) { c.Sent = 5 }), waiting(2, seeding, holds(60), func(c *Candidate) { c.Sent = 9 }), waiting(3, seeding),
		}, "-fo", nil},
		{"optimistic: held for two rounds", slots(1, 1), []Candidate{waiting(1, optimistic(15)), waiting(2, waits(900))}, "o-", nil},
		{"optimistic: then rotated", slots(1, 1), []Candidate{waiting(1, optimistic(30)), waiting(2, waits(900), served(2000))}, "-o", nil},
		{"optimistic: kept when nobody waits", slots(1, 1), []Candidate{waiting(1, optimistic(300))}, "o", nil},
		{"optimistic: longest wait, not the bid", slots(1, 1), []Candidate{
			waiting(1, waits(10), served(90), bid(1000)), waiting(2, waits(20), served(90)),
		}, "-o", nil},
		{"optimistic: the bid decides among the never unchoked", slots(1, 1), []Candidate{
			waiting(1, waits(10), bid(7)), waiting(2, waits(200)), waiting(3, waits(900), served(1000), bid(99)), waiting(4, bid(5)),
		}, "o---", nil},
		{"optimistic: a bid below the reserve decides nothing", slots(1, 1), []Candidate{
			waiting(1, waits(10), bid(7), reserve(8)), waiting(2, waits(200)),
		}, "-o", nil},
		{"a bid of who wants nothing any more wins nothing and sets no price", slots(2, 0), []Candidate{
			waiting(1, seeding, bid(9)), waiting(2, seeding, bid(8), paying(5), func(c *Candidate) { c.Interested = false }),
			waiting(3, seeding, bid(7)), waiting(4, seeding, bid(6), func(c *Candidate) { c.Interested = false }), waiting(5, seeding, bid(2)),
		}, "$-$--", []amount.Price{2, 0, 2, 0, 0}},
		{"nor one that was withdrawn", slots(1, 0), []Candidate{
			waiting(1, seeding, bid(9), reserve(1)), waiting(2, seeding, bid(0), paying(5)),
		}, "$-", []amount.Price{1, 0}},
		{"one buyer under several connections buys one slot and sets no price against itself", slots(3, 0), []Candidate{
			waiting(1, seeding, bid(7), owner(5)), waiting(2, seeding, bid(9), owner(5)), waiting(3, seeding, bid(5)), waiting(4, seeding, bid(2)),
		}, "-$$$", []amount.Price{0, 0, 0, 0}},
		{"of one buyer's equal bids the paying one stays", slots(1, 0), []Candidate{
			waiting(1, seeding, bid(9), owner(5)), waiting(2, seeding, bid(9), owner(5), paying(0)), waiting(3, seeding, bid(9), owner(5)),
		}, "-$-", nil},
		{"optimistic slots are not sold", slots(2, 2), []Candidate{waiting(1, seeding, bid(7)), waiting(2, seeding, bid(5))}, "oo", nil},
		{"no limit", slots(-1, 1), []Candidate{waiting(1, seeding, bid(7), reserve(2)), waiting(2), waiting(3)}, "$ff", []amount.Price{2, 0, 0}},
		{"no slots", slots(0, 1), []Candidate{waiting(1), waiting(2, bid(5))}, "--", nil},
		{"paid only is the user's choice", with(slots(4, 1), func(c *Config) { c.PaidOnly = true }), []Candidate{
			waiting(1, seeding), waiting(2), waiting(3, seeding, bid(3), reserve(2)), waiting(4, seeding, bid(1), reserve(2)),
		}, "-f$-", []amount.Price{0, 0, 2, 0}},
		{"paid only does not bind torrents out of Speed", with(slots(4, 1), func(c *Config) { c.PaidOnly = true }), []Candidate{
			waiting(1, seeding), waiting(2, seeding, func(c *Candidate) { c.Plain = true }),
		}, "-f", nil},
		{"weighted: the barter partner outranks a small bid", with(slots(2, 1), func(c *Config) { c.Strategy, c.PaidMaxLeeching = auction.Weighted{}, 2 }), []Candidate{
			waiting(1, bid(1)), waiting(2, got(1<<20), func(c *Candidate) { c.Own, c.Sent = 10, 1<<20 }),
		}, "of", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, prices := "", []amount.Price{}
			for i, d := range new(Scratch).Round(nil, tt.config, now, 42, tt.cands) {
				if d.ID != tt.cands[i].ID {
					t.Fatalf("decision %d is for peer %d", i, d.ID)
				}
				got += kind(d)
				prices = append(prices, d.Price)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if tt.prices != nil && !slices.Equal(prices, tt.prices) {
				t.Errorf("prices %v, want %v", prices, tt.prices)
			}
		})
	}
}

// TestReprice: a running price changes only beyond the step, and what changes
// is marked (R10.18, A19).
func TestReprice(t *testing.T) {
	tests := []struct {
		name    string
		holder  Candidate
		rival   amount.Price // the losing bid
		price   amount.Price
		reprice bool
	}{
		{"within 10 % up", waiting(1, seeding, bid(500), paying(100)), 110, 100, false},
		{"within 10 % down", waiting(1, seeding, bid(500), paying(100)), 90, 100, false},
		{"beyond", waiting(1, seeding, bid(500), paying(100)), 111, 111, true},
		{"never above a lowered bid", waiting(1, seeding, bid(98), paying(100)), 95, 95, true},
		{"never below a raised reserve", waiting(1, seeding, bid(500), reserve(104), paying(100)), 50, 104, true},
		{"a free slot becomes a sold one", waiting(1, seeding, bid(500), holds(20)), 100, 100, true},
		{"a new slot is no change of price", waiting(1, seeding, bid(500)), 100, 100, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Default(1)
			cfg.Optimistic = 0
			d := new(Scratch).Round(nil, cfg, now, 1, []Candidate{tt.holder, waiting(2, seeding, bid(tt.rival))})[0]
			if !d.Paid || d.Price != tt.price || d.Reprice != tt.reprice {
				t.Errorf("got %+v, want price %d, reprice %v", d, tt.price, tt.reprice)
			}
		})
	}
	d := new(Scratch).Round(nil, Default(4), now, 1, []Candidate{waiting(1, seeding, paying(100))})[0]
	if !d.Unchoke || d.Paid || !d.Reprice {
		t.Errorf("a holder that withdrew its bid: %+v", d)
	}
}

func TestFill(t *testing.T) {
	tests := []struct {
		name   string
		slots  int
		cands  []Candidate
		want   map[uint64]string
		prices map[uint64]amount.Price
	}{
		{"bidders first, at the reserve", 3, []Candidate{
			waiting(1, seeding, waits(500)), waiting(2, seeding, bid(9), reserve(3)), waiting(3, seeding, bid(5), reserve(3)), waiting(4, seeding, bid(2), reserve(3)),
		}, map[uint64]string{2: "$", 3: "$", 1: "o"}, map[uint64]amount.Price{2: 3, 3: 3}},
		{"holders stay as they are", 3, []Candidate{
			waiting(1, seeding, holds(500)), waiting(2, seeding, paying(7), bid(9)), waiting(3, seeding, bid(99)), {ID: 4, Unchoked: true},
		}, map[uint64]string{}, nil},
		{"only the optimistic slot is free: no sale", 3, []Candidate{
			waiting(1, holds(5)), waiting(2, holds(5)), waiting(3, seeding, bid(9), served(50)), waiting(4, seeding),
		}, map[uint64]string{4: "o"}, nil},
		{"regular slots over-full after a change of the setting", 2, []Candidate{
			waiting(1, holds(5)), waiting(2, holds(5)), waiting(3, holds(5)), waiting(4),
		}, map[uint64]string{}, nil},
		{"at most half sold while leeching", 4, []Candidate{
			waiting(1, bid(9), paying(4)), waiting(2, bid(8)), waiting(3, bid(7)), waiting(4, got(50), waits(1)), waiting(5, waits(0)),
		}, map[uint64]string{2: "$", 4: "f", 3: "o"}, nil},
		{"one slot per buyer", 4, []Candidate{
			waiting(1, seeding, bid(9), owner(5), paying(4)), waiting(2, seeding, bid(99), owner(5)), waiting(3, seeding, bid(1), owner(6)), waiting(4, seeding, bid(2), owner(6)),
		}, map[uint64]string{4: "$", 2: "f", 3: "o"}, nil},
		{"uninterested peers get nothing", 4, []Candidate{{ID: 1, Speed: true, Bid: 9}}, map[uint64]string{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := Default(tt.slots)
			cfg.Optimistic = 1
			list := new(Scratch).Fill(nil, cfg, now, tt.cands)
			if len(list) != len(tt.want) {
				t.Errorf("got %+v, want %v", list, tt.want)
			}
			for _, d := range list {
				if kind(d) != tt.want[d.ID] || d.Price != tt.prices[d.ID] || d.Reprice {
					t.Errorf("got %+v, want %s at %d", d, tt.want[d.ID], tt.prices[d.ID])
				}
			}
		})
	}
}

// TestIdleSlotIsLent: somebody is served in the place of a holder that asks for
// nothing, free of charge, and has to go when the holder asks again.
func TestIdleSlotIsLent(t *testing.T) {
	cfg := Default(2)
	cands := []Candidate{
		{ID: 1, Interested: true, Seeding: true, Speed: true, Bid: 9, Unchoked: true, Paid: true, UnchokedAt: now},
		{ID: 2, Interested: true, Seeding: true, Unchoked: true, Optimistic: true, UnchokedAt: now},
		{ID: 3, Interested: true, Seeding: true, WaitingSince: now},
	}
	if got := new(Scratch).Fill(nil, cfg, now, cands); len(got) > 0 {
		t.Fatalf("no slot is free, but %+v", got)
	}
	cands[0].Idle = true
	got := new(Scratch).Fill(nil, cfg, now, cands)
	if len(got) != 1 || got[0].ID != 3 || got[0].Paid || !got[0].Optimistic {
		t.Fatalf("lent: %+v", got)
	}
	all := new(Scratch).Round(nil, cfg, now, 1, cands)
	if !all[0].Unchoke || !all[0].Paid || !all[1].Unchoke || !all[2].Unchoke {
		t.Fatalf("while it is idle: %+v", all)
	}
	cands[0].Idle = false
	cands[2].Unchoked, cands[2].Optimistic, cands[2].UnchokedAt = true, true, now
	served := 0
	for _, d := range new(Scratch).Round(nil, cfg, now, 1, cands) {
		if d.Unchoke {
			served++
		}
	}
	if served != 2 {
		t.Errorf("%d of 2 slots are given after the holder asked again", served)
	}
}

// TestRestingPeer: who lost its slot for asking for nothing gets no slot while it
// rests, though nobody else wants one: no free one, none that is lent, not even the
// one that a snapshot still shows as its own; and its bid sets no price.
func TestRestingPeer(t *testing.T) {
	resting := func(c *Candidate) { c.Resting = true }
	idle := func(c *Candidate) { c.Idle = true }
	barters := []Candidate{waiting(1, resting, got(1))}
	if d := new(Scratch).Round(nil, Default(1), now, 42, barters)[0]; !d.Unchoke {
		t.Error("a barter partner has no turn")
	}
	for name, cands := range map[string][]Candidate{
		"alone":                      {waiting(1, seeding, resting, served(9))},
		"alone, with a bid":          {waiting(1, seeding, bid(9), resting, served(9))},
		"beside a lent slot":         {waiting(1, seeding, resting), waiting(2, seeding, bid(5), paying(0), idle)},
		"its own slot is idle still": {waiting(1, seeding, bid(9), paying(0), idle, resting), waiting(2, seeding, bid(5))},
		"its loan runs on":           {waiting(1, seeding, optimistic(1), idle, resting)},
	} {
		cfg := Default(1)
		cfg.Optimistic = 0
		for i, d := range new(Scratch).Round(nil, cfg, now, 42, cands) {
			if d.Unchoke && i == 0 || !d.Unchoke && i == 1 {
				t.Errorf("%s: round gives %+v", name, d)
			}
			if d.Price > 0 {
				t.Errorf("%s: price %d", name, d.Price)
			}
		}
		for _, d := range new(Scratch).Fill(nil, cfg, now, cands) {
			if d.ID == 1 {
				t.Errorf("%s: fill gives %+v", name, d)
			}
		}
	}
}

// TestShareOptions: a fixed part is kept, 0 leaves the slots alone, and without
// bidders nothing is weighed.
func TestShareOptions(t *testing.T) {
	cands := []Candidate{
		{ID: 1, Interested: true, Seeding: true, Speed: true, Bid: 9, Unchoked: true, Paid: true, Sent: 900_000, Left: 1e9},
		{ID: 2, Interested: true, Seeding: true, Unchoked: true, Optimistic: true, Sent: 100_000, Left: 1e9},
		{ID: 3, Interested: true, Seeding: true, Left: 2e9},
	}
	all := func(i int) (bool, bool) { return true, cands[i].Paid }
	for _, k := range []struct {
		keep     Keep
		owed     int64
		weighted bool
	}{{Keep{}, 400_000, true}, {Keep{Fixed: true, Part: 800_000}, 700_000, true}, {Keep{Fixed: true}, 0, false}} {
		var s Share
		s.Book(k.keep, cands)
		if w := s.Weigh(cands, all); s.Owed() != k.owed || (w.Of(2, false) > w.Bidder) != k.weighted || w.Free < w.Bidder {
			t.Errorf("%+v: owed %d, weights %+v", k.keep, s.Owed(), w)
		}
	}
	var s Share
	for range 10 { // weights do not help: nothing more is sent to free peers
		s.Book(Keep{Fixed: true, Part: 900_000}, cands)
	}
	if cfg := s.Apply(Default(2), cands); cfg.Withheld != 1 {
		t.Errorf("%d slots are withheld", cfg.Withheld)
	}
	cands[0].Bid = 0
	s.Book(Keep{}, cands)
	if w := s.Weigh(cands, all); w.Free != 1 || w.Bidder != 1 || w.First != 0 || w.Bids != nil || s.Owed() != 0 || s.Apply(Default(2), cands).Withheld != 0 {
		t.Errorf("without bidders: owed %d, weights %+v", s.Owed(), w)
	}
}
