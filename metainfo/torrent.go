package metainfo

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/bttnet/btt/bencode"
)

// Torrent is a .torrent file.
type Torrent struct {
	Info *Info
	// InfoHash is what peers and trackers know the torrent by: see Info.InfoHash.
	InfoHash InfoHash
	// InfoHashV2 is the full version 2 hash; zero in version 1.
	InfoHashV2 InfoHashV2
	// AnnounceList are the tiers of tracker URLs (BEP 12); a lone "announce" is a tier
	// of one. No tier is empty.
	AnnounceList [][]string
	// WebSeeds are the URLs of "url-list" (BEP 19).
	WebSeeds []string
	// HTTPSeeds are the URLs of "httpseeds" (BEP 17).
	HTTPSeeds []string
	Comment   string
	CreatedBy string
	// CreationDate is zero when unknown.
	CreationDate time.Time
	// Nodes are DHT nodes to start from (BEP 5).
	Nodes []HostPort
	// PieceLayers are the hashes of version 2 pieces by the file's pieces root. Files of one
	// piece have none: their root is the hash.
	PieceLayers Layers
}

// HostPort is an address whose host may be a name.
type HostPort struct {
	Host string // name, IPv4 or IPv6 address without brackets
	Port uint16
}

// String is "host:port", IPv6 hosts in brackets.
func (a HostPort) String() string { return joinHostPort(a.Host, a.Port) }

// Parse reads a .torrent file of any version and checks it whole. The torrent keeps data,
// which must not change afterwards. Errors wrap a sentinel of this package or of bencode.
func Parse(data []byte) (*Torrent, error) {
	if len(data) > MaxTorrentSize {
		return nil, fmt.Errorf("parse torrent: %w", ErrSize)
	}
	options := parseOptions
	options.AllowTrailing = true // some editors add a line end
	doc := getDoc()
	defer putDoc(doc)
	var sums sums
	defer sums.wait() // before the document goes back
	sums.startEarly(data)
	if err := doc.Parse(data, options); err != nil {
		return nil, fmt.Errorf("parse torrent: %w", err)
	}
	root := doc.Root()
	t := &Torrent{Info: new(Info)}
	sums.start(data, root)
	if err := t.Info.parse(root.Get("info")); err != nil {
		return nil, fmt.Errorf("parse torrent: %w", err)
	}
	if err := t.parseOuter(root); err != nil {
		return nil, fmt.Errorf("parse torrent: %w", err)
	}
	if t.Info.HasV2() {
		layers, err := sums.pieceLayers()
		if err == nil {
			err = t.takeLayers(layers)
		}
		if err != nil {
			return nil, fmt.Errorf("parse torrent: %w", err)
		}
	}
	sums.wait()
	t.takeHashes(sums.v1, sums.v2)
	return t, nil
}

// NewTorrent makes a torrent around an info dictionary got from peers (BEP 9) and the
// magnet link that named it. The caller has checked the hash.
func NewTorrent(in *Info, m *Magnet) *Torrent {
	t := &Torrent{Info: in}
	t.setHashes()
	if m != nil {
		for _, tracker := range m.Trackers {
			t.AnnounceList = append(t.AnnounceList, []string{tracker})
		}
		t.WebSeeds = m.WebSeeds
	}
	return t
}

func (t *Torrent) setHashes() {
	var v1 InfoHash
	var v2 InfoHashV2
	if t.Info.HasV2() {
		v2 = HashInfoV2(t.Info.Raw)
	}
	if t.Info.HasV1() {
		v1 = HashInfo(t.Info.Raw)
	}
	t.takeHashes(v1, v2)
}

// takeHashes takes the hashes of Info.Raw, each for the versions that are there.
func (t *Torrent) takeHashes(v1 InfoHash, v2 InfoHashV2) {
	if t.Info.HasV2() {
		t.InfoHashV2, t.InfoHash = v2, v2.Truncated()
	}
	if t.Info.HasV1() {
		t.InfoHash = v1
	}
}

// parseOuter reads what surrounds the info dictionary. Nothing there is needed to trade
// data, so malformed values are passed over; only limits fail.
func (t *Torrent) parseOuter(root bencode.Value) (err error) {
	for _, key := range [...]string{"announce-list", "url-list", "httpseeds", "nodes"} {
		if root.Get(key).Items() > maxListed {
			return fmt.Errorf("%w: %q", ErrTooMany, key)
		}
	}
	if t.AnnounceList, err = parseAnnounce(root); err != nil {
		return err
	}
	if t.WebSeeds, err = parseSeeds(root.Get("url-list")); err != nil {
		return err
	}
	if t.HTTPSeeds, err = parseSeeds(root.Get("httpseeds")); err != nil {
		return err
	}
	if t.Nodes, err = parseNodes(root.Get("nodes")); err != nil {
		return err
	}
	if t.Comment = text(root.Get("comment.utf-8")); t.Comment == "" {
		t.Comment = text(root.Get("comment"))
	}
	t.CreatedBy = text(root.Get("created by"))
	if seconds, ok := root.Get("creation date").Int(); ok && seconds > 0 && seconds < maxUnixTime {
		t.CreationDate = time.Unix(seconds, 0).UTC()
	}
	return nil
}

const maxUnixTime = 253402300800 // year 10000: beyond it times have no RFC 3339 form

