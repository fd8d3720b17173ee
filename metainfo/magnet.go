package metainfo

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Magnet is a magnet link (BEP 9, BEP 53). At least one of the hashes is set.
type Magnet struct {
	InfoHash   InfoHash   // version 1 hash (xt=urn:btih:); zero if absent
	InfoHashV2 InfoHashV2 // version 2 hash (xt=urn:btmh:); zero if absent
	Name       string     // dn: what to call it before the metadata is there
	Trackers   []string   // tr
	WebSeeds   []string   // ws
	Peers      []HostPort // x.pe: peers to ask at once
	Select     []Range    // so: files to download; empty means all
	Length     int64      // xl: bytes; 0 if unknown
}

// Range is a run of file indices, both ends included.
type Range struct{ First, Last int }

const (
	btihPrefix = "urn:btih:"
	btmhPrefix = "urn:btmh:"
	// sha256Multihash is the multihash head of a 32-byte SHA-256, in hex.
	sha256Multihash = "1220"
)

// Hash is what peers, trackers and the DHT know the torrent by: the version 1 hash if
// there is one, else the truncated version 2 hash.
func (m *Magnet) Hash() InfoHash {
	if !m.InfoHash.IsZero() {
		return m.InfoHash
	}
	return m.InfoHashV2.Truncated()
}

// Selects reports whether the file with index i is to be downloaded (BEP 53).
func (m *Magnet) Selects(i int) bool {
	for _, r := range m.Select {
		if r.First <= i && i <= r.Last {
			return true
		}
	}
	return len(m.Select) == 0
}

// ParseMagnet reads a magnet link. The hash must be there and valid; trackers, web seeds
// and peers that are not usable are passed over. It fails with ErrMagnet, ErrHash or ErrTooMany.
func ParseMagnet(s string) (*Magnet, error) {
	if len(s) > MaxMagnetLength {
		return nil, fmt.Errorf("parse magnet: %w: longer than %d bytes", ErrMagnet, MaxMagnetLength)
	}
	const scheme = "magnet:?"
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return nil, fmt.Errorf("parse magnet: %w: it must start with %q", ErrMagnet, scheme)
	}
	m := new(Magnet)
	for pair := range strings.SplitSeq(s[len(scheme):], "&") {
		key, value, _ := strings.Cut(pair, "=")
		value, err := url.QueryUnescape(value)
		if err != nil {
			return nil, fmt.Errorf("parse magnet: %w: %.30q has a bad percent escape", ErrMagnet, pair)
		}
		if err := m.set(strings.ToLower(key), value); err != nil {
			return nil, fmt.Errorf("parse magnet: %w", err)
		}
	}
	if m.InfoHash.IsZero() && m.InfoHashV2.IsZero() {
		return nil, fmt.Errorf("parse magnet: %w: it has no xt=urn:btih: or xt=urn:btmh: hash", ErrMagnet)
	}
	return m, nil
}

// set takes one parameter. Keys may carry a number ("tr.1") to keep them apart.
func (m *Magnet) set(key, value string) error {
	if base, number, ok := strings.Cut(key, "."); ok && isDigits(number) {
		key = base
	}
	switch key {
	case "xt":
		return m.setTopic(value)
	case "dn":
		if name := strings.ToValidUTF8(value, "\uFFFD"); m.Name == "" && len(name) <= MaxNameLength {
			m.Name = name
		}
	case "xl":
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 && n <= MaxTotalLength {
			m.Length = n
		}
	case "tr":
		if CheckTrackerURL(value) == nil {
			m.Trackers = append(m.Trackers, value)
		}
	case "ws":
		if CheckWebSeedURL(value) == nil {
			m.WebSeeds = append(m.WebSeeds, value)
		}
	case "x.pe":
		if peer, err := ParseHostPort(value); err == nil {
			m.Peers = append(m.Peers, peer)
		}
	case "so":
		ranges, err := parseRanges(value)
		if err != nil {
			return err
		}
		m.Select = append(m.Select, ranges...)
	}
	if len(m.Trackers) > MaxTrackers || len(m.WebSeeds) > MaxWebSeeds || len(m.Peers) > MaxNodes || len(m.Select) > MaxSelections {
		return fmt.Errorf("%w: %q", ErrTooMany, key)
	}
	return nil
}

