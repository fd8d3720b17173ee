package session

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestAdmission(t *testing.T) {
	var a admission
	slow, other, local := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("127.0.0.1")
	for i := range maxIncomingPerIP {
		if !a.enter(slow) {
			t.Fatalf("caller %d was refused", i)
		}
	}
	if a.enter(slow) {
		t.Error("one address has too many places")
	}
	if !a.enter(other) {
		t.Error("another address was refused")
	}
	a.leave(slow)
	if !a.enter(slow) {
		t.Error("a place that was left is not free")
	}
	for range maxIncoming - maxIncomingPerIP - 1 {
		if !a.enter(local) {
			t.Fatal("loopback was refused")
		}
	}
	if a.enter(local) || a.enter(netip.MustParseAddr("192.0.2.3")) {
		t.Error("more callers than places")
	}
	for range maxIncoming - maxIncomingPerIP - 1 {
		a.leave(local)
	}
	for range maxIncomingPerIP {
		a.leave(slow)
	}
	a.leave(other)
	if a.total != 0 || len(a.perIP) != 0 {
		t.Errorf("%d places and %d addresses are left", a.total, len(a.perIP))
	}
}

// TestSilentCallers: more callers than places say nothing; those that end make
// place, and the session still answers.
func TestSilentCallers(t *testing.T) {
	s := open(t, Config{})
	var calls []net.Conn
	for range maxIncoming + 10 {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		calls = append(calls, c)
	}
	last := calls[len(calls)-1]
	_ = last.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := last.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("a caller beyond the places waits: %v", err)
	}
	for _, c := range calls {
		c.Close()
	}
	for range 1000 {
		s.incoming.mu.Lock()
		n := s.incoming.total
		s.incoming.mu.Unlock()
		if n == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("places of callers that ended are not free")
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}