// parseAnnounce reads the tracker tiers; "announce" counts only without "announce-list" (BEP 12).
func parseAnnounce(root bencode.Value) ([][]string, error) {
	var tiers [][]string
	n := 0
	for tier := range root.Get("announce-list").List() {
		var urls []string
		if tier.Kind() == bencode.String { // a flat list: each its own tier
			urls = appendTracker(urls, tier)
		}
		for v := range tier.List() {
			if urls = appendTracker(urls, v); n+len(urls) > MaxTrackers {
				break
			}
		}
		if n += len(urls); n > MaxTrackers {
			return nil, fmt.Errorf("%w: more than %d trackers", ErrTooMany, MaxTrackers)
		}
		if len(urls) > 0 {
			tiers = append(tiers, urls)
		}
	}
	if len(tiers) == 0 {
		if urls := appendTracker(nil, root.Get("announce")); urls != nil {
			tiers = [][]string{urls}
		}
	}
	return tiers, nil
}

func appendTracker(urls []string, v bencode.Value) []string {
	if v.Len() > MaxURLLength {
		return urls
	}
	if s := strings.TrimSpace(v.Text()); CheckTrackerURL(s) == nil {
		urls = append(urls, s)
	}
	return urls
}

// CheckTrackerURL fails with ErrURL unless s is an http, https, udp, ws or wss URL with a
// host and of at most MaxURLLength bytes.
func CheckTrackerURL(s string) error { return checkURL(s, "http", "https", "udp", "ws", "wss") }

// CheckWebSeedURL fails with ErrURL unless s is an http or https URL with a host and of
// at most MaxURLLength bytes.
func CheckWebSeedURL(s string) error { return checkURL(s, "http", "https") }

func checkURL(s string, schemes ...string) error {
	if len(s) > MaxURLLength {
		return fmt.Errorf("%w: longer than %d bytes", ErrURL, MaxURLLength)
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return fmt.Errorf("%w: %.100q", ErrURL, s)
	}
	for _, scheme := range schemes {
		if u.Scheme == scheme {
			return nil
		}
	}
	return fmt.Errorf("%w: %.100q: want %s", ErrURL, s, strings.Join(schemes, ", "))
}

// parseSeeds reads web seeds: a list of URLs or a single one.
func parseSeeds(v bencode.Value) ([]string, error) {
	var seeds []string
	add := func(v bencode.Value) {
		if v.Len() > MaxURLLength {
			return
		}
		if s := strings.TrimSpace(v.Text()); CheckWebSeedURL(s) == nil {
			seeds = append(seeds, s)
		}
	}
	if v.Kind() == bencode.String {
		add(v)
	}
	for item := range v.List() {
		if add(item); len(seeds) > MaxWebSeeds {
			return nil, fmt.Errorf("%w: more than %d web seeds", ErrTooMany, MaxWebSeeds)
		}
	}
	return seeds, nil
}

func parseNodes(v bencode.Value) ([]HostPort, error) {
	var nodes []HostPort
	for item := range v.List() {
		host := item.At(0).Text()
		port, ok := item.At(1).Int()
		if !ok || port < 1 || port > 65535 || !validHost(host) {
			continue
		}
		if nodes = append(nodes, HostPort{host, uint16(port)}); len(nodes) > MaxNodes {
			return nil, fmt.Errorf("%w: more than %d nodes", ErrTooMany, MaxNodes)
		}
	}
	return nodes, nil
}

// Swarms are the hashes peers may know the torrent by: a hybrid is in two swarms.
func (t *Torrent) Swarms() []InfoHash {
	swarms := []InfoHash{t.InfoHash}
	if t.Info.HasV1() && t.Info.HasV2() {
		swarms = append(swarms, t.InfoHashV2.Truncated())
	}
	return swarms
}

// Trackers are all tracker URLs in the order of their tiers.
func (t *Torrent) Trackers() []string {
	var all []string
	for _, tier := range t.AnnounceList {
		all = append(all, tier...)
	}
	return all
}

// Encode writes the .torrent file anew: the info dictionary as it was, the rest
// canonically. Unknown keys outside the info dictionary are dropped.
func (t *Torrent) Encode() []byte {
	var d bencode.Dict
	d.SetRaw("info", t.Info.Raw)
	if len(t.AnnounceList) > 0 {
		d.SetString("announce", t.AnnounceList[0][0])
		if len(t.AnnounceList) > 1 || len(t.AnnounceList[0]) > 1 {
			d.SetFunc("announce-list", func(dst []byte) []byte {
				dst = append(dst, 'l')
				for _, tier := range t.AnnounceList {
					dst = bencode.AppendStrings(dst, tier)
				}
				return append(dst, 'e')
			})
		}
	}
	if len(t.WebSeeds) > 0 {
		d.SetStrings("url-list", t.WebSeeds)
	}
	if len(t.HTTPSeeds) > 0 {
		d.SetStrings("httpseeds", t.HTTPSeeds)
	}
	if t.Comment != "" {
		d.SetString("comment", t.Comment)
	}
	if t.CreatedBy != "" {
		d.SetString("created by", t.CreatedBy)
	}
	if !t.CreationDate.IsZero() {
		d.SetInt("creation date", t.CreationDate.Unix())
	}
	if len(t.Nodes) > 0 {
		d.SetFunc("nodes", func(dst []byte) []byte {
			dst = append(dst, 'l')
			for _, n := range t.Nodes {
				dst = append(dst, 'l')
				dst = bencode.AppendString(dst, n.Host)
				dst = bencode.AppendInt(dst, int64(n.Port))
				dst = append(dst, 'e')
			}
			return append(dst, 'e')
		})
	}
	if t.PieceLayers.Len() > 0 {
		var layers bencode.Dict
		for root, layer := range t.PieceLayers.All() {
			layers.SetBytes(string(root[:]), layer)
		}
		d.SetDict("piece layers", &layers)
	}
	return d.Append(nil)
}