// setTopic reads xt. Topics of other networks are passed over; two different hashes of
// one kind are an error, for nobody could say which one is meant.
func (m *Magnet) setTopic(value string) error {
	lower := strings.ToLower(value)
	switch {
	case strings.HasPrefix(lower, btihPrefix):
		h, err := ParseInfoHash(value[len(btihPrefix):])
		if err != nil {
			return err
		}
		if !m.InfoHash.IsZero() && m.InfoHash != h {
			return fmt.Errorf("%w: it names two different btih hashes", ErrMagnet)
		}
		m.InfoHash = h
	case strings.HasPrefix(lower, btmhPrefix):
		digits, ok := strings.CutPrefix(lower[len(btmhPrefix):], sha256Multihash)
		if !ok || len(digits) != 2*len(InfoHashV2{}) {
			return fmt.Errorf("%w: %.100q: btmh must be %s and 64 hex digits", ErrHash, value, sha256Multihash)
		}
		var h InfoHashV2
		if _, err := hex.Decode(h[:], []byte(digits)); err != nil {
			return fmt.Errorf("%w: %.100q is no hex", ErrHash, value)
		}
		if !m.InfoHashV2.IsZero() && m.InfoHashV2 != h {
			return fmt.Errorf("%w: it names two different btmh hashes", ErrMagnet)
		}
		m.InfoHashV2 = h
	}
	return nil
}

// parseRanges reads "0,2,4-8" (BEP 53).
func parseRanges(s string) ([]Range, error) {
	var ranges []Range
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 31)
		b, errB := strconv.ParseUint(last, 10, 31)
		if errA != nil || errB != nil || a > b {
			return nil, fmt.Errorf("%w: %.30q in so= is no range of files", ErrMagnet, part)
		}
		if ranges = append(ranges, Range{int(a), int(b)}); len(ranges) > MaxSelections {
			return nil, fmt.Errorf("%w: so=", ErrTooMany)
		}
	}
	return ranges, nil
}

// String writes the link.
func (m *Magnet) String() string {
	b := []byte("magnet:?")
	add := func(key, value string) {
		if len(b) > len("magnet:?") {
			b = append(b, '&')
		}
		b = append(b, key...)
		b = append(b, '=')
		b = append(b, value...)
	}
	if !m.InfoHash.IsZero() {
		add("xt", btihPrefix+m.InfoHash.String())
	}
	if !m.InfoHashV2.IsZero() {
		add("xt", btmhPrefix+sha256Multihash+m.InfoHashV2.String())
	}
	if m.Name != "" {
		add("dn", url.QueryEscape(m.Name))
	}
	if m.Length > 0 {
		add("xl", strconv.FormatInt(m.Length, 10))
	}
	for _, tracker := range m.Trackers {
		add("tr", url.QueryEscape(tracker))
	}
	for _, seed := range m.WebSeeds {
		add("ws", url.QueryEscape(seed))
	}
	for _, peer := range m.Peers {
		add("x.pe", peer.String())
	}
	if len(m.Select) > 0 {
		parts := make([]string, len(m.Select))
		for i, r := range m.Select {
			parts[i] = strconv.Itoa(r.First)
			if r.Last != r.First {
				parts[i] += "-" + strconv.Itoa(r.Last)
			}
		}
		add("so", strings.Join(parts, ","))
	}
	return string(b)
}

// Magnet makes the magnet link of the torrent.
func (t *Torrent) Magnet() *Magnet {
	m := &Magnet{Name: t.Info.Name, Length: t.Info.ContentLength(), Trackers: t.Trackers(), WebSeeds: t.WebSeeds}
	if t.Info.HasV1() {
		m.InfoHash = t.InfoHash
	}
	if t.Info.HasV2() {
		m.InfoHashV2 = t.InfoHashV2
	}
	return m
}

// ParseHostPort reads "host:port", "1.2.3.4:port" or "[v6]:port" with a port from 1 to
// 65535. It fails with ErrURL.
func ParseHostPort(s string) (HostPort, error) {
	bad := func() (HostPort, error) {
		return HostPort{}, fmt.Errorf("parse address %.80q: %w: want host:port", s, ErrURL)
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return bad()
	}
	host := s[:i]
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 || !isDigits(s[i+1:]) {
		return bad()
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if addr, err := netip.ParseAddr(inner); !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return bad()
		}
		host = inner
	} else if strings.Contains(host, ":") {
		return bad()
	}
	if !validHost(host) {
		return bad()
	}
	return HostPort{host, uint16(port)}, nil
}

// maxHostLength is DNS's limit for a name in text form.
const maxHostLength = 253

// validHost reports whether s is an IP address or could be a host name.
func validHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Zone() == ""
	}
	if s == "" || len(s) > maxHostLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		default:
			return false
		}
	}
	return true
}

func joinHostPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
