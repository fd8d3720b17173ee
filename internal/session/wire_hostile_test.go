package session

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed"
	"github.com/bttnet/btt/wire"
)

// ext is an extension message to a node.
func ext(sub uint8, payload []byte) []byte { return wire.AppendExtended(nil, sub, payload) }

// said is a btt_speed message to a node.
func said(t *testing.T, m speed.Message) []byte {
	t.Helper()
	f, err := speed.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return ext(wire.SubSpeed, f)
}

// TestBrokenMessages: each ends the connection of who sent it and nothing
// else: an honest peer is served afterwards.
func TestBrokenMessages(t *testing.T) {
	h := newHostileSeed(t, ledgertest.New(), nil)
	noisy := ledgertest.Key("noisy")
	who := noisy.Address()
	bid := func(p int64) []byte { return said(t, speed.Bid{Price: perGiB(p), Account: who}) }
	many := bytes.Repeat
	huge := append([]byte("d1:v65530:"), bytes.Repeat([]byte("x"), 65530)...)
	for name, msg := range map[string][]byte{
		"bitfield too short":        wire.AppendBitfield(nil, []byte{0}),
		"bitfield too long":         wire.AppendBitfield(nil, make([]byte, 300)),
		"bitfield of 256 KiB":       wire.AppendBitfield(nil, make([]byte, wire.MaxMessage-1)),
		"have out of range":         wire.AppendIndex(nil, wire.Have, 16),
		"have of piece 2^32-1":      wire.AppendIndex(nil, wire.Have, 1<<32-1),
		"message too long":          {0x00, 0x10, 0x00, 0x00, 20, 0},
		"extended of no length":     {0, 0, 0, 1, 20},
		"huge extension handshake":  ext(wire.SubHandshake, append(huge, 'e')),
		"handshake is no bencode":   ext(wire.SubHandshake, []byte("hello")),
		"handshake is a list":       ext(wire.SubHandshake, []byte("le")),
		"deep handshake":            ext(wire.SubHandshake, append(bytes.Repeat([]byte("l"), 5000), bytes.Repeat([]byte("e"), 5000)...)),
		"metadata is no bencode":    ext(wire.SubMetadata, []byte("x")),
		"metadata without a piece":  ext(wire.SubMetadata, []byte("d8:msg_typei0ee")),
		"metadata of piece -1":      ext(wire.SubMetadata, []byte("d8:msg_typei0e5:piecei-1ee")),
		"empty speed message":       ext(wire.SubSpeed, nil),
		"short bid":                 ext(wire.SubSpeed, []byte{1, 0, 0}),
		"negative bid":              ext(wire.SubSpeed, append([]byte{1, 255, 255, 255, 255, 255, 255, 255, 255}, who[:]...)),
		"bid without an account":    ext(wire.SubSpeed, append([]byte{1}, make([]byte, 8+20)...)),
		"long channel message":      ext(wire.SubSpeed, append([]byte{5}, make([]byte, speed.MaxChannel+1)...)),
		"garbage for the channel":   ext(wire.SubSpeed, []byte{5, 77, 1, 2, 3}),
		"unknown type, oversized":   ext(wire.SubSpeed, append([]byte{99}, make([]byte, speed.MaxMessage)...)),
		"flood of unknown types":    many(ext(wire.SubSpeed, []byte{99}), 2*speed.UnknownBurst),
		"flood of bids":             many(bid(300), speed.BidBurst+1),
		"another account":           append(bid(300), said(t, speed.Bid{Price: perGiB(300), Account: ledger.Address{1}})...),
		"bid response without bid":  said(t, speed.BidResponse{Price: 1}),
		"flood of reserve prices":   many(said(t, speed.Reserve{Price: 1}), speed.ReserveBurst+1),
		"flood of proofs":           many(said(t, speed.Proof{}), speed.ProofBurst+2),
		"flood of channel messages": many(said(t, speed.Channel{Payload: channel.Encode(&channel.Close{})}), 2*speed.ChannelBurst),
	} {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, h.Addr(), h.torrent, noisy, h.net)
			go c.send(msg) // the node may close before it read all
			c.ends()
		})
	}
	for name, msg := range map[string][]byte{
		"unknown message":         {0, 0, 0, 3, 99, 1, 2},
		"unknown extension":       ext(77, []byte("whatever")),
		"unknown speed type":      ext(wire.SubSpeed, []byte{99, 1, 2, 3}),
		"odd handshake values":    ext(wire.SubHandshake, []byte("d1:md11:ut_metadatai-5e9:btt_speedi9ee13:metadata_sizei-1e1:pi99999999e4:reqqi-1ee")),
		"metadata beyond the end": ext(wire.SubMetadata, []byte("d8:msg_typei0e5:piecei2047ee")),
		"metadata nobody wants":   ext(wire.SubMetadata, []byte("d8:msg_typei1e5:piecei0e10:total_sizei5eehello")),
		"message of no channel":   said(t, speed.Channel{Payload: channel.Encode(&channel.Close{})}),
		"payment of no channel":   said(t, speed.Channel{Payload: channel.Encode(&channel.Pay{Bytes: 1 << 40})}),
		"quote by a buyer":        said(t, speed.Channel{Payload: channel.Encode(&channel.Quote{Price: 1})}),
	} {
		t.Run(name+" is borne", func(t *testing.T) {
			c := dialRaw(t, h.Addr(), h.torrent, noisy, h.net)
			c.send(msg)
			c.silent(30*time.Millisecond, "choke", func(m *wire.Message) bool { return m.ID == wire.Choke })
		})
	}
	h.serves(t)
}

