package session

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
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

// stray is a channel message out of any order about a channel that was spoken of.
func (k *talker) stray() channel.Message {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := channel.ID{1}
	if n := len(k.ids); n > 0 {
		id = k.ids[k.rng.IntN(n)]
	}
	var terms *channel.Terms
	if k.rng.IntN(2) == 0 {
		t := k.offer()
		terms = &t
	}
	pay := channel.Payment{Sequence: k.rng.Uint32N(50), Amount: amount.Amount(k.rng.Int64N(int64(amount.BTT)))}
	lane, bytes := k.rng.Uint32N(4), k.rng.Int64N(1<<22)
	if k.rng.IntN(10) == 0 {
		bytes = 1<<62 + k.rng.Int64N(1<<62)
	}
	switch k.rng.IntN(11) {
	case 0:
		return &channel.Open{Payer: k.key.PublicKey(), K1: ledgertest.Key("a").PublicKey(), K2: k.key2().PublicKey(),
			Funding: ledger.OutPoint{TxID: ledger.TxID{byte(k.rng.Uint32())}}, Deposit: amount.BTT, LockTime: k.rng.Uint64()}
	case 1:
		return &channel.RefundSig{ID: id}
	case 2:
		return &channel.Fund{ID: id, T1: make([]byte, k.rng.IntN(300))}
	case 3:
		return &channel.Confirm{ID: id, Next: terms}
	case 4:
		return &channel.Attach{ID: id, Lane: lane, Tag: channel.Tag(k.torrent.hash), From: k.rng.Int64N(2) * bytes, Bytes: bytes}
	case 5:
		return &channel.State{ID: id, Lane: lane, Bytes: bytes, Payment: pay, Attached: k.rng.IntN(2) == 0}
	case 6:
		return &channel.Pay{ID: id, Lane: lane, Bytes: bytes, Payment: pay}
	case 7:
		return &channel.Close{ID: id}
	case 8:
		return &channel.Closed{ID: id, Amount: pay.Amount}
	case 9:
		return &channel.Quote{From: bytes, Price: k.price(500)}
	}
	if k.rng.IntN(4) == 0 {
		id = channel.ID{}
	}
	return &channel.Refuse{ID: id, Code: channel.Code(k.rng.IntN(20)), Reason: "no reason", Terms: terms}
}

// talk says one thing.
func (k *talker) talk() {
	if !k.named && k.rng.IntN(12) > 0 {
		k.identify()
	}
	switch k.rng.IntN(16) {
	case 0, 1, 2, 3:
		k.pays()
	case 4, 5, 6, 7:
		k.earns()
	case 8, 9:
		k.talkSpeed()
	case 10, 11, 12:
		k.talkWire()
	case 13:
		k.talkExtended()
	case 14:
		k.talkHashes()
	default:
		if k.rng.IntN(3) == 0 {
			k.channel(k.stray())
		}
	}
}

func (k *talker) talkSpeed() {
	switch k.rng.IntN(8) {
	case 0, 1:
		if k.bids < speed.BidBurst || k.rng.IntN(60) == 0 {
			k.bids++
			k.speed(speed.Bid{Price: k.price(500), Account: k.key.Address()})
			k.send(wire.AppendEmpty(nil, wire.Interested))
		}
	case 2, 3:
		k.mu.Lock()
		price := k.price(300)
		if n := len(k.prices); n > 0 && k.rng.IntN(10) > 0 {
			price = k.prices[n-1]
		}
		k.mu.Unlock()
		k.speed(speed.Accept{Price: price})
	case 4:
		k.speed(speed.Units{Provider: k.rng.IntN(2) == 0, Size: []uint32{0, speed.MinUnit, unit, 256 << 10, speed.MaxUnit}[k.rng.IntN(5)]})
	case 5:
		k.speed(speed.Reserve{Price: k.price(100), Piece: k.index(), Chunk: k.rng.Uint32N(6)})
	case 6:
		k.mu.Lock()
		c := k.challenge
		k.mu.Unlock()
		if c != nil && k.rng.IntN(4) == 0 {
			k.speed(speed.Proof{Piece: c.Piece, Chunk: c.Chunk})
		}
	default:
		if k.rng.IntN(20) == 0 {
			k.identify()
		}
	}
}

