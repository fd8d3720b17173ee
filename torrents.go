package btt

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/bttnet/btt/internal/catalog"
	"github.com/bttnet/btt/internal/ipfilter"
	"github.com/bttnet/btt/internal/session"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/metainfo"
)

// Add describes a torrent to add.
type Add = session.Add

// Torrent is a torrent of a node, whether it runs or not: start and stop it,
// choose its files, move, check or remove it.
type Torrent = session.Torrent

// Status is a torrent's snapshot.
type Status = session.Status

// FileStatus is the snapshot of one of its files.
type FileStatus = swarm.FileStatus

// States of a torrent.
const (
	FetchingMetadata = swarm.FetchingMetadata
	Checking         = swarm.Checking
	Downloading      = swarm.Downloading
	Seeding          = swarm.Seeding
	Failed           = swarm.Failed
	Stopped          = swarm.Stopped // by its user
	Queued           = swarm.Queued  // waits for its turn
	Moving           = swarm.Moving  // its files are on their way to another folder
	// Finished: all wanted files are there and shared, others are not wanted; Seeding is
	// said of a torrent that is there as a whole.
	Finished = swarm.Finished
)

// Errors of torrents, to be told apart with errors.Is.
var (
	ErrExists   = session.ErrExists   // the torrent is there already
	ErrNotFound = session.ErrNotFound // the torrent is not there
	ErrOccupied = session.ErrOccupied // a file is in the way of a move
)

// Add puts a torrent in, at the end of the queue, and starts it when its turn
// has come. The error is [ErrExists] or of the disk.
func (n *Node) Add(a Add) (*Torrent, error) { return n.session.Add(a) }

// FromMagnet describes the torrent of a magnet link, for Add: its hash, name,
// trackers, the peers given as IP addresses (x.pe), and the files it selects
// (so, BEP 53).
func FromMagnet(m *metainfo.Magnet) Add {
	a := Add{InfoHash: m.Hash(), InfoHashV2: m.InfoHashV2, Name: m.Name, WebSeeds: m.WebSeeds}
	for _, t := range m.Trackers {
		a.Trackers = append(a.Trackers, []string{t})
	}
	for _, p := range m.Peers {
		if ip, err := netip.ParseAddr(p.Host); err == nil {
			a.Peers = append(a.Peers, netip.AddrPortFrom(ip, p.Port))
		}
	}
	if len(m.Select) > 0 {
		a.Choose = func(in *metainfo.Info) ([]uint8, error) {
			prios := Select(in, m.Selects)
			if !slices.Contains(prios, DefaultPriority) {
				return nil, fmt.Errorf("the magnet link chooses none of the torrent's %d files (so=)", len(in.Files))
			}
			return prios, nil
		}
	}
	return a
}

// Select makes the priorities of [Add] and of a torrent's SetPriorities: the
// default for the files that are wanted, 0 for the others. Files are counted
// from 0 in the order of the torrent.
func Select(in *metainfo.Info, wanted func(file int) bool) []uint8 {
	prios := make([]uint8, len(in.Files))
	for i := range prios {
		if wanted(i) {
			prios[i] = DefaultPriority
		}
	}
	return prios
}

// DefaultPriority is a file's priority, of 0 (not wanted) to 7.
const DefaultPriority = 4

// AddMagnet starts the torrent of a magnet link; peers are told besides those
// of the link.
func (n *Node) AddMagnet(m *metainfo.Magnet, dir string, peers []netip.AddrPort) (*Torrent, error) {
	a := FromMagnet(m)
	a.Dir, a.Peers = dir, append(a.Peers, peers...)
	return n.session.Add(a)
}

// Torrent returns a torrent by its info hash, or nil.
func (n *Node) Torrent(hash metainfo.InfoHash) *Torrent { return n.session.Get(hash) }

// Torrents returns all torrents of the node in the order of the queue.
func (n *Node) Torrents() []*Torrent { return n.session.Torrents() }

// Flush waits until what was changed of the torrents is on disk, or ctx ends, and
// returns why it is not. What changes a torrent holds at once and is written down
// soon; whoever tells others that it lasts calls this first.
func (n *Node) Flush(ctx context.Context) error { return n.session.Flush(ctx) }

// CheckLabels says whether a torrent can have these labels: 32 at most, each of
// 1 to 128 bytes.
func CheckLabels(labels []string) error { return catalog.CheckLabels(labels) }

// SetLimits changes the limits of the whole node, in bytes per second; 0 =
// unlimited. Torrents may have limits of their own on top.
func (n *Node) SetLimits(up, down int64) { n.session.SetLimits(up, down) }

// Limits returns the limits of the whole node.
func (n *Node) Limits() (up, down int64) { return n.session.Limits() }

// SetActive changes how many downloads and how many seeds run at once, in the
// order of the queue; 0 = all.
func (n *Node) SetActive(downloads, seeds int) { n.session.SetActive(downloads, seeds) }

// IPFilter is a list of addresses that are never talked to.
type IPFilter = ipfilter.List

// LoadIPFilter reads a filter from a file: CIDR, eMule's ipfilter.dat or P2P
// text, line by line. The error names the line.
func LoadIPFilter(path string) (*IPFilter, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read filter: %w", err)
	}
	defer f.Close()
	l, err := ipfilter.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// SetIPFilter replaces the filter; nil = none. Connections that are there stay
// until they end by themselves.
func (n *Node) SetIPFilter(l *IPFilter) { n.session.SetFilter(l) }
