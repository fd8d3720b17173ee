package btt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/market"
)

const (
	// pricesFile holds the prices seen of late, in the home folder, so that
	// reserve prices follow them after a restart too.
	pricesFile = "prices.json"
	// maxPricesFile bounds it in bytes: market.MaxSightings of them.
	maxPricesFile = 16 << 10
)

// readPrices takes the prices that an earlier run saw. A file that cannot be read
// costs no more than that: the node begins without prices and says so.
func (n *Node) readPrices() {
	list, err := parsePrices(filepath.Join(n.cfg.Home, pricesFile))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		n.cfg.Log.Warn("prices seen before are forgotten", "err", err)
	default:
		n.market.SetSightings(list, time.Now())
	}
	n.pricesSaved = n.market.Sightings()
}

func parsePrices(path string) (list []market.Sighting, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPricesFile+1))
	if err == nil && len(b) > maxPricesFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxPricesFile)
	}
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	return list, err
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
