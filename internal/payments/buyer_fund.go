package payments

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

const (
	// answerWait is how long a proposal is left to a provider that does not answer, when
	// its coins are needed to pay another one: less than a payment may take.
	answerWait = 4 * time.Second
	// heldRetry is how long a funding waits whose coins other openings held.
	heldRetry = time.Second
	// maxLockAsked is the longest lock that a payee may ask for: one that never
	// settles keeps the whole deposit from us until then.
	maxLockAsked = 24 * time.Hour
)

// provide opens a channel when none is there or the last one is used up to
// successorAt percent.
func (b *buyer) provide() {
	if b.opening || b.stopping || b.book.closing.Load() || len(b.orders) == 0 || b.book.cfg.Now().Before(b.retry) {
		return
	}
	need, link := b.need()
	if need.sum <= 0 {
		return
	}
	live := 0
	for _, c := range b.channels {
		if c.m.Stage().Final() {
			continue
		}
		if live++; live >= MaxChannels {
			return
		}
		if !c.m.Live() || !c.retired.IsZero() {
			continue
		}
		capacity := c.m.Remaining() + c.m.Paid()
		if c.m.Stage() < channel.Opened || c.m.NeedsState() || c.m.Paid() <= capacity/100*successorAt && c.m.Remaining() > 0 || c.m.Remaining() >= need.sum {
			return
		}
	}
	b.fund(need, link)
}

// depositGrowth is how many times DepositBytes a deposit covers at most, when the provider
// was paid as much before.
const depositGrowth = 16

// need is what the next channel is to cover: a sum, of so many bytes of each torrent at most.
type need struct {
	sum   amount.Amount
	bytes int64
	grown bool
}

// need returns what the orders will still cost: DepositBytes each, or more if the provider
// was paid more before than it holds of ours. So the ledger's work for a byte falls as the
// trade grows, and what it earned bounds what a provider that settles no channel can hold,
// beyond DepositBytes for each.
func (b *buyer) need() (n need, link *Link) {
	n, link = b.cost(b.book.cfg.DepositBytes)
	most := b.spent - b.locked()
	if most > n.sum && b.book.cfg.DepositBytes <= math.MaxInt64/depositGrowth && !b.book.cfg.Now().Before(b.modest) {
		n, link = b.cost(b.book.cfg.DepositBytes * depositGrowth)
		n.sum, n.grown = min(n.sum, most), true
	}
	return n, link
}

// cost returns what the orders will still cost, of so many bytes each at most.
func (b *buyer) cost(most int64) (n need, link *Link) {
	n.bytes = most
	for l, o := range b.orders {
		if o.order.price <= 0 || o.denied || l.closed.Load() {
			continue
		}
		left := max(0, l.left.Load()) + max(0, l.verified.Load()-o.pos)
		if left <= 0 {
			continue
		}
		sum, err := o.order.price.Owed(min(left, most))
		if err != nil {
			continue
		}
		if sum, err = n.sum.Add(sum); err == nil {
			n.sum, link = sum, l
		}
	}
	return n, link
}

// fund makes T1 in a goroutine of its own, which ends with the purse's answer.
func (b *buyer) fund(need need, link *Link) {
	status, ok := b.book.head.get()
	if !ok || !b.fresh {
		return
	}
	cfg := &b.book.cfg
	if r := b.refuses(&status); r != nil {
		b.retry = cfg.Now().Add(fundRetry)
		e := Event{Kind: EventRefused, Code: r.Code, Reason: r.Reason}
		b.publish(link, e)
		b.tellOthers(link, e)
		return
	}
	floor := max(b.terms.MinDeposit, 2*status.Params.MinOutput)
	deposit := min(max(need.sum+status.Params.MinOutput, floor), b.terms.MaxDeposit)
	least := min(deposit, max(floor, b.quantumCost(link)+status.Params.MinOutput))
	f := &funding{terms: b.terms, status: status, lock: b.lockTime(link, need.bytes), index: b.index, signer: b.signer, grown: need.grown}
	b.signer = nil
	b.fresh, b.opening = false, true
	torrent := hex.EncodeToString(link.cfg.Infohash[:])
	b.book.start(func() {
		ctx, cancel := context.WithTimeout(b.book.ctx, 2*ledgerWait)
		defer cancel()
		done := b.book.head.begin(purse.FundPatience)
		var err error
		if f.signer == nil {
			f.index, f.signer, err = cfg.Purse.NewChannelKey()
		}
		if err == nil {
			f.t1, err = fundAtMost(ctx, cfg.Purse, deposit, least, ledger.Joint(f.signer.PublicKey(), f.terms.K2), torrent)
		}
		done(context.Canceled) // the purse's errors do not tell
		if err != nil {
			b.book.head.refresh(ctx, cfg.Ledger)
		}
		b.postAlways(op{kind: opFunded, funding: f, err: err})
	})
}

