package swarm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/speed/reserve"
	"github.com/bttnet/btt/wire"
)

// Market is a node's part in BitTorrent Speed, shared by its swarms: the
// channels, the bidding rules and the penalties. Its methods are safe for
// concurrent use.
type Market struct {
	Book    *payments.Book
	Account ledger.Address
	Net     ledger.Network
	// Balance is what the bid formula counts as the wallet: free coins and
	// what is unspent in own channels (A7).
	Balance func() amount.Amount
	// Bid and TorrentBudget hold until SetSpending changes them.
	Bid autobid.Config
	// Buy and Sell switch the two sides of the market (R9.1, R15.3).
	Buy, Sell bool
	// TorrentBudget is the most spent on one torrent; 0 = no limit of its own.
	TorrentBudget amount.Amount
	// Reserve is what paid slots of torrents we seed cost at least (R7.19).
	// With a Growth.Slope it is of no account: each torrent's price then
	// begins at 0 and grows while nobody proves to have it too (R7.3-R7.5).
	Reserve reserve.Policy
	Growth  reserve.Growth
	// TrackerBids tells trackers our bids and uses those they tell (R6).
	TrackerBids bool
	// Now is the clock of the penalties; nil = that of the swarms.
	Now func() time.Time

	bidding  atomic.Int32 // torrents that download and bid
	spending atomic.Pointer[Spending]

	mu        sync.Mutex // leaf lock over penalties
	penalties speed.Penalties
}

// Version is the extension's version told in the handshake.
func (k *Market) Version() int { return speed.Version }

// Network is the network id told in the handshake.
func (k *Market) Network() []byte {
	id := speed.NetworkID(k.Net)
	return id[:]
}

// clock is the penalties' time.
func (k *Market) clock(now time.Time) time.Time {
	if k.Now != nil {
		return k.Now()
	}
	return now
}

// fail books a payment failure of a peer and says whether it is banned now.
func (k *Market) fail(account ledger.Address, addr netip.Addr, now time.Time) (banned bool) {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.penalties.Fail(now, account, judged(addr)).Ban
}

