package dht

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/bttnet/btt/bencode"
)

// Limits of a message.
const (
	// MaxPacket is the longest datagram read, in bytes.
	MaxPacket = 4096
	// maxTransaction and maxToken bound what is sent back as it came.
	maxTransaction = 32
	maxToken       = 64
	// maxNodes and maxValues are how many nodes of a family and how many peers
	// are read of one message.
	maxNodes  = 16
	maxValues = 128
	maxText   = 128 // bytes of an error's text or a query's name
)

// Kinds of messages.
const (
	kindQuery    = 'q'
	kindResponse = 'r'
	kindError    = 'e'
)

// Queries of BEP 5.
const (
	queryPing     = "ping"
	queryFind     = "find_node"
	queryPeers    = "get_peers"
	queryAnnounce = "announce_peer"
)

// Error codes of BEP 5.
const (
	codeProtocol = 203
	codeUnknown  = 204
)

// errMessage says that a datagram is no message of the DHT.
var errMessage = errors.New("DHT message is malformed")

// contact is a node and where it is.
type contact struct {
	id   ID
	addr netip.AddrPort
}

// message is any message; which fields count depends on kind and query.
type message struct {
	kind        byte
	transaction string
	query       string
	readOnly    bool // BEP 43: the sender answers nothing
	id          ID
	target      ID // of find_node; the info hash of get_peers and announce_peer
	token       []byte
	port        uint16
	implied     bool
	want4       bool // BEP 32
	want6       bool
	nodes       []contact
	values      []netip.AddrPort
	seen        netip.AddrPort // the receiver as the sender sees it (BEP 42)
	code        int64
	text        string
}

var parseOptions = bencode.Options{Lenient: true, AllowTrailing: true, MaxSize: MaxPacket, MaxDepth: 6, MaxItems: 512}

// parse reads a message. What is not needed may be missing or senseless; a
// query or response without its sender's id is malformed.
func parse(b []byte) (*message, error) {
	if len(b) > MaxPacket {
		return nil, fmt.Errorf("read message of %d bytes: %w", len(b), errMessage)
	}
	doc, err := bencode.Parse(b, parseOptions)
	if err != nil {
		return nil, fmt.Errorf("read message: %w: %w", errMessage, err)
	}
	root := doc.Root()
	m := &message{transaction: string(root.Get("t").Bytes()), readOnly: flag(root.Get("ro"))}
	if len(m.transaction) > maxTransaction {
		return nil, fmt.Errorf("read message: transaction of %d bytes: %w", len(m.transaction), errMessage)
	}
	if ip := root.Get("ip").Bytes(); len(ip) == compact4 || len(ip) == compact6 {
		m.seen = address(ip)
	}
	switch root.Get("y").Text() {
	case "q":
		m.kind, m.query = kindQuery, clip(root.Get("q").Bytes())
		return m, m.readQuery(root.Get("a"))
	case "r":
		m.kind = kindResponse
		return m, m.readResponse(root.Get("r"))
	case "e":
		m.kind = kindError
		i := 0
		for v := range root.Get("e").List() {
			if n, ok := v.Int(); ok && i == 0 {
				m.code = n
			} else if i == 1 {
				m.text = clip(v.Bytes())
			}
			i++
		}
		return m, nil
	}
	return nil, fmt.Errorf("read message: no kind: %w", errMessage)
}

func clip(b []byte) string { return string(b[:min(len(b), maxText)]) }

func flag(v bencode.Value) bool {
	n, ok := v.Int()
	return ok && n != 0
}

func (m *message) readQuery(a bencode.Value) error {
	var ok bool
	if m.id, ok = identity(a.Get("id")); !ok {
		return fmt.Errorf("read query %q without an id: %w", m.query, errMessage)
	}
	key := "info_hash"
	if m.query == queryFind {
		key = "target"
	}
	if m.target, ok = identity(a.Get(key)); !ok && m.query != queryPing {
		if m.query == queryFind || m.query == queryPeers || m.query == queryAnnounce {
			return fmt.Errorf("read query %q without %s: %w", m.query, key, errMessage)
		}
	}
	if t := a.Get("token").Bytes(); len(t) <= maxToken {
		m.token = append([]byte(nil), t...)
	}
	if n, ok := a.Get("port").Int(); ok && n > 0 && n < 1<<16 {
		m.port = uint16(n)
	}
	m.implied = flag(a.Get("implied_port"))
	for v := range a.Get("want").List() {
		m.want4 = m.want4 || v.Text() == "n4"
		m.want6 = m.want6 || v.Text() == "n6"
	}
	return nil
}

