package tracker

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Action is the kind of a UDP message (BEP 15).
type Action uint32

// The actions of BEP 15, and those of docs/beps/tracker-bids.rst, whose
// numbers are random so that they meet no other extension's.
const (
	ActionConnect     Action = 0
	ActionAnnounce    Action = 1
	ActionScrape      Action = 2
	ActionError       Action = 3
	ActionBidAnnounce Action = 0x62b7a31d
	ActionBidScrape   Action = 0x62b7a31e
)

// Sizes of UDP messages in bytes.
const (
	protocolID          = 0x41727101980
	ConnectRequestSize  = 16
	ConnectResponseSize = 16
	AnnounceRequestSize = 98 // without options
	announceHeaderSize  = 20
	scrapeRequestHeader = 16
	scrapeEntrySize     = 12
	MaxUDPMessage       = 4096 // larger datagrams are refused by both sides
	compact4, compact6  = 6, 18
)

// UDPHeader is what every request starts with. A connect has no ConnectionID.
type UDPHeader struct {
	ConnectionID  uint64
	Action        Action
	TransactionID uint32
}

// AppendConnectRequest appends a connect.
func AppendConnectRequest(b []byte, transaction uint32) []byte {
	b = binary.BigEndian.AppendUint64(b, protocolID)
	b = binary.BigEndian.AppendUint32(b, uint32(ActionConnect))
	return binary.BigEndian.AppendUint32(b, transaction)
}

// AppendConnectResponse appends the answer to a connect.
func AppendConnectResponse(b []byte, transaction uint32, connection uint64) []byte {
	b = appendReplyHeader(b, ActionConnect, transaction)
	return binary.BigEndian.AppendUint64(b, connection)
}

func appendReplyHeader(b []byte, action Action, transaction uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(action))
	return binary.BigEndian.AppendUint32(b, transaction)
}

// ParseRequestHeader reads the start of any request. For a connect it checks
// the protocol's magic number, so that it says yes only to BEP 15.
func ParseRequestHeader(b []byte) (UDPHeader, error) {
	if len(b) < 16 || len(b) > MaxUDPMessage {
		return UDPHeader{}, malformed("UDP request of %d bytes", len(b))
	}
	h := UDPHeader{
		ConnectionID:  binary.BigEndian.Uint64(b),
		Action:        Action(binary.BigEndian.Uint32(b[8:])),
		TransactionID: binary.BigEndian.Uint32(b[12:]),
	}
	if h.Action == ActionConnect && h.ConnectionID != protocolID {
		return UDPHeader{}, malformed("connect without the protocol's number")
	}
	return h, nil
}

