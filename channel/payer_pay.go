package channel

import (
	"math"

	"github.com/bttnet/btt/amount"
)

// Attach binds the lane of a tag to a connection's stream: lane bytes go on
// from stream position from at the prices of tariff (in stream positions).
// It returns the lane's number.
func (p *Payer) Attach(tag Tag, from int64, tariff Tariff) (uint32, error) {
	number, l := p.lane(tag)
	if l == nil {
		if len(p.lanes) >= MaxLanes {
			return 0, refuse(CodeLane, "all %d lanes are in use", MaxLanes)
		}
		l = &Lane{Tag: tag}
		p.lanes[number] = l
	}
	p.ahead.valid = false
	// The newest payment goes first, so that both sides attach at one count.
	if p.stage == Opened && p.last != nil {
		if p.last.Lane == number {
			l.live = false // what was paid on its former connection
		}
		p.send(p.newest())
	}
	base := l.Bytes
	if err := l.attach(base, from, tariff); err != nil {
		return 0, refuse(CodePrice, "%v", err)
	}
	l.live = true
	l.await = p.resync || p.restored && !l.told // each lane's count may be old
	p.send(&Attach{ID: p.id, Lane: number, Tag: tag, From: from, Bytes: base})
	return number, nil
}

// Leave tells that the connection which a lane paid for ended.
func (p *Payer) Leave(lane uint32) {
	if l := p.lanes[lane]; l != nil {
		l.live = false
	}
}

// newest is the newest payment, to be said on any connection. What it is for is said where
// the lane was attached alone: elsewhere it may come before the Attach, and would be for
// what the lane paid for before.
func (p *Payer) newest() *Pay {
	if l := p.lanes[p.last.Lane]; l != nil && l.live {
		return &Pay{ID: p.id, Lane: p.last.Lane, Bytes: l.base, Payment: p.last.Payment}
	}
	return p.last
}

// Hold lets a lane's payments wait for the payee's State: payments of another
// channel may have been lost, and the payee says where the stream stands.
func (p *Payer) Hold(lane uint32) {
	if l := p.lanes[lane]; l != nil {
		l.await = true
	}
}

// lane finds the number of a tag, taken or free.
func (p *Payer) lane(tag Tag) (uint32, *Lane) {
	for n := tagNumber(tag); ; n++ {
		if l := p.lanes[n]; l == nil || l.Tag == tag {
			return n, l
		}
	}
}

// Reprice sets the price of a lane from a stream position on, which must not
// lie before what is paid.
func (p *Payer) Reprice(lane uint32, from int64, price amount.Price) error {
	p.ahead.valid = false
	return p.core.Reprice(lane, from, price)
}

// Fit returns the greatest stream position up to position that the deposit
// covers.
func (p *Payer) Fit(lane uint32, position int64) int64 {
	l := p.lanes[lane]
	if l == nil {
		return 0
	}
	if _, err := p.due(l, position+l.shift); err == nil {
		return position
	}
	low, high := l.Bytes, position+l.shift // the sum is monotonic: bisect
	for low+1 < high {
		mid := low + (high-low)/2
		if _, err := p.due(l, mid); err == nil {
			low = mid
		} else {
			high = mid
		}
	}
	return low - l.shift
}

// due returns the channel's cumulative sum when lane l is paid up to bytes.
func (p *Payer) due(l *Lane, bytes int64) (amount.Amount, error) {
	before, err := l.Owed(l.Bytes)
	if err != nil {
		return 0, err
	}
	after, err := l.Owed(bytes)
	if err != nil {
		return 0, err
	}
	total, err := p.owed.Add(after - before)
	if err != nil {
		return 0, err
	}
	if total > p.contract.Capacity() {
		return 0, ErrFull
	}
	return total, nil
}

// Pay pays a lane up to a stream position (step 9). Paying what is paid does
// nothing. Errors: ErrFull, or a *Refusal.
func (p *Payer) Pay(lane uint32, position int64) error {
	l := p.lanes[lane]
	if l == nil {
		return refuse(CodeLane, "lane %d is not in use", lane)
	}
	bytes := position + l.shift
	switch {
	case p.stage != Opened || p.resync || l.await || p.closing:
		return refuse(CodeClosing, "channel is %v", p.stage)
	case p.expiring():
		return refuse(CodeExpiring, "lock time %d is near", p.contract.LockTime)
	case bytes <= l.Bytes:
		return nil
	}
	total, err := p.due(l, bytes)
	if err != nil {
		return err
	}
	if p.best.Sequence == math.MaxUint32 {
		return ErrFull
	}
	payment, err := p.signed(lane, bytes, total)
	if err != nil {
		return err
	}
	delta, sum := bytes-l.Bytes, payment.Amount-p.best.Amount
	if err := l.advance(bytes); err != nil {
		return err
	}
	p.owed = total
	p.best = payment
	p.cover()
	p.last = &Pay{ID: p.id, Lane: lane, Bytes: bytes, Payment: payment}
	p.send(p.last)
	p.event(Event{Kind: EventPaid, Lane: lane, Tag: l.Tag, Bytes: bytes, Delta: delta, Sum: sum, Amount: payment.Amount})
	return nil
}

