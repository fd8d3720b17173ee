package speed

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bttnet/btt/ledger"
)

func TestPenalties(t *testing.T) {
	var p Penalties
	now := time.Unix(1_000_000, 0)
	alice, home := ledger.Address{1}, netip.MustParseAddr("192.0.2.1")
	if !p.Eligible(now, alice, home) || p.Banned(now, alice, home) {
		t.Fatal("a stranger is judged")
	}
	for i, want := range []struct {
		length time.Duration
		ban    bool
	}{{time.Minute, false}, {2 * time.Minute, false}, {4 * time.Minute, true}, {8 * time.Minute, true}} {
		v := p.Fail(now, alice, home)
		if v.Failures != i+1 || v.Until.Sub(now) != want.length || v.Ban != want.ban {
			t.Errorf("failure %d: %+v", i+1, v)
		}
		if p.Eligible(now, alice, home) || p.Banned(now, alice, home) != want.ban {
			t.Errorf("failure %d: eligible %v, banned %v", i+1, p.Eligible(now, alice, home), p.Banned(now, alice, home))
		}
		if p.Eligible(v.Until.Add(-1), alice, home) || !p.Eligible(v.Until, alice, home) || p.Banned(v.Until, alice, home) {
			t.Errorf("failure %d does not end at its end", i+1)
		}
		now = v.Until
	}
	// The same address under a new account, the same account elsewhere.
	now = now.Add(-time.Second)
	if p.Eligible(now, ledger.Address{2}, home) || p.Eligible(now, alice, netip.MustParseAddr("198.51.100.7")) {
		t.Error("a change of account or address clears the record")
	}
	if !p.Eligible(now, ledger.Address{2}, netip.MustParseAddr("198.51.100.7")) {
		t.Error("an innocent peer is judged")
	}
	p.Paid(alice, home)
	if !p.Eligible(now, alice, home) || p.Len() != 0 {
		t.Error("a payment does not clear the record")
	}
}

func TestPenaltiesAddresses(t *testing.T) {
	var p Penalties
	now := time.Unix(1_000_000, 0)
	p.Fail(now, ledger.Address{}, netip.MustParseAddr("2001:db8:1:2::5"))
	p.Fail(now, ledger.Address{}, netip.MustParseAddr("::ffff:192.0.2.9"))
	for addr, want := range map[string]bool{
		"2001:db8:1:2:ffff::1": false, "2001:db8:1:3::5": true, "192.0.2.9": false, "192.0.2.8": true,
	} {
		if got := p.Eligible(now, ledger.Address{}, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: eligible %v", addr, got)
		}
	}
	if !p.Eligible(now, ledger.Address{}, netip.Addr{}) || p.Len() != 2 {
		t.Error("the zero account or address is judged")
	}
}

func TestPenaltiesForgetAndCap(t *testing.T) {
	var p Penalties
	now := time.Unix(1_000_000, 0)
	alice := ledger.Address{1}
	for range 40 { // the penalty stops doubling
		if v := p.Fail(now, alice, netip.Addr{}); v.Until.Sub(now) > PenaltyMax {
			t.Fatalf("penalty of %v", v.Until.Sub(now))
		}
	}
	later := now.Add(PenaltyMax + PenaltyForget)
	if v := p.Fail(later, alice, netip.Addr{}); v.Failures != 1 || v.Until.Sub(later) != PenaltyBase {
		t.Errorf("an old record was not forgotten: %+v", v)
	}
}

func TestPenaltiesLimit(t *testing.T) {
	var p Penalties
	now := time.Unix(1_000_000, 0)
	worst := ledger.Address{0xff}
	for range BanAfter {
		p.Fail(now, worst, netip.Addr{})
	}
	for i := range MaxPenalties + 500 {
		p.Fail(now.Add(time.Duration(i)), ledger.Address{1, byte(i >> 8), byte(i)}, netip.Addr{})
	}
	if p.Len() > MaxPenalties {
		t.Errorf("%d records", p.Len())
	}
	if !p.Banned(now, worst, netip.Addr{}) {
		t.Error("a flood of new accounts washed the longest penalty away")
	}
	later := now.Add(PenaltyMax + PenaltyForget)
	p.Fail(later, ledger.Address{7}, netip.Addr{})
	if p.Len() != 1 {
		t.Errorf("%d records after all were forgotten", p.Len())
	}
}

