package swarm

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/market"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wire"
)

// reply is what a visitor does with a request.
type reply int

const (
	serveIt reply = iota
	spoilIt
	rejectIt
	ignoreIt
)

// source is a visitor that has everything and answers requests as told.
type source struct {
	*visitor
	w     *world
	read  int // messages handled
	reply func(block int) reply
}

// source connects one, unchoked, from the n-th address.
func (w *world) source(s *Swarm, n int, f func(block int) reply, change ...func(*wire.Handshake)) *source {
	v := &source{visitor: w.knockFrom(s, w.address(n), change...), w: w, reply: f}
	v.write(wire.AppendEmpty(wire.AppendEmpty(nil, wire.HaveAll), wire.Unchoke))
	return v
}

// answer handles the requests that came since the last call.
func (v *source) answer() (served int) {
	synctest.Wait()
	list := v.messages()
	for _, m := range list[v.read:] {
		if m.ID != wire.Request {
			continue
		}
		at := int64(m.Index)*testPiece + int64(m.Begin)
		block := append([]byte(nil), v.w.data[at:at+int64(m.Length)]...)
		switch v.reply(int(at / wire.BlockSize)) {
		case rejectIt:
			v.write(wire.AppendBlock(nil, wire.Reject, m.Index, m.Begin, m.Length))
			continue
		case ignoreIt:
			continue
		case spoilIt:
			block[7] ^= 1
		}
		v.write(append(wire.AppendPieceHeader(nil, m.Index, m.Begin, m.Length), block...))
		served++
	}
	v.read = len(list)
	synctest.Wait()
	return served
}

func blocks(choose map[int]reply, other reply) func(int) reply {
	return func(b int) reply {
		if r, ok := choose[b]; ok {
			return r
		}
		return other
	}
}

// mixed has a piece fail to which two peers sent blocks, the second one a bad
// one.
func mixed(t *testing.T, w *world, s *Swarm) (good, bad *source) {
	t.Helper()
	n := testPiece / wire.BlockSize
	half := map[int]reply{}
	for b := n / 2; b < n; b++ {
		half[b] = rejectIt
	}
	good = w.source(s, 61, blocks(half, serveIt))
	good.answer()
	bad = w.source(s, 62, blocks(map[int]reply{n - 1: spoilIt}, serveIt))
	bad.answer()
	if good.gone() || bad.gone() {
		t.Fatalf("before anything is known: good one gone %v, bad one gone %v", good.gone(), bad.gone())
	}
	_ = s.do(func() {
		if len(s.blamed) != 1 || s.pieces.Has(0) {
			t.Errorf("%d pieces are blamed", len(s.blamed))
		}
		for _, m := range s.peers {
			if !m.parole {
				t.Errorf("%v is not on parole", m.addr)
			}
		}
	})
	good.reply, bad.reply = blocks(nil, serveIt), blocks(nil, ignoreIt)
	return good, bad
}

// finish lets a source serve until the swarm is complete.
func finish(s *Swarm, v *source) bool {
	for range 200 {
		v.answer()
		if s.Status().State == Seeding {
			synctest.Wait()
			return true
		}
		time.Sleep(time.Second)
	}
	return false
}

// TestBlame: when a piece fails to which several peers sent blocks, nobody is
// punished before the right data tells whose block was bad; then exactly that
// peer is banned, for an hour, also if it left meanwhile (R12.4).
func TestBlame(t *testing.T) {
	for name, leaves := range map[string]bool{"stays": false, "leaves": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, testPiece, func(t *testing.T, w *world) {
				s := w.node(nil, t.TempDir(), nil)
				good, bad := mixed(t, w, s)
				if leaves {
					bad.Close()
				}
				if !finish(s, good) {
					t.Fatal("the download is not complete")
				}
				if good.gone() || !bad.gone() {
					t.Errorf("good one gone %v, bad one gone %v", good.gone(), bad.gone())
				}
				again := w.knockFrom(s, bad.addr, func(h *wire.Handshake) { h.PeerID[19] ^= 1 })
				if !again.gone() {
					t.Error("the culprit's address is let in again")
				}
				other := w.knockFrom(s, w.address(63), func(h *wire.Handshake) { copy(h.PeerID[:], "-XX0000-copied id of") })
				if other.gone() {
					t.Error("somebody else is refused")
				}
				time.Sleep(banTime)
				if late := w.knockFrom(s, bad.addr); late.gone() {
					t.Error("the ban does not end")
				}
			})
		})
	}
}

