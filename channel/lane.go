package channel

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bttnet/btt/amount"
)

// MaxSegments is the greatest number of unpaid price segments of a tariff.
// Prices change at most once a choke round and payments trail by one window,
// so honest peers hold one or two.
const MaxSegments = 16

// Segment is a price from a byte position on.
type Segment struct {
	From  int64 // position in bytes, at least 0
	Price amount.Price
}

// Tariff is a list of price segments by ascending position. The first starts
// at or before every position that is still asked for. The zero Tariff is
// free of charge.
type Tariff []Segment

// ErrTariff means that a price change lies before bytes already paid, is no
// price, or that a tariff holds MaxSegments segments.
var ErrTariff = errors.New("price change out of order or out of range")

// Set appends the price from position from on. A change at the same position
// replaces the former one. Unpaid positions before from keep their price. The
// result shares no segment with t that either of them may change.
func (t Tariff) Set(from int64, price amount.Price) (Tariff, error) {
	n := len(t)
	if from < 0 || !price.Valid() || n > 0 && from < t[n-1].From {
		return t, fmt.Errorf("set %v from byte %d: %w", price, from, ErrTariff)
	}
	switch {
	case n > 0 && t[n-1].Price == price:
		return t, nil
	case n > 0 && t[n-1].From == from:
		t = slices.Clone(t)
		t[n-1].Price = price
		return t, nil
	case n >= MaxSegments:
		return t, fmt.Errorf("set %v from byte %d: %d segments are unpaid: %w", price, from, n, ErrTariff)
	}
	return append(slices.Clip(t), Segment{From: from, Price: price}), nil
}

// Price returns the price of the last segment, 0 for an empty tariff.
func (t Tariff) Price() amount.Price {
	if len(t) == 0 {
		return 0
	}
	return t[len(t)-1].Price
}

// Owed returns what the bytes from position from up to position to cost: the sum
// over the segments of floor(price x bytes).
func (t Tariff) Owed(from, to int64) (amount.Amount, error) {
	l := Lane{tariff: t.Trim(from)}
	if len(l.tariff) > 0 {
		l.tariff = append(Tariff{{From: max(from, l.tariff[0].From), Price: l.tariff[0].Price}}, l.tariff[1:]...)
	}
	return l.Owed(to)
}

// Priced returns how many of the bytes from position from up to position to cost
// anything.
func (t Tariff) Priced(from, to int64) (n int64) {
	for i, s := range t {
		end := to
		if i+1 < len(t) {
			end = min(to, t[i+1].From)
		}
		if s.Price > 0 {
			n += max(0, end-max(from, s.From))
		}
	}
	return n
}

// SkipFree returns the first position at or behind pos that costs anything,
// as far as the tariff knows: free bytes never need a payment.
func (t Tariff) SkipFree(pos int64) int64 {
	for i := range t {
		if t[i].From > pos || i+1 == len(t) {
			break
		}
		if next := t[i+1].From; t[i].Price == 0 && pos < next {
			pos = next
		}
	}
	return pos
}

// Trim returns t without the segments that end at or before pos; t stays as it
// is.
func (t Tariff) Trim(pos int64) Tariff {
	n := 0
	for n+1 < len(t) && t[n+1].From <= pos {
		n++
	}
	return t[n:]
}

// Shift returns a copy with every position moved by delta; the first segment
// starts no earlier than at least.
func (t Tariff) Shift(delta, least int64) Tariff {
	out := make(Tariff, 0, len(t)+1)
	for _, s := range t {
		out = append(out, Segment{From: max(s.From+delta, least), Price: s.Price})
	}
	return out.Trim(least)
}

// Lane is one purpose of a channel. Its byte count and sums only rise.
type Lane struct {
	Tag     Tag
	Bytes   int64         // paid for, cumulative over the channel's life
	settled amount.Amount // owed for closed segments
	tariff  Tariff        // in lane bytes; [0].From is where the open segment started
	shift   int64         // lane bytes minus stream position, since the last attach
	base    int64         // lane bytes at the last attach
	await   bool          // payer, restored: the payee's count is not known yet
	told    bool          // payer: the payee told its count in this run
	live    bool          // payer: a connection pays for its stream by it
}

// move corrects the count by the bytes that a lost memory missed.
func (l *Lane) move(delta int64) {
	l.Bytes += delta
	l.shift += delta
	l.base += delta
	l.tariff = l.tariff.Shift(delta, 0)
}

// position returns the stream position that the lane is paid up to.
func (l *Lane) position() int64 { return l.Bytes - l.shift }

// Owed returns the sum over the lane's segments of floor(price x bytes), up
// to the cumulative count bytes.
func (l *Lane) Owed(bytes int64) (amount.Amount, error) {
	total := l.settled
	for i, s := range l.tariff {
		end := bytes
		if i+1 < len(l.tariff) {
			end = min(end, l.tariff[i+1].From)
		}
		if end <= s.From {
			break
		}
		owed, err := s.Price.Owed(end - s.From)
		if err != nil {
			return 0, err
		}
		if total, err = total.Add(owed); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// advance moves the count to bytes (which Owed accepted) and closes the
// segments that are wholly paid.
func (l *Lane) advance(bytes int64) error {
	bytes = l.tariff.SkipFree(bytes)
	for len(l.tariff) > 1 && l.tariff[1].From <= bytes {
		s := l.tariff[0]
		owed, err := s.Price.Owed(l.tariff[1].From - s.From)
		if err != nil {
			return err
		}
		if l.settled, err = l.settled.Add(owed); err != nil {
			return err
		}
		l.tariff = l.tariff[1:]
	}
	l.Bytes = max(l.Bytes, bytes)
	return nil
}

// reprice sets the price from lane byte from on.
func (l *Lane) reprice(from int64, price amount.Price) error {
	if from < l.Bytes {
		return fmt.Errorf("set %v from byte %d of a lane paid to %d: %w", price, from, l.Bytes, ErrTariff)
	}
	tariff, err := l.tariff.Set(from, price)
	if err != nil {
		return err
	}
	l.tariff = tariff
	return l.advance(l.Bytes)
}

// attach closes the running segment at the paid count and takes over a
// tariff whose position from is the lane's byte base. Both sides do it at the
// same count, so that their roundings agree. base never falls.
func (l *Lane) attach(base, from int64, tariff Tariff) error {
	owed, err := l.Owed(l.Bytes)
	if err != nil {
		return err
	}
	l.settled = owed
	l.Bytes = max(l.Bytes, base)
	l.shift = l.Bytes - from
	l.base = l.Bytes
	l.tariff = tariff.Shift(l.Bytes-from, l.Bytes)
	if len(l.tariff) == 0 {
		l.tariff = Tariff{{From: l.Bytes}}
	}
	return l.advance(l.Bytes)
}