// seller is a raw peer that claims to have everything and to sell it.
func sellerTo(t *testing.T, x *trader, torrent *metainfo.Torrent) *raw {
	t.Helper()
	c := dialRaw(t, x.Addr(), torrent, ledgertest.Key("crook"), x.market.Net)
	c.send(wire.AppendEmpty(nil, wire.HaveAll))
	c.until("bid", func(m *wire.Message) bool { _, ok := speedOf(m).(speed.Bid); return ok })
	return c
}

// offers sends a bid response with good terms, and the unchoke.
func (c *raw) offers(net ledger.Network, p amount.Price) {
	c.t.Helper()
	terms := channel.Terms{Account: ledgertest.Key("crook").PublicKey(), K2: ledgertest.Key("crook K2").PublicKey(), Network: net,
		MinLock: 3600, MaxLock: 7 * 86400, MinDeposit: 10_000, MaxDeposit: amount.BTT, Quantum: piece}
	c.speed(speed.BidResponse{Price: p, Terms: terms.Append(nil)})
	c.speed(speed.Channel{Payload: channel.Encode(&channel.Quote{Price: p})})
	c.send(wire.AppendEmpty(nil, wire.Unchoke))
}

// TestPriceAboveBid: the requester leaves a provider that asks more than it
// bid (R10.16), or whose terms are nonsense, and is served by another.
func TestPriceAboveBid(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, nil)
	x := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(500)})
	g, _ := x.gets(h.torrent)
	until(t, "the check", func() bool { return g.Status().State == swarm.Downloading })
	c := sellerTo(t, x, h.torrent)
	c.offers(h.net, perGiB(500)+1)
	c.ends()
	c = sellerTo(t, x, h.torrent)
	c.speed(speed.BidResponse{Price: perGiB(100), Terms: []byte("nonsense")})
	c.ends()
	g.AddPeers(h.Addr())
	await(t, g)
	x.settle() // its last payment comes before its goodbye
	h.settle()
	reconcile(t, l, x, h.trader)
}

