package btt

import (
	"context"
	"errors"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/session"
	"github.com/bttnet/btt/speed/autobid"
)

// ErrNoSpeed says that the node takes no part in BitTorrent Speed.
var ErrNoSpeed = errors.New("node takes no part in BitTorrent Speed")

// ErrSpeedOpen says that the node has a part in BitTorrent Speed already.
var ErrSpeedOpen = errors.New("node has a part in BitTorrent Speed already")

// OpenSpeed gives a node that was opened without [Config.Speed] a part in BitTorrent
// Speed while it runs: it opens the wallet, the channels and the receipts in the node's
// home, as Open does, until the node is closed. The torrents stay out, as after
// SetSpeed(false), so that SetSpending and the torrents' own SetSpeed can come before
// SetSpeed(true) lets them in (R9.1, R15.4). A failure leaves a plain node, and OpenSpeed
// may be called again. The error is [ErrSpeedOpen], or what Open returns for such a
// configuration; ctx bounds the time that the ledger has to answer, and Close ends it.
func (n *Node) OpenSpeed(ctx context.Context, cfg SpeedConfig) error {
	n.opening.Lock()
	defer n.opening.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.life, cancel)()
	switch {
	case n.life.Err() != nil:
		return session.ErrClosed
	case n.money.Load() != nil:
		return ErrSpeedOpen
	}
	m, err := n.openMoney(ctx, &cfg)
	if err != nil {
		return err
	}
	j, err := m.joiner(n.session)
	if err == nil {
		err = n.session.OpenMarket(m.market, cfg.demand())
	}
	if err != nil {
		m.abandon(ctx)
		return err
	}
	n.money.Store(m)
	m.start(j)
	return nil
}

// SetSpeed takes all torrents out of BitTorrent Speed, or lets in again those
// that take part (R9.1, R15.4): outside, they neither bid nor pay nor sell, and
// connections begin anew. What was earned is settled all the same. It lasts
// until the node is closed; the error is [ErrNoSpeed].
func (n *Node) SetSpeed(on bool) error {
	m := n.money.Load()
	if m == nil {
		return ErrNoSpeed
	}
	n.session.SetMarket(on)
	return nil
}

// Spending is how a node bids; a user may change it while torrents run.
type Spending struct {
	// Rate is the paper's aggressiveness in parts per million, 0 (no bids) to
	// 1,000,000; greater values count as that (R8.4).
	Rate uint32
	// Market bids what a slot costs by the bids and transfers seen, more for what is
	// rare or can be sold again, within the paper's bid, instead of that (R8.9-R8.11).
	Market bool
	// PriceCap is the highest price ever bid; 0 = none.
	PriceCap amount.Price
	// TorrentBudget is the most spent on one torrent, what was spent so far
	// included; 0 = no limit of its own.
	TorrentBudget amount.Amount
}

// Spending returns how the node bids now; the error is [ErrNoSpeed].
func (n *Node) Spending() (Spending, error) {
	m := n.money.Load()
	if m == nil {
		return Spending{}, ErrNoSpeed
	}
	set := m.market.Spending()
	return Spending{Rate: set.Bid.SpendRate, Market: set.Market, PriceCap: set.Bid.Cap, TorrentBudget: set.TorrentBudget}, nil
}

// SetSpending changes how the node bids, until it is closed. Peers hear the
// new bids at once, or when the minute since the last one is over (R8.8, A8); that there
// are none any more, mostly at once.
// Prices of running slots stay as agreed until the provider's next round. The
// error is [ErrNoSpeed].
func (n *Node) SetSpending(set Spending) error {
	m := n.money.Load()
	if m == nil {
		return ErrNoSpeed
	}
	bid := m.market.Spending().Bid
	bid.SpendRate, bid.Cap = min(set.Rate, autobid.PPM), set.PriceCap
	m.market.SetSpending(market.Spending{Bid: bid, Market: set.Market, TorrentBudget: set.TorrentBudget})
	for _, s := range n.session.Torrents() {
		s.Rebid()
	}
	return nil
}
