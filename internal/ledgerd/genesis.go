package ledgerd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
)

// The shares of the supply that R15.14 names. The paper gives no percentages
// (A29); DefaultShares holds ours, in parts per million of the supply.
const (
	ShareCompany        = "BitTorrent company"
	ShareUsers          = "client users"
	ShareHolders        = "TRX holders"
	ShareSupporters     = "first supporters and investors"
	ShareFoundation     = "BitTorrent Foundation and team"
	ShareTRONFoundation = "TRON Foundation"
)

// Million is the whole of a share in DefaultShares.
const Million = 1_000_000

// DefaultShares is the division of a new network that names no other.
var DefaultShares = []struct {
	Name string
	PPM  uint64
}{
	{ShareCompany, 200_000},
	{ShareUsers, 250_000},
	{ShareHolders, 100_000},
	{ShareSupporters, 150_000},
	{ShareFoundation, 150_000},
	{ShareTRONFoundation, 150_000},
}

// DefaultShare returns the amount of a share of the default division, 0 for a name
// that is none.
func DefaultShare(name string) amount.Amount {
	for _, s := range DefaultShares {
		if s.Name == name {
			return part(s.PPM)
		}
	}
	return 0
}

// DefaultGenesis divides the supply by DefaultShares; holder gives the address of
// each share.
func DefaultGenesis(name string, at time.Time, params ledger.Params, holder func(share string) ledger.Address) (ledger.Genesis, error) {
	g := ledger.Genesis{Name: name, Time: uint64(max(at.Unix(), 0)), Params: params}
	for _, s := range DefaultShares {
		g.Shares = append(g.Shares, ledger.Share{Name: s.Name, Grants: []ledger.Grant{{Address: holder(s.Name), Amount: part(s.PPM)}}})
	}
	return g, g.Validate()
}

// DevBalance is what each address of a DevGenesis starts with.
const DevBalance = 1_000_000 * amount.BTT

// DevGenesis is a network for demonstrations and tests: each address owns
// DevBalance, and the first one the rest of the supply in a second coin.
func DevGenesis(addresses ...ledger.Address) (ledger.Genesis, error) {
	g := ledger.Genesis{Name: "btt-dev", Time: 1_700_000_000, Params: ledger.DefaultParams()}
	if len(addresses) == 0 {
		return g, errors.New("make genesis: give at least one address")
	}
	rest := amount.Supply
	var grants []ledger.Grant
	for _, a := range addresses {
		grants = append(grants, ledger.Grant{Address: a, Amount: DevBalance})
		rest -= DevBalance
	}
	g.Shares = []ledger.Share{
		{Name: ShareUsers, Grants: grants},
		{Name: ShareCompany, Grants: []ledger.Grant{{Address: addresses[0], Amount: rest}}},
	}
	return g, g.Validate()
}

// part returns ppm millionths of the supply, which divides by a million.
func part(ppm uint64) amount.Amount {
	hi, lo := bits.Mul64(uint64(amount.Supply), ppm)
	if hi >= Million {
		return 0 // a share above the supply; Validate refuses the sum
	}
	q, _ := bits.Div64(hi, lo, Million)
	return amount.Amount(q)
}

// genesisText is the TOML form of a genesis. Amounts are decimal BTT, times are
// Go durations, percentages decimals with at most four places.
type genesisText struct {
	Name   string    `toml:"name"`
	Time   time.Time `toml:"time"`
	Params struct {
		MinOutput *amount.Amount     `toml:"min_output"`
		MaxLock   string             `toml:"max_lock"`
		Clamp     string             `toml:"clamp"`
		MaxParked uint32             `toml:"max_parked"`
		Operators []ledger.PublicKey `toml:"operators"`
		Threshold int                `toml:"threshold"`
	} `toml:"params"`
	Shares []struct {
		Name    string         `toml:"name"`
		Percent string         `toml:"percent"`
		Address ledger.Address `toml:"address"`
		Release *releaseText   `toml:"release"`
		Grants  []struct {
			Address ledger.Address `toml:"address"`
			Amount  amount.Amount  `toml:"amount"`
		} `toml:"grant"`
	} `toml:"share"`
}

// releaseText is the schedule of a share (R14.14): each of its grants is divided
// into steps equal parts, the first of which may be spent after a time from the
// genesis, and the others one period later each. Without it all is there at once.
type releaseText struct {
	After string `toml:"after"`
	Every string `toml:"every"`
	Steps int    `toml:"steps"`
}

// MaxReleaseSteps bounds the parts of one grant.
const MaxReleaseSteps = 1200