func (m *message) readResponse(r bencode.Value) error {
	var ok bool
	if m.id, ok = identity(r.Get("id")); !ok {
		return fmt.Errorf("read response without an id: %w", errMessage)
	}
	if t := r.Get("token").Bytes(); len(t) <= maxToken {
		m.token = append([]byte(nil), t...)
	}
	m.readNodes(r.Get("nodes").Bytes(), compact4)
	m.readNodes(r.Get("nodes6").Bytes(), compact6)
	for v := range r.Get("values").List() {
		if b := v.Bytes(); len(m.values) < maxValues && (len(b) == compact4 || len(b) == compact6) {
			m.values = append(m.values, address(b))
		}
	}
	return nil
}

// Sizes of compact addresses.
const (
	compact4 = 6
	compact6 = 18
)

func (m *message) readNodes(b []byte, size int) {
	for n := 0; len(b) >= 20+size && n < maxNodes; n, b = n+1, b[20+size:] {
		m.nodes = append(m.nodes, contact{ID(b[:20]), address(b[20 : 20+size])})
	}
}

func address(b []byte) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(b[:len(b)-2])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(b[len(b)-2:]))
}

func identity(v bencode.Value) (id ID, ok bool) {
	b := v.Bytes()
	if len(b) != len(id) {
		return id, false
	}
	return ID(b), true
}

func appendAddress(dst []byte, a netip.AddrPort) []byte {
	dst = append(dst, a.Addr().Unmap().AsSlice()...)
	return binary.BigEndian.AppendUint16(dst, a.Port())
}

// append encodes the message.
func (m *message) append(dst []byte) []byte {
	var d, body bencode.Dict
	d.SetString("t", m.transaction)
	d.SetString("y", string(rune(m.kind)))
	switch m.kind {
	case kindQuery:
		d.SetString("q", m.query)
		m.setQuery(&body)
		d.SetDict("a", &body)
		if m.readOnly {
			d.SetInt("ro", 1)
		}
	case kindResponse:
		m.setResponse(&body)
		d.SetDict("r", &body)
	case kindError:
		d.SetFunc("e", func(b []byte) []byte {
			b = bencode.AppendInt(append(b, 'l'), m.code)
			return append(bencode.AppendString(b, m.text), 'e')
		})
	}
	if m.seen.IsValid() {
		d.SetBytes("ip", appendAddress(nil, m.seen))
	}
	return d.Append(dst)
}

func (m *message) setQuery(a *bencode.Dict) {
	a.SetBytes("id", m.id[:])
	switch m.query {
	case queryFind:
		a.SetBytes("target", m.target[:])
	case queryPeers:
		a.SetBytes("info_hash", m.target[:])
	case queryAnnounce:
		a.SetBytes("info_hash", m.target[:])
		a.SetInt("port", int64(m.port))
		a.SetBytes("token", m.token)
		a.SetInt("implied_port", 0)
	}
	var want []string
	if m.want4 {
		want = append(want, "n4")
	}
	if m.want6 {
		want = append(want, "n6")
	}
	if len(want) > 0 {
		a.SetStrings("want", want)
	}
}

func (m *message) setResponse(r *bencode.Dict) {
	r.SetBytes("id", m.id[:])
	if len(m.token) > 0 {
		r.SetBytes("token", m.token)
	}
	if nodes := compact(m.nodes, false); m.want4 {
		r.SetBytes("nodes", nodes)
	}
	if nodes := compact(m.nodes, true); m.want6 {
		r.SetBytes("nodes6", nodes)
	}
	if len(m.values) > 0 {
		list := make([]string, len(m.values))
		for i, a := range m.values {
			list[i] = string(appendAddress(nil, a))
		}
		r.SetStrings("values", list)
	}
}

// compact joins the nodes of one family.
func compact(nodes []contact, six bool) (b []byte) {
	for _, c := range nodes {
		if c.addr.Addr().Unmap().Is6() == six {
			b = appendAddress(append(b, c.id[:]...), c.addr)
		}
	}
	return b
}
