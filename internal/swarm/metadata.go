package swarm

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// metadataFetch is the info dictionary of a magnet link on its way (BEP 9), as
// large as some peer says it is. Peers may lie about the size, so sizes are
// fetched side by side; the hash decides.
type metadataFetch struct {
	size   int
	pieces []metadataPiece
	got    int
	// alone: what several peers sent together was wrong; now one at a time is
	// asked for all of it, so that the liar is found and nobody else.
	alone bool
	only  uint32
	since time.Time
}

type metadataPiece struct {
	data  []byte // nil = missing
	asked time.Time
	from  uint32
}

const (
	metadataRetry = 2 * time.Second
	// metadataTurn is how long one peer is asked alone.
	metadataTurn = 20 * time.Second
	// maxMetadataAsked is the number of metadata pieces asked of one peer at
	// once.
	maxMetadataAsked = 8
	// metadataCopies is how often one peer gets the metadata, which no choke
	// holds back; maxMetadataRefused the number of its requests that ends the
	// connection: four copies of the largest.
	metadataCopies     = 2
	maxMetadataRefused = 4 * wire.MaxMetadata / wire.MetadataPiece
	// maxMetadataSizes is the number of sizes fetched side by side; memory is
	// taken only for what came.
	maxMetadataSizes = 4
)

var errNoMetadata = errors.New("metadata does not match the info hash")

// metadataOf returns the fetch of a size. A new size takes the place of the one
// of which least came when there are too many.
func (s *Swarm) metadataOf(size int) *metadataFetch {
	least := -1
	for i, f := range s.metadata {
		if f.size == size {
			return f
		}
		if least < 0 || f.got < s.metadata[least].got {
			least = i
		}
	}
	f := &metadataFetch{size: size, pieces: make([]metadataPiece, (size+wire.MetadataPiece-1)/wire.MetadataPiece)}
	if len(s.metadata) < maxMetadataSizes {
		s.metadata = append(s.metadata, f)
	} else {
		s.metadata[least] = f
	}
	return f
}

// fetchMetadata asks for missing metadata pieces.
func (s *Swarm) fetchMetadata() {
	if s.torrent != nil || s.failure != nil {
		return
	}
	for _, m := range s.peers {
		if m.ext.Metadata == 0 || m.ext.MetadataSize == 0 {
			continue
		}
		f := s.metadataOf(m.ext.MetadataSize)
		if !s.turn(f, m) {
			continue
		}
		asked := 0
		for i := range f.pieces {
			p := &f.pieces[i]
			if p.data != nil || s.now.Sub(p.asked) < metadataRetry || p.from == m.conn.ID && !f.alone && s.otherSource(m) {
				continue
			}
			if asked++; asked > maxMetadataAsked {
				break
			}
			p.asked, p.from = s.now, m.conn.ID
			s.sendMetadata(m, &wire.MetadataMessage{Kind: wire.MetadataRequest, Piece: i})
		}
	}
}

// turn says whether a peer may be asked for a part of the metadata now.
func (s *Swarm) turn(f *metadataFetch, m *member) bool {
	if !f.alone || f.only == m.conn.ID {
		return true
	}
	if s.peers[f.only] != nil && s.now.Sub(f.since) < metadataTurn {
		return false
	}
	f.only, f.since, f.got = m.conn.ID, s.now, 0
	clear(f.pieces)
	return true
}

// otherSource says whether another peer offers metadata of the same size.
func (s *Swarm) otherSource(m *member) bool {
	for _, o := range s.peers {
		if o != m && o.ext.Metadata != 0 && o.ext.MetadataSize == m.ext.MetadataSize {
			return true
		}
	}
	return false
}

func (s *Swarm) sendMetadata(m *member, msg *wire.MetadataMessage) {
	m.conn.Send(wire.AppendExtended(nil, m.ext.Metadata, msg.Append(nil)))
}

func (s *Swarm) onMetadata(m *member, msg *wire.MetadataMessage) {
	switch msg.Kind {
	case wire.MetadataRequest:
		s.serveMetadata(m, msg.Piece)
	case wire.MetadataData:
		s.gotMetadata(m, msg)
	case wire.MetadataReject:
		if s.torrent != nil || m.ext.Metadata == 0 || m.ext.MetadataSize == 0 {
			return
		}
		if f := s.metadataOf(m.ext.MetadataSize); msg.Piece < len(f.pieces) {
			m.ext.Metadata = 0 // ask others
			f.pieces[msg.Piece].asked = time.Time{}
			s.fetchMetadata()
		}
	}
}

func (s *Swarm) serveMetadata(m *member, piece int) {
	if m.ext.Metadata == 0 {
		return
	}
	if m.metaAsked++; m.metaAsked > maxMetadataRefused {
		s.kick(m, fmt.Errorf("%w: asked for %d metadata pieces", peer.ErrHostile, m.metaAsked))
		return
	}
	if s.torrent == nil || piece*wire.MetadataPiece >= len(s.torrent.Info.Raw) ||
		m.metaSent > metadataCopies*len(s.torrent.Info.Raw)+maxMetadataAsked*wire.MetadataPiece {
		s.sendMetadata(m, &wire.MetadataMessage{Kind: wire.MetadataReject, Piece: piece})
		return
	}
	raw := s.torrent.Info.Raw
	begin := piece * wire.MetadataPiece
	m.metaSent += min(len(raw)-begin, wire.MetadataPiece)
	s.sendMetadata(m, &wire.MetadataMessage{Kind: wire.MetadataData, Piece: piece, Size: len(raw),
		Data: raw[begin:min(len(raw), begin+wire.MetadataPiece)]})
}

func (s *Swarm) gotMetadata(m *member, msg *wire.MetadataMessage) {
	if s.torrent != nil || m.ext.MetadataSize == 0 {
		return
	}
	f := s.metadataOf(m.ext.MetadataSize)
	if msg.Piece >= len(f.pieces) || (msg.Size != 0 && msg.Size != f.size) {
		s.kick(m, peer.ErrHostile)
		return
	}
	begin := msg.Piece * wire.MetadataPiece
	end := min(f.size, begin+wire.MetadataPiece)
	p := &f.pieces[msg.Piece]
	if len(msg.Data) != end-begin || p.data != nil || f.alone && f.only != m.conn.ID {
		return
	}
	p.data, p.from = slices.Clone(msg.Data), m.conn.ID
	if f.got++; f.got < len(f.pieces) {
		s.fetchMetadata()
		return
	}
	s.finishMetadata(f)
}

// finishMetadata checks the info dictionary and starts the torrent.
func (s *Swarm) finishMetadata(f *metadataFetch) {
	raw := make([]byte, 0, f.size)
	for _, p := range f.pieces {
		raw = append(raw, p.data...)
	}
	if !s.isInfo(raw) {
		s.wrongMetadata(f)
		return
	}
	info, err := metainfo.ParseInfo(raw)
	if err != nil {
		s.fail(err)
		return
	}
	s.metadata = nil
	s.identify(identityOf(info))
	s.start(metainfo.NewTorrent(info, nil))
}

// wrongMetadata bans who sent all of it, or has everybody asked alone.
func (s *Swarm) wrongMetadata(f *metadataFetch) {
	first := f.pieces[0].from
	if !slices.ContainsFunc(f.pieces, func(p metadataPiece) bool { return p.from != first }) {
		if m := s.peers[first]; m != nil {
			m.ext.Metadata = 0
			s.ban(s.authorOf(m), errNoMetadata)
		}
	}
	f.alone, f.only, f.got = true, 0, 0
	clear(f.pieces)
	s.fetchMetadata()
}
