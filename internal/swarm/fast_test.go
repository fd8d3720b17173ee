package swarm

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/wire"
)

// pupil is a peer that writes down what it is told, and answers requests.
type pupil struct {
	*script
	said strings.Builder
}

// attend connects a peer that says first and then nothing but answers; with bits
// of the fast extension or without.
func (w *world) attend(s *Swarm, fast bool, first []byte) *pupil {
	w.t.Helper()
	x, y := net.Pipe()
	w.nodes++
	h := wire.Handshake{InfoHash: w.torrent.InfoHash}
	if fast {
		h.Reserved = wire.OurReserved()
	}
	copy(h.PeerID[:], fmt.Sprintf("-XX0000-%012d", w.nodes))
	p := &pupil{script: &script{w: w, net: y}}
	p.script.heard = func(m wire.Message) {
		switch m.ID {
		case wire.AllowedFast, wire.Have, wire.Suggest:
			fmt.Fprintf(&p.said, "%d:%d ", m.ID, m.Index)
		case wire.Request, wire.Reject, wire.Piece:
			fmt.Fprintf(&p.said, "%d:%d+%d ", m.ID, m.Index, m.Begin)
		}
	}
	go p.run()
	s.Accept(&Incoming{Net: x, Handshake: h, Addr: w.address(w.nodes), Outgoing: true})
	p.write(first)
	return p
}

// take returns what was said since the last call.
func (p *pupil) told() string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	said := strings.TrimSpace(p.said.String())
	p.said.Reset()
	return said
}

func request(piece, begin uint32) []byte {
	return wire.AppendBlock(nil, wire.Request, piece, begin, wire.BlockSize)
}

// TestAllowedFastTranscript: what a seed tells and gives peers that it chokes.
func TestAllowedFastTranscript(t *testing.T) {
	bubble(t, 40*testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		set := wire.AllowedFastSet(nil, w.address(0).Addr(), w.torrent.InfoHash, 40, 2)
		offer := fmt.Sprintf("17:%d 17:%d", set[0], set[1])
		none := wire.AppendEmpty(nil, wire.HaveNone)
		other := uint32(0)
		for slices.Contains(set, other) {
			other++
		}
		p := w.attend(s, true, none)
		if got := p.told(); got != offer {
			t.Fatalf("told %q, want %q", got, offer)
		}
		p.write(append(request(set[0], 0), request(other, 0)...))
		if got, want := p.told(), fmt.Sprintf("16:%d+0 7:%d+0", other, set[0]); got != want {
			t.Errorf("answers %q, want %q", got, want)
		}
		for range 2 * testPiece / wire.BlockSize { // once each block, no more
			p.write(request(set[1], 0))
		}
		said := p.told()
		if got, want := strings.Count(said, "7:"+fmt.Sprint(set[1])), 2*testPiece/wire.BlockSize-1; got != want || strings.Count(said, "16:") != 1 {
			t.Errorf("%d blocks, want %d: %s", got, want, said)
		}

		for name, first := range map[string][]byte{"a seed": wire.AppendEmpty(nil, wire.HaveAll),
			"one with two pieces": wire.AppendBitfield(nil, []byte{0xc0, 0, 0, 0, 0})} {
			if got := w.attend(s, true, first).told(); got != "" {
				t.Errorf("%s is told %q", name, got)
			}
		}
		if got := w.attend(s, false, wire.AppendBitfield(nil, make([]byte, 5))).told(); got != "" {
			t.Errorf("one without the extension is told %q", got)
		}
		q := w.attend(s, true, none)
		if got := q.told(); got != offer {
			t.Fatalf("told %q", got)
		}
		q.write(wire.AppendIndex(wire.AppendIndex(nil, wire.Have, 1), wire.Have, 2)) // enough to trade with
		q.write(request(set[0], 0))
		if got, want := q.told(), fmt.Sprintf("16:%d+0", set[0]); got != want {
			t.Errorf("with pieces of its own: %q, want %q", got, want)
		}
	})
}

// TestAllowedFastNotSold: where slots are sold, nobody is offered pieces without
// one; nor where the torrent is too small.
func TestAllowedFastNotSold(t *testing.T) {
	bubble(t, 40*testPiece, func(t *testing.T, w *world) {
		s := w.seed(w.market(), nil)
		if got := w.attend(s, true, wire.AppendEmpty(nil, wire.HaveNone)).told(); got != "" {
			t.Errorf("told %q", got)
		}
	})
	bubble(t, 8*testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		if got := w.attend(s, true, wire.AppendEmpty(nil, wire.HaveNone)).told(); got != "" {
			t.Errorf("told %q", got)
		}
	})
}

