package wire

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/bttnet/btt/bencode"
)

// Names of extension messages in the handshake's `m` dictionary (BEP 10).
const (
	NameMetadata = "ut_metadata" // BEP 9
	NamePEX      = "ut_pex"      // BEP 11
	NameDontHave = "lt_donthave" // BEP 54
	// NameUploadOnly is libtorrent's message for a change of BEP 21's upload_only.
	NameUploadOnly = "upload_only"
	NameSpeed      = "btt_speed" // BitTorrent Speed, docs/beps/speed.rst
)

// The ids by which peers address extension messages to us. We choose them;
// they never change.
const (
	SubHandshake  uint8 = 0
	SubPEX        uint8 = 1
	SubMetadata   uint8 = 2
	SubUploadOnly uint8 = 3
	SubDontHave   uint8 = 7
	SubSpeed      uint8 = 9
)

// Limits of extension messages.
const (
	// MaxExtended is the longest extension handshake read, in bytes.
	MaxExtended = 64 << 10
	// MetadataPiece is the size of a metadata piece (BEP 9).
	MetadataPiece = 16 << 10
	// MaxMetadata is the largest info dictionary fetched from peers, in bytes.
	MaxMetadata = 32 << 20
	// maxReqq bounds what is believed of a peer's `reqq`.
	maxReqq = 1 << 16
)

// ErrExtended says that an extension message cannot be read.
var ErrExtended = errors.New("extension message is malformed")

// ExtendedHandshake is the dictionary that opens the extension protocol.
type ExtendedHandshake struct {
	// Metadata, PEX, DontHave, Speed and UploadOnlyID are the sender's ids for
	// these messages; 0 = it does not speak them.
	Metadata, PEX, DontHave, Speed, UploadOnlyID uint8
	// MetadataSize is the length of the info dictionary in bytes; 0 = unknown.
	MetadataSize int
	Reqq         int // requests the sender accepts at once; 0 = not told
	Port         uint16
	Client       string
	YourIP       netip.Addr // the receiver's address as the sender sees it
	UploadOnly   bool       // BEP 21: the sender wants nothing
	// SpeedVersion, SpeedNetwork and SpeedNonce describe BitTorrent Speed: its
	// version, the first bytes of the ledger's network id, and random bytes of
	// this connection.
	SpeedVersion int
	SpeedNetwork []byte
	SpeedNonce   []byte
}

// Append appends the message's payload (without the extended header) to dst.
func (h *ExtendedHandshake) Append(dst []byte) []byte {
	var d, m bencode.Dict
	if h.Metadata != 0 {
		m.SetInt(NameMetadata, int64(h.Metadata))
	}
	if h.PEX != 0 {
		m.SetInt(NamePEX, int64(h.PEX))
	}
	if h.DontHave != 0 {
		m.SetInt(NameDontHave, int64(h.DontHave))
	}
	if h.UploadOnlyID != 0 {
		m.SetInt(NameUploadOnly, int64(h.UploadOnlyID))
	}
	if h.Speed != 0 {
		m.SetInt(NameSpeed, int64(h.Speed))
		var s bencode.Dict
		s.SetInt("v", int64(h.SpeedVersion))
		s.SetBytes("net", h.SpeedNetwork)
		if len(h.SpeedNonce) > 0 {
			s.SetBytes("n", h.SpeedNonce)
		}
		d.SetDict("btt", &s)
	}
	d.SetDict("m", &m)
	if h.MetadataSize > 0 {
		d.SetInt("metadata_size", int64(h.MetadataSize))
	}
	if h.Port != 0 {
		d.SetInt("p", int64(h.Port))
	}
	if h.Reqq > 0 {
		d.SetInt("reqq", int64(h.Reqq))
	}
	if h.UploadOnly {
		d.SetInt("upload_only", 1)
	}
	if h.Client != "" {
		d.SetString("v", h.Client)
	}
	if h.YourIP.IsValid() {
		ip := h.YourIP.Unmap()
		d.SetBytes("yourip", ip.AsSlice())
	}
	return d.Append(dst)
}

// ParseExtendedHandshake reads the dictionary; keys it does not know are
// skipped, senseless values count as zero.
func ParseExtendedHandshake(b []byte) (ExtendedHandshake, error) {
	var h ExtendedHandshake
	h, err := h.Update(b)
	return h, err
}

