package dht

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"time"
)

// Limits of what is kept for others.
const (
	// MaxStoredTorrents and MaxStoredPeers bound the peers kept for others;
	// MaxStoredPerIP is how many of a torrent's peers may be at one address.
	MaxStoredTorrents = 4096
	MaxStoredPeers    = 200
	MaxStoredPerIP    = 4
	// storedFor is how long an announced peer is told.
	storedFor = 30 * time.Minute
	// maxTold is how many peers fit one answer.
	maxTold = 50
	// tokenEvery is how often the tokens' secret changes; a token is good for
	// one to two of it (BEP 5: up to ten minutes).
	tokenEvery = 5 * time.Minute
)

// store keeps the peers that others announced to us. It is passive.
type store struct {
	torrents map[ID]map[netip.AddrPort]time.Time
}

func newStore() *store { return &store{torrents: map[ID]map[netip.AddrPort]time.Time{}} }

// add keeps a peer; of a full torrent another one goes, and a full store takes
// no new torrents until old ones expire.
func (s *store) add(hash ID, a netip.AddrPort, now time.Time) {
	peers := s.torrents[hash]
	if peers == nil {
		if len(s.torrents) >= MaxStoredTorrents {
			return
		}
		peers = map[netip.AddrPort]time.Time{}
		s.torrents[hash] = peers
	}
	if _, known := peers[a]; !known {
		same := 0
		for p := range peers {
			if p.Addr() == a.Addr() {
				same++
			}
		}
		if same >= MaxStoredPerIP && !a.Addr().IsLoopback() {
			return
		}
		if len(peers) >= MaxStoredPeers {
			for p := range peers { // any: map order is as good as random
				delete(peers, p)
				break
			}
		}
	}
	peers[a] = now
}

// peers returns some of a torrent's peers of one family, never one that the
// asking address could not use.
func (s *store) peers(hash ID, asker netip.Addr, now time.Time) (list []netip.AddrPort) {
	for a, t := range s.torrents[hash] {
		if len(list) == maxTold {
			break
		}
		if now.Sub(t) < storedFor && a.Addr().Is4() == asker.Is4() && usable(asker, a) {
			list = append(list, a)
		}
	}
	return list
}

// all returns a torrent's peers.
func (s *store) all(hash ID, now time.Time) (list []netip.AddrPort) {
	for a, t := range s.torrents[hash] {
		if now.Sub(t) < storedFor {
			list = append(list, a)
		}
	}
	return list
}

// expire drops what was announced too long ago.
func (s *store) expire(now time.Time) {
	for hash, peers := range s.torrents {
		for a, t := range peers {
			if now.Sub(t) >= storedFor {
				delete(peers, a)
			}
		}
		if len(peers) == 0 {
			delete(s.torrents, hash)
		}
	}
}

// tokens proves that an announce comes from an address that asked before.
type tokens struct {
	secrets [2][16]byte // the newest first
	turned  time.Time
}

func (t *tokens) turn(secret [16]byte, now time.Time) {
	t.secrets[1], t.secrets[0], t.turned = t.secrets[0], secret, now
}

func (t *tokens) make(a netip.Addr) []byte { return token(t.secrets[0], a) }

func token(secret [16]byte, a netip.Addr) []byte {
	ip := a.As16()
	sum := sha256.Sum256(append(secret[:], ip[:]...))
	return sum[:8]
}

func (t *tokens) valid(got []byte, a netip.Addr) bool {
	return subtle.ConstantTimeCompare(got, token(t.secrets[0], a))|subtle.ConstantTimeCompare(got, token(t.secrets[1], a)) == 1
}