// Claim says again up to where a lane is paid. A connection that ended may have lost the
// payment that said it, and a later one for another lane holds the money but not the claim.
func (p *Payer) Claim(lane uint32) {
	l := p.lanes[lane]
	if l == nil || p.last == nil || p.stage != Opened || p.resync || l.await || p.closing {
		return
	}
	p.send(&Pay{ID: p.id, Lane: lane, Bytes: l.Bytes, Payment: p.best})
}

// Ahead reports whether a payment of a lane up to a stream position would need
// nothing of the disk: its ceiling is durable, and no next one is to be written.
func (p *Payer) Ahead(lane uint32, position int64) bool {
	l := p.lanes[lane]
	if l == nil {
		return false
	}
	total, err := p.due(l, position+l.shift)
	last := p.asked.Amount >= p.contract.Capacity()
	return err == nil && total <= p.ceiling.Amount && (last || total+p.step()/2 <= p.asked.Amount) &&
		p.best.Sequence < p.ceiling.Sequence && p.best.Sequence+1 < p.asked.Sequence-1024
}

// cover makes sure that a durable ceiling covers the newest payment, and asks
// for the next one ahead so that payments seldom wait for the disk.
func (p *Payer) cover() {
	half := p.step() / 2
	if p.best.Amount+half > p.asked.Amount && p.asked.Amount < p.contract.Capacity() || p.best.Sequence >= p.asked.Sequence-1024 {
		p.asked.Amount = min(p.contract.Capacity(), max(p.asked.Amount, p.best.Amount)+p.step())
		p.asked.Sequence = uint32(min(math.MaxUint32, uint64(p.best.Sequence)+math.MaxUint32/ceilingSteps))
		c := p.asked
		p.out.Records = append(p.out.Records, Record{Ceiling: &c})
	}
	if p.best.Amount > p.ceiling.Amount || p.best.Sequence > p.ceiling.Sequence {
		p.out.Sync = true
		p.ceiling = p.asked
	}
}

// Stable tells that a ceiling from an earlier Ready is durable.
func (p *Payer) Stable(c Ceiling) {
	p.ceiling.Amount = max(p.ceiling.Amount, c.Amount)
	p.ceiling.Sequence = max(p.ceiling.Sequence, c.Sequence)
}

// Presign signs the payment that will be due when a lane reaches a stream
// position, so that Pay need not sign then. It never leaves this machine
// unless Pay is called with exactly this lane and position and nothing was
// paid in between.
func (p *Payer) Presign(lane uint32, position int64) {
	l := p.lanes[lane]
	if l == nil || !p.Usable() {
		return
	}
	bytes := position + l.shift
	if bytes <= l.Bytes || p.ahead.valid && p.ahead.lane == lane && p.ahead.bytes == bytes {
		return
	}
	total, err := p.due(l, bytes)
	if err != nil || p.best.Sequence == math.MaxUint32 {
		return
	}
	payment, err := p.sign(total, p.best.Sequence+1)
	if err == nil {
		p.ahead = presigned{valid: true, lane: lane, bytes: bytes, payment: payment}
	}
}

// signed returns the payment of total, from ahead if it fits.
func (p *Payer) signed(lane uint32, bytes int64, total amount.Amount) (Payment, error) {
	a := p.ahead
	p.ahead.valid = false
	if a.valid && a.lane == lane && a.bytes == bytes && a.payment.Amount == total && a.payment.Sequence == p.best.Sequence+1 {
		return a.payment, nil
	}
	return p.sign(total, p.best.Sequence+1)
}

func (p *Payer) sign(sum amount.Amount, sequence uint32) (Payment, error) {
	sig, err := p.signer.Sign(p.contract.paymentDigest(sum, sequence))
	if err != nil {
		return Payment{}, refuse(CodeSignature, "sign payment %d: %v", sequence, err)
	}
	return Payment{Sequence: sequence, Amount: sum, Signature: sig}, nil
}