// TestBlameLoopback: where one address stands for many peers the peer id is
// banned, not the address (docs/rfcs/0006-loopback.md).
func TestBlameLoopback(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		local := netip.MustParseAddrPort("127.0.0.1:7001")
		v := &source{visitor: w.knockFrom(s, local), w: w, reply: blocks(map[int]reply{0: spoilIt}, serveIt)}
		v.write(wire.AppendEmpty(wire.AppendEmpty(nil, wire.HaveAll), wire.Unchoke))
		v.answer()
		if !v.gone() {
			t.Fatal("who sent all of a bad piece stays")
		}
		if again := w.knockFrom(s, local); !again.gone() {
			t.Error("its peer id is let in again")
		}
		if other := w.knockFrom(s, local, func(h *wire.Handshake) { h.PeerID[19] ^= 1 }); other.gone() {
			t.Error("another peer of this machine is refused")
		}
	})
}

// TestBlameAccount: the ledger account by which garbage was sold is banned with
// its peer, in every torrent of the node and from every address (R12.4).
func TestBlameAccount(t *testing.T) {
	k, now := &market.Node{}, time.Unix(1_000_000, 0)
	account, elsewhere := ledger.Address{7}, netip.MustParseAddr("203.0.113.9")
	s := &Swarm{cfg: Config{Market: k, Log: quiet()}, now: now, peers: map[uint32]*member{}}
	s.ban(author{addr: netip.MustParseAddr("198.51.100.1"), account: account}, errors.New("another reason"))
	if _, banned := k.Standing(account, elsewhere, now); banned {
		t.Error("the account is banned for what is not bad data")
	}
	s.ban(author{addr: netip.MustParseAddr("198.51.100.1"), account: account}, errBadData)
	if eligible, banned := k.Standing(account, elsewhere, now); eligible || !banned {
		t.Errorf("eligible %v, banned %v", eligible, banned)
	}
	if _, banned := k.Standing(ledger.Address{8}, elsewhere, now); banned {
		t.Error("another account is banned")
	}
}

// TestGuilty: of several attempts, the authors of differing blocks are found,
// and nobody else; blocks without an author are nobody's.
func TestGuilty(t *testing.T) {
	who := func(n byte) author { return author{addr: netip.AddrFrom4([4]byte{10, 0, 0, n})} }
	leaf := func(s string) []byte {
		out := make([]byte, 0, 32*len(s))
		for _, c := range []byte(s) {
			b := make([]byte, 32)
			b[31] = c
			out = append(out, b...)
		}
		return out
	}
	got := guilty([]attempt{
		{leaf("abXd"), nil, []author{who(1), who(2), who(3), who(1)}},
		{leaf("abcY"), nil, []author{who(3), who(2), who(1), {}}},
		{leaf("Zbcd"), nil, []author{who(4), who(4), who(4), who(4)}},
		{leaf("ab"), nil, []author{who(5), who(5), who(5), who(5)}},
	}, leaf("abcd"))
	if len(got) != 2 || !got[who(3)] || !got[who(4)] {
		t.Errorf("guilty are %v", got)
	}
}

// TestBansBounded: bans and what is remembered for them have their limits.
func TestBansBounded(t *testing.T) {
	var b bans
	now := time.Unix(1000, 0)
	for i := range 3 * maxBanned {
		b.add(author{addr: netip.AddrFrom4([4]byte{9, byte(i >> 16), byte(i >> 8), byte(i)})}, now)
		b.add(author{addr: netip.MustParseAddr("127.0.0.1"), key: [20]byte{byte(i >> 8), byte(i)}}, now)
	}
	if len(b.addrs) > maxBanned || len(b.keys) > maxBanned {
		t.Errorf("%d addresses and %d ids are banned", len(b.addrs), len(b.keys))
	}
	six := netip.MustParseAddr("2001:db8::1")
	if b.add(author{addr: six}, now.Add(banTime)); !b.hasAddr(netip.MustParseAddr("2001:db8::ffff:2"), now) || b.hasAddr(netip.MustParseAddr("2001:db8:0:1::1"), now) {
		t.Error("IPv6 is not banned by its /64")
	}
	s := &Swarm{cfg: Config{Log: quiet()}, peers: map[uint32]*member{}}
	for i := range uint32(10 * maxBlamed) {
		s.suspect(i, attempt{})
		s.suspect(i/100, attempt{})
	}
	if len(s.blamed) > maxBlamed {
		t.Errorf("%d pieces are blamed", len(s.blamed))
	}
	for _, list := range s.blamed {
		if len(list) > maxAttempts {
			t.Errorf("%d attempts at a piece", len(list))
		}
	}
}

// TestNeverAnswers: what a peer was asked for and does not send goes to others,
// and from then on it is asked for one block at a time.
func TestNeverAnswers(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		idle := w.source(s, 61, blocks(nil, ignoreIt))
		idle.answer()
		after(snubAfter + 2*tickEvery)
		_ = s.do(func() {
			for _, m := range s.peers {
				if !m.snubbed || m.conn.Outstanding() > 1 {
					t.Errorf("snubbed %v, owes %d blocks", m.snubbed, m.conn.Outstanding())
				}
			}
		})
		if !finish(s, w.source(s, 62, blocks(nil, serveIt))) {
			t.Error("others are not asked for it")
		}
	})
}