func (k *talker) talkWire() {
	i := k.index()
	switch k.rng.IntN(14) {
	case 0:
		k.send(wire.AppendEmpty(nil, wire.Interested))
	case 1:
		k.send(wire.AppendEmpty(nil, wire.NotInterested))
	case 2, 3, 4, 5:
		for n := k.rng.IntN(12); n >= 0; n-- {
			if begin := uint32(n) * wire.BlockSize; begin < uint32(k.torrent.Info.PieceLength) || k.rng.IntN(200) == 0 {
				k.send(wire.AppendBlock(nil, wire.Request, i, begin, wire.BlockSize))
			}
		}
	case 6:
		k.send(wire.AppendBlock(nil, wire.Cancel, i, 0, wire.BlockSize))
	case 7:
		k.send(wire.AppendIndex(nil, wire.Have, i))
	case 8, 9:
		k.send(wire.AppendEmpty(nil, wire.HaveAll))
	case 10:
		k.send(wire.AppendEmpty(nil, wire.HaveNone))
	case 11:
		k.send(wire.AppendIndex(nil, []wire.ID{wire.Suggest, wire.AllowedFast}[k.rng.IntN(2)], i))
	case 12:
		bits := wire.NewBits(k.torrent.Info.NumPieces())
		for range 5 {
			bits.Set(k.rng.IntN(k.torrent.Info.NumPieces()))
		}
		k.send(wire.AppendBitfield(nil, bits))
	default:
		k.send(wire.AppendPort(nil, uint16(k.rng.Uint32())))
	}
}

func (k *talker) talkExtended() {
	switch k.rng.IntN(6) {
	case 0:
		h := wire.ExtendedHandshake{Speed: uint8(k.rng.IntN(12)), SpeedVersion: k.rng.IntN(4), Reqq: k.rng.IntN(600), UploadOnly: k.rng.IntN(2) == 0,
			Metadata: uint8(k.rng.IntN(3)), MetadataSize: k.rng.IntN(1 << 20), YourIP: netip.AddrFrom4([4]byte{byte(k.rng.Uint32()), 1, 1, 1})}
		k.send(ext(wire.SubHandshake, h.Append(nil)))
	case 1:
		k.send(ext(wire.SubDontHave, wire.AppendDontHave(nil, k.index())))
	case 2:
		k.send(ext(wire.SubUploadOnly, wire.AppendUploadOnly(nil, k.rng.IntN(2) == 0)))
	case 3:
		p := wire.PEX{Added: []wire.PEXPeer{{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(1+k.rng.IntN(65000)))}}}
		k.send(ext(wire.SubPEX, p.Append(nil)))
	default:
		k.mu.Lock()
		asked := k.metadata
		k.metadata = nil
		k.mu.Unlock()
		for _, p := range asked {
			k.send(metadataPiece(k.torrent.Info.Raw, p))
		}
		if len(asked) == 0 && k.rng.IntN(4) == 0 {
			m := wire.MetadataMessage{Kind: wire.MetadataKind(k.rng.IntN(3)), Piece: k.rng.IntN(3)}
			k.send(ext(wire.SubMetadata, m.Append(nil)))
		}
	}
}

// talkHashes asks for hashes, or answers what was asked with nothing but that.
func (k *talker) talkHashes() {
	r := wire.HashRange{Base: k.rng.Uint32N(14), Index: k.rng.Uint32N(4) << k.rng.Uint32N(8), Length: 2 << k.rng.Uint32N(10), Proofs: k.rng.Uint32N(12)}
	if f := &k.torrent.Info.Files[k.rng.IntN(len(k.torrent.Info.Files))]; f.PiecesRoot != nil {
		r.Root = *f.PiecesRoot
	}
	k.mu.Lock()
	asked := slices.Clone(k.hashes)
	k.hashes = nil
	k.mu.Unlock()
	for _, q := range asked {
		k.send(wire.AppendHashRange(nil, wire.HashReject, &q))
	}
	switch k.rng.IntN(100) {
	case 0:
		k.send(wire.AppendHashRange(nil, wire.HashReject, &r))
	case 1:
		r.Length = 2 + r.Length%64
		k.send(wire.AppendHashes(nil, &r, make([]byte, r.Length*wire.HashLen), make([]byte, r.Uncles()*wire.HashLen)))
	default:
		k.send(wire.AppendHashRange(nil, wire.HashRequest, &r))
	}
}

// run talks on some connections until it has said so much.
func (k *talker) run(messages int, stop <-chan struct{}) {
	for said := 0; said < messages; said++ {
		select {
		case <-stop:
			return
		default:
		}
		k.mu.Lock()
		gone := k.nc == nil || k.gone
		k.mu.Unlock()
		if gone || k.rng.IntN(150) == 0 {
			if k.nc != nil {
				k.nc.Close()
			}
			if k.ended != nil {
				<-k.ended
			}
			k.name = fmt.Sprintf("talker %d", k.rng.Uint32()) // a new account each time, as a thief would
			k.key, k.torrent = ledgertest.Key(k.name), k.rig.torrents[k.rng.IntN(len(k.rig.torrents))]
			k.mu.Lock()
			k.payer, k.payee, k.terms = nil, nil, nil
			k.mu.Unlock()
			if !k.connect() {
				time.Sleep(5 * time.Millisecond)
				k.nc = nil
				continue
			}
		}
		k.talk()
		if k.rng.IntN(4) == 0 {
			time.Sleep(time.Duration(k.rng.IntN(4)) * time.Millisecond) // let it answer
		}
	}
	if k.nc != nil {
		k.nc.Close()
	}
}