// ParseReplyHeader reads action and transaction of any answer.
func ParseReplyHeader(b []byte) (Action, uint32, error) {
	if len(b) < 8 {
		return 0, 0, malformed("UDP answer of %d bytes", len(b))
	}
	return Action(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint32(b[4:]), nil
}

// ParseConnectResponse reads the answer to a connect. An error answer is a *Failure.
func ParseConnectResponse(b []byte) (connection uint64, err error) {
	if err := expect(b, ActionConnect); err != nil {
		return 0, err
	}
	if len(b) < ConnectResponseSize {
		return 0, malformed("connect answer of %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b[8:]), nil
}

// expect turns error answers into *Failure and foreign actions into ErrMalformed.
func expect(b []byte, wanted Action) error {
	action, _, err := ParseReplyHeader(b)
	switch {
	case err != nil:
		return err
	case action == wanted:
		return nil
	case action == ActionError:
		return &Failure{Reason: clip(b[8:], MaxText)}
	}
	return malformed("answer has action %d, want %d", action, wanted)
}

// AppendAnnounceRequest appends an announce; urlData, if not empty, follows as
// BEP 41 options.
func AppendAnnounceRequest(b []byte, h UDPHeader, r *Request, urlData string) []byte {
	b = binary.BigEndian.AppendUint64(b, h.ConnectionID)
	b = appendReplyHeader(b, ActionAnnounce, h.TransactionID)
	b = append(b, r.InfoHash[:]...)
	b = append(b, r.PeerID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(max(r.Downloaded, 0)))
	left := uint64(r.Left)
	if r.Left < 0 {
		left = 1<<63 - 1
	}
	b = binary.BigEndian.AppendUint64(b, left)
	b = binary.BigEndian.AppendUint64(b, uint64(max(r.Uploaded, 0)))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Event))
	ip := [4]byte{}
	if r.IPv4.Is4() {
		ip = r.IPv4.As4()
	}
	b = append(b, ip[:]...)
	b = binary.BigEndian.AppendUint32(b, r.Key)
	b = binary.BigEndian.AppendUint32(b, uint32(int32(r.NumWant)))
	b = binary.BigEndian.AppendUint16(b, r.Port)
	return appendURLData(b, urlData)
}

// ParseAnnounceRequest reads an announce into r, whose TrackerID and BEP 7
// addresses it clears; no memory is allocated unless URLData has a path other
// than /announce or comes in several options. The URLData's query sets Bid, Top
// and ExtendedReply; its path is returned.
func ParseAnnounceRequest(b []byte, r *Request) (path string, err error) {
	if len(b) < AnnounceRequestSize || len(b) > MaxUDPMessage {
		return "", malformed("announce of %d bytes", len(b))
	}
	*r = Request{Compact: true}
	copy(r.InfoHash[:], b[16:])
	copy(r.PeerID[:], b[36:])
	r.Downloaded = clampInt64(binary.BigEndian.Uint64(b[56:]))
	r.Left = clampInt64(binary.BigEndian.Uint64(b[64:]))
	r.Uploaded = clampInt64(binary.BigEndian.Uint64(b[72:]))
	r.Event = Event(binary.BigEndian.Uint32(b[80:]))
	r.Key = binary.BigEndian.Uint32(b[88:])
	r.NumWant = int(int32(binary.BigEndian.Uint32(b[92:])))
	r.Port = binary.BigEndian.Uint16(b[96:])
	if r.Event > EventPaused {
		return "", malformed("announce with event %d", r.Event)
	}
	if len(b) == AnnounceRequestSize {
		return "", nil
	}
	data, err := urlData(b[AnnounceRequestSize:])
	if err != nil || len(data) == 0 {
		return "", err
	}
	return r.applyURLData(data)
}

func clampInt64(n uint64) int64 { return int64(min(n, 1<<63-1)) }

// AppendAnnounceHeader appends the fixed part of an announce's answer; the
// caller appends compact peers (6 or 18 bytes each, after the family of the
// request's source). Units: interval in whole seconds.
func AppendAnnounceHeader(b []byte, transaction uint32, interval time.Duration, leechers, seeders int) []byte {
	b = appendReplyHeader(b, ActionAnnounce, transaction)
	b = binary.BigEndian.AppendUint32(b, uint32(interval/time.Second))
	b = binary.BigEndian.AppendUint32(b, uint32(leechers))
	return binary.BigEndian.AppendUint32(b, uint32(seeders))
}

// AppendCompactPeer appends the compact form: 6 bytes for IPv4 (also when
// mapped into IPv6), 18 for IPv6.
func AppendCompactPeer(b []byte, p netip.AddrPort) []byte {
	if a := p.Addr().Unmap(); a.Is4() {
		ip := a.As4()
		b = append(b, ip[:]...)
	} else {
		ip := a.As16()
		b = append(b, ip[:]...)
	}
	return binary.BigEndian.AppendUint16(b, p.Port())
}

// ParseAnnounceResponse reads the answer to an announce, plain or with bids
// (ActionBidAnnounce). ipv6 says that it came over IPv6, which decides the
// peers' size. An error answer is a *Failure.
func ParseAnnounceResponse(b []byte, ipv6 bool) (*Response, error) {
	action, _, err := ParseReplyHeader(b)
	if err != nil {
		return nil, err
	}
	if action != ActionBidAnnounce {
		if err := expect(b, ActionAnnounce); err != nil {
			return nil, err
		}
	}
	if len(b) < announceHeaderSize {
		return nil, malformed("announce answer of %d bytes", len(b))
	}
	r := &Response{
		Interval:   seconds(int64(binary.BigEndian.Uint32(b[8:]))),
		Incomplete: int(int32(binary.BigEndian.Uint32(b[12:]))),
		Complete:   int(int32(binary.BigEndian.Uint32(b[16:]))),
		Downloaded: -1,
		SpeaksBids: action == ActionBidAnnounce,
	}
	size := compact4
	if ipv6 {
		size = compact6
	}
	b = b[announceHeaderSize:]
	if action == ActionBidAnnounce {
		if b, err = r.parseBidPeers(b, size); err != nil {
			return nil, err
		}
	}
	r.appendCompact(b, size)
	return r, nil
}

// parseBidPeers reads the count and the peers with bids of ActionBidAnnounce:
// compact peer, bid code (2), age in minutes (1).
func (r *Response) parseBidPeers(b []byte, size int) ([]byte, error) {
	if len(b) < 2 {
		return nil, malformed("bid answer without a count")
	}
	n, entry := int(binary.BigEndian.Uint16(b)), size+3
	b = b[2:]
	if n > MaxPeers || len(b) < n*entry {
		return nil, malformed("bid answer tells %d peers in %d bytes", n, len(b))
	}
	for ; n > 0; n, b = n-1, b[entry:] {
		addr, ok := compactPeer(b[:size])
		if !ok {
			continue
		}
		code := binary.BigEndian.Uint16(b[size:])
		r.Peers = append(r.Peers, Peer{Addr: addr, HasBid: code != 0, Bid: CodedBid(code),
			BidAge: time.Duration(b[size+2]) * time.Minute})
	}
	return b, nil
}

// AppendBidPeer appends one peer with bid of ActionBidAnnounce; minutes is the
// bid's age.
func AppendBidPeer(b []byte, compact []byte, code uint16, minutes uint8) []byte {
	b = append(b, compact...)
	b = binary.BigEndian.AppendUint16(b, code)
	return append(b, minutes)
}

// appendCompact adds compact peers, skipping useless ones and a cut tail.
func (r *Response) appendCompact(b []byte, size int) {
	for ; len(b) >= size && len(r.Peers) < MaxPeers; b = b[size:] {
		if addr, ok := compactPeer(b[:size]); ok {
			r.Peers = append(r.Peers, Peer{Addr: addr})
		}
	}
}

// compactPeer reads 6 or 18 bytes; ok is false for addresses nobody can dial.
func compactPeer(b []byte) (netip.AddrPort, bool) {
	ip, _ := netip.AddrFromSlice(b[:len(b)-2])
	p := netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(b[len(b)-2:]))
	return p, usablePeer(p)
}

func usablePeer(p netip.AddrPort) bool {
	a := p.Addr()
	return p.Port() != 0 && a.IsValid() && !a.IsUnspecified() && !a.IsMulticast()
}

// AppendError appends an error answer with at most MaxText bytes of reason.
func AppendError(b []byte, transaction uint32, reason string) []byte {
	b = appendReplyHeader(b, ActionError, transaction)
	return append(b, reason[:min(len(reason), MaxText)]...)
}
