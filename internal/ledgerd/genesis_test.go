package ledgerd

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

const sampleGenesis = `
name = "btt-sample"
time = 2026-01-01T00:00:00Z

[params]
min_output = "0.001"
max_lock = "720h"
clamp = "30s"

[[share]]
name = "BitTorrent company"
percent = "20"
address = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"

[[share]]
name = "client users"
percent = "79.9999"
address = "TSeJkUh4Qv67VNFwY8LaAxERygNdy6NQZK"

[[share]]
name = "TRX holders"
  [[share.grant]]
  address = "TYJPRrdB5APNeRs4R7fYZSwW3TcrTKw2gx"
  amount = "989999"
  [[share.grant]]
  address = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
  amount = "1"
`

func TestGenesisText(t *testing.T) {
	g, err := ParseGenesis([]byte(sampleGenesis))
	if err != nil {
		t.Fatal(err)
	}
	if g.Params.MinOutput != 1000 || g.Params.MaxLock != 720*3600 || g.Params.Clamp != 30 || g.Time != 1767225600 {
		t.Errorf("genesis %+v", g)
	}
	if got := g.Shares[0].Grants[0].Amount; got != amount.Supply/5 {
		t.Errorf("20 %% are %s", got)
	}
	for name, change := range map[string][2]string{
		"shares under the supply": {`"79.9999"`, `"79.9998"`},
		"shares over the supply":  {`"79.9999"`, `"80"`},
		"percent with letters":    {`"20"`, `"2x"`},
		"five places":             {`"20"`, `"20.00001"`},
		"over 100 percent":        {`"20"`, `"120"`},
		"unknown key":             {`clamp =`, `clump =`},
		"bad address":             {`TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH`, `TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdX`},
		"fraction of a second":    {`"30s"`, `"1500ms"`},
		"no time":                 {`time = 2026-01-01T00:00:00Z`, ``},
		"same share twice":        {`"TRX holders"`, `"client users"`},
		"not TOML":                {`[params]`, `[params`},
	} {
		if _, err := ParseGenesis([]byte(strings.ReplaceAll(sampleGenesis, change[0], change[1]))); !errors.Is(err, ledger.ErrGenesis) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultGenesisIsTheWholeSupply(t *testing.T) {
	n := byte(0)
	g, err := DefaultGenesis("btt", time.Unix(1_700_000_000, 0), ledger.DefaultParams(), func(string) ledger.Address {
		n++
		return key(n).Address()
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Shares) != 6 {
		t.Errorf("%d shares, R15.14 names 6", len(g.Shares))
	}
	if _, err := DevGenesis(); err == nil {
		t.Error("a network without owners was made")
	}
}

func FuzzGenesisText(f *testing.F) {
	f.Add([]byte(sampleGenesis))
	f.Add([]byte(`name = ""`))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := ParseGenesis(text)
		if err == nil && g.Validate() != nil {
			t.Fatal("an invalid genesis was accepted")
		}
	})
}

// TestReleaseText divides shares into parts; TestReleaseOnTheLedger spends them.
func TestReleaseText(t *testing.T) {
	scheduled := func(release string) (ledger.Genesis, error) {
		text := strings.Replace(sampleGenesis, "name = \"client users\"\n", "name = \"client users\"\nrelease = "+release+"\n", 1)
		return ParseGenesis([]byte(text))
	}
	g, err := scheduled(`{ after = "24h", every = "720h", steps = 7 }`)
	if err != nil {
		t.Fatal(err)
	}
	var sum amount.Amount
	grants := g.Shares[1].Grants
	for i, c := range grants {
		sum += c.Amount
		if want := g.Time + 86400 + uint64(i)*720*3600; c.NotBefore != want {
			t.Errorf("part %d at %d, want %d", i, c.NotBefore, want)
		}
	}
	if len(grants) != 7 || sum != part(799_999) {
		t.Errorf("%d parts of together %s", len(grants), sum)
	}
	if g, err = scheduled(`{ every = "720h", steps = 2 }`); err != nil || g.Shares[1].Grants[0].NotBefore != 0 || g.Shares[1].Grants[1].NotBefore != g.Time+720*3600 {
		t.Errorf("the first part at once: %+v, %v", g.Shares[1], err)
	}
	for _, bad := range []string{
		`{ steps = 2 }`, `{ every = "1h", steps = -1 }`, `{ every = "1h", steps = 1201 }`, `{ after = "1ms" }`, `{ after = "-1h" }`,
		`{ after = "876001h" }`, `{ every = "876000h", steps = 3 }`, `{ until = "1h" }`,
	} {
		if _, err := scheduled(bad); !errors.Is(err, ledger.ErrGenesis) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestReleaseOnTheLedger: a part is refused before its time, listed with it, and
// an audit of a log that spends it too early fails.
func TestReleaseOnTheLedger(t *testing.T) {
	clk := newClock()
	cfg := testConfig(t, t.TempDir(), clk)
	rest := &cfg.Genesis.Shares[len(cfg.Genesis.Shares)-1]
	rest.Grants[0].NotBefore = cfg.Genesis.Time + 50
	s := openServer(t, cfg)
	c := s.Client()
	var locked ledger.Coin
	coins, err := c.Unspent(t.Context(), key(1).Address(), ledger.OutPoint{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, coin := range coins {
		if coin.NotBefore > 0 {
			locked = coin
		}
	}
	if locked.NotBefore != cfg.Genesis.Time+50 {
		t.Fatalf("coins %+v", coins)
	}
	if o, err := c.Outpoint(t.Context(), locked.OutPoint); err != nil || o.Coin != locked {
		t.Errorf("%+v, %v", o, err)
	}
	tx := transfer(s.Network(), key(1), locked, ledger.PayTo(key(9).Address()), amount.BTT)
	for range 2 {
		if _, err := c.Submit(t.Context(), tx.Encode()); ledger.CodeOf(err) != ledger.CodeReleased {
			t.Fatalf("before its time: %v", err)
		}
		clk.advance(25 * time.Second)
		if err := s.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mustSubmit(t, c, tx)
	dir := cfg.Dir
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Audit(dir); err != nil {
		t.Fatal(err)
	}
	a, err := newAuditor(cfg.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.inputs(tx); err == nil {
		t.Error("the auditor's books let a coin go before its time")
	}
}
