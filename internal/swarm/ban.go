package swarm

import (
	"crypto/sha256"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wire"
)

// Limits of bans and of what they rest on.
const (
	// maxBanned is the greatest number of addresses, and of peer ids, banned.
	maxBanned = 4096
	// banTime is how long an address or a peer id stays banned.
	banTime = time.Hour
	// maxBlamed is the greatest number of pieces of which failed attempts are
	// remembered, maxAttempts how many of one piece.
	maxBlamed   = 32
	maxAttempts = 4
	// maxBadPieces is the number of failed pieces a peer may have shared in
	// when nothing tells whose blocks were bad.
	maxBadPieces = 3
	// maxLeft is how many peers that left are remembered as authors of blocks.
	maxLeft = 256
)

// author is what a peer is known by once its connection is gone.
type author struct {
	addr    netip.Addr
	key     [20]byte // its peer id
	account ledger.Address
}

// attempt is a failed attempt at a piece: the hashes of its blocks and who sent
// each.
type attempt struct {
	leaves  []byte
	ids     []uint32 // connections
	authors []author
}

// bans are the addresses and peer ids that are refused (R12.3, R12.4).
type bans struct {
	addrs map[netip.Addr]time.Time
	keys  map[[20]byte]time.Time
}

// scope is what is banned for one address: IPv6 hosts own a /64 at least.
func scope(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // 64 bits are there
		return p.Addr()
	}
	return a
}

// add refuses a peer until a time. Where the address stands for many peers the
// peer id is banned in its place; elsewhere it is not, for anybody can take the
// id of another (docs/rfcs/0019-blame.md).
func (b *bans) add(who author, until time.Time) {
	if who.addr.Unmap().IsLoopback() {
		if b.keys == nil {
			b.keys = map[[20]byte]time.Time{}
		}
		room(b.keys)
		b.keys[who.key] = until
		return
	}
	if b.addrs == nil {
		b.addrs = map[netip.Addr]time.Time{}
	}
	room(b.addrs)
	b.addrs[scope(who.addr)] = until
}

// room keeps a table within maxBanned: some entry goes.
func room[K comparable](m map[K]time.Time) {
	if len(m) < maxBanned {
		return
	}
	for k := range m {
		delete(m, k)
		return
	}
}

func (b *bans) has(addr netip.Addr, key [20]byte, now time.Time) bool {
	return now.Before(b.keys[key]) || b.hasAddr(addr, now)
}

func (b *bans) hasAddr(addr netip.Addr, now time.Time) bool { return now.Before(b.addrs[scope(addr)]) }

func (b *bans) covers(who author, m *member) bool {
	if who.addr.Unmap().IsLoopback() {
		return m.conn.Handshake.PeerID == who.key
	}
	return scope(m.addr.Addr()) == scope(who.addr)
}

func (s *Swarm) authorOf(m *member) author {
	return author{addr: m.addr.Addr(), key: m.conn.Handshake.PeerID, account: m.trade.Provider()}
}

// ban refuses a peer for a time and ends its connections. Where it sent bad data the
// ledger account by which it sold goes with it, and the whole node refuses it, in its next
// run too.
func (s *Swarm) ban(who author, why error) {
	s.cfg.Log.Warn("peer banned", "addr", who.addr, "reason", why)
	s.bans.add(who, s.now.Add(banTime))
	if errors.Is(why, errBadData) && s.cfg.Market != nil {
		s.cfg.Market.Spoiled(who.account, who.addr, s.now)
	}
	for _, m := range s.peers {
		if !m.kicked && s.bans.covers(who, m) {
			s.kick(m, why)
		}
	}
}

// remember keeps who a peer was that leaves: its blocks may fail later.
func (s *Swarm) remember(m *member) {
	if m.conn.Received.Load() == 0 {
		return
	}
	if s.gone == nil {
		s.gone = map[uint32]author{}
	}
	if len(s.gone) >= maxLeft {
		for id := range s.gone {
			if id+maxLeft < m.conn.ID { // the long gone
				delete(s.gone, id)
			}
		}
		if len(s.gone) >= maxLeft {
			clear(s.gone)
		}
	}
	s.gone[m.conn.ID] = s.authorOf(m)
}

// onBadPiece handles a piece that failed its hash: all its blocks are fetched
// again. Who sent all of it is banned. Of several, nobody is before it is known
// whose blocks were bad: from the hashes of version 2 ([Swarm.openCase]), or when
// the piece is right. Until then each gets pieces of its own.
func (s *Swarm) onBadPiece(piece uint32) {
	leaves, ids := s.store.Blame(piece)
	s.ids = s.ids[:0]
	if ids == nil {
		s.ids = s.picker.Contributors(s.ids, piece)
	}
	for _, id := range ids {
		if id != 0 && !slices.Contains(s.ids, id) {
			s.ids = append(s.ids, id)
		}
	}
	s.again(piece)
	s.market.Dropped(piece)
	alone := len(s.ids) == 1
	for _, id := range s.ids {
		m := s.peers[id]
		if m == nil {
			if who, ok := s.gone[id]; ok && alone {
				s.ban(who, errBadData)
			}
			continue
		}
		m.trade.Uncredit(piece, s.authors)
		m.bad++
		m.parole = true
		if alone || leaves == nil && m.bad >= maxBadPieces {
			s.ban(s.authorOf(m), errBadData)
		}
	}
	s.cfg.Log.Warn("piece failed its hash", "piece", piece, "peers", len(s.ids))
	if !alone && leaves != nil {
		a := s.attempt(leaves, ids)
		if !s.openCase(piece, a) {
			s.suspect(piece, a)
		}
	}
	s.feedAll()
}