// divide returns the parts of a grant.
func (r *releaseText) divide(grant ledger.Grant, start uint64) ([]ledger.Grant, error) {
	if r == nil {
		return []ledger.Grant{grant}, nil
	}
	after, err := wholeSeconds(r.After, 0)
	if err != nil {
		return nil, err
	}
	every, err := wholeSeconds(r.Every, 0)
	if err != nil {
		return nil, err
	}
	steps := max(r.Steps, 1)
	if steps > MaxReleaseSteps || r.Steps < 0 || (steps > 1 && every == 0) {
		return nil, fmt.Errorf("release in %d steps every %q: write 1 to %d steps and a time between them", r.Steps, r.Every, MaxReleaseSteps)
	}
	var parts []ledger.Grant
	for i := range uint64(steps) {
		part := ledger.Grant{Address: grant.Address, Amount: grant.Amount / amount.Amount(steps)}
		if i == uint64(steps)-1 {
			part.Amount = grant.Amount - part.Amount*amount.Amount(steps-1)
		}
		if after+i*every > 0 {
			part.NotBefore = start + after + i*every
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// wholeSeconds reads a duration; "" means d.
func wholeSeconds(text string, d uint64) (uint64, error) {
	if text == "" {
		return d, nil
	}
	v, err := time.ParseDuration(text)
	if err != nil || v < time.Second || v%time.Second != 0 || v/time.Second > ledger.MaxRelease {
		return 0, fmt.Errorf("duration %q: write whole seconds, such as \"30s\" or \"720h\"", text)
	}
	return uint64(v / time.Second), nil
}

// ParseGenesis reads the TOML text of a genesis: a name, a time, parameters, and
// shares that each give percent and address, or a list of grants, and may give a
// release schedule. The shares must sum to the supply exactly. Unknown keys are errors.
func ParseGenesis(text []byte) (ledger.Genesis, error) {
	if len(text) > ledger.MaxGenesisBytes {
		return ledger.Genesis{}, fmt.Errorf("parse genesis: %d bytes, at most %d: %w", len(text), ledger.MaxGenesisBytes, ledger.ErrGenesis)
	}
	var t genesisText
	meta, err := toml.Decode(string(text), &t)
	if err != nil {
		return ledger.Genesis{}, fmt.Errorf("parse genesis: %w: %w", ledger.ErrGenesis, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return ledger.Genesis{}, fmt.Errorf("parse genesis: unknown key %q: %w", unknown[0].String(), ledger.ErrGenesis)
	}
	g, err := t.genesis()
	if err != nil {
		return ledger.Genesis{}, fmt.Errorf("parse genesis: %w: %w", ledger.ErrGenesis, err)
	}
	return g, g.Validate()
}

func (t *genesisText) genesis() (ledger.Genesis, error) {
	g := ledger.Genesis{Name: t.Name, Params: ledger.DefaultParams()}
	if t.Time.Unix() < 0 {
		return g, errors.New("time is missing or before 1970")
	}
	g.Time = uint64(t.Time.Unix())
	if t.Params.MinOutput != nil {
		g.Params.MinOutput = *t.Params.MinOutput
	}
	for _, d := range []struct {
		text string
		into *uint64
	}{{t.Params.MaxLock, &g.Params.MaxLock}, {t.Params.Clamp, &g.Params.Clamp}} {
		v, err := wholeSeconds(d.text, *d.into)
		if err != nil {
			return g, err
		}
		*d.into = v
	}
	if t.Params.MaxParked != 0 {
		g.Params.MaxParked = t.Params.MaxParked
	}
	g.Params.Operators, g.Params.Threshold = t.Params.Operators, t.Params.Threshold
	for i := range t.Shares {
		share, err := t.share(i, g.Time)
		if err != nil {
			return g, fmt.Errorf("share %q: %w", t.Shares[i].Name, err)
		}
		g.Shares = append(g.Shares, share)
	}
	return g, nil
}

// share returns one share with its release schedule worked out.
func (t *genesisText) share(i int, start uint64) (ledger.Share, error) {
	s := &t.Shares[i]
	share := ledger.Share{Name: s.Name}
	var grants []ledger.Grant
	if s.Percent != "" {
		ppm, err := parsePercent(s.Percent)
		if err != nil {
			return share, err
		}
		grants = append(grants, ledger.Grant{Address: s.Address, Amount: part(ppm)})
	}
	for _, grant := range s.Grants {
		grants = append(grants, ledger.Grant{Address: grant.Address, Amount: grant.Amount})
	}
	for _, grant := range grants {
		parts, err := s.Release.divide(grant, start)
		if err != nil {
			return share, err
		}
		share.Grants = append(share.Grants, parts...)
	}
	return share, nil
}

// parsePercent reads "10" or "10.25" (at most four places) as millionths.
func parsePercent(s string) (uint64, error) {
	whole, places, _ := strings.Cut(s, ".")
	if whole == "" || len(whole) > 3 || len(places) > 4 {
		return 0, fmt.Errorf("percentage %q: write a number such as 10 or 10.25", s)
	}
	ppm := uint64(0)
	for _, c := range whole + places + "0000"[len(places):] {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("percentage %q: write a number such as 10 or 10.25", s)
		}
		ppm = ppm*10 + uint64(c-'0')
	}
	if ppm > Million {
		return 0, fmt.Errorf("percentage %q is above 100", s)
	}
	return ppm, nil
}

// ErrNetwork says that a directory belongs to another network than the one asked for.
var ErrNetwork = errors.New("the directory holds the ledger of another network")

// placeGenesis writes the genesis into a new directory, or checks that the one
// there is the same. A zero genesis means the one that is there.
func placeGenesis(dir string, g ledger.Genesis) (ledger.Genesis, error) {
	stored, err := readGenesis(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := g.Validate(); err != nil {
			return g, fmt.Errorf("start ledger: %w", err)
		}
		if _, err := os.Stat(filepath.Join(dir, blocksFile)); err == nil {
			return g, fmt.Errorf("start ledger: %s is missing beside %s; restore it from a copy", genesisFile, blocksFile)
		}
		text, err := json.MarshalIndent(g, "", "  ")
		if err != nil {
			return g, fmt.Errorf("encode genesis: %w", err)
		}
		return g, durable.Write(dir, genesisFile, append(text, '\n'))
	}
	if err != nil {
		return g, err
	}
	if g.Name != "" && g.Hash() != stored.Hash() {
		return g, fmt.Errorf("%w: it is %q (%s), asked for was %q (%s)", ErrNetwork, stored.Name, stored.Hash(), g.Name, g.Hash())
	}
	return stored, nil
}

// readGenesis reads the genesis of a ledger directory.
func readGenesis(dir string) (ledger.Genesis, error) {
	text, err := os.ReadFile(filepath.Join(dir, genesisFile))
	if err != nil {
		return ledger.Genesis{}, fmt.Errorf("read genesis: %w", err)
	}
	return ledger.ParseGenesis(text)
}
