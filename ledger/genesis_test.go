package ledger

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bttnet/btt/amount"
)

const testStart = 1_700_000_000

// testGenesis gives the supply to "faucet" in two coins and names three
// operators, two of whom mint.
func testGenesis() Genesis {
	p := DefaultParams()
	for _, n := range []string{"operator 0", "operator 1", "operator 2"} {
		p.Operators = append(p.Operators, testKey(n).PublicKey())
	}
	slices.SortFunc(p.Operators, func(a, b PublicKey) int { return slices.Compare(a[:], b[:]) })
	p.Threshold = 2
	to := testKey("faucet").Address()
	return Genesis{Name: "test", Time: testStart, Params: p, Shares: []Share{
		{Name: "public sale", Grants: []Grant{{Address: to, Amount: amount.Supply / 2}}},
		{Name: "reserve", Grants: []Grant{{Address: to, Amount: amount.Supply / 2}}},
	}}
}

func TestGenesisJSON(t *testing.T) {
	g := testGenesis()
	raw, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseGenesis(raw)
	if err != nil || back.Hash() != g.Hash() {
		t.Fatalf("ParseGenesis: %v", err)
	}
	for name, text := range map[string]string{
		"unknown field": strings.Replace(string(raw), `"name"`, `"nam"`, 1),
		"text behind":   string(raw) + "{}",
		"cut":           string(raw[:len(raw)-1]),
		"empty":         "",
		"oversized":     strings.Repeat(" ", MaxGenesisBytes+1),
	} {
		if _, err := ParseGenesis([]byte(text)); !errors.Is(err, ErrGenesis) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGenesisValidate(t *testing.T) {
	for name, spoil := range map[string]func(*Genesis){
		"no name":          func(g *Genesis) { g.Name = "" },
		"long name":        func(g *Genesis) { g.Name = strings.Repeat("x", MaxName+1) },
		"one too few":      func(g *Genesis) { g.Shares[0].Grants[0].Amount-- },
		"one too many":     func(g *Genesis) { g.Shares[0].Grants[0].Amount++ },
		"twice the name":   func(g *Genesis) { g.Shares[1].Name = g.Shares[0].Name },
		"share unnamed":    func(g *Genesis) { g.Shares[1].Name = "" },
		"to nobody":        func(g *Genesis) { g.Shares[0].Grants[0].Address = Address{} },
		"negative":         func(g *Genesis) { g.Shares[0].Grants[0].Amount = -1 },
		"no shares":        func(g *Genesis) { g.Shares = nil },
		"threshold 0":      func(g *Genesis) { g.Params.Threshold = 0 },
		"threshold 4 of 3": func(g *Genesis) { g.Params.Threshold = 4 },
		"operator order":   func(g *Genesis) { slices.Reverse(g.Params.Operators) },
		"operator twice":   func(g *Genesis) { g.Params.Operators[1] = g.Params.Operators[0] },
		"operator no key":  func(g *Genesis) { g.Params.Operators[0] = PublicKey{} },
		"no minimum":       func(g *Genesis) { g.Params.MinOutput = 0 },
		"no clamp":         func(g *Genesis) { g.Params.Clamp = 0 },
		"no lock":          func(g *Genesis) { g.Params.MaxLock = 0 },
		"no parking":       func(g *Genesis) { g.Params.MaxParked = 0 },
	} {
		g := testGenesis()
		spoil(&g)
		if err := g.Validate(); !errors.Is(err, ErrGenesis) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := NewState(g); !errors.Is(err, ErrGenesis) {
			t.Errorf("%s: NewState: %v", name, err)
		}
	}
	g := testGenesis()
	if err := g.Validate(); err != nil {
		t.Error(err)
	}
}

// TestGenesisHashCommits changes each field and expects another network.
func TestGenesisHashCommits(t *testing.T) {
	g := testGenesis()
	seen := map[Network]string{g.Hash(): "unchanged"}
	for name, change := range map[string]func(*Genesis){
		"name":       func(g *Genesis) { g.Name = "test2" },
		"time":       func(g *Genesis) { g.Time++ },
		"minimum":    func(g *Genesis) { g.Params.MinOutput++ },
		"max lock":   func(g *Genesis) { g.Params.MaxLock++ },
		"clamp":      func(g *Genesis) { g.Params.Clamp++ },
		"parked":     func(g *Genesis) { g.Params.MaxParked++ },
		"threshold":  func(g *Genesis) { g.Params.Threshold = 1 },
		"operators":  func(g *Genesis) { g.Params.Operators = g.Params.Operators[:2] },
		"share name": func(g *Genesis) { g.Shares[0].Name = "sale" },
		"grant":      func(g *Genesis) { g.Shares[0].Grants[0].Address[3] ^= 1 },
		"split":      func(g *Genesis) { g.Shares[0].Grants[0].Amount -= 5000; g.Shares[1].Grants[0].Amount += 5000 },
	} {
		c := testGenesis()
		change(&c)
		if other, ok := seen[c.Hash()]; ok {
			t.Errorf("%s hashes like %s", name, other)
		}
		seen[c.Hash()] = name
	}
}

func FuzzParseGenesis(f *testing.F) {
	g := testGenesis()
	raw, err := json.Marshal(g)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"name":"x","shares":[{"name":"a","grants":[]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := ParseGenesis(raw)
		if err != nil {
			if !errors.Is(err, ErrGenesis) {
				t.Fatalf("error is not ErrGenesis: %v", err)
			}
			return
		}
		again, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := ParseGenesis(again); err != nil || h.Hash() != g.Hash() {
			t.Fatalf("JSON round trip: %v", err)
		}
	})
}