// attempt says who the connections were that sent the blocks.
func (s *Swarm) attempt(leaves []byte, ids []uint32) attempt {
	a := attempt{leaves: leaves, ids: ids, authors: make([]author, len(ids))}
	for i, id := range ids {
		if m := s.peers[id]; m != nil {
			a.authors[i] = s.authorOf(m)
		} else {
			a.authors[i] = s.gone[id] // or nobody
		}
	}
	return a
}

// suspect remembers a failed attempt until the piece is right.
func (s *Swarm) suspect(piece uint32, a attempt) {
	if s.blamed == nil {
		s.blamed = map[uint32][]attempt{}
	}
	if _, known := s.blamed[piece]; !known && len(s.blamed) >= maxBlamed {
		for old := range s.blamed {
			delete(s.blamed, old)
			break
		}
	}
	list := s.blamed[piece]
	if len(list) >= maxAttempts {
		list = list[1:]
	}
	s.blamed[piece] = append(list, a)
}

// absolve lets the peers that made a right piece share pieces again.
func (s *Swarm) absolve(piece uint32) {
	for _, id := range s.picker.Contributors(s.ids[:0], piece) {
		if m := s.peers[id]; m != nil {
			m.parole = false
		}
	}
}

// settleBlame compares the failed attempts at a piece with the right one, which
// is in its files, and bans who sent blocks that differ, and nobody else.
func (s *Swarm) settleBlame(piece uint32) {
	attempts := s.blamed[piece]
	if attempts == nil {
		return
	}
	delete(s.blamed, piece)
	store := s.store
	s.judges.Go(func() { // ends when the piece is read
		right, err := store.Leaves(piece)
		s.post(func() {
			if err != nil {
				s.cfg.Log.Warn("find out who sent bad blocks", "piece", piece, "err", err)
				return
			}
			for who := range guilty(attempts, right) {
				s.ban(who, errBadData)
			}
		})
	})
}

// guilty are the authors of blocks whose hashes differ from the right ones.
func guilty(attempts []attempt, right []byte) map[author]bool {
	out := map[author]bool{}
	for _, a := range attempts {
		for i, who := range a.authors {
			at := i * sha256.Size
			if !who.addr.IsValid() || len(right) < at+sha256.Size || len(a.leaves) < at+sha256.Size {
				continue
			}
			if string(a.leaves[at:at+sha256.Size]) != string(right[at:at+sha256.Size]) {
				out[who] = true
			}
		}
	}
	return out
}

// A piece that fails its hash is dropped by the store at once, in a peer's
// goroutine; the swarm hears of it later, and blocks of the next attempt may have
// come by then. So from its first failure on the store alone says what there is of a
// piece. A block that the store has and that a paid peer is asked for again would be
// served and never paid, and so would one that is asked for twice.

// received books a block that came, and says whether it is this peer's that the store
// keeps, so that it is to be paid when it proves right.
func (s *Swarm) received(id, piece, block uint32) (kept bool) {
	if !s.picker.Suspect(piece) {
		s.picker.Received(piece, block, id)
		return true // unless it is a duplicate, which the store said
	}
	author, here := s.store.Author(piece, block*wire.BlockSize)
	if here && author == 0 { // the piece is complete
		author = id
	}
	if here {
		s.picker.Keep(piece, block, author)
	}
	if author == id {
		return true
	}
	if m := s.peers[id]; m == nil || !m.conn.Owes(piece, block) { // else it was asked again
		s.picker.ReturnBlock(piece, block, id)
	}
	return false
}

// again goes on with a piece of which the store dropped an attempt: what it took
// since is not asked for again, nor what peers were asked for before and owe still.
func (s *Swarm) again(piece uint32) {
	s.authors = s.store.Holds(s.authors[:0], piece)
	if len(s.authors) > 0 || !s.store.Verified(piece) { // else that it is written will be told
		s.picker.Retry(piece, s.authors)
	}
}

// disclaim sees to it that what was just leased to a peer that we pay comes from it
// alone: what free peers were asked for of it before, and that was given up, is not
// taken any more. A choke and late garbage after it would spoil the paid blocks.
func (s *Swarm) disclaim(m *member) {
	if !m.trade.Paying() {
		return
	}
	for i, l := range s.leases {
		if i > 0 && s.leases[i-1].Piece == l.Piece {
			continue
		}
		for _, o := range s.peers {
			if o != m && !o.trade.Paying() {
				o.conn.Disclaim(l.Piece)
			}
		}
	}
}
