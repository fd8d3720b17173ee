package speed

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/golden"
	"github.com/bttnet/btt/ledger"
)

// TestTranscripts plays the files in testdata/session: a line is a command,
// the indented lines after it are what the session answered. -rewrite writes
// the answers anew.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/session/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden.Text(t, file, []byte(play(t, string(want))))
		})
	}
}

// player runs the commands of one transcript.
type player struct {
	t     *testing.T
	s     *Session
	start time.Time
	now   time.Time
	out   strings.Builder
}

func play(t *testing.T, script string) string {
	start := time.Unix(1_000_000, 0)
	p := &player{t: t, start: start, now: start, s: met(Config{Account: ledger.Address{0xaa}, Nonce: [NonceLen]byte{0xbb}}, ledger.Address{0xdd})}
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		p.out.WriteString(line)
		if f := strings.Fields(line); len(f) > 0 && f[0] != "#" {
			p.command(f)
		}
	}
	return p.out.String()
}

func (p *player) command(f []string) {
	switch f[0] {
	case "no-account":
		p.s = met(Config{}, ledger.Address{0xdd})
	case "stranger":
		p.s = NewSession(Config{Account: ledger.Address{0xaa}, Connection: between(1, 2)})
	case "at":
		d, err := time.ParseDuration(f[1])
		if err != nil {
			p.t.Fatal(err)
		}
		p.now = p.start.Add(d)
	case "bid":
		p.send(p.s.SetBid(µ(p.num(f[1])), len(f) > 2 && f[2] == "user", p.now), nil)
	case "reserve":
		p.send(p.s.SetReserve(µ(p.num(f[1])), uint32(p.num(f[2])), uint32(p.num(f[3])), p.now), nil)
	case "respond":
		p.send(p.s.Respond(µ(p.num(f[1])), []byte(f[2])))
	case "prove":
		p.send(p.s.Prove(uint32(p.num(f[1])), uint32(p.num(f[2])), [HashLen]byte{0xcc}))
	case "accept":
		p.send(p.s.Accept(), nil)
	case "units":
		p.send(p.s.SetUnits(f[1] == "provider", uint32(p.num(f[2]))), nil)
	case "send":
		p.send(p.s.Send([]byte(f[1])))
	case "tick":
		for _, frame := range p.s.Tick(p.now) {
			p.send(frame, nil)
		}
	case "recv":
		p.recv(f[1:])
	case "snapshot":
		s := p.s.Snapshot()
		p.say("theirs: bid %d, reserve %d, price %d, account %x", int64(s.TheirBid), int64(s.TheirReserve), int64(s.TheirPrice), s.TheirAccount[:2])
		if s.PaysUnits != 0 || s.SellsUnits != 0 {
			p.say("theirs: pays units of %d, sells units of %d", s.PaysUnits, s.SellsUnits)
		}
		p.say("ours: bid %d, reserve %d, price %d", int64(s.OurBid), int64(s.OurReserve), int64(s.OurPrice))
	default:
		p.t.Fatalf("unknown command %q", f)
	}
	if next := p.s.Next(); !next.IsZero() {
		p.say("next tick at %v", next.Sub(p.start))
	}
}

// recv feeds a message of the peer.
func (p *player) recv(f []string) {
	var m Message
	var payload []byte
	switch f[0] {
	case "bid":
		account := ledger.Address{0xdd}
		if len(f) > 2 {
			account = ledger.Address{byte(p.num(f[2]))}
		}
		m = Bid{Price: µ(p.num(f[1])), Account: account}
	case "response":
		m = BidResponse{Price: µ(p.num(f[1])), Terms: []byte("terms")}
	case "reserve":
		m = Reserve{Price: µ(p.num(f[1])), Piece: uint32(p.num(f[2])), Chunk: uint32(p.num(f[3])), Nonce: [NonceLen]byte{0xee}}
	case "proof":
		m = Proof{Piece: uint32(p.num(f[1])), Chunk: uint32(p.num(f[2]))}
	case "accept":
		m = Accept{Price: µ(p.num(f[1]))}
	case "units":
		m = Units{Provider: f[1] == "provider", Size: uint32(p.num(f[2]))}
	case "channel":
		m = Channel{Payload: []byte(f[1])}
	case "identity":
		m = p.identity(f[1])
	case "hex":
		b, err := hex.DecodeString(f[1])
		if err != nil {
			p.t.Fatal(err)
		}
		payload = b
	default:
		p.t.Fatalf("unknown message %q", f)
	}
	if m != nil {
		payload = encode(m)
	}
	got, err := p.s.Step(payload, p.now)
	if err != nil {
		p.say("disconnect: %v", err)
		return
	}
	if got == nil {
		p.say("ignored")
		return
	}
	p.say("event: %s", describe(got))
}

