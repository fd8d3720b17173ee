package market

import (
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/speed/autobid"
)

// leecher is a swarm of which all is left to fetch.
type leecher struct{ Swarm }

func (leecher) Now() time.Time { return time.Unix(1, 0) }
func (leecher) Phase() Phase   { return Downloading }
func (leecher) Left() int64    { return 1 << 30 }
func (leecher) Units() bool    { return false }
func (leecher) UnitsDue() bool { return false }

// source is a peer that has what is wanted.
type source struct{ Peer }

func (source) Wanted() bool { return true }
func (source) Send([]byte)  {}

// TestSharesFromTheFirstBid: torrents that begin at the same moment share the wallet in
// their first bids, which stand for a minute (A7).
func TestSharesFromTheFirstBid(t *testing.T) {
	k := &Node{Buy: true, Bid: autobid.Default(), Balance: func() amount.Amount { return 100 * amount.BTT }}
	first := func() (*Torrent, amount.Price) {
		m := New(Config{Node: k, Swarm: leecher{}})
		m.layout = Layout{TotalLength: 1 << 30, PieceLength: 1 << 20}
		p := &Trade{peer: source{}, named: true, session: speed.NewSession(speed.Config{Account: ledger.Address{1}})}
		m.Tell(p)
		return m, p.session.Snapshot().OurBid
	}
	_, whole := first()
	if whole == 0 {
		t.Fatal("no bid")
	}
	var last *Torrent
	for n := amount.Price(2); n <= 4; n++ {
		m, bid := first()
		if last = m; bid == 0 || bid > whole/n+1 {
			t.Errorf("torrent %d bids %v, the first bid %v", n, bid, whole)
		}
	}
	last.Close()
	if n := k.bidding.Load(); n != 3 {
		t.Errorf("%d torrents bid, want 3", n)
	}
}
