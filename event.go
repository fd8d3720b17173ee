package btt

import (
	"encoding/hex"
	"net/netip"

	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/session"
	"github.com/bttnet/btt/internal/swarm"
)

// Event is something a node tells: a torrent's progress, or money that moved.
type Event struct {
	Kind    EventKind
	Torrent *Torrent // of torrent events and of payments in a swarm
	Err     error
	Peer    netip.AddrPort
	// Payment is set for [PeerPayment], Channel for [ChannelChanged].
	Payment payments.LinkEvent
	Channel payments.Event
}

// EventKind is an event's kind.
type EventKind uint8

// Events of a node.
const (
	GotMetadata    EventKind = iota + 1 // of a magnet link
	Checked                             // the files on disk were verified
	Completed                           // all of the torrent is verified and on disk
	Broken                              // the torrent stopped because of Err
	PeerPayment                         // money moved in a swarm
	ChannelChanged                      // a channel opened, settled or was refunded
	Reopened                            // more files are wanted than those that were complete
)

var swarmKinds = map[swarm.EventKind]EventKind{
	swarm.GotMetadata: GotMetadata, swarm.Checked: Checked, swarm.Completed: Completed, swarm.Broken: Broken,
	swarm.Reopened: Reopened,
}

func (n *Node) onSwarm(e session.Event) {
	n.notify(Event{Kind: swarmKinds[e.Kind], Torrent: e.Torrent, Err: e.Err})
}

func (n *Node) onPayment(t *Torrent, peer netip.AddrPort, e payments.LinkEvent) {
	if m := n.money.Load(); m != nil {
		select {
		case m.refresh <- struct{}{}:
		default:
		}
	}
	n.notify(Event{Kind: PeerPayment, Torrent: t, Peer: peer, Payment: e})
}

func (m *money) onChannel(e payments.Event) {
	if e.Kind == payments.EventPaid {
		m.purse.Paid(e.Channel.String(), hex.EncodeToString(e.Tag[:]), e.Sum)
	}
	m.bookPayment(&e)
	m.settled(e)
	m.notify(Event{Kind: ChannelChanged, Channel: e})
}

func (n *Node) notify(e Event) {
	if n.cfg.Notify != nil {
		n.cfg.Notify(e)
	}
}