// TestAllowedFastRate: all choked peers of a torrent together get no more than
// its allowance, however many of them there are.
func TestAllowedFastRate(t *testing.T) {
	bubble(t, 40*testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		_ = s.do(func() { s.fast = peer.NewAllowance(3*wire.BlockSize, wire.BlockSize) })
		set := wire.AllowedFastSet(nil, w.address(0).Addr(), w.torrent.InfoHash, 40, 2)
		served := 0
		ask := func() (pieces, rejects int) {
			p := w.attend(s, true, wire.AppendEmpty(nil, wire.HaveNone))
			p.told()
			p.write(append(request(set[0], 0), request(set[1], 0)...))
			said := p.told()
			_ = p.net.Close()
			synctest.Wait()
			served += strings.Count(said, "7:")
			return strings.Count(" "+said, " 7:"), strings.Count(said, "16:")
		}
		ask()
		if pieces, rejects := ask(); pieces != 1 || rejects != 1 {
			t.Errorf("%d pieces, %d rejects", pieces, rejects)
		}
		if pieces, rejects := ask(); pieces != 0 || rejects != 2 {
			t.Errorf("%d pieces, %d rejects when nothing is left", pieces, rejects)
		}
		after(time.Second)
		if pieces, _ := ask(); pieces != 1 {
			t.Errorf("%d pieces a second later", pieces)
		}
	})
}

// TestAskAllowed: of a peer that chokes us, what it allows is asked for, a piece
// that it then rejects no more, and nothing else.
func TestAskAllowed(t *testing.T) {
	bubble(t, 6*testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		const per = testPiece / wire.BlockSize
		first := wire.AppendIndex(nil, wire.AllowedFast, 4) // before it said what it has
		first = wire.AppendEmpty(first, wire.HaveAll)
		first = wire.AppendIndex(wire.AppendIndex(first, wire.AllowedFast, 99), wire.AllowedFast, 2)
		p := w.attend(s, true, first)
		asked := p.told()
		if got := strings.Count(asked, "6:"); got != min(2*per, 16) || strings.Count(asked, "6:4+") != per {
			t.Fatalf("asked for %d blocks: %s", got, asked)
		}
		p.write(wire.AppendBlock(nil, wire.Reject, 2, 0, wire.BlockSize))
		p.release(false)
		after(5 * time.Second)
		if got := p.told(); strings.Contains(got, "6:2+0") {
			t.Errorf("asked again for what it rejects: %s", got)
		}
		if !s.store.Verified(4) {
			t.Error("the piece it allowed is not here")
		}
		p.write(wire.AppendEmpty(nil, wire.Unchoke))
		p.release(true)
		after(30 * time.Second)
		if st := s.Status(); st.State != Seeding {
			t.Errorf("state %v", st.State)
		}
	})
}

// TestSuggested: what a peer suggests is asked for first, but not out of the
// order of a stream.
func TestSuggested(t *testing.T) {
	for _, sequential := range []bool{false, true} {
		bubble(t, 200*testPiece, func(t *testing.T, w *world) {
			s := w.node(nil, t.TempDir(), func(c *Config) { c.Sequential = sequential })
			first := wire.AppendEmpty(nil, wire.HaveAll)
			for i := range uint32(40) { // more than are remembered
				first = wire.AppendIndex(first, wire.Suggest, 150+i)
			}
			p := w.attend(s, true, wire.AppendEmpty(first, wire.Unchoke))
			asked := p.told()
			if got, want := strings.HasPrefix(asked, "6:150+0 "), !sequential; got != want {
				t.Errorf("sequential %v: asked %.40s", sequential, asked)
			}
			p.release(true)
			after(time.Minute)
			if st := s.Status(); st.State != Seeding {
				t.Errorf("state %v", st.State)
			}
			if st := s.Status(); len(s.peers) > 0 && st.Err != nil {
				t.Error(st.Err)
			}
		})
	}
}

// TestFastWithoutExtension: who uses the messages without the extension is left,
// and not banned.
func TestFastWithoutExtension(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		p := w.attend(s, false, wire.AppendIndex(nil, wire.AllowedFast, 1))
		after(time.Second)
		if !p.gone() {
			t.Error("still connected")
		}
		_ = s.do(func() {
			if s.bans.hasAddr(w.address(w.nodes).Addr(), s.now) {
				t.Error("banned")
			}
		})
	})
}
