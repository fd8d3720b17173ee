package admission

import (
	"net/netip"
	"testing"
)

func TestDesk(t *testing.T) {
	var d Desk
	slow, other, local := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("127.0.0.1")
	for i := range MaxPerIP {
		if !d.Enter(slow) {
			t.Fatalf("caller %d was refused", i)
		}
	}
	if d.Enter(slow) {
		t.Error("one address has too many places")
	}
	if !d.Enter(other) {
		t.Error("another address was refused")
	}
	d.Leave(slow)
	if !d.Enter(slow) {
		t.Error("a place that was left is not free")
	}
	for range Max - MaxPerIP - 1 {
		if !d.Enter(local) {
			t.Fatal("loopback was refused")
		}
	}
	if d.Enter(local) || d.Enter(netip.MustParseAddr("192.0.2.3")) {
		t.Error("more callers than places")
	}
	for range Max - MaxPerIP - 1 {
		d.Leave(local)
	}
	for range MaxPerIP {
		d.Leave(slow)
	}
	d.Leave(other)
	if d.total != 0 || len(d.perIP) != 0 {
		t.Errorf("%d places and %d addresses are left", d.total, len(d.perIP))
	}
}