// refuses says why no deposit is made under the payee's terms: one that never settles
// keeps it from us until T2's lock is over, so both are for us to bound. Of several prices
// the highest counts: its order is paid from the channel too.
func (b *buyer) refuses(status *ledger.Status) *channel.Refusal {
	if asked := time.Duration(b.terms.MinLock) * time.Second; asked > maxLockAsked {
		return &channel.Refusal{Code: channel.CodeLock,
			Reason: fmt.Sprintf("the provider wants deposits locked for %v at least; the most is %v", asked, maxLockAsked)}
	}
	most := max(b.book.cfg.MinDeposit, 2*status.Params.MinOutput)
	for _, o := range b.orders {
		if sum, err := o.order.price.Owed(b.book.cfg.DepositBytes); err == nil {
			most = max(most, sum+status.Params.MinOutput)
		}
	}
	if b.terms.MinDeposit > most {
		return &channel.Refusal{Code: channel.CodeDeposit,
			Reason: fmt.Sprintf("the provider wants deposits of %v at least; the most at its price is %v", b.terms.MinDeposit, most)}
	}
	return nil
}

// fundAtMost funds what the wallet and its limits allow, from most down to
// least: a smaller channel pays as well, and a successor follows it.
func fundAtMost(ctx context.Context, p Purse, most, least amount.Amount, lock ledger.Lock, torrent string) (*ledger.Tx, error) {
	for {
		tx, err := p.Fund(ctx, most, lock, torrent)
		var limit *wallet.LimitError
		if err == nil || most <= least || !errors.Is(err, purse.ErrFunds) && !errors.As(err, &limit) {
			return tx, err
		}
		most = max(least, most/2)
	}
}

// quantumCost is the price of one quantum of a link.
func (b *buyer) quantumCost(link *Link) amount.Amount {
	o := b.orders[link]
	if o == nil {
		return 0
	}
	sum, err := o.order.price.Owed(link.cfg.Quantum)
	if err != nil {
		return 0
	}
	return sum
}

// lockTime is several times the expected time plus some hours (R11.5), inside
// what the payee accepts.
func (b *buyer) lockTime(link *Link, bytes int64) uint64 {
	cfg := &b.book.cfg
	left := int64(0)
	if b.orders[link] != nil {
		left = min(link.left.Load(), bytes)
	}
	lock := uint64(cfg.LockBase/time.Second) + uint64(cfg.LockFactor)*uint64(left/expectedRate)
	// A minute of slack either way: the two sides' ledger times differ a little.
	low, high := uint64(b.terms.MinLock)+60, uint64(b.terms.MaxLock)
	if high > 60 {
		high -= 60
	}
	return b.book.head.exact() + max(min(lock, high), min(low, high))
}

func (b *buyer) funded(f *funding, err error) {
	b.opening = false
	link := b.anyLink()
	if err != nil {
		now := b.book.cfg.Now()
		b.index, b.signer = f.index, f.signer
		b.fresh = b.fresh || b.terms.K2 == f.terms.K2
		if f.grown && errors.Is(err, purse.ErrReserved) {
			b.modest = now.Add(openTimeout) // a small one may not need what is held
			return
		}
		e := Event{Kind: EventNoFunds, Reason: err.Error()}
		if b.retry = now.Add(fundRetry); b.book.head.out(now) {
			b.retry, e.Code = now.Add(outageEvery), channel.CodeLedger
			b.tellOutage(true)
		} else if errors.Is(err, purse.ErrReserved) {
			b.retry = now.Add(heldRetry)
			if b.owes() {
				b.book.press()
			}
		}
		b.publish(link, e)
		if b.usable() == nil {
			b.tellOthers(link, e)
		}
		return
	}
	m, err := channel.NewPayer(channel.PayerConfig{
		Terms: f.terms, Account: b.book.cfg.Purse.Account(), Signer: f.signer, KeyIndex: f.index, T1: f.t1,
		Network: f.status.Network, MinOutput: f.status.Params.MinOutput, Now: b.book.head.exact(), LockTime: f.lock,
	})
	if err != nil || link == nil || b.stopping {
		b.book.cfg.Purse.Release(f.t1)
		if err == nil {
			return // nothing was shown and nothing failed: who comes back need not wait
		}
		b.retry = b.book.cfg.Now().Add(fundRetry)
		var r *channel.Refusal
		if errors.As(err, &r) {
			b.publish(link, Event{Kind: EventRefused, Code: r.Code, Reason: r.Reason})
		}
		return
	}
	c := b.bought(m, link)
	contract := m.Contract()
	if !b.book.claim(&contract, b.pair) {
		b.book.cfg.Purse.Release(f.t1)
		return
	}
	b.channels = append(b.channels, c)
	b.flush(c, link)
}