// Update reads a further handshake of the same sender: what it does not name
// stays as it was, an id of 0 takes a message back (BEP 10).
func (h ExtendedHandshake) Update(b []byte) (ExtendedHandshake, error) {
	if len(b) > MaxExtended {
		return h, fmt.Errorf("read extension handshake of %d bytes: %w", len(b), ErrExtended)
	}
	doc, err := bencode.Parse(b, bencode.Options{Lenient: true, AllowTrailing: true, MaxDepth: 8, MaxItems: 4096})
	if err != nil {
		return h, fmt.Errorf("read extension handshake: %w: %w", ErrExtended, err)
	}
	root := doc.Root()
	if root.Kind() != bencode.Dictionary {
		return h, fmt.Errorf("read extension handshake: no dictionary: %w", ErrExtended)
	}
	m := root.Get("m")
	for name, id := range map[string]*uint8{NameMetadata: &h.Metadata, NamePEX: &h.PEX, NameDontHave: &h.DontHave,
		NameSpeed: &h.Speed, NameUploadOnly: &h.UploadOnlyID} {
		if v := m.Get(name); v.Exists() {
			*id = uint8(within(v, 255))
		}
	}
	if v := root.Get("metadata_size"); v.Exists() {
		h.MetadataSize = int(within(v, MaxMetadata))
	}
	if v := root.Get("reqq"); v.Exists() {
		h.Reqq = int(within(v, maxReqq))
	}
	if v := root.Get("p"); v.Exists() {
		h.Port = uint16(within(v, 65535))
	}
	if v := root.Get("upload_only"); v.Exists() {
		h.UploadOnly = within(v, 1) == 1
	}
	if v := root.Get("v"); v.Exists() {
		h.Client = clip(v.Bytes(), 64)
	}
	if ip, ok := netip.AddrFromSlice(root.Get("yourip").Bytes()); ok {
		h.YourIP = ip
	}
	if s := root.Get("btt"); s.Exists() {
		h.SpeedVersion = int(within(s.Get("v"), 255))
		h.SpeedNetwork, h.SpeedNonce = nil, nil
		if n := s.Get("net").Bytes(); len(n) > 0 && len(n) <= 32 {
			h.SpeedNetwork = append([]byte(nil), n...)
		}
		if n := s.Get("n").Bytes(); len(n) > 0 && len(n) <= 32 {
			h.SpeedNonce = append([]byte(nil), n...)
		}
	}
	return h, nil
}

// within reads an integer in [0, most]; anything else is 0.
func within(v bencode.Value, most int64) int64 {
	n, ok := v.Int()
	if !ok || n < 0 || n > most {
		return 0
	}
	return n
}

func clip(b []byte, n int) string { return string(b[:min(len(b), n)]) }

// MetadataKind is the type of a BEP 9 message.
type MetadataKind uint8

// Kinds of [MetadataMessage].
const (
	MetadataRequest MetadataKind = 0
	MetadataData    MetadataKind = 1
	MetadataReject  MetadataKind = 2
)

// MetadataMessage is one BEP 9 message; Data aliases the input.
type MetadataMessage struct {
	Kind  MetadataKind
	Piece int
	Size  int // total size, in data messages
	Data  []byte
}

// Append appends the payload to dst.
func (m *MetadataMessage) Append(dst []byte) []byte {
	var d bencode.Dict
	d.SetInt("msg_type", int64(m.Kind))
	d.SetInt("piece", int64(m.Piece))
	if m.Kind == MetadataData {
		d.SetInt("total_size", int64(m.Size))
	}
	return append(d.Append(dst), m.Data...)
}

// ParseMetadataMessage reads a BEP 9 message.
func ParseMetadataMessage(b []byte) (MetadataMessage, error) {
	var m MetadataMessage
	doc, n, err := bencode.ParsePrefix(b, bencode.Options{Lenient: true, MaxDepth: 4, MaxItems: 64})
	if err != nil {
		return m, fmt.Errorf("read metadata message: %w: %w", ErrExtended, err)
	}
	root := doc.Root()
	kind, ok := root.Get("msg_type").Int()
	piece, ok2 := root.Get("piece").Int()
	if !ok || !ok2 || kind < 0 || kind > 255 || piece < 0 || piece > MaxMetadata/MetadataPiece {
		return m, fmt.Errorf("read metadata message: %w", ErrExtended)
	}
	m.Kind, m.Piece = MetadataKind(kind), int(piece)
	m.Size = int(within(root.Get("total_size"), MaxMetadata))
	if m.Kind == MetadataData {
		m.Data = b[n:]
		if len(m.Data) > MetadataPiece {
			return m, fmt.Errorf("read metadata piece of %d bytes: %w", len(m.Data), ErrExtended)
		}
	}
	return m, nil
}

// AppendUploadOnly appends the payload of libtorrent's message.
func AppendUploadOnly(dst []byte, on bool) []byte {
	if on {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// ParseUploadOnly reads libtorrent's message: one byte, 0 = the sender wants
// pieces again.
func ParseUploadOnly(b []byte) (bool, error) {
	if len(b) != 1 {
		return false, fmt.Errorf("read upload_only of %d bytes: %w", len(b), ErrExtended)
	}
	return b[0] != 0, nil
}
