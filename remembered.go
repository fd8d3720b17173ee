package btt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed"
)

const (
	// pricesFile holds the prices seen of late, in the home folder, so that
	// reserve prices follow them after a restart too.
	pricesFile = "prices.json"
	// maxPricesFile bounds it in bytes: market.MaxSightings of them.
	maxPricesFile = 16 << 10
	// penaltiesFile holds what payers failed, in the home folder, by account and by
	// address, so that bans outlive the process (R12.3). It is nobody else's to read.
	penaltiesFile = "penalties.json"
	// maxPenaltiesFile bounds it in bytes: 2 * speed.MaxPenalties records.
	maxPenaltiesFile = 4 << 20
)

// readPrices takes the prices that an earlier run saw. A file that cannot be read
// costs no more than that: the node begins without prices and says so.
func (n *Node) readPrices() {
	var list []market.Sighting
	err := readJSON(filepath.Join(n.cfg.Home, pricesFile), maxPricesFile, &list)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		n.cfg.Log.Warn("prices seen before are forgotten", "err", err)
	default:
		n.market.SetSightings(list, time.Now())
	}
	n.pricesSaved = n.market.Sightings()
}

// readJSON reads a file of at most so many bytes.
func readJSON(path string, most int64, to any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	return err
}

// penaltyRecord is a speed.Penalty in its file.
type penaltyRecord struct {
	Who      string    `json:"who"` // account or address
	Failures int       `json:"failures,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Excused  bool      `json:"excused,omitempty"`
	Pardoned time.Time `json:"pardoned,omitzero"`
}

// readPenalties takes what an earlier run remembered of payers that failed. A file that
// cannot be read costs no more than that; what is damaged in it is left out.
func (n *Node) readPenalties() {
	var records []penaltyRecord
	err := readJSON(filepath.Join(n.cfg.Home, penaltiesFile), maxPenaltiesFile, &records)
	if err != nil {
		if !errors.Is(err, os.ErrNotExist) {
			n.cfg.Log.Warn("who did not pay before is forgotten", "err", err)
		}
		return
	}
	var list []speed.Penalty
	for _, r := range records {
		p := speed.Penalty{Failures: r.Failures, Until: r.Until, Excused: r.Excused, Pardoned: r.Pardoned}
		if addr, err := netip.ParseAddr(r.Who); err == nil {
			p.Addr = addr
		} else if p.Account, err = ledger.ParseAddress(r.Who); err != nil {
			continue
		}
		list = append(list, p)
	}
	n.market.SetPenalties(list, time.Now())
}

// savePenalties writes what is remembered of payers that failed, if that changed.
func (n *Node) savePenalties() error {
	list, changes := n.market.Penalties(n.penaltiesSaved, time.Now())
	if changes == n.penaltiesSaved {
		return nil
	}
	records := make([]penaltyRecord, 0, len(list))
	for _, p := range list {
		r := penaltyRecord{Who: p.Addr.String(), Failures: p.Failures, Until: p.Until, Excused: p.Excused, Pardoned: p.Pardoned}
		if !p.Account.IsZero() {
			r.Who = p.Account.String()
		}
		records = append(records, r)
	}
	b, err := json.Marshal(records)
	if err == nil {
		err = durable.Write(n.cfg.Home, penaltiesFile, b)
	}
	if err != nil {
		return fmt.Errorf("keep penalties: %w", err)
	}
	n.penaltiesSaved = changes
	return nil
}

// savePrices writes the prices seen if there are new ones.
func (n *Node) savePrices() error {
	list := n.market.Sightings()
	if len(list) == len(n.pricesSaved) && (len(list) == 0 || list[len(list)-1] == n.pricesSaved[len(list)-1]) {
		return nil
	}
	b, err := json.Marshal(list)
	if err == nil {
		err = durable.Write(n.cfg.Home, pricesFile, b)
	}
	if err != nil {
		return fmt.Errorf("keep prices: %w", err)
	}
	n.pricesSaved = list
	return nil
}

// PricesSeen returns the median of the prices at which the node bought and sold of
// late, which reserve prices follow by default (R7.3); false = it saw none.
func (n *Node) PricesSeen() (median amount.Price, ok bool) {
	if n.market == nil {
		return 0, false
	}
	g, ok := n.market.Observed(time.Now())
	return g.Cap, ok
}
