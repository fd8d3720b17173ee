package queue

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// gap is the distance of two neighbours: room to move others in between
// without touching all.
const gap = 1 << 20

// Place is where an item stands in an [Order]. Its position may be read at any
// time; only the order changes it.
type Place[T any] struct {
	item     T
	position atomic.Int64
}

// Init says whose place it is, and its position as it was kept; 0 = none yet.
func (p *Place[T]) Init(item T, position int64) {
	p.item = item
	p.position.Store(position)
}

// Position is the number that orders places. It is not the rank: there are gaps.
func (p *Place[T]) Position() int64 { return p.position.Load() }

// Order is a queue. Its caller's lock guards it. The zero value is empty.
type Order[T any] struct{ list []*Place[T] }

// Add puts a place at the end, unless it brings a position; [Order.Sort] must
// follow then.
func (o *Order[T]) Add(p *Place[T]) {
	if p.position.Load() == 0 {
		last := int64(0)
		if n := len(o.list); n > 0 {
			last = o.list[n-1].position.Load()
		}
		p.position.Store(last + gap)
	}
	o.list = append(o.list, p)
}

// Remove takes a place out of the queue, if it is in it.
func (o *Order[T]) Remove(p *Place[T]) {
	if i := slices.Index(o.list, p); i >= 0 {
		o.list = slices.Delete(o.list, i, i+1)
	}
}

// Sort orders all by their positions, and those of one position by tie.
func (o *Order[T]) Sort(tie func(a, b T) int) {
	slices.SortFunc(o.list, func(a, b *Place[T]) int {
		return cmp.Or(cmp.Compare(a.position.Load(), b.position.Load()), tie(a.item, b.item))
	})
}

// Items returns all in their order.
func (o *Order[T]) Items() []T {
	list := make([]T, len(o.list))
	for i, p := range o.list {
		list[i] = p.item
	}
	return list
}

// Rank is how many come before a place.
func (o *Order[T]) Rank(p *Place[T]) int {
	i, _ := slices.BinarySearchFunc(o.list, p.position.Load(), func(o *Place[T], at int64) int {
		return cmp.Compare(o.position.Load(), at)
	})
	return i
}

// Move makes a place the one of that rank, from 0; whatever is beyond the end
// makes it the last. It returns the items whose position changed.
func (o *Order[T]) Move(p *Place[T], rank int) []T {
	at := slices.Index(o.list, p)
	if at < 0 {
		return nil
	}
	o.list = slices.Delete(o.list, at, at+1)
	rank = min(max(rank, 0), len(o.list))
	o.list = slices.Insert(o.list, rank, p)
	low, high := int64(0), int64(0)
	if rank > 0 {
		low = o.list[rank-1].position.Load()
	}
	if rank+1 < len(o.list) {
		high = o.list[rank+1].position.Load()
	} else {
		high = low + 2*gap
	}
	if mid := low + (high-low)/2; mid > low && mid < high {
		p.position.Store(mid)
		return []T{p.item}
	}
	for i, p := range o.list {
		p.position.Store(int64(i+1) * gap)
	}
	return o.Items()
}