// standing says whether a peer may buy now, and whether it is banned.
func (k *Market) standing(account ledger.Address, addr netip.Addr, now time.Time) (eligible, banned bool) {
	now = k.clock(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.penalties.Eligible(now, account, judged(addr)), k.penalties.Banned(now, account, judged(addr))
}

// bans says whether a connection from an address is to be refused.
func (k *Market) bans(addr netip.Addr, now time.Time) bool {
	_, banned := k.standing(ledger.Address{}, addr, now)
	return banned
}

// succeed clears the failures of an account that paid.
func (k *Market) succeed(account ledger.Address, addr netip.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.penalties.Paid(account, judged(addr))
}

// judged is the address that penalties count by: loopback stands for many
// peers of one machine and counts for none.
func judged(a netip.Addr) netip.Addr {
	if a.Unmap().IsLoopback() {
		return netip.Addr{}
	}
	return a
}

// price is the bid for a torrent, by the paper's formula inside the guards.
func (k *Market) price(t autobid.Torrent, spent amount.Amount) amount.Price {
	if !k.Buy {
		return 0
	}
	t.Share = autobid.PPM / uint32(max(1, k.bidding.Load()))
	t.Budget = autobid.NoBudget
	set := k.Spending()
	if set.TorrentBudget > 0 {
		t.Budget = max(0, set.TorrentBudget-spent)
	}
	return autobid.Price(set.Bid, k.Balance(), t)
}

// Spending is what a user may change while the market runs.
type Spending struct {
	Bid autobid.Config
	// TorrentBudget is the most spent on one torrent; 0 = no limit of its own.
	TorrentBudget amount.Amount
}

// Spending returns what holds now.
func (k *Market) Spending() Spending {
	if p := k.spending.Load(); p != nil {
		return *p
	}
	return Spending{Bid: k.Bid, TorrentBudget: k.TorrentBudget}
}

// SetSpending changes what bids count with from now on; [Swarm.Rebid] tells
// the peers at once.
func (k *Market) SetSpending(set Spending) { k.spending.Store(&set) }

// trade is the market's book about one peer.
type trade struct {
	session *speed.Session // nil = the peer takes no part
	link    *payments.Link
	account ledger.Address // theirs, from their bid
	barred  bool
	// answered is the last challenge that we answered, fetched the pieces of
	// which the peer sent a part.
	answered speed.Reserve
	fetched  wire.Bits

	selling bool
	// offered is when a price was told that the peer has not accepted yet.
	offered time.Time
	soldAt  amount.Price
	earned  amount.Amount

	buying   bool
	broke    bool // we cannot pay the peer: nothing is asked of it
	boughtAt amount.Price
	paid     amount.Amount
	credits  []credit
	due      int64 // verified bytes not yet paid
}

// credit is what a peer sent us of a piece that is not verified yet.
type credit struct {
	piece uint32
	bytes int64
}

// paying says whether what the peer sends now costs money; its pieces come
// from it alone then (A23).
func (t *trade) paying() bool { return t.buying && t.boughtAt > 0 }

// busy says whether money is still to move with the peer.
func (t *trade) busy() bool { return t.selling || t.paying() }

var errUnpaid = errors.New("peer did not pay for its slot")

// openTrade starts the market with a peer that speaks the extension and pays
// on our network.
func (s *Swarm) openTrade(m *member) {
	k := s.cfg.Market
	if k == nil || m.ext.Speed == 0 || speed.CheckPeer(k.Net, m.ext.SpeedVersion, m.ext.SpeedNetwork) != nil {
		return
	}
	cfg := speed.Config{Account: k.Account}
	_, _ = rand.Read(cfg.Nonce[:]) // never fails (crypto/rand ends the process)
	m.trade.session = speed.NewSession(cfg)
	id := m.conn.ID
	m.trade.link = k.Book.Link(payments.LinkConfig{
		Infohash: s.cfg.InfoHash,
		Quantum:  s.quantum(),
		Send: func(payload []byte) {
			if f, err := speed.Append(nil, speed.Channel{Payload: payload}); err == nil {
				m.sendSpeed(f)
			}
		},
		Notify: func(e payments.LinkEvent) { s.queueLink(id, e) },
		Wake:   m.conn.Wake,
	})
	s.market(m)
}

// quantum is what a provider risks at most: one piece (R12.5, A22).
func (s *Swarm) quantum() int64 {
	if s.info == nil {
		return 0
	}
	return min(s.info.PieceLength, s.info.TotalLength)
}

func (s *Swarm) closeTrade(m *member) {
	if m.trade.link != nil {
		m.trade.link.Close()
		m.trade.link = nil
	}
}

// sendSpeed sends a btt_speed message.
func (m *member) sendSpeed(frame []byte) {
	if frame != nil {
		m.conn.Send(appendSpeed(m.ext.Speed, frame))
	}
}

// market tells the peer our bid, if it has what we want (R5.4).
func (s *Swarm) market(m *member) { s.trading(m, false) }

// Rebid tells every peer the bid that follows from settings the user changed
// (R8.8): at once, or when the minute since the last bid is over (A8).
func (s *Swarm) Rebid() {
	s.post(func() {
		for _, m := range s.peers {
			s.trading(m, true)
		}
	})
}

func (s *Swarm) trading(m *member, byUser bool) {
	k := s.cfg.Market
	if k == nil || m.trade.session == nil {
		return
	}
	var bid amount.Price
	if m.wanted && s.state == Downloading {
		bid = s.bid()
	}
	m.sendSpeed(m.trade.session.SetBid(bid, byUser, s.now))
	s.tellReserve(m)
}

func (s *Swarm) bid() amount.Price {
	if s.cfg.Market == nil || s.picker == nil || s.state != Downloading {
		return 0
	}
	return s.cfg.Market.price(autobid.Torrent{Left: s.picker.Left(), Size: s.info.TotalLength,
		PieceLength: s.info.PieceLength}, s.spent)
}

// tickMarket re-bids and sends what the extension's rate limits held back.
func (s *Swarm) tickMarket() {
	if s.cfg.Market == nil {
		return
	}
	if b := s.state == Downloading; b != s.bidding {
		s.bidding = b
		if b {
			s.cfg.Market.bidding.Add(1)
		} else {
			s.cfg.Market.bidding.Add(-1)
		}
	}
	s.releaseHeld()
	s.tickReserve()
	s.tickBids()
	for _, m := range s.peers {
		if m.trade.session == nil {
			continue
		}
		s.market(m)
		s.prove(m)
		s.dueAccept(m)
		for _, f := range m.trade.session.Tick(s.now) {
			m.sendSpeed(f)
		}
	}
}

// onSpeed handles a btt_speed message.
func (s *Swarm) onSpeed(m *member, payload []byte) {
	if m.trade.session == nil {
		return
	}
	msg, err := m.trade.session.Step(payload, s.now)
	if err != nil {
		s.kick(m, fmt.Errorf("btt_speed: %w", err))
		return
	}
	switch msg := msg.(type) {
	case speed.Bid:
		s.onBid(m, msg)
	case speed.BidResponse:
		s.onResponse(m, msg)
	case speed.Accept:
		m.trade.offered = time.Time{}
	case speed.Reserve:
		s.prove(m)
	case speed.Proof:
		s.onProof(m, msg)
	case speed.Channel:
		if err := m.trade.link.Receive(msg.Payload); err != nil {
			s.kick(m, fmt.Errorf("btt_speed: %w", err))
		}
	}
}

func (s *Swarm) onBid(m *member, b speed.Bid) {
	if m.trade.account.IsZero() {
		s.checkTold(m, b.Price)
	}
	m.trade.account = b.Account
	eligible, banned := s.cfg.Market.standing(b.Account, m.addr.Addr(), s.now)
	m.trade.barred = !eligible
	if banned {
		s.kick(m, errUnpaid)
		return
	}
	s.cfg.FreeSlot()
}