// tellOthers tells the connections but one what is so for all of them.
func (b *buyer) tellOthers(but *Link, e Event) {
	e.Role, e.Account = b.key.role, b.key.account
	for l, o := range b.orders {
		if l != but && o.order.price > 0 {
			l.notify(e)
		}
	}
}

// recall gives up what was proposed to a provider that is gone: the coins are for
// others. It never saw T1, and offers another K2 when it comes back.
func (b *buyer) recall() {
	for _, c := range slices.Clone(b.channels) {
		if c.m.Stage() == channel.Proposed {
			c.m.Abandon(channel.CodeTimeout, "the provider is gone")
			b.flush(c, nil)
			b.retry = time.Time{}
		}
	}
}

// owes reports whether something that was verified is not paid.
func (b *buyer) owes() bool {
	for l, o := range b.orders {
		if o.order.price > 0 && !o.denied && !l.closed.Load() && l.verified.Load() > o.pos {
			return true
		}
	}
	return false
}

// press has all requester sides let coins go that their openings hold for too long,
// because they are needed where something is owed.
func (b *Book) press() {
	for _, p := range b.all() {
		if p.key.role == channel.RolePayer {
			p.short.Store(true)
			p.wake()
		}
	}
}

// yield gives up proposals without an answer, unless the provider is owed something
// itself, which it is waited for no longer than for any answer, whatever it says of its
// ledger; and submits the T1 that a provider took and keeps to itself: its change is
// free then.
func (b *buyer) yield() {
	now, owes := b.book.cfg.Now(), b.owes()
	for _, c := range slices.Clone(b.channels) {
		if now.Sub(c.begun) < answerWait {
			continue
		}
		switch stage := c.m.Stage(); {
		case stage == channel.Proposed && (!owes || now.Sub(c.begun) >= openTimeout):
			c.m.Abandon(channel.CodeTimeout, "no answer, and the coins are needed")
		case stage == channel.Funded:
			c.m.Fund()
		}
		b.flush(c, c.via)
	}
}

// carry is up to where a closed link is to be paid on a channel's lane. What it paid last
// may be lost with it.
type carry struct {
	ch   *bought
	lane uint32
	to   int64
	said *Link // the payee was told on it; nil = not yet
}

// maxSaid bounds how many torrents' rests are paid at once: no more than a payee takes at once.
const maxSaid = MaxMailbox / 2

// keep remembers up to where a link that closes is to be paid. Links that are paid, as far
// as their payments came, leave room for others; a lane that pays for another link by now
// cannot pay for this one.
func (b *buyer) keep(o *purchase) {
	v, most := o.link.verified.Load(), MaxDebts
	if v <= o.pos {
		v, most = o.pos, MaxDebts/2
	}
	if o.ch == nil || o.denied || len(b.carries) >= most {
		return
	}
	for _, x := range b.orders {
		if x.ch != nil && x.link.cfg.Infohash == o.link.cfg.Infohash && (x.ch == o.ch || v <= o.pos) {
			return
		}
	}
	b.carries[o.link.cfg.Infohash] = carry{ch: o.ch, lane: o.lane, to: v}
}

// leave tells the channel that a link, which ends or moves on, is paid for by its lane no more.
func (b *buyer) leave(o *purchase) {
	if o.ch == nil {
		return
	}
	for _, x := range b.orders {
		if x != o && x.ch == o.ch && x.lane == o.lane {
			return
		}
	}
	o.ch.m.Leave(o.lane)
}

// makeGood pays what former connections left, also of other torrents, and says again what
// was paid for them: a payee judges what it was not paid for when a lane is attached, and
// of a payment that is lost the next one does not say which lane it was for. It reports
// false if the journal failed.
func (b *buyer) makeGood(l *Link) bool {
	said := 0
	for tag, left := range b.carries {
		switch own := tag == l.cfg.Infohash; {
		case own: // the lane is to pay for this link
			delete(b.carries, tag)
		case said >= maxSaid || left.said != nil && !left.said.closed.Load():
			continue
		default:
			left.said, said = l, said+1
			b.carries[tag] = left
		}
		m := left.ch.m
		if before := m.Position(left.lane); m.Pay(left.lane, m.Fit(left.lane, left.to)) != nil {
			continue
		} else if m.Position(left.lane) == before {
			m.Claim(left.lane)
		}
		if !b.flush(left.ch, l) {
			return false
		}
	}
	return true
}
