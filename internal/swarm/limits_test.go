package swarm

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bttnet/btt/wire"
)

// other gives a visitor a peer id of its own.
func other(n int) func(*wire.Handshake) {
	return func(h *wire.Handshake) { copy(h.PeerID[:], fmt.Sprintf("-XX0000-%012d", n)) }
}

// TestSlots: the connections of all torrents of a node are bounded, calls under
// way too, and a place that falls free is given again.
func TestSlots(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		slots := NewSlots(5, 2)
		set := func(c *Config) { c.Slots = slots }
		a, b := w.seed(nil, set), w.seed(nil, set)
		var in []*visitor
		for i := range 8 {
			s := []*Swarm{a, b}[i%2]
			in = append(in, w.knockFrom(s, w.address(30+i), other(i)))
		}
		if n := slots.Connections(); n != 5 || len(a.Status().Peers)+len(b.Status().Peers) != 5 {
			t.Fatalf("%d connections", n)
		}
		for i, v := range in {
			if v.gone() != (i >= 5) {
				t.Errorf("visitor %d: gone %v", i, v.gone())
			}
		}
		in[0].Close()
		if again := w.knockFrom(b, w.address(50), other(50)); again.gone() || slots.Connections() != 5 {
			t.Errorf("a free place is not given: %d connections", slots.Connections())
		}
		a.Close()
		b.Close()
		if n := slots.Connections(); n != 0 {
			t.Errorf("%d connections of closed torrents", n)
		}
	})
	calls := NewSlots(0, 2)
	for i, want := range []bool{true, true, false} {
		if calls.dial() != want {
			t.Errorf("call %d: %v", i, !want)
		}
	}
	if calls.dialed(); !calls.dial() {
		t.Error("a call that ended keeps its place")
	}
	if full := NewSlots(1, 9); !full.enter() || full.dial() {
		t.Error("a full node makes calls")
	}
}

// TestMaxPeers: a torrent's own limit holds.
func TestMaxPeers(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, func(c *Config) { c.MaxPeers = 3 })
		for i := range 6 {
			w.knockFrom(s, w.address(30+i), other(i))
		}
		if n := len(s.Status().Peers); n != 3 {
			t.Errorf("%d peers", n)
		}
	})
}

// TestExternal: one peer cannot choose what we take for our address.
func TestExternal(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		say := func(v *visitor, a string) {
			h := wire.ExtendedHandshake{YourIP: netip.MustParseAddr(a)}
			v.write(wire.AppendExtended(nil, wire.SubHandshake, h.Append(nil)))
		}
		is := func(want string) {
			t.Helper()
			_ = s.do(func() {
				if s.external != netip.MustParseAddr(want) {
					t.Errorf("our address is %v, want %v", s.external, want)
				}
			})
		}
		var list []*visitor
		for i := range 4 {
			list = append(list, w.knockFrom(s, w.address(30+i), other(i)))
		}
		say(list[0], "8.8.8.8")
		is("8.8.8.8")
		say(list[1], "9.9.9.9")
		say(list[1], "9.9.9.8")
		say(list[1], "9.9.9.9")
		is("8.8.8.8")
		say(list[2], "9.9.9.9")
		is("9.9.9.9")
		say(list[3], "0.0.0.0")
		is("9.9.9.9")
	})
}