// TestGarbageSeller: a provider that sells garbage is never paid and is left
// after the first piece (R12.4, R12.6).
func TestGarbageSeller(t *testing.T) {
	l := ledgertest.New()
	h := newHostileSeed(t, l, nil)
	x := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(500)})
	g, to := x.gets(h.torrent)
	until(t, "the check", func() bool { return g.Status().State == swarm.Downloading })
	c := sellerTo(t, x, h.torrent)
	c.offers(h.net, perGiB(100))
	junk := make([]byte, wire.BlockSize)
	_, _ = rand.Read(junk)
	for end := time.Now().Add(soon); ; {
		m, err := c.next(time.Until(end))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the buyer stays with who sold it garbage")
		}
		if err != nil {
			break
		}
		if m.ID == wire.Request {
			c.send(append(wire.AppendPieceHeader(nil, m.Index, m.Begin, m.Length), junk[:m.Length]...))
		}
	}
	if n, _, _ := x.seen(payments.EventPaid); n != 0 {
		t.Errorf("%d payments for garbage", n)
	}
	crook := ledgertest.Key("crook").Address()
	if _, banned := x.market.Standing(crook, netip.MustParseAddr("203.0.113.1"), time.Now()); !banned {
		t.Error("the account that sold garbage is not banned")
	}
	g.AddPeers(h.Addr())
	await(t, g)
	sameFiles(t, h.dir, to, map[string]int{"a.bin": 0})
	x.settle() // its last payment comes before its goodbye
	h.settle()
	reconcile(t, l, x, h.trader)
	if got := x.gained(); got != -int64(owed(t, perGiB(200), h.torrent.Info.TotalLength)) {
		t.Errorf("the buyer has %d", got)
	}
}

// TestMetadataLies: peers that lie about the size of the info dictionary, send
// another one, or never answer cannot keep a magnet link from its metadata.
func TestMetadataLies(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	liars := map[string]wire.ExtendedHandshake{
		"32 MiB":      {Metadata: wire.SubMetadata, MetadataSize: wire.MaxMetadata},
		"one byte":    {Metadata: wire.SubMetadata, MetadataSize: 1},
		"right size":  {Metadata: wire.SubMetadata, MetadataSize: len(torrent.Info.Raw)},
		"nothing":     {Metadata: wire.SubMetadata},
		"no ext":      {},
		"more by one": {Metadata: wire.SubMetadata, MetadataSize: len(torrent.Info.Raw) + 1},
	}
	for name, hand := range liars {
		for _, answers := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				seed, leech := open(t, Config{}), open(t, Config{})
				s, err := seed.Add(Add{Torrent: torrent, Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				await(t, s)
				g, err := leech.Add(Add{InfoHash: torrent.InfoHash, Dir: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				c := dialPlain(t, leech.Addr(), torrent, wire.OurReserved())
				c.send(ext(wire.SubHandshake, hand.Append(nil)))
				c.send(wire.AppendEmpty(nil, wire.HaveAll))
				go lie(c, hand.MetadataSize, answers)
				until(t, "the liar", func() bool { return len(g.Status().Peers) == 1 || answers })
				time.Sleep(10 * time.Millisecond) // let the lie arrive first
				g.AddPeers(netip.AddrPort(seed.Addr()))
				await(t, g)
			})
		}
	}
}

// lie answers requests for metadata with zeros, or not at all, until the
// connection ends.
func lie(c *raw, size int, answers bool) {
	zeros := make([]byte, size)
	for {
		m, err := c.next(20 * time.Second)
		if err != nil {
			return
		}
		if m.ID != wire.Extended || m.Sub != wire.SubMetadata || !answers {
			continue
		}
		q, err := wire.ParseMetadataMessage(m.Payload)
		if err != nil || q.Kind != wire.MetadataRequest {
			continue
		}
		c.send(metadataPiece(zeros, q.Piece))
	}
}

// metadataPiece answers a request for a piece of metadata.
func metadataPiece(raw []byte, piece int) []byte {
	from := min(piece*wire.MetadataPiece, len(raw))
	m := wire.MetadataMessage{Kind: wire.MetadataData, Piece: piece, Size: len(raw), Data: raw[from:min(from+wire.MetadataPiece, len(raw))]}
	return ext(wire.SubMetadata, m.Append(nil))
}
