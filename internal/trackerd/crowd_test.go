package trackerd

import (
	"testing"

	"github.com/bttnet/btt/tracker"
)

// TestCrowdOfBidders: more bidders than a swarm can count, of which almost all leave or
// take their bids back, do not hide the bids of those that stay.
func TestCrowdOfBidders(t *testing.T) {
	const stay, crowd = 7, 1<<16 + 100
	st := newStore[[6]byte](seeded())
	h := tracker.InfoHash{3}
	tell := func(i int, bid uint16, stop bool) {
		v := visit[[6]byte]{hash: &h, peer: peerKey(i), flags: used, bid: bid, stop: stop}
		st.announce(nil, &v)
	}
	best := func() (n, bidders int) {
		sh := st.shard(&h)
		s, number := sh.lookup(&h)
		list := sh.top(s, number)
		return list.n, int(s.bidders)
	}
	for i := range stay + crowd {
		tell(i, uint16(100+i%1000), false)
	}
	if n, bidders := best(); n != topSize || bidders != 1<<16-1 {
		t.Errorf("%d bids of %d bidders", n, bidders)
	}
	for i := stay; i < stay+crowd; i++ {
		tell(i, 0, i%2 == 0)
	}
	sh := st.shard(&h)
	s, number := sh.lookup(&h)
	if r := sh.row(s, number, clock{}); r.bidders != stay {
		t.Errorf("%d bidders are told, want %d", r.bidders, stay)
	}
	if n, bidders := best(); n != stay || bidders != stay {
		t.Errorf("%d bids of %d bidders, want %d", n, bidders, stay)
	}
}