// identity is what a peer says that it is.
func (p *player) identity(what string) Identity {
	peer := between(2, 1) // the other side's view
	switch what {
	case "own":
	case "replayed": // from another connection of the same two
		peer.Ours.Nonce[0] ^= 1
	case "to-another": // the victim signed it for a third party
		peer.Theirs.PeerID[0] ^= 1
	case "other-torrent":
		peer.InfoHash[0] ^= 1
	case "other-network":
		peer.Network[0] ^= 1
	case "other-secret": // handed on by somebody in the middle
		peer.Secret[0] ^= 1
	case "reflected": // our own, back to us
		peer = between(1, 2)
	default:
		p.t.Fatalf("unknown identity %q", what)
	}
	return Identity{Key: testKey.PublicKey(), Signature: signed(p.t, &peer)}
}

func (p *player) send(frame []byte, err error) {
	if err != nil {
		p.say("refused: %v", err)
		return
	}
	if frame == nil {
		return
	}
	m, err := Decode(frame)
	if err != nil {
		p.t.Fatalf("session sends what it cannot read: %v", err)
	}
	p.say("send: %s", describe(m))
}

func (p *player) say(format string, args ...any) { fmt.Fprintf(&p.out, "\t"+format+"\n", args...) }

func (p *player) num(s string) int64 {
	var n int64
	if _, err := fmt.Sscan(s, &n); err != nil {
		p.t.Fatalf("number %q: %v", s, err)
	}
	return n
}

func µ(n int64) amount.Price { return amount.Price(n) }

func describe(m Message) string {
	switch m := m.(type) {
	case Bid:
		return fmt.Sprintf("bid %d of %x", int64(m.Price), m.Account[:2])
	case BidResponse:
		return fmt.Sprintf("bid response %d, terms %q", int64(m.Price), m.Terms)
	case Reserve:
		return fmt.Sprintf("reserve %d, challenge %d/%d, nonce %x", int64(m.Price), m.Piece, m.Chunk, m.Nonce[:2])
	case Proof:
		return fmt.Sprintf("proof %d/%d, hash %x", m.Piece, m.Chunk, m.Hash[:2])
	case Accept:
		return fmt.Sprintf("accept %d", int64(m.Price))
	case Channel:
		return fmt.Sprintf("channel %q", m.Payload)
	case Identity:
		return fmt.Sprintf("identity %x", m.Key[:4])
	case Units:
		return fmt.Sprintf("units of %d, provider %v", m.Size, m.Provider)
	default:
		return fmt.Sprintf("%T", m)
	}
}

// TestStepKeepsStateOnError: a message that ends the connection changes
// nothing that the owner reads while it closes it.
func TestStepKeepsStateOnError(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := met(Config{Account: ledger.Address{1}}, ledger.Address{2})
	s.SetBid(100, false, now)
	for _, m := range []Message{Bid{Price: 5, Account: ledger.Address{2}}, Reserve{Price: 3}, BidResponse{Price: 80}} {
		if _, err := s.Step(encode(m), now); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Snapshot()
	for _, tt := range []struct {
		m    Message
		want error
	}{
		{Bid{Price: 6, Account: ledger.Address{3}}, ErrAccount},
		{BidResponse{Price: 101}, ErrPriceAboveBid},
		{Proof{}, ErrUnasked},
	} {
		if _, err := s.Step(encode(tt.m), now); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.m.Type(), err, tt.want)
		}
		if s.Snapshot() != before {
			t.Errorf("%s changed the state", tt.m.Type())
		}
	}
}
