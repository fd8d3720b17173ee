package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
)

// initFlags say how a new ledger divides the supply.
type initFlags struct {
	file    string
	name    string
	grants  []string
	holders []string
}

func ledgerInit(g *global, dir *string) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new ledger",
		Long: `Makes a ledger of exactly 990,000,000,000 BTT. Without a genesis file the supply is
divided into six shares:

  company     20 %   BitTorrent company
  users       25 %   client users; --grant is taken from here
  holders     10 %   TRX holders
  supporters  15 %   first supporters and investors
  foundation  15 %   BitTorrent Foundation and team
  tron        15 %   TRON Foundation

--holder gives a share to an address; all others belong to the wallet that is made
in DIR/treasury. A genesis file (TOML) says everything itself, release schedules
too; the specification shows one (docs/beps/ledger.rst).`,
		Example: `  btt ledger init --dir ledger --grant TMVQGm1qAQYVdetCeGRRkTWYYrLXuHK2HC=1000
  btt ledger init --dir ledger --holder company=TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH
  btt ledger init --dir ledger --genesis genesis.toml`,
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, g, *dir) },
	}
	cmd.Flags().StringVar(&f.file, "genesis", "", "genesis file (TOML)")
	cmd.Flags().StringVar(&f.name, "name", "btt", "name of the network")
	cmd.Flags().StringArrayVar(&f.grants, "grant", nil, "ADDRESS=AMOUNT to give out at the start, from the users' share (may be repeated)")
	cmd.Flags().StringArrayVar(&f.holders, "holder", nil, "SHARE=ADDRESS: who holds a share (may be repeated)")
	cmd.MarkFlagsMutuallyExclusive("genesis", "grant")
	cmd.MarkFlagsMutuallyExclusive("genesis", "holder")
	return cmd
}

func (f *initFlags) run(cmd *cobra.Command, g *global, dir string) error {
	if _, err := os.Stat(genesisPath(dir)); err == nil {
		return fmt.Errorf("there is a ledger in %s already (run it with: btt ledger serve --dir %s)", dir, dir)
	}
	genesis, err := f.genesis(dir)
	if err != nil {
		return err
	}
	s, err := ledgerd.Open(ledgerd.Config{Dir: dir, Genesis: genesis})
	if err != nil {
		return err
	}
	net, operator := s.Network(), s.Operator()
	if err := s.Close(); err != nil {
		return err
	}
	r := g.reporter(cmd.OutOrStdout())
	defer r.Close()
	r.Event("created", fmt.Sprintf("ledger %s in %s", net, dir), terminal.Fields{"network": net, "dir": dir, "supply": amount.Supply,
		"operator": operator, "shares": sharesOf(genesis)})
	return nil
}

// shareSum is what a share holds in all.
type shareSum struct {
	Name   string        `json:"name"`
	Amount amount.Amount `json:"amount"`
}

func sharesOf(g ledger.Genesis) []shareSum {
	var list []shareSum
	for _, s := range g.Shares {
		sum := shareSum{Name: s.Name}
		for _, c := range s.Grants {
			sum.Amount += c.Amount // Validate has bounded the sum
		}
		list = append(list, sum)
	}
	return list
}

// shareNames are the shares of the default division as flags name them.
var shareNames = map[string]string{
	"company": ledgerd.ShareCompany, "users": ledgerd.ShareUsers, "holders": ledgerd.ShareHolders,
	"supporters": ledgerd.ShareSupporters, "foundation": ledgerd.ShareFoundation, "tron": ledgerd.ShareTRONFoundation,
}

func (f *initFlags) genesis(dir string) (ledger.Genesis, error) {
	if f.file != "" {
		text, err := os.ReadFile(f.file)
		if err != nil {
			return ledger.Genesis{}, fmt.Errorf("read genesis: %w", err)
		}
		return ledgerd.ParseGenesis(text)
	}
	grants, err := parseGrants(f.grants)
	if err != nil {
		return ledger.Genesis{}, err
	}
	holders, err := parseHolders(f.holders)
	if err != nil {
		return ledger.Genesis{}, err
	}
	if len(holders) < len(shareNames) {
		treasury, err := makeTreasury(dir)
		if err != nil {
			return ledger.Genesis{}, err
		}
		for _, share := range shareNames {
			if _, given := holders[share]; !given {
				holders[share] = treasury
			}
		}
	}
	gen, err := ledgerd.DefaultGenesis(f.name, time.Now(), ledger.DefaultParams(), func(share string) ledger.Address { return holders[share] })
	if err == nil {
		err = takeGrants(&gen, grants)
	}
	return gen, err
}

// makeTreasury makes the wallet of the shares that nobody else holds.
func makeTreasury(dir string) (ledger.Address, error) {
	p, err := purse.Open(purse.Config{Dir: filepath.Join(dir, "treasury", "wallet"), Ledger: purse.Offline{}, Password: os.Getenv("BTT_WALLET_PASSWORD")})
	if err != nil {
		return ledger.Address{}, fmt.Errorf("make treasury: %w", err)
	}
	defer p.Close()
	return p.Address(), nil
}

// takeGrants takes grants from the users' share.
func takeGrants(g *ledger.Genesis, grants []ledger.Grant) error {
	for i := range g.Shares {
		share := &g.Shares[i]
		if share.Name != ledgerd.ShareUsers || len(grants) == 0 {
			continue
		}
		rest := share.Grants[0]
		for _, grant := range grants {
			rest.Amount -= grant.Amount // parseGrants has bounded the sum
		}
		if share.Grants = grants; rest.Amount > 0 {
			share.Grants = append(share.Grants, rest)
		}
	}
	return g.Validate()
}

// parseGrants reads ADDRESS=AMOUNT texts; together they fit the users' share.
func parseGrants(grants []string) (list []ledger.Grant, err error) {
	rest := ledgerd.DefaultShare(ledgerd.ShareUsers)
	for _, s := range grants {
		addr, sum, ok := strings.Cut(s, "=")
		if !ok {
			return nil, usage("--grant %q is not ADDRESS=AMOUNT", s)
		}
		a, err := ledger.ParseAddress(addr)
		if err != nil {
			return nil, usage("--grant: %v", err)
		}
		v, err := amount.Parse(sum)
		if err != nil {
			return nil, usage("--grant: %v", err)
		}
		if rest, err = rest.Sub(v); err != nil {
			return nil, usage("--grant: the grants are more than the share of client users, %s; a genesis file may divide the supply in another way", ledgerd.DefaultShare(ledgerd.ShareUsers))
		}
		list = append(list, ledger.Grant{Address: a, Amount: v})
	}
	return list, nil
}

func parseHolders(holders []string) (map[string]ledger.Address, error) {
	list := map[string]ledger.Address{}
	for _, s := range holders {
		name, addr, ok := strings.Cut(s, "=")
		share, known := shareNames[name]
		if !ok || !known {
			return nil, usage("--holder %q is not SHARE=ADDRESS with a share of: company, users, holders, supporters, foundation, tron", s)
		}
		if _, twice := list[share]; twice {
			return nil, usage("--holder: share %q is given twice", name)
		}
		a, err := ledger.ParseAddress(addr)
		if err != nil {
			return nil, usage("--holder: %v", err)
		}
		list[share] = a
	}
	return list, nil
}
