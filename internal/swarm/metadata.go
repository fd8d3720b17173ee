package swarm

import (
	"crypto/sha1"
	"errors"
	"time"

	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// metadataFetch is the info dictionary of a magnet link on its way (BEP 9).
type metadataFetch struct {
	data   []byte
	pieces []metadataPiece
}

type metadataPiece struct {
	have  bool
	asked time.Time
	from  uint32
}

const (
	metadataRetry = 5 * time.Second
	// maxMetadataAsked is the number of metadata pieces asked of one peer at
	// once.
	maxMetadataAsked = 8
)

var errNoMetadata = errors.New("metadata does not match the info hash")

// offerMetadata starts the fetch once a peer tells the size.
func (s *Swarm) offerMetadata(m *member) {
	if s.info != nil || s.failure != nil || m.ext.Metadata == 0 || m.ext.MetadataSize == 0 {
		return
	}
	if s.metadata.data == nil {
		s.metadata.data = make([]byte, m.ext.MetadataSize)
		s.metadata.pieces = make([]metadataPiece, (m.ext.MetadataSize+wire.MetadataPiece-1)/wire.MetadataPiece)
	}
	s.fetchMetadata()
}

// fetchMetadata asks for missing metadata pieces.
func (s *Swarm) fetchMetadata() {
	if s.info != nil || s.metadata.data == nil {
		return
	}
	for _, m := range s.peers {
		if m.ext.Metadata == 0 || m.ext.MetadataSize != len(s.metadata.data) {
			continue
		}
		asked := 0
		for i := range s.metadata.pieces {
			p := &s.metadata.pieces[i]
			if p.have || s.now.Sub(p.asked) < metadataRetry {
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
		if s.info == nil && msg.Piece < len(s.metadata.pieces) {
			m.ext.Metadata = 0 // ask others
			s.metadata.pieces[msg.Piece].asked = time.Time{}
			s.fetchMetadata()
		}
	}
}

func (s *Swarm) serveMetadata(m *member, piece int) {
	if m.ext.Metadata == 0 {
		return
	}
	if s.info == nil || piece*wire.MetadataPiece >= len(s.info.Raw) {
		s.sendMetadata(m, &wire.MetadataMessage{Kind: wire.MetadataReject, Piece: piece})
		return
	}
	raw := s.info.Raw
	begin := piece * wire.MetadataPiece
	s.sendMetadata(m, &wire.MetadataMessage{Kind: wire.MetadataData, Piece: piece, Size: len(raw),
		Data: raw[begin:min(len(raw), begin+wire.MetadataPiece)]})
}

func (s *Swarm) gotMetadata(m *member, msg *wire.MetadataMessage) {
	f := &s.metadata
	if s.info != nil || f.data == nil {
		return
	}
	if msg.Piece >= len(f.pieces) || (msg.Size != 0 && msg.Size != len(f.data)) {
		s.kick(m, peer.ErrHostile)
		return
	}
	begin := msg.Piece * wire.MetadataPiece
	end := min(len(f.data), begin+wire.MetadataPiece)
	if len(msg.Data) != end-begin || f.pieces[msg.Piece].have {
		return
	}
	copy(f.data[begin:end], msg.Data)
	f.pieces[msg.Piece].have = true
	f.pieces[msg.Piece].from = m.conn.ID
	for _, p := range f.pieces {
		if !p.have {
			s.fetchMetadata()
			return
		}
	}
	s.finishMetadata()
}

// finishMetadata checks the info dictionary and starts the torrent.
func (s *Swarm) finishMetadata() {
	raw := s.metadata.data
	if sha1.Sum(raw) != s.cfg.InfoHash {
		for _, p := range s.metadata.pieces {
			if m := s.peers[p.from]; m != nil {
				s.ban(m.addr.Addr(), errNoMetadata)
				s.kick(m, errNoMetadata)
			}
		}
		s.metadata = metadataFetch{}
		return
	}
	info, err := metainfo.ParseInfo(raw)
	if err != nil {
		s.fail(err)
		return
	}
	s.metadata = metadataFetch{}
	s.notify(GotMetadata, nil)
	if err := s.adopt(info); err != nil {
		s.fail(err)
	}
}
