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
