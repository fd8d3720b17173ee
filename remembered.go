package btt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
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
	// debtorsFile holds which accounts left something unpaid, in the home folder, so that
	// they begin no anew with each run of this node; maxDebtorsFile bounds it in bytes:
	// payments.MaxDebtors records.
	debtorsFile    = "debtors.json"
	maxDebtorsFile = 4 << 20
)

// readPrices takes the prices that an earlier run saw. A file that cannot be read
// costs no more than that: the node begins without prices and says so.
func (m *money) readPrices() {
	b, err := readFile(filepath.Join(m.home, pricesFile), maxPricesFile)
	var list []market.Sighting
	if err == nil {
		list, err = decodePrices(b)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		m.log.Warn("prices seen before are forgotten", "err", err)
	default:
		m.market.SetSightings(list, time.Now())
	}
	m.pricesSaved = m.market.Sightings()
}

func decodePrices(b []byte) (list []market.Sighting, err error) {
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read prices seen: %w", err)
	}
	return list, nil
}

// readFile reads a file of at most so many bytes.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return b, err
}

// penaltyRecord is a speed.Penalty in its file.
type penaltyRecord struct {
	Who      string    `json:"who"` // account or address
	Failures int       `json:"failures,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Excused  bool      `json:"excused,omitempty"`
	Pardoned time.Time `json:"pardoned,omitzero"`
	Spoiled  time.Time `json:"spoiled,omitzero"`
}

// readPenalties takes what an earlier run remembered of payers that failed, of who sent
// bad data and of debtors. A file that cannot be read costs no more than that; what is
// damaged in it is left out.
func (m *money) readPenalties() {
	b, err := readFile(filepath.Join(m.home, penaltiesFile), maxPenaltiesFile)
	var list []speed.Penalty
	if err == nil {
		list, err = decodePenalties(b)
	}
	if err == nil {
		m.market.SetPenalties(list, time.Now())
	} else if !errors.Is(err, os.ErrNotExist) {
		m.log.Warn("who did not pay before is forgotten", "err", err)
	}
	b, err = readFile(filepath.Join(m.home, debtorsFile), maxDebtorsFile)
	if err == nil {
		m.debtorsSaved, err = decodeDebtors(b)
	}
	if err == nil {
		m.book.SetDebtors(m.debtorsSaved)
	} else if !errors.Is(err, os.ErrNotExist) {
		m.log.Warn("who left something unpaid before is forgotten", "err", err)
	}
}

func decodeDebtors(b []byte) (list []payments.Debtor, err error) {
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read debtors: %w", err)
	}
	return list, nil
}

// decodePenalties reads a file of penalties; records that name nobody are left out.
func decodePenalties(b []byte) (list []speed.Penalty, err error) {
	var records []penaltyRecord
	if err := json.Unmarshal(b, &records); err != nil {
		return nil, fmt.Errorf("read penalties: %w", err)
	}
	for _, r := range records {
		p := speed.Penalty{Failures: r.Failures, Until: r.Until, Excused: r.Excused, Pardoned: r.Pardoned, Spoiled: r.Spoiled}
		if addr, err := netip.ParseAddr(r.Who); err == nil {
			p.Addr = addr
		} else if p.Account, err = ledger.ParseAddress(r.Who); err != nil {
			continue
		}
		list = append(list, p)
	}
	return list, nil
}

// saveDebtors writes who left something unpaid, if that changed: what was paid alone is
// no reason.
func (m *money) saveDebtors() error {
	list := m.book.Debtors()
	if slices.EqualFunc(list, m.debtorsSaved, func(a, b payments.Debtor) bool {
		a.Paid, b.Paid = 0, 0
		a.Until, b.Until, a.Changed, b.Changed = a.Until.UTC().Round(0), b.Until.UTC().Round(0), a.Changed.UTC().Round(0), b.Changed.UTC().Round(0)
		return a == b
	}) {
		return nil
	}
	b, err := json.Marshal(list)
	if err == nil {
		err = durable.Write(m.home, debtorsFile, b)
	}
	if err != nil {
		return fmt.Errorf("keep debtors: %w", err)
	}
	m.debtorsSaved = list
	return nil
}

// savePenalties writes what is remembered of payers that failed, if that changed.
func (m *money) savePenalties() error {
	list, changes := m.market.Penalties(m.penaltiesSaved, time.Now())
	if changes == m.penaltiesSaved {
		return nil
	}
	records := make([]penaltyRecord, 0, len(list))
	for _, p := range list {
		r := penaltyRecord{Who: p.Addr.String(), Failures: p.Failures, Until: p.Until, Excused: p.Excused, Pardoned: p.Pardoned, Spoiled: p.Spoiled}
		if !p.Account.IsZero() {
			r.Who = p.Account.String()
		}
		records = append(records, r)
	}
	b, err := json.Marshal(records)
	if err == nil {
		err = durable.Write(m.home, penaltiesFile, b)
	}
	if err != nil {
		return fmt.Errorf("keep penalties: %w", err)
	}
	m.penaltiesSaved = changes
	return nil
}

// savePrices writes the prices seen if there are new ones.
func (m *money) savePrices() error {
	list := m.market.Sightings()
	if len(list) == len(m.pricesSaved) && (len(list) == 0 || list[len(list)-1] == m.pricesSaved[len(list)-1]) {
		return nil
	}
	b, err := json.Marshal(list)
	if err == nil {
		err = durable.Write(m.home, pricesFile, b)
	}
	if err != nil {
		return fmt.Errorf("keep prices: %w", err)
	}
	m.pricesSaved = list
	return nil
}

// PricesSeen returns the median of the prices at which the node bought and sold of
// late, which reserve prices follow by default (R7.3); false = it saw none.
func (n *Node) PricesSeen() (median amount.Price, ok bool) {
	m := n.money.Load()
	if m == nil {
		return 0, false
	}
	g, ok := m.market.Observed(time.Now())
	return g.Cap, ok
}