// TestPenaltiesExcuse: a peer has one excuse a day; it costs a minute and is no
// failure, the next one is. A payment gives it back.
func TestPenaltiesExcuse(t *testing.T) {
	var p Penalties
	now := time.Unix(1_000_000, 0)
	alice, home, away := ledger.Address{1}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	if !p.Excuse(now, alice, home) {
		t.Fatal("a stranger has no excuse")
	}
	if p.Eligible(now.Add(PenaltyBase-1), alice, home) || !p.Eligible(now.Add(PenaltyBase), alice, home) || p.Banned(now, alice, home) {
		t.Error("an excuse does not cost a minute")
	}
	if p.Excuse(now.Add(time.Hour), alice, away) || p.Excuse(now.Add(time.Hour), ledger.Address{2}, home) {
		t.Error("a change of account or address brings another excuse")
	}
	if v := p.Fail(now.Add(time.Hour), alice, home); v.Failures != 1 || v.Until.Sub(now.Add(time.Hour)) != PenaltyBase {
		t.Errorf("the first failure after an excuse: %+v", v)
	}
	if p.Excuse(now.Add(2*time.Hour), alice, home) {
		t.Error("a failure brings the excuse back")
	}
	if !p.Excuse(now.Add(time.Hour+2*PenaltyForget), alice, home) {
		t.Error("an excuse is never forgotten")
	}
	p.Paid(alice, home)
	if !p.Excuse(now.Add(2*time.Hour), alice, home) {
		t.Error("a payment does not bring the excuse back")
	}
	for i := range MaxPenalties + 10 {
		p.Excuse(now, ledger.Address{byte(i), byte(i >> 8), 9}, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if p.Len() > 2*MaxPenalties {
		t.Errorf("%d records", p.Len())
	}
}

// TestPenaltiesPardon: a peer is let off once a day, by its account and by its address,
// and guarded from then on, whatever it pays; not one that failed.
func TestPenaltiesPardon(t *testing.T) {
	var p Penalties
	now := time.Unix(1_000_000, 0)
	alice, home, away := ledger.Address{1}, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	if p.Guarded(now, alice, home) || !p.Pardon(now, alice, home) {
		t.Fatal("a stranger is judged")
	}
	if !p.Eligible(now, alice, home) || p.Banned(now, alice, home) {
		t.Error("a pardon costs something")
	}
	p.Paid(alice, home)
	for _, who := range []struct {
		account ledger.Address
		addr    netip.Addr
	}{{alice, away}, {ledger.Address{2}, home}, {alice, netip.Addr{}}} {
		if later := now.Add(PenaltyForget - 1); !p.Guarded(later, who.account, who.addr) || p.Pardon(later, who.account, who.addr) {
			t.Errorf("%v is not guarded", who)
		}
	}
	if p.Guarded(now, ledger.Address{2}, away) {
		t.Error("an innocent peer is guarded")
	}
	if now = now.Add(PenaltyForget); p.Guarded(now, alice, home) {
		t.Error("guarded for ever")
	}
	p.Fail(now, alice, home)
	if p.Pardon(now.Add(PenaltyMax), alice, away) || p.Pardon(now.Add(PenaltyMax), ledger.Address{2}, home) {
		t.Error("who failed is let off")
	}
	if !p.Paid(alice, home) || p.Paid(alice, home) || !p.Pardon(now, alice, home) {
		t.Error("a payment does not clear the failure")
	}
	for i := range MaxPenalties + 10 {
		p.Pardon(now, ledger.Address{byte(i), byte(i >> 8), 9}, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if p.Len() > 2*MaxPenalties {
		t.Errorf("%d records", p.Len())
	}
}

// TestPenaltiesRestore: what is remembered goes on in another process: penalties, bans,
// doubling, excuses and guards; what is over, nobody's, too much or too long does not.
func TestPenaltiesRestore(t *testing.T) {
	var p, q Penalties
	now := time.Unix(1_000_000, 0)
	alice, bob, carol := ledger.Address{1}, ledger.Address{2}, ledger.Address{3}
	home, away := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1:2::5")
	for range BanAfter {
		p.Fail(now, alice, home)
	}
	p.Excuse(now, bob, away)
	p.Pardon(now, carol, netip.Addr{})
	garbage := netip.MustParseAddr("198.51.100.9")
	p.Spoil(now, garbage)
	p.Spoil(now, netip.Addr{})
	q.Restore(p.Records(now), now)
	later := now.Add(3 * time.Minute)
	if !q.Banned(later, alice, netip.Addr{}) || !q.Banned(later, ledger.Address{}, home) || q.Banned(now.Add(4*time.Minute), alice, home) {
		t.Error("a ban is not the same")
	}
	if v := q.Fail(later, alice, home); v.Failures != BanAfter+1 || v.Until.Sub(later) != 8*time.Minute {
		t.Errorf("the next failure: %+v", v)
	}
	if q.Eligible(now, bob, netip.Addr{}) || q.Eligible(now, ledger.Address{}, away) || q.Excuse(later, bob, netip.Addr{}) || !q.Guarded(later, carol, netip.Addr{}) {
		t.Error("an excuse or a guard is forgotten")
	}
	if n := len(p.Records(now.Add(PenaltyMax + PenaltyForget))); n != 0 {
		t.Errorf("%d records that are over are kept", n)
	}
	if q.Paid(ledger.Address{}, garbage); !q.Banned(now.Add(SpoilFor-1), ledger.Address{}, garbage) || q.Banned(now.Add(SpoilFor), ledger.Address{}, garbage) {
		t.Error("who sent bad data is let in, or not again")
	}
	for _, r := range p.Records(now.Add(SpoilFor)) {
		if r.Addr == garbage {
			t.Errorf("a record that is over: %+v", r)
		}
	}
	odd := []Penalty{{Addr: away, Spoiled: now.Add(1000 * time.Hour)}, {Failures: 9, Until: now.Add(time.Hour)}, {Account: alice, Failures: -3, Until: now.Add(1000 * time.Hour), Pardoned: now.Add(time.Hour)},
		{Account: bob, Failures: 3, Until: now.Add(-PenaltyForget)}}
	q.Restore(odd, now)
	if q.Len() != 2 || q.Banned(now.Add(SpoilFor), ledger.Address{}, away) || !q.Eligible(now.Add(PenaltyMax), alice, home) || q.Guarded(now.Add(PenaltyForget), alice, home) {
		t.Errorf("odd records count: %+v", q.Records(now))
	}
	var many []Penalty
	for i := range MaxPenalties + 10 {
		many = append(many, Penalty{Account: ledger.Address{byte(i), byte(i >> 8), 9}, Until: now.Add(time.Duration(i + 1)), Failures: 1})
	}
	q.Restore(many, now)
	if q.Len() != MaxPenalties || q.Eligible(now, many[len(many)-1].Account, netip.Addr{}) {
		t.Errorf("%d records", q.Len())
	}
}
