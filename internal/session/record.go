package session

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/metainfo"
)

// Limits of what is remembered of one torrent.
const (
	// MaxLabels is the greatest number of labels of a torrent, MaxLabel the
	// longest in bytes.
	MaxLabels = 32
	MaxLabel  = 128
	// maxRecord bounds a record file in bytes.
	maxRecord = 8 << 20
	// maxRecordPeers is the number of peers' addresses kept for a start.
	maxRecordPeers = 200

	recordVersion = 1
	recordSuffix  = ".json"
	torrentSuffix = ".torrent"
)

// ErrRecord says that what was remembered of a torrent cannot be read.
var ErrRecord = errors.New("record of the torrent is damaged")

// record is what a session remembers of a torrent besides its metadata and
// its resume state: one JSON file, replaced as a whole.
type record struct {
	Version int
	Name    string
	Dir     string
	// InfoHashV2 is a magnet link's, for the time before the metadata.
	InfoHashV2 metainfo.InfoHashV2 `json:",omitzero"`
	Trackers   [][]string          `json:",omitempty"` // besides those of its metadata
	WebSeeds   []string            `json:",omitempty"` // likewise
	Peers      []netip.AddrPort    `json:",omitempty"`
	// Size, Left and Have are as of the last stop.
	Size, Left int64
	Pieces     int
	Have       int
	Uploaded   int64
	Downloaded int64

	Stopped bool `json:",omitempty"`
	Forced  bool `json:",omitempty"` // runs whatever the queue says
	Plain   bool `json:",omitempty"` // takes no part in the market
	// WhenPaid rests a complete torrent while nobody pays for it. Reserve is
	// its own reserve price, nil = that of the node.
	WhenPaid   bool            `json:",omitempty"`
	Reserve    *market.Reserve `json:",omitempty"`
	InPlace    bool            `json:",omitempty"`
	Sequential bool            `json:",omitempty"`
	Recheck    bool            `json:",omitempty"` // asked for and not done
	Removing   bool            `json:",omitempty"` // with its data
	Labels     []string        `json:",omitempty"`
	Priorities []uint8         `json:",omitempty"` // of the files
	Up, Down   int64           // limits in bytes per second; 0 = none
	Position   int64           // in the queue
	Added      time.Time
	Completed  time.Time // zero = not yet
	// MoveTo is the folder that the files are on their way to, MovedFrom the
	// one where copies of them may be left.
	MoveTo, MovedFrom string `json:",omitempty"`
}

// decodeRecord reads a record. The error wraps [ErrRecord].
func decodeRecord(b []byte) (record, error) {
	var r record
	d := json.NewDecoder(bytes.NewReader(b))
	switch err := d.Decode(&r); {
	case err != nil:
		return r, fmt.Errorf("%w: %w", ErrRecord, err)
	case r.Version != recordVersion:
		return r, fmt.Errorf("%w: version %d is unknown", ErrRecord, r.Version)
	case r.Dir == "" || r.Size < 0 || r.Left < 0 || r.Left > r.Size || r.Have < 0 || r.Have > r.Pieces ||
		r.Up < 0 || r.Down < 0 || r.Uploaded < 0 || r.Downloaded < 0:
		return r, fmt.Errorf("%w: a value is out of its range", ErrRecord)
	case r.Reserve != nil && !r.Reserve.Valid():
		return r, fmt.Errorf("%w: a reserve price is out of its range", ErrRecord)
	case len(r.Peers) > maxRecordPeers:
		return r, fmt.Errorf("%w: too many peers", ErrRecord)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, fmt.Errorf("%w: more than one value", ErrRecord)
	}
	if err := checkLabels(r.Labels); err != nil {
		return r, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return r, nil
}

func (r *record) encode() ([]byte, error) {
	r.Version = recordVersion
	b, err := json.Marshal(r)
	if err == nil && len(b) > maxRecord {
		err = errors.New("longer than the limit")
	}
	return b, err
}

// clone copies a record, so that it can be written without a lock.
func (r *record) clone() record {
	c := *r
	c.Labels, c.Priorities, c.Peers = slices.Clone(r.Labels), slices.Clone(r.Priorities), slices.Clone(r.Peers)
	return c
}

func checkLabels(labels []string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("%d labels, at most %d are possible", len(labels), MaxLabels)
	}
	for _, l := range labels {
		if l == "" || len(l) > MaxLabel {
			return fmt.Errorf("label %q must have 1 to %d bytes", l, MaxLabel)
		}
	}
	return nil
}

// shelf is the folder of the records and of the torrents' metadata. Its
// methods may be called concurrently, for one torrent one at a time.
type shelf struct{ dir string }

func (f *shelf) path(hash [20]byte, suffix string) string {
	return filepath.Join(f.dir, hex.EncodeToString(hash[:])+suffix)
}

// put replaces a file durably.
func (f *shelf) put(hash [20]byte, suffix string, b []byte) error {
	if err := durable.Write(f.dir, hex.EncodeToString(hash[:])+suffix, b); err != nil {
		return fmt.Errorf("save torrent: %w", err)
	}
	return nil
}

func (f *shelf) save(hash [20]byte, r *record) error {
	b, err := r.encode()
	if err != nil {
		return fmt.Errorf("save torrent: %w", err)
	}
	return f.put(hash, recordSuffix, b)
}

func (f *shelf) load(hash [20]byte) (record, error) {
	b, err := readBounded(f.path(hash, recordSuffix), maxRecord)
	if err != nil {
		return record{}, err
	}
	return decodeRecord(b)
}

// torrent reads a torrent's metadata; nil without an error: there is none yet.
func (f *shelf) torrent(hash [20]byte) (*metainfo.Torrent, error) {
	b, err := readBounded(f.path(hash, torrentSuffix), metainfo.MaxTorrentSize)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := metainfo.Parse(b)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.Swarms(), metainfo.InfoHash(hash)) {
		return nil, fmt.Errorf("%w: metadata of another torrent", ErrRecord)
	}
	return t, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > most {
		return nil, fmt.Errorf("%s: %w: longer than %d bytes", path, ErrRecord, most)
	}
	b := make([]byte, st.Size())
	_, err = io.ReadFull(file, b)
	return b, err
}

// drop forgets a torrent.
func (f *shelf) drop(hash [20]byte) error {
	var errs []error
	for _, suffix := range []string{recordSuffix, torrentSuffix} {
		if err := os.Remove(f.path(hash, suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, durable.SyncDir(f.dir))...)
}
