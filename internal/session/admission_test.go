package session

import (
	"net"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/admission"
	"github.com/bttnet/btt/internal/peer"
)

// TestSilentCallers: more callers than places say nothing; those that end make
// place, and the session still answers.
func TestSilentCallers(t *testing.T) {
	s := open(t, Config{})
	var calls []net.Conn
	for range admission.Max + 10 {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		calls = append(calls, c)
	}
	last := calls[len(calls)-1]
	_ = last.SetReadDeadline(time.Now().Add(peer.HandshakeTimeout / 2)) // then those before it go too
	if _, err := last.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("a caller beyond the places waits: %v", err)
	}
	for _, c := range calls {
		c.Close()
	}
	for range 36_000 {
		if s.incoming.Inside() == 0 {
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
