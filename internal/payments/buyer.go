package payments

import (
	"context"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// successorAt is the share of a deposit, in percent, at whose use the next
// channel is opened.
const successorAt = 75

// fundRetry is how long a failed funding waits before the next try.
const fundRetry = 5 * time.Second

// maxOpening bounds how long a channel waits to open while a side cannot reach the
// ledger; its coins are reserved meanwhile.
const maxOpening = 10 * time.Minute

// quoteSlack bounds how far ahead of the verified bytes a provider may put a
// lower price.
const quoteSlack = 256 << 20

// buyer is a pair's requester side.
type buyer struct {
	*pair
	orders   map[*Link]*purchase
	channels []*bought // in order of opening; the first usable one pays
	terms    channel.Terms
	fresh    bool // terms.K2 was not used by this pair yet
	opening  bool // a funding is under way
	retry    time.Time
	carries  map[channel.Tag]carry
	stopping bool
	stopped  time.Time     // when stopping was set
	lost     amount.Amount // signed on channels that ended with less: may be paid again
}

// purchase is one link's buying; positions count the link's stream.
type purchase struct {
	link    *Link
	order   order
	tariff  channel.Tariff // as quoted
	quoted  bool
	pos     int64 // paid or free up to here
	seen    int64 // verified bytes whose prices were all read
	limit   int64 // payments stop here, before a price that is not agreed
	ch      *bought
	lane    uint32
	excused bool  // the provider knows of the ledger's outage
	behind  bool  // the payee counts less of the stream as paid:
	told    int64 // up to here
}

// bought is one channel this node pays with.
type bought struct {
	m        *channel.Payer
	via      *Link
	begun    time.Time          // when it was made
	since    time.Time          // of the last step while opening
	looked   time.Time          // of the last look at the ledger's time
	shown    map[*Link]struct{} // connections that know it is ours
	code     channel.Code       // of the last refusal
	ceilings []pendingCeiling
	bytes    int64
	signed   amount.Amount // newest payment
}

type pendingCeiling struct {
	mark    int64
	ceiling channel.Ceiling
}

// carry is what a closed link left unpaid on a channel's lane.
type carry struct {
	ch   *bought
	lane uint32
	to   int64
}

// funding is the outcome of Purse.Fund.
type funding struct {
	terms  channel.Terms
	t1     *ledger.Tx
	signer ledger.Signer
	index  uint32
	status ledger.Status
	lock   uint64
}

func newBuyer(p *pair) *buyer {
	return &buyer{pair: p, orders: make(map[*Link]*purchase), carries: make(map[channel.Tag]carry)}
}

func (b *buyer) bind(l *Link) {
	b.orders[l] = &purchase{link: l}
	for _, c := range b.channels {
		if c.via == nil || c.via.closed.Load() {
			c.via = l
		}
		c.m.Resend()
		b.flush(c, l)
	}
}

// unbind remembers what the link verified but did not pay.
func (b *buyer) unbind(l *Link) {
	o := b.orders[l]
	if o == nil {
		return
	}
	delete(b.orders, l)
	if v := l.verified.Load(); o.ch != nil && v > o.pos && len(b.carries) < MaxDebts {
		b.carries[l.cfg.Infohash] = carry{ch: o.ch, lane: o.lane, to: v}
	}
	for _, c := range b.channels {
		delete(c.shown, l)
		if c.via == l {
			c.via = b.anyLink()
		}
	}
}

func (b *buyer) anyLink() *Link {
	for l := range b.orders {
		if !l.closed.Load() {
			return l
		}
	}
	return nil
}

func (b *buyer) find(id channel.ID) *bought {
	for _, c := range b.channels {
		if c.m.ID() == id {
			return c
		}
	}
	return nil
}

func (b *buyer) message(l *Link, m channel.Message) {
	if m.Type() == channel.TypeRefuse && m.Channel() == (channel.ID{}) {
		b.waits(l)
		return
	}
	c := b.find(m.Channel())
	if c == nil {
		return // a channel that ended; nothing is at stake
	}
	c.since = b.book.cfg.Now()
	if m, ok := m.(*channel.Confirm); ok && m.Next != nil && b.trusts(m.Next) {
		b.terms, b.fresh = *m.Next, true
	}
	if m, ok := m.(*channel.Refuse); ok && m.Terms != nil && b.trusts(m.Terms) {
		b.terms, b.fresh = *m.Terms, true
	}
	if err := c.m.Step(m); err != nil {
		b.refused(c, l, err)
	}
	b.flush(c, l)
}

// trusts accepts further terms of the same account and ledger.
func (b *buyer) trusts(t *channel.Terms) bool {
	return t.Account == b.key.account && t.Network == b.terms.Network
}

func (b *buyer) refused(c *bought, l *Link, err error) {
	var r *channel.Refusal
	if errors.As(err, &r) {
		l.send(&channel.Refuse{ID: c.m.ID(), Code: r.Code, Reason: r.Reason})
		b.publish(l, Event{Kind: EventRefused, Channel: c.m.ID(), Code: r.Code, Reason: r.Reason})
	}
}

func (b *buyer) reprice(*op) {}

// work pays whatever is verified, link by link.
func (b *buyer) work() {
	for _, o := range b.orders {
		b.read(o)
		b.pay(o)
	}
	b.provide()
}

// payNow pays one link in the place of the pair's goroutine.
func (b *buyer) payNow(l *Link) {
	o := b.orders[l]
	if o == nil || o.ch == nil || b.book.closing.Load() {
		return
	}
	b.read(o)
	b.settle(o)
}

// read takes new orders and quotes of a link. The count of verified bytes is
// read first: what is verified while quotes are taken may come behind a quote
// that came meanwhile, and would be paid at the old price.
func (b *buyer) read(o *purchase) {
	l := o.link
	o.seen = l.verified.Load()
	l.mu.Lock()
	fresh := l.order
	quotes := l.quotes
	l.quotes = nil
	l.mu.Unlock()
	if fresh.terms.K2 != o.order.terms.K2 && fresh.terms.Account == b.key.account {
		b.terms, b.fresh = fresh.terms, true
	}
	o.order = fresh
	o.limit = math.MaxInt64
	for i, q := range quotes {
		if q.Price > o.order.price {
			// Above the agreed price: it waits for a Buy that allows it, and
			// what comes behind it waits too.
			o.limit = q.From
			l.mu.Lock()
			l.quotes = append(append([]channel.Quote(nil), quotes[i:]...), l.quotes...)
			l.mu.Unlock()
			return
		}
		if err := b.quote(o, q); err != nil {
			b.publish(l, Event{Kind: EventRefused, Code: channel.CodePrice, Reason: err.Error()})
			l.send(&channel.Refuse{Code: channel.CodePrice, Reason: "price change out of order"})
		}
	}
}

func (b *buyer) quote(o *purchase, q channel.Quote) error {
	if o.quoted && q.Price < o.tariff.Price() && q.From > o.link.verified.Load()+quoteSlack {
		return channel.ErrTariff
	}
	if q.From < o.pos {
		return channel.ErrTariff
	}
	tariff := o.tariff
	if len(tariff) >= channel.MaxSegments { // else kept, to go back over
		tariff = tariff.Trim(o.pos)
	}
	tariff, err := tariff.Set(q.From, q.Price)
	if err != nil {
		return err
	}
	o.tariff, o.quoted = tariff, true
	if o.ch != nil {
		if err := o.ch.m.Reprice(o.lane, q.From, q.Price); err != nil {
			return err
		}
	}
	o.pos = o.tariff.SkipFree(o.pos)
	return nil
}

// due is the stream position that is to be paid now.
func (o *purchase) due() int64 { return min(o.seen, o.limit) }

// free reports whether everything from pos on costs nothing.
func (o *purchase) free() bool {
	for _, s := range o.tariff.Trim(o.pos) {
		if s.Price > 0 {
			return false
		}
	}
	return true
}

// pay pays one link and signs its next payment ahead.
func (b *buyer) pay(o *purchase) {
	b.settle(o)
	if o.ch != nil && o.pos >= o.link.verified.Load() {
		o.ch.m.Presign(o.lane, o.pos+o.link.last.Load())
	}
}

// settle pays one link up to what it verified, over as many channels as
// needed.
func (b *buyer) settle(o *purchase) {
	if o.behind && !b.goBack(o) {
		return
	}
	// What a former connection or a lost payment left is settled first.
	if _, left := b.carries[o.link.cfg.Infohash]; (left || b.lost > 0) && o.quoted && o.ch == nil {
		if c := b.usable(); c != nil && !b.attach(o, c) {
			return
		}
	}
	for tries := 0; tries <= MaxChannels && o.quoted && o.pos < o.due() && !o.free(); tries++ {
		c := b.usable()
		if c == nil {
			return // provide opens one
		}
		if o.ch != c && !b.attach(o, c) {
			return
		}
		if c.m.Awaits(o.lane) {
			return
		}
		target := c.m.Fit(o.lane, o.due())
		if target <= o.pos {
			b.close(c)
			continue
		}
		if err := c.m.Pay(o.lane, target); err != nil {
			b.close(c)
			continue
		}
		if !b.flush(c, o.link) {
			return
		}
		o.pos = c.m.Position(o.lane)
	}
}

// attach binds the link's lane to a channel, paying first what a former
// connection left.
func (b *buyer) attach(o *purchase, c *bought) bool {
	tag := channel.Tag(o.link.cfg.Infohash)
	if left, ok := b.carries[tag]; ok {
		delete(b.carries, tag)
		if left.ch == c && c.m.Pay(left.lane, c.m.Fit(left.lane, left.to)) == nil && !b.flush(c, o.link) {
			return false
		}
	}
	if _, ok := c.shown[o.link]; !ok {
		c.m.Show()
	}
	lane, err := c.m.Attach(tag, o.pos, o.tariff)
	if err != nil {
		b.refused(c, o.link, err)
		b.close(c)
		return false
	}
	o.ch, o.lane = c, lane
	if b.uncertain() {
		c.m.Hold(lane)
	}
	return b.flush(c, o.link)
}

// uncertain reports whether the payee may have got less than was signed.
func (b *buyer) uncertain() bool {
	return b.lost > 0 || slices.ContainsFunc(b.channels, func(c *bought) bool { return c.m.Stage() == channel.Closing && c.signed > 0 })
}

// goBack pays a stream again from where the payee stands, but for no more than
// what ended channels really did not pay: the ledger has told that.
func (b *buyer) goBack(o *purchase) bool {
	cost, err := o.tariff.Owed(o.told, o.pos)
	switch {
	case o.ch == nil:
		o.behind = false // that channel is gone; the next one tells
		return true
	case err == nil && cost <= b.lost:
		b.lost -= cost
		o.pos, o.behind, o.ch = o.told, false, nil
		return true
	case b.uncertain() && slices.ContainsFunc(b.channels, func(c *bought) bool { return c.m.Stage() == channel.Closing }):
		return false // until the ledger told
	}
	o.behind = false
	b.refused(o.ch, o.link, &channel.Refusal{Code: channel.CodeAmount, Reason: "the provider denies payments that it settled"})
	b.close(o.ch)
	return false
}

// usable returns the first channel that can pay now. A restored channel gets
// its payee's state by attaching, so it counts.
func (b *buyer) usable() *bought {
	for _, c := range b.channels {
		if c.m.Usable() || c.m.NeedsState() && c.m.Stage() == channel.Opened && c.m.Live() {
			return c
		}
	}
	return nil
}

// close asks for settlement of a channel that is used up or failed.
func (b *buyer) close(c *bought) {
	c.m.Close()
	b.flush(c, c.via)
}

// provide opens a channel when none is there or the last one is used up to
// successorAt percent.
func (b *buyer) provide() {
	if b.opening || b.stopping || b.book.closing.Load() || len(b.orders) == 0 || b.book.cfg.Now().Before(b.retry) {
		return
	}
	need, link := b.need()
	if need <= 0 {
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
		if !c.m.Live() {
			continue
		}
		capacity := c.m.Remaining() + c.m.Paid()
		if c.m.Stage() < channel.Opened || c.m.NeedsState() || c.m.Paid() <= capacity/100*successorAt && c.m.Remaining() > 0 || c.m.Remaining() >= need {
			return
		}
	}
	b.fund(need, link)
}

// need returns what the orders will still cost, bounded by DepositBytes each.
func (b *buyer) need() (total amount.Amount, link *Link) {
	for l, o := range b.orders {
		if o.order.price <= 0 || l.closed.Load() {
			continue
		}
		left := max(o.order.left, l.verified.Load()-o.pos, l.cfg.Quantum)
		sum, err := o.order.price.Owed(min(left, b.book.cfg.DepositBytes))
		if err != nil {
			continue
		}
		if sum, err = total.Add(sum); err == nil {
			total, link = sum, l
		}
	}
	return total, link
}

// fund makes T1 in a goroutine of its own, which ends with the purse's answer.
func (b *buyer) fund(need amount.Amount, link *Link) {
	status, ok := b.book.head.get()
	if !ok || !b.fresh {
		return
	}
	cfg := &b.book.cfg
	floor := max(b.terms.MinDeposit, 2*status.Params.MinOutput)
	deposit := min(max(need+status.Params.MinOutput, floor), b.terms.MaxDeposit)
	least := min(deposit, max(floor, b.quantumCost(link)+status.Params.MinOutput))
	f := &funding{terms: b.terms, status: status, lock: b.lockTime(link)}
	b.fresh, b.opening = false, true
	torrent := hex.EncodeToString(link.cfg.Infohash[:])
	b.book.start(func() {
		ctx, cancel := context.WithTimeout(b.book.ctx, 2*ledgerWait)
		defer cancel()
		done := b.book.head.begin()
		var err error
		if f.index, f.signer, err = cfg.Purse.NewChannelKey(); err == nil {
			f.t1, err = fundAtMost(ctx, cfg.Purse, deposit, least, ledger.Joint(f.signer.PublicKey(), f.terms.K2), torrent)
		}
		done(context.Canceled) // the purse's errors do not tell
		if err != nil {
			b.book.head.refresh(ctx, cfg.Ledger)
		}
		b.postWait(op{kind: opFunded, funding: f, err: err})
	})
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
func (b *buyer) lockTime(link *Link) uint64 {
	cfg := &b.book.cfg
	left := int64(0)
	if o := b.orders[link]; o != nil {
		left = min(o.order.left, cfg.DepositBytes)
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
		b.fresh = b.fresh || b.terms.K2 == f.terms.K2
		e := Event{Kind: EventNoFunds, Reason: err.Error()}
		if b.retry = now.Add(fundRetry); b.book.head.out(now) {
			b.retry, e.Code = now.Add(outageEvery), channel.CodeLedger
			b.tellOutage(true)
		}
		b.publish(link, e)
		return
	}
	m, err := channel.NewPayer(channel.PayerConfig{
		Terms: f.terms, Account: b.book.cfg.Purse.Account(), Signer: f.signer, KeyIndex: f.index, T1: f.t1,
		Network: f.status.Network, MinOutput: f.status.Params.MinOutput, Now: b.book.head.exact(), LockTime: f.lock,
	})
	if err != nil || link == nil || b.stopping {
		b.book.cfg.Purse.Release(f.t1)
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