// TestUploadOnly: who becomes a seed says so to all, by the message that the
// peer knows (BEP 10, 21), and leaves peers that want nothing either.
func TestUploadOnly(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		old, new := w.knockFrom(s, w.address(30), other(1)), w.knockFrom(s, w.address(31), other(2))
		hello := wire.ExtendedHandshake{UploadOnlyID: 33}
		new.write(wire.AppendExtended(nil, wire.SubHandshake, hello.Append(nil)))
		idle := w.knockFrom(s, w.address(32), other(3))
		if !finish(s, w.source(s, 61, blocks(nil, serveIt))) {
			t.Fatal("not complete")
		}
		hs := old.extended(wire.SubHandshake)
		if len(hs) != 2 {
			t.Fatalf("%d handshakes", len(hs))
		}
		for i, raw := range hs {
			if h, err := wire.ParseExtendedHandshake(raw); err != nil || h.UploadOnly != (i == 1) || h.Metadata != wire.SubMetadata {
				t.Errorf("handshake %d: %+v, %v", i, h, err)
			}
		}
		if got := new.extended(33); len(got) != 1 || len(got[0]) != 1 || got[0][0] != 1 || len(new.extended(wire.SubHandshake)) != 1 {
			t.Errorf("libtorrent's message: %x", got)
		}
		old.write(wire.AppendExtended(nil, wire.SubHandshake, []byte("d11:upload_onlyi1ee")))
		new.write(wire.AppendExtended(nil, wire.SubUploadOnly, []byte{1}))
		time.Sleep(2 * retireAfter)
		if !old.gone() || !new.gone() || idle.gone() {
			t.Errorf("gone: %v, %v, %v", old.gone(), new.gone(), idle.gone())
		}
	})
}

// TestSecondHandshake: what a further handshake does not name stays (BEP 10).
func TestSecondHandshake(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		v := w.knockFrom(s, w.address(30), other(1))
		first := wire.ExtendedHandshake{PEX: 4, DontHave: 5, Reqq: 70, Client: "x"}
		v.write(wire.AppendExtended(nil, wire.SubHandshake, first.Append(nil)))
		v.write(wire.AppendExtended(nil, wire.SubHandshake, []byte("d1:md6:ut_pexi0ee11:upload_onlyi1ee")))
		_ = s.do(func() {
			for _, m := range s.peers {
				if m.ext.PEX != 0 || m.ext.DontHave != 5 || m.ext.Reqq != 70 || m.ext.Client != "x" || !m.ext.UploadOnly {
					t.Errorf("after two handshakes: %+v", m.ext)
				}
			}
		})
	})
}

// TestLost: a piece whose files were cut under us is taken back from peers that
// understand it (BEP 54), and fetched anew.
func TestLost(t *testing.T) {
	bubble(t, 4*testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		knows := w.knockFrom(s, w.address(30), other(1))
		h := wire.ExtendedHandshake{DontHave: 9}
		knows.write(wire.AppendExtended(nil, wire.SubHandshake, h.Append(nil)))
		plain := w.knockFrom(s, w.address(31), other(2))
		victim := w.knockFrom(s, w.address(32), other(3))
		victim.write(wire.AppendEmpty(nil, wire.Interested))
		_ = s.do(func() {
			for _, m := range s.peers {
				if m.interest {
					s.unchoke(m, nil)
				}
			}
		})
		if err := os.Truncate(filepath.Join(w.dir, "film"), 2*testPiece+5); err != nil {
			t.Fatal(err)
		}
		victim.write(wire.AppendBlock(nil, wire.Request, 2, 0, wire.BlockSize))
		synctest.Wait()
		if got := knows.extended(9); len(got) != 1 || string(got[0]) != "\x00\x00\x00\x02" {
			t.Errorf("lt_donthave: %x", got)
		}
		if got := plain.extended(9); len(got) != 0 {
			t.Errorf("told to who does not know the message: %x", got)
		}
		if st := s.Status(); st.State != Downloading || st.Left != testPiece {
			t.Errorf("%v, %d bytes left", st.State, st.Left)
		}
		if !finish(s, w.source(s, 61, blocks(nil, serveIt))) {
			t.Error("the lost piece is not fetched again")
		}
	})
}

