package swarm

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/speed"
)

// TestUnpaidAddressRefused: who failed to pay three times is refused at the
// door, whatever account it comes with; loopback, which stands for many peers,
// is judged by account alone (R12.3).
func TestUnpaidAddressRefused(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	k := &market.Node{}
	s := &Swarm{cfg: Config{Market: k, MaxPeers: MaxPeers}, now: now, peers: map[uint32]*member{}, state: Seeding}
	bad, local := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("127.0.0.1")
	arrive := func(a netip.Addr) error {
		in := &Incoming{Addr: netip.AddrPortFrom(a, 6881)}
		in.Handshake.PeerID[0] = 1
		return s.refusal(in)
	}
	for i := range speed.BanAfter {
		if err := arrive(bad); err != nil {
			t.Fatalf("refused after %d failures: %v", i, err)
		}
		account := ledger.Address{byte(i + 1)}
		if banned := k.Fail(account, bad, now); banned != (i+1 == speed.BanAfter) {
			t.Errorf("failure %d: banned %v", i+1, banned)
		}
		k.Fail(ledger.Address{99}, local, now)
	}
	if err := arrive(bad); !errors.Is(err, market.ErrUnpaid) {
		t.Errorf("banned address: %v", err)
	}
	if err := arrive(local); err != nil {
		t.Errorf("loopback: %v", err)
	}
	if eligible, banned := k.Standing(ledger.Address{99}, local, now); eligible || !banned {
		t.Errorf("account: eligible %v, banned %v", eligible, banned)
	}
	s.now = now.Add(speed.PenaltyBase << (speed.BanAfter - 1))
	if err := arrive(bad); err != nil {
		t.Errorf("after the ban: %v", err)
	}
}
