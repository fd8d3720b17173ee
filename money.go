package btt

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/joiner"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/receipts"
	"github.com/bttnet/btt/internal/session"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed/autobid"
)

// money is a node's wallet, its channels and its part in the market.
type money struct {
	home   string
	speed  SpeedConfig
	log    *slog.Logger
	notify func(Event)
	purse  *purse.Purse
	book   *payments.Book
	market *market.Node
	booked *receipts.Book
	// receiptsSaved belongs to the balance keeper, then to end.
	receiptsSaved time.Time
	pricesSaved   []market.Sighting // likewise
	// penaltiesSaved are the changes that the file has; likewise.
	penaltiesSaved uint64
	debtorsSaved   []payments.Debtor

	balance atomic.Int64
	refresh chan struct{}
	ended   chan payments.Event // for the wallet's journal
	cancel  context.CancelFunc
	// stopJoiner ends what joins torrents, before they end.
	stopJoiner func()
	wg         sync.WaitGroup
}

// openMoney opens what the configuration names: abandon undoes it, or start and end.
func (n *Node) openMoney(ctx context.Context, c *SpeedConfig) (*money, error) {
	if n.cfg.Home == "" {
		return nil, ErrNoHome
	}
	if c.Reserve > 0 && c.ReserveGrowth > 0 {
		return nil, ErrReserve
	}
	if !market.CheckQuantum(c.Quantum) {
		return nil, ErrQuantum
	}
	st, err := c.Ledger.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask ledger for its state: %w", err)
	}
	m := &money{home: n.cfg.Home, speed: *c, log: n.cfg.Log, notify: n.notify, stopJoiner: func() {},
		refresh: make(chan struct{}, 1), ended: make(chan payments.Event, maxEnded)}
	if err := m.open(ctx, st.Network); err != nil {
		return nil, err
	}
	if c.Join != nil {
		if err := joiner.Hold(c.Join.Dir, m.market); err != nil {
			m.abandon(ctx)
			return nil, err
		}
	}
	return m, nil
}

// open opens receipts, wallet and channels, and makes the market of them.
func (m *money) open(ctx context.Context, net ledger.Network) error {
	c, err := &m.speed, m.openReceipts()
	if err != nil {
		return err
	}
	m.purse, err = purse.Open(purse.Config{Dir: filepath.Join(m.home, "wallet"), Password: c.Password, Phrase: c.Phrase,
		Ledger: c.Ledger, Locked: m.locked, Budget: c.Budget})
	if err != nil {
		return fmt.Errorf("open wallet: %w", err)
	}
	m.book, err = payments.Open(ctx, payments.Config{Dir: filepath.Join(m.home, "channels"), Purse: m.purse,
		Ledger: c.Ledger, Credit: c.Credit, PaymentTimeout: c.PaymentTimeout, Notify: m.onChannel})
	if err != nil {
		m.purse.Close()
		return fmt.Errorf("open payment channels: %w", err)
	}
	m.recall(ctx)
	bid := autobid.Default()
	bid.Cap = c.PriceCap
	if c.SpendRate > 0 {
		bid.SpendRate = c.SpendRate
	}
	m.market = &market.Node{Book: m.book, Account: m.purse.Address(), Key: m.purse.AccountKey(), Net: net,
		Balance: func() amount.Amount { return amount.Amount(m.balance.Load()) },
		Left:    func(infohash [20]byte) amount.Amount { return m.purse.TorrentLeft(hex.EncodeToString(infohash[:])) },
		Bid:     bid, Market: c.BidMarket, Buy: !c.EarnOnly, Sell: true, TorrentBudget: c.TorrentBudget, Funds: m.book.Funds,
		Reserve: c.reserve(), Quantum: c.Quantum, TrackerBids: !c.NoTrackerBids, Receipts: m.booked}
	m.readPrices()
	m.readPenalties()
	if err := m.purse.Resume(ctx); err != nil {
		m.log.Warn("finish earlier payments", "err", err)
	}
	m.updateBalance(ctx)
	return nil
}

// joiner makes what joins torrents for pay; nil = nothing does.
func (m *money) joiner(s *session.Session) (*joiner.Joiner, error) {
	if m.speed.Join == nil {
		return nil, nil
	}
	return joiner.New(*m.speed.Join, s, m.market, m.log)
}

// start begins what goes on beside the torrents: all ends with end, j with stopJoiner.
func (m *money) start(j *joiner.Joiner) {
	run, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	m.wg.Go(func() { m.tidy(run) })
	m.wg.Go(func() { m.watchBalance(run) })
	m.wg.Go(func() { m.follow(run) })
	m.wg.Go(m.keepJournal)
	if j == nil {
		return
	}
	joins, stop := context.WithCancel(run)
	done := make(chan struct{})
	go func() { // ends with stopJoiner
		defer close(done)
		j.Run(joins)
	}()
	m.stopJoiner = func() { stop(); <-done }
}

// end ends what start began, once the channels are closed and no torrent runs.
func (m *money) end() error {
	m.cancel()
	close(m.ended)
	m.wg.Wait()
	m.saveReceipts(0)
	return m.purse.Close()
}

// locked is what open channels still hold for us.
func (m *money) locked() amount.Amount {
	if m.book == nil {
		return 0
	}
	var sum amount.Amount
	for _, c := range m.book.Summary() {
		if c.Role == channel.RolePayer && !c.Stage.Final() {
			sum += c.Deposit - c.Paid
		}
	}
	return sum
}

// recall frees what was set aside for channels that a kill kept from being opened.
func (m *money) recall(ctx context.Context) {
	known := make(map[string]bool)
	for _, c := range m.book.Summary() {
		known[c.Channel.String()] = true
	}
	if err := m.purse.Recall(ctx, func(channel string) bool { return known[channel] }); err != nil {
		m.log.Warn("look for deposits of no channel", "err", err)
	}
}

// balanceEvery is how old the balance that bids count with may be, and balancePause
// the time between two looks at the ledger while payments are made: there may be a
// thousand of them in a second.
const (
	balanceEvery = 2 * time.Second
	balancePause = 200 * time.Millisecond
)

func (m *money) watchBalance(ctx context.Context) {
	t := time.NewTicker(balanceEvery)
	defer t.Stop()
	var looked time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			m.saveReceipts(saveReceiptsEvery)
		case <-m.refresh:
			if pause := balancePause - time.Since(looked); pause > 0 {
				t.Reset(pause)
				continue
			}
		}
		m.updateBalance(ctx)
		looked = time.Now()
		t.Reset(balanceEvery)
	}
}

func (m *money) updateBalance(ctx context.Context) {
	b, err := m.purse.Balance(ctx)
	if err != nil {
		m.log.Warn("balance unknown", "err", err)
		return
	}
	m.balance.Store(int64(b.Free + b.Locked))
}

func (m *money) closeBook(ctx context.Context) error {
	if m.book == nil {
		return nil
	}
	if err := m.book.Close(ctx); err != nil {
		return fmt.Errorf("settle channels: %w", err)
	}
	return nil
}

// abandon undoes openMoney after a failed start.
func (m *money) abandon(ctx context.Context) {
	if m == nil {
		return
	}
	if err := m.closeBook(ctx); err != nil {
		m.log.Warn("close after failed start", "err", err)
	}
	if m.purse != nil {
		m.purse.Close()
	}
}