// TestMetadataFlood: a peer gets the metadata a few times and no more, which a
// choke would not stop, and is left when it goes on asking.
func TestMetadataFlood(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.seed(nil, nil)
		v := w.knockFrom(s, w.address(30), other(1))
		h := wire.ExtendedHandshake{Metadata: 6}
		v.write(wire.AppendExtended(nil, wire.SubHandshake, h.Append(nil)))
		ask := wire.AppendExtended(nil, wire.SubMetadata, (&wire.MetadataMessage{Kind: wire.MetadataRequest}).Append(nil))
		for range maxMetadataRefused / 64 {
			v.write(slices.Repeat(ask, 64))
		}
		sent, rejected := 0, 0
		for _, raw := range v.extended(6) {
			if m, err := wire.ParseMetadataMessage(raw); err == nil && m.Kind == wire.MetadataData {
				sent += len(m.Data)
			} else {
				rejected++
			}
		}
		most := (metadataCopies+1)*len(w.torrent.Info.Raw) + maxMetadataAsked*wire.MetadataPiece
		if sent == 0 || sent > most || rejected == 0 || v.gone() {
			t.Errorf("%d bytes of metadata sent, %d requests rejected, gone %v", sent, rejected, v.gone())
		}
		if v.write(slices.Repeat(ask, 65)); !v.gone() {
			t.Error("the flood goes on")
		}
	})
}

// TestMessageFlood: what a peer can make us hold with messages that are not
// handled yet is bounded, and honest peers are served meanwhile.
func TestMessageFlood(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		s := w.node(nil, t.TempDir(), nil)
		floods := [][]byte{
			wire.AppendExtended(nil, 77, make([]byte, 200<<10)),                        // nobody's message
			slices.Repeat(wire.AppendIndex(nil, wire.Have, 0), 20_000),                 // the same piece again
			slices.Repeat(wire.AppendEmpty(wire.AppendEmpty(nil, 0), 1), 20_000),       // choke, unchoke
			slices.Repeat(wire.AppendEmpty(wire.AppendEmpty(nil, 2), 3), 20_000),       // interested, not interested
			slices.Repeat(wire.AppendExtended(nil, wire.SubPEX, []byte("de")), 20_000), // peer exchange of nothing
			slices.Repeat(wire.AppendBlock(nil, wire.Cancel, 0, 0, 16<<10), 20_000),    // of nothing
			slices.Repeat(wire.AppendBlock(nil, wire.Reject, 0, 0, 16<<10), 20_000),    // of nothing
			slices.Repeat(wire.AppendBlock(nil, wire.Request, 0, 0, 16<<10), 20_000),   // while choked
			slices.Repeat(wire.AppendPort(nil, 9), 20_000),
		}
		for i, f := range floods {
			v := w.knockFrom(s, w.address(100+i), other(100+i))
			go func() { // ends when the swarm closes the connection
				for range 20 {
					if _, err := v.net.Write(f); err != nil {
						return
					}
				}
			}()
		}
		if !finish(s, w.source(s, 61, blocks(nil, serveIt))) {
			t.Error("an honest peer's data does not arrive")
		}
		_ = s.do(func() {
			if len(s.known) > maxKnown || len(s.peers) > MaxPeers {
				t.Errorf("%d addresses, %d peers", len(s.known), len(s.peers))
			}
		})
	})
}

// TestSilence: a seed that keeps us choked stays while it sends keep-alives and
// goes when it sends nothing at all; so does a leecher that waits for a slot.
func TestSilence(t *testing.T) {
	bubble(t, 2*testPiece, func(t *testing.T, w *world) {
		choking := func(s *Swarm, id wire.ID) *script {
			p := w.play(s, &script{none: true})
			p.write(wire.AppendEmpty(nil, id))
			return p
		}
		have := wire.AppendIndex(nil, wire.Have, 1)
		s, seed := w.node(nil, t.TempDir(), nil), w.seed(nil, nil)
		mute, alive, leecher := choking(s, wire.NotInterested), choking(s, wire.NotInterested), choking(seed, wire.Interested)
		mute.write(have)
		alive.write(have)
		stage := func(d time.Duration, want bool) {
			t.Helper()
			for range int(d / keepAlive) {
				after(keepAlive)
				alive.write(wire.AppendKeepAlive(nil))
			}
			if mute.gone() != want || leecher.gone() != want || alive.gone() {
				t.Fatalf("the mute seed went: %v, the mute leecher: %v, the one that speaks: %v", mute.gone(), leecher.gone(), alive.gone())
			}
		}
		stage(2*keepAlive, false)
		stage(2*keepAlive, true)
		stage(20*keepAlive, true)
	})
}
