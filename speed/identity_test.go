package speed

import (
	"errors"
	"testing"
	"time"

	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/ledgertest"
)

var testKey = ledgertest.Key("peer")

// met is a session whose peer proved to be an account.
func met(cfg Config, theirs ledger.Address) *Session {
	s := NewSession(cfg)
	s.identity, s.address = ledger.PublicKey{2, theirs[0]}, theirs
	return s
}

// between is a connection as one side of it sees it.
func between(ours, theirs byte) Connection {
	end := func(b byte) End { return End{Nonce: [NonceLen]byte{b, 0x11}, PeerID: [20]byte{b, 0x22}} }
	return Connection{Network: ledger.Network{9}, InfoHash: [20]byte{8}, Ours: end(ours), Theirs: end(theirs), Secret: [32]byte{7}}
}

func signed(t testing.TB, c *Connection) ledger.Signature {
	t.Helper()
	sig, err := testKey.Sign(c.Digest())
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// TestIdentity: each side's proof holds for the other side of this connection and
// for nothing else: any byte of what it is bound to that differs refuses it, and so
// does another key or the own proof handed back.
func TestIdentity(t *testing.T) {
	ours, theirs := between(1, 2), between(2, 1)
	f, err := theirs.Identify(testKey)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	id := m.(Identity)
	if err := ours.Check(id); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Connection){
		"network":      func(c *Connection) { c.Network[31] ^= 1 },
		"torrent":      func(c *Connection) { c.InfoHash[19] ^= 1 },
		"our nonce":    func(c *Connection) { c.Ours.Nonce[15] ^= 1 },
		"their nonce":  func(c *Connection) { c.Theirs.Nonce[15] ^= 1 },
		"our peer id":  func(c *Connection) { c.Ours.PeerID[19] ^= 1 },
		"their peerid": func(c *Connection) { c.Theirs.PeerID[19] ^= 1 },
		"secret":       func(c *Connection) { c.Secret[31] ^= 1 },
		"direction":    func(c *Connection) { c.Ours, c.Theirs = c.Theirs, c.Ours },
		"one nonce":    func(c *Connection) { c.Ours.Nonce = c.Theirs.Nonce },
	} {
		c := ours
		change(&c)
		if err := c.Check(id); !errors.Is(err, ErrIdentity) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	id.Key = ledgertest.Key("somebody else").PublicKey()
	if err := ours.Check(id); !errors.Is(err, ErrIdentity) {
		t.Errorf("another key: %v", err)
	}
}

// TestIdentityFirst: nothing that could cost somebody is heard from a peer before
// its proof, and there is one proof.
func TestIdentityFirst(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	for _, m := range []Message{Bid{Price: 1, Account: ledger.Address{1}}, BidResponse{}, Reserve{}, Proof{}, Accept{}, Channel{Payload: []byte{1}}} {
		s := NewSession(Config{Account: ledger.Address{1}, Connection: between(1, 2)})
		if _, err := s.Step(encode(m), now); !errors.Is(err, ErrIdentity) {
			t.Errorf("%s before the identity: %v", m.Type(), err)
		}
		if m, err := s.Step([]byte{99}, now); m != nil || err != nil {
			t.Errorf("an unknown type: %v, %v", m, err)
		}
	}
}
