package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/metainfo"
)

// Limits of what is remembered of one torrent.
const (
	// MaxLabels is the greatest number of labels of a torrent, MaxLabel the
	// longest in bytes.
	MaxLabels = 32
	MaxLabel  = 128
	// MaxPeers is the number of peers' addresses kept for a start.
	MaxPeers = 200

	// maxRecord bounds a record file in bytes.
	maxRecord     = 8 << 20
	recordVersion = 1
)

// ErrRecord says that what was remembered of a torrent cannot be read.
var ErrRecord = errors.New("record of the torrent is damaged")

// Record is what a session remembers of a torrent besides its metadata and
// its resume state: one JSON file, replaced as a whole.
type Record struct {
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

// Decode reads a record. The error wraps [ErrRecord].
func Decode(b []byte) (Record, error) {
	var r Record
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
	case len(r.Peers) > MaxPeers:
		return r, fmt.Errorf("%w: too many peers", ErrRecord)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return r, fmt.Errorf("%w: more than one value", ErrRecord)
	}
	if err := CheckLabels(r.Labels); err != nil {
		return r, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return r, nil
}

// Encode writes a record of the current version; it is at most 8 MiB.
func (r *Record) Encode() ([]byte, error) {
	r.Version = recordVersion
	b, err := json.Marshal(r)
	if err == nil && len(b) > maxRecord {
		err = errors.New("longer than the limit")
	}
	return b, err
}

// Clone copies a record, so that it can be written without a lock.
func (r *Record) Clone() Record {
	c := *r
	c.Labels, c.Priorities, c.Peers = slices.Clone(r.Labels), slices.Clone(r.Priorities), slices.Clone(r.Peers)
	return c
}

// SortLabels returns labels as a record has them: sorted, each once.
func SortLabels(labels []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(labels)))
}

// CheckLabels says whether a torrent can have these labels: at most [MaxLabels],
// each of 1 to [MaxLabel] bytes.
func CheckLabels(labels []string) error {
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
