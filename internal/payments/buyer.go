package payments

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/ledger"
)

// successorAt is the share of a deposit, in percent, at whose use the next
// channel is opened.
const successorAt = 75

// fundRetry is how long a failed funding waits before the next try.
const fundRetry = 5 * time.Second

// freeTries is how many proposals in a row of which nothing comes are followed by another
// at once, when the provider sends other terms with its refusal. Then it waits fundRetry,
// and twice as long each time, up to fundMost: each costs a key.
const (
	freeTries = 16
	fundMost  = time.Minute
)

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
	fresh    bool // terms.K2 was not proposed since it was told
	opening  bool // a funding is under way
	retry    time.Time
	vain     int // proposals in a row of which nothing came
	index    uint32
	signer   ledger.Signer // a key, of that index, for which no T1 could be made; may be nil
	carries  map[channel.Tag]carry
	stopping bool
	stopped  time.Time     // when stopping was set
	lost     amount.Amount // signed on channels that ended with less: may be paid again
	spent    amount.Amount // signed in all, since the pair was made
	modest   time.Time     // until when no deposit grows: coins for one were held
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
	denied  bool  // the payee denied payments that it settled: nothing more is paid here
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
	retired  time.Time     // since when it is full
}

type pendingCeiling struct {
	mark    int64
	ceiling channel.Ceiling
}

// funding is the outcome of Purse.Fund.
type funding struct {
	terms  channel.Terms
	t1     *ledger.Tx
	signer ledger.Signer
	index  uint32
	status ledger.Status
	lock   uint64
	grown  bool // more than DepositBytes cost
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
	b.keep(o)
	b.leave(o)
	for _, c := range b.channels {
		delete(c.shown, l)
		if c.via == l {
			b.moved(c)
		}
		if b.stopping {
			b.look(c)
		}
	}
	if len(b.orders) == 0 {
		b.recall()
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

// uses says whether a channel of this pair has a K2, or will have.
func (b *buyer) uses(k2 ledger.PublicKey) bool {
	return b.opening && b.terms.K2 == k2 || slices.ContainsFunc(b.channels, func(c *bought) bool {
		contract := c.m.Contract()
		return contract.K2 == k2
	})
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
	before := c.m.Stage()
	if m, ok := m.(*channel.Confirm); ok && m.Next != nil && b.trusts(m.Next) {
		b.terms, b.fresh = *m.Next, true
	}
	if m, ok := m.(*channel.Refuse); ok && m.Terms != nil && b.trusts(m.Terms) {
		b.terms, b.fresh = *m.Terms, true
	}
	if err := c.m.Step(m); err != nil {
		b.refused(c, l, err)
	}
	if c.m.Stage() != before { // whatever else is said must not hold its coins for longer
		c.since = b.book.cfg.Now()
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
	if b.short.Swap(false) {
		b.yield()
	}
	b.provide()
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
	told := fresh.terms.K2 != o.order.terms.K2 ||
		fresh.number != o.order.number && !b.uses(fresh.terms.K2) // it came to nothing before, and is on offer again
	if told && fresh.terms.Account == b.key.account {
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

// tell notes on the link how far it is paid.
func (o *purchase) tell() {
	reached := o.pos
	if o.quoted && o.free() || o.denied {
		reached = math.MaxInt64
	}
	o.link.reached.Store(reached)
}

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
	defer o.tell()
	if o.denied || o.link.gather.off.Load() && !b.stopping || o.behind && !b.goBack(o) {
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
			b.retire(c, o.link)
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

// attach binds the link's lane to a channel, paying first what former connections left.
func (b *buyer) attach(o *purchase, c *bought) bool {
	tag := channel.Tag(o.link.cfg.Infohash)
	if !b.makeGood(o.link) {
		return false
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
	if o.ch != c {
		b.leave(o)
	}
	o.ch, o.lane = c, lane
	if b.uncertain() {
		c.m.Hold(lane)
	}
	return b.flush(c, o.link)
}

// usable returns the first channel that can pay now. A restored channel gets
// its payee's state by attaching, so it counts.
func (b *buyer) usable() *bought {
	for _, c := range b.channels {
		if !c.retired.IsZero() {
			continue
		}
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