// talkRounds is how many rounds are talked, BTT_TALK says otherwise.
func talkRounds(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("BTT_TALK"))
	if os.Getenv("BTT_TALK") == "" {
		return 2
	}
	if err != nil {
		t.Fatalf("BTT_TALK: %v", err)
	}
	return n
}

// TestRandomTalk: a node that buys and sells, with torrents of version 1, 2 and both,
// one of them by a magnet link, hears valid messages of all kinds in random order from
// peers that come and go. It bears them, and ends while they talk; or else it completes
// its downloads and serves honest peers, and the ledger's books are right.
func TestRandomTalk(t *testing.T) {
	first, err := strconv.ParseUint(os.Getenv("BTT_TALK_SEED"), 10, 64)
	if err != nil {
		first = 1
	}
	for seed := first; seed < first+uint64(talkRounds(t)); seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { randomTalk(t, seed) })
	}
}

func randomTalk(t *testing.T, seed uint64) {
	l := ledgertest.New()
	x := newTrader(t, l, traderConfig{funds: 100 * amount.BTT, cap: perGiB(500), reserve: perGiB(50), market: inUnits(unit),
		session: Config{ChokeEvery: 20 * time.Millisecond}, payments: payments.Config{PaymentTimeout: 200 * time.Millisecond}})
	var later atomic.Int64
	start := time.Now()
	x.market.Now = func() time.Time { return start.Add(time.Duration(later.Load())) }
	honest := newTrader(t, l, traderConfig{funds: 10 * amount.BTT, cap: perGiB(900), reserve: perGiB(100), market: inUnits(unit)})
	dirs, all, shared := talkTorrents(t)
	status, err := l.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	rig := &talkRig{x: x, net: x.market.Net, torrents: all, status: status}
	x.seeds(dirs[0], all[0].Torrent)
	var gets []*Torrent
	for i, one := range all[1:] {
		a := Add{Torrent: one.Torrent, Dir: t.TempDir()}
		if i == 2 {
			a.Torrent, a.InfoHash = nil, one.InfoHash
		}
		g, err := x.Add(a)
		if err != nil {
			t.Fatal(err)
		}
		gets = append(gets, g)
	}
	stop := make(chan struct{})
	var talking sync.WaitGroup
	for i := range 8 {
		k := &talker{rig: rig, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
		talking.Go(func() { k.run(1500, stop) })
	}
	if seed%2 == 0 { // it leaves in the middle of it
		time.Sleep(time.Duration(seed%7) * 200 * time.Millisecond)
		x.settle()
		close(stop)
		talking.Wait()
		if err := l.Audit(); err != nil {
			t.Error(err)
		}
		return
	}
	talking.Wait()
	for i, g := range gets {
		honest.seeds(dirs[i+1], all[i+1].Torrent)
		g.AddPeers(honest.Addr())
	}
	for _, g := range gets { // a seller that kept hashes back is waited for
		until(t, "a download", func() bool { return g.Status().State == swarm.Seeding })
	}
	if n, _, _ := honest.seen(payments.EventOverdue); n > 0 {
		t.Errorf("%d payments to an honest seller failed", n)
	}
	back, to := honest.gets(shared, x.Addr())
	until(t, "an honest buyer to be served", func() bool {
		if eligible, _ := x.market.Standing(honest.purse.Address(), netip.Addr{}, time.Now()); !eligible {
			later.Add(int64(speed.PenaltyBase)) // this machine made it late
		}
		return back.Status().State == swarm.Seeding
	})
	sameFiles(t, dirs[0], to, map[string]int{"a.bin": 0})
	settleAll(honest, x)
	if err := l.Audit(); err != nil {
		t.Error(err)
	}
}

// talkTorrents makes the torrents of a round: one to seed, and three to fetch.
func talkTorrents(t *testing.T) (dirs []string, all []*talkTorrent, shared *metainfo.Torrent) {
	t.Helper()
	dir, torrent := content(t, map[string]int{"a.bin": 1 << 20}, piece)
	dirs, all = append(dirs, dir), append(all, loadTorrent(t, dir, torrent))
	for _, v := range []metainfo.Version{metainfo.V2, metainfo.Hybrid} {
		dir, m := contentV2(t, map[string]int{"b.bin": 3 << 20, "c.bin": 300_000, "d.bin": 20_000}, 512<<10, v)
		dirs, all = append(dirs, dir), append(all, loadTorrent(t, dir, m))
	}
	dir, m := content(t, map[string]int{"e.bin": 700_001, "f.bin": 70_000}, 32<<10)
	return append(dirs, dir), append(all, loadTorrent(t, dir, m)), torrent
}
