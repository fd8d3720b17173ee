package swarm

import (
	"crypto/sha1"
	"testing"
	"time"

	"github.com/bttnet/btt/bencode"
	"github.com/bttnet/btt/wire"
)

// hasMetadata answers requests for metadata that came since the last call;
// a liar sends the first pieces alone, and those spoiled.
func (v *source) hasMetadata(raw []byte, lies bool) {
	list := v.messages()
	for _, m := range list[v.read:] {
		if m.ID != wire.Extended || m.Sub != 6 {
			continue
		}
		q, err := wire.ParseMetadataMessage(m.Payload)
		if err != nil || q.Kind != wire.MetadataRequest {
			continue
		}
		begin := q.Piece * wire.MetadataPiece
		data := append([]byte(nil), raw[begin:min(len(raw), begin+wire.MetadataPiece)]...)
		if lies && q.Piece > 2 {
			continue
		}
		if lies {
			data[3] ^= 1
		}
		r := wire.MetadataMessage{Kind: wire.MetadataData, Piece: q.Piece, Size: len(raw), Data: data}
		v.write(wire.AppendExtended(nil, wire.SubMetadata, r.Append(nil)))
	}
	v.read = len(list)
}

// TestMetadataLiar: of two peers that sent parts of wrong metadata, the honest
// one is not banned, and brings the metadata.
func TestMetadataLiar(t *testing.T) {
	bubble(t, testPiece, func(t *testing.T, w *world) {
		var d bencode.Dict
		d.SetString("name", "x")
		d.SetInt("length", 5)
		d.SetInt("piece length", 16<<10)
		d.SetBytes("pieces", make([]byte, 20))
		d.SetBytes("zpad", make([]byte, 5*wire.MetadataPiece))
		raw := d.Append(nil)
		s := New(Config{Index: 9, InfoHash: sha1.Sum(raw), Dir: t.TempDir(), Pool: w.pool, FreeSlot: func() {}, Log: quiet()})
		w.swarms = append(w.swarms, s)
		honest := &source{visitor: w.knockFrom(s, w.address(30), other(1)), w: w}
		liar := &source{visitor: w.knockFrom(s, w.address(31), other(2)), w: w}
		h := wire.ExtendedHandshake{Metadata: 6, MetadataSize: len(raw)}
		hello := wire.AppendExtended(nil, wire.SubHandshake, h.Append(nil))
		liar.write(hello)
		honest.write(hello)
		for range 120 {
			liar.hasMetadata(raw, true)
			honest.hasMetadata(raw, false)
			if s.Status().Name == "x" {
				break
			}
			time.Sleep(time.Second)
		}
		if st := s.Status(); st.Name != "x" || honest.gone() {
			t.Errorf("metadata of %q is there, honest peer gone %v", st.Name, honest.gone())
		}
		_ = s.do(func() {
			if s.bans.hasAddr(honest.addr.Addr(), s.now) {
				t.Error("the honest peer is banned")
			}
		})
	})
}
