package payments

import (
	"testing"
	"time"

	"github.com/bttnet/btt/channel"
)

// TestDenialEndsBuying: after a provider denied payments that it settled, no further
// channel is opened for its connection, whatever that brings: each would cost two
// transactions, and end with the same denial.
func TestDenialEndsBuying(t *testing.T) {
	_, buyer, seller, w := shop(t)
	w.deny(t, buyer, seller)
	denial := func(e Event) bool { return e.Kind == EventRefused && e.Code == channel.CodeAmount }
	buyer.await("denial", denial)
	buyer.awaitKind(EventDenied)
	for range 30 {
		w.requester.Verified(1 << 18)
		time.Sleep(50 * time.Millisecond)
	}
	if n := buyer.count(EventOpened); n > 2 {
		t.Errorf("%d channels were opened", n)
	}
	if list := buyer.book.Summary(); len(list) > 2 {
		t.Errorf("%d channels", len(list))
	}
	if n, payable := w.requester.Unpaid(); n != 0 {
		t.Errorf("a node that leaves waits for %d bytes, payable %v", n, payable)
	}
}
