package market

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/bttnet/btt/internal/payments"
)

// kicked is a peer that notes why its connection was ended.
type kicked struct {
	Peer
	err error
}

func (k *kicked) Addr() netip.AddrPort { return netip.AddrPort{} }
func (k *kicked) Kick(err error)       { k.err = err }

// TestDenialEndsTheConnection: a provider that denies payments is left. On a connection
// that stayed it would be asked again as soon as any channel of its account opens, for
// data that is not paid.
func TestDenialEndsTheConnection(t *testing.T) {
	peer := new(kicked)
	m := &Torrent{trades: map[uint32]*Trade{1: {peer: peer, buying: true}}}
	m.onLink(1, payments.LinkEvent{Kind: payments.EventDenied})
	if !errors.Is(peer.err, errDenied) {
		t.Errorf("the connection ended with %v", peer.err)
	}
}
