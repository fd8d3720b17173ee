package dht

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestSecureID checks ids against the examples of BEP 42.
func TestSecureID(t *testing.T) {
	for _, c := range []struct{ ip, id string }{
		{"124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"},
		{"21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"},
		{"65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"},
		{"84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"},
		{"43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"},
	} {
		raw, _ := hex.DecodeString(c.id)
		ip := netip.MustParseAddr(c.ip)
		if !secure(ID(raw), ip) {
			t.Errorf("%s does not fit %s", c.id, c.ip)
		}
		raw[0] ^= 1
		if secure(ID(raw), ip) {
			t.Errorf("%x fits %s", raw, c.ip)
		}
		if !secure(secured(ID(raw), ip), ip) {
			t.Errorf("secured id of %s does not fit", c.ip)
		}
	}
	six := netip.MustParseAddr("2001:db8:1:2::9")
	if id := secured(ID{19: 5}, six); !secure(id, six) {
		t.Error("secured id over IPv6 does not fit")
	}
	if !secure(ID{}, netip.MustParseAddr("127.0.0.1")) {
		t.Error("this machine is not exempt")
	}
}

func contactAt(last byte, id ID) contact {
	return contact{id, netip.AddrPortFrom(netip.AddrFrom4([4]byte{9, 9, 9, last}), 6881)}
}

// TestTable fills a bucket, replaces silent nodes only, and gives one address
// one place.
func TestTable(t *testing.T) {
	now := time.Unix(1000, 0)
	table := newTable(ID{})
	for i := range byte(20) {
		table.answered(contactAt(i+1, ID{0: 0x80, 19: i}), now)
	}
	if table.count != bucketSize {
		t.Fatalf("bucket holds %d nodes", table.count)
	}
	table.answered(contactAt(1, ID{0: 0x40}), now)
	if table.count != bucketSize {
		t.Error("one address has two places")
	}
	if table.answered(contactAt(99, ID{}), now); table.count != bucketSize {
		t.Error("our own id was taken in")
	}
	table.failed(contactAt(2, ID{0: 0x80, 19: 1}))
	table.answered(contactAt(50, ID{0: 0x80, 19: 50}), now)
	if table.find(ID{0: 0x80, 19: 1}) != nil || table.find(ID{0: 0x80, 19: 50}) == nil {
		t.Error("a silent node was not replaced")
	}
	for range maxFails {
		table.failed(contactAt(3, ID{0: 0x80, 19: 2}))
	}
	if table.find(ID{0: 0x80, 19: 2}) != nil || table.count != bucketSize-1 || len(table.ips) != table.count {
		t.Errorf("a dead node stays: %d nodes, %d addresses", table.count, len(table.ips))
	}
	if e := table.doubtful(now.Add(doubtAfter)); e == nil {
		t.Error("nobody is doubtful after a quarter of an hour")
	}
	if e := table.doubtful(now); e != nil {
		t.Errorf("%v is doubtful at once", e.contact)
	}
}

// TestNearest compares the table's choice with sorting all nodes.
func TestNearest(t *testing.T) {
	table := newTable(ID{0: 0x5a})
	now := time.Unix(1000, 0)
	for i := range 250 {
		table.answered(contactAt(byte(i), ID{0: byte(i * 37), 1: byte(i)}), now)
	}
	all := table.all(nil)
	for i := range 64 {
		target := ID{0: byte(i * 5), 1: byte(i)}
		got := table.nearest(nil, target, bucketSize)
		if len(got) != bucketSize {
			t.Fatalf("%d nodes near %x", len(got), target)
		}
		worst := got[len(got)-1]
		nearer := 0
		for _, c := range all {
			if compare(target, c.id, worst.id) < 0 {
				nearer++
			}
		}
		if nearer != bucketSize-1 {
			t.Errorf("target %x: %d nodes are nearer than the last of %d told", target[:2], nearer, bucketSize)
		}
	}
}

// TestStore bounds what strangers can store, and forgets it in time.
func TestStore(t *testing.T) {
	s, now := newStore(), time.Unix(1000, 0)
	asker := netip.MustParseAddr("8.8.8.8")
	for i := range 3 * MaxStoredPeers {
		s.add(ID{1}, netip.AddrPortFrom(netip.AddrFrom4([4]byte{7, 7, byte(i >> 8), byte(i)}), 1), now)
	}
	for i := range uint16(20) {
		s.add(ID{2}, netip.AddrPortFrom(asker, i+1), now)
	}
	if n := len(s.torrents[ID{1}]); n != MaxStoredPeers {
		t.Errorf("%d peers of one torrent are kept", n)
	}
	if n := len(s.torrents[ID{2}]); n != MaxStoredPerIP {
		t.Errorf("%d peers of one address are kept", n)
	}
	if n := len(s.peers(ID{1}, asker, now)); n != maxTold {
		t.Errorf("%d peers are told", n)
	}
	s.add(ID{3}, netip.MustParseAddrPort("192.168.1.2:5"), now)
	if len(s.peers(ID{3}, asker, now)) != 0 || len(s.peers(ID{3}, netip.MustParseAddr("192.168.1.9"), now)) != 1 {
		t.Error("an address of a private network is told to the wrong ones")
	}
	for i := range 2 * MaxStoredTorrents {
		s.add(ID{9, byte(i >> 16), byte(i >> 8), byte(i)}, netip.AddrPortFrom(asker, 9), now)
	}
	if len(s.torrents) != MaxStoredTorrents {
		t.Errorf("%d torrents are kept", len(s.torrents))
	}
	if s.expire(now.Add(storedFor)); len(s.torrents) != 0 {
		t.Errorf("%d torrents stay after their time", len(s.torrents))
	}
}

// TestTokens checks a token's life and owner.
func TestTokens(t *testing.T) {
	var k tokens
	a, b := netip.MustParseAddr("1.2.3.4"), netip.MustParseAddr("1.2.3.5")
	k.turn([16]byte{1}, time.Time{})
	tok := k.make(a)
	if !k.valid(tok, a) || k.valid(tok, b) || k.valid(nil, a) {
		t.Error("token is not bound to its address")
	}
	if k.turn([16]byte{2}, time.Time{}); !k.valid(tok, a) {
		t.Error("token dies with the first turn")
	}
	if k.turn([16]byte{3}, time.Time{}); k.valid(tok, a) {
		t.Error("token outlives two turns")
	}
}

// TestBackoff counts what a lonely node sends.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		n := e.node(t, 1, Config{Bootstrap: []string{simAddr(99).String()}}) // where nobody is
		n.Start(Torrent{InfoHash: ID{1}, Port: 9})
		time.Sleep(time.Hour)
		n.Close()
		synctest.Wait()
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.sent < 5 || e.sent > 50 {
			t.Errorf("%d datagrams in an hour without any node", e.sent)
		}
	})
}

// guest speaks raw datagrams.
type guest struct {
	t *testing.T
	w *wire
}

func (g guest) ask(n int, m *message) *message {
	g.t.Helper()
	m.kind = kindQuery
	g.w.WriteToUDPAddrPort(m.append(nil), simAddr(n))
	return g.answer(m.transaction)
}

func (g guest) answer(transaction string) *message {
	g.t.Helper()
	for {
		select {
		case d := <-g.w.in:
			m, err := parse(d.b)
			if err != nil {
				g.t.Fatalf("%q: %v", d.b, err)
			}
			if m.kind != kindQuery && m.transaction == transaction {
				return m
			}
		case <-time.After(5 * time.Second):
			return nil
		}
	}
}

// TestServe asks a node as a stranger does.
func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		n := e.node(t, 1, Config{Bootstrap: []string{}})
		defer n.Close()
		g := guest{t, e.socket(simAddr(2))}
		me, hash := ID{2}, ID{0xcc}
		if r := g.ask(1, &message{transaction: "a", query: queryPing, id: me}); r == nil || r.id != n.Status().ID || r.seen != simAddr(2) {
			t.Fatalf("ping: %+v", r)
		}
		peers := g.ask(1, &message{transaction: "b", query: queryPeers, id: me, target: hash})
		if peers == nil || len(peers.token) == 0 || len(peers.values) != 0 {
			t.Fatalf("get_peers: %+v", peers)
		}
		if r := g.ask(1, &message{transaction: "c", query: queryAnnounce, id: me, target: hash, port: 5, token: []byte("wrong")}); r == nil || r.kind != kindError || r.code != codeProtocol {
			t.Errorf("announce with a wrong token: %+v", r)
		}
		if r := g.ask(1, &message{transaction: "d", query: queryAnnounce, id: me, target: hash, port: 5, token: peers.token}); r == nil || r.kind != kindResponse {
			t.Errorf("announce: %+v", r)
		}
		if r := g.ask(1, &message{transaction: "e", query: queryPeers, id: me, target: hash}); r == nil || len(r.values) != 1 || r.values[0] != netip.AddrPortFrom(simAddr(2).Addr(), 5) {
			t.Errorf("get_peers after the announce: %+v", r)
		}
		if r := g.ask(1, &message{transaction: "f", query: "put", id: me}); r == nil || r.code != codeUnknown {
			t.Errorf("unknown method: %+v", r)
		}
		for _, raw := range []string{"", "d", "de", "le", "i1e", "d1:q13:announce_peer1:t1:x1:y1:qe", "d1:q9:get_peers1:t1:x1:y1:qe", "d1:t1:x1:y1:re",
			"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t1:x1:y1:qe"} {
			g.w.WriteToUDPAddrPort([]byte(raw), simAddr(1))
		}
		if r := g.answer("x"); r != nil {
			t.Errorf("a malformed query is answered: %+v", r)
		}
		if r := g.ask(1, &message{transaction: "z", query: queryPing, id: me}); r == nil {
			t.Error("the node is gone after malformed queries")
		}
	})
}

// TestFlood sends more than a node answers to one address.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ether
		n := e.node(t, 1, Config{Bootstrap: []string{}})
		defer n.Close()
		g := guest{t, e.socket(simAddr(2))}
		for i := range 100 {
			m := &message{kind: kindQuery, transaction: fmt.Sprint(i), query: queryFind, id: ID{2}, target: ID{byte(i)}}
			g.w.WriteToUDPAddrPort(m.append(nil), simAddr(1))
			synctest.Wait()
		}
		if st := n.Status(); st.Answered > 2*maxPerSource || st.Refused < 100-2*maxPerSource {
			t.Errorf("answered %d, refused %d of 100", st.Answered, st.Refused)
		}
		for i := range 3 * maxSources {
			f := e.socket(netip.AddrPortFrom(netip.AddrFrom4([4]byte{30, byte(i >> 16), byte(i >> 8), byte(i)}), 1))
			f.deaf = true
			m := &message{kind: kindQuery, transaction: "t", query: queryPing, id: ID{3, byte(i >> 16), byte(i >> 8), byte(i)}}
			f.WriteToUDPAddrPort(m.append(nil), simAddr(1))
			if i%32 == 31 {
				synctest.Wait()
			}
		}
		var sources, queries int
		n.do(func() { sources, queries = len(n.sources), len(n.queries) })
		if sources > maxSources || queries > maxQueries {
			t.Errorf("%d sources are counted, %d questions under way", sources, queries)
		}
	})
}

// TestOwnAddress gives a node an id that fits what others say of its address,
// and none for what a single liar says.
func TestOwnAddress(t *testing.T) {
	n := &Node{cfg: Config{Log: discard()}, now: time.Unix(1, 0), rng: testRand()}
	for i := range n.families {
		n.families[i].table = newTable(n.id)
	}
	n.families[0].table.answered(contactAt(1, ID{5}), n.now)
	own := netip.MustParseAddr("124.31.75.21")
	for range 3 * votesNeeded {
		n.votes.add(netip.MustParseAddr("8.8.8.8"), own, n)
	}
	if secure(n.id, own) {
		t.Error("one voter was enough")
	}
	for i := range byte(votesNeeded) {
		n.votes.add(netip.AddrFrom4([4]byte{7, 7, 7, i}), own, n)
	}
	if !secure(n.id, own) || n.families[0].table.self != n.id || n.families[0].table.count != 1 {
		t.Errorf("id %x does not fit, or its table is lost", n.id)
	}
}

// TestLoopback runs three nodes on sockets: one torrent, both families where
// the machine has them.
func TestLoopback(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			listen := net.JoinHostPort(host, "0")
			if c, err := net.ListenPacket("udp", listen); err != nil && host == "::1" {
				t.Skipf("no IPv6 here: %v", err)
			} else if err == nil {
				c.Close()
			}
			a, err := Open(Config{Listen: listen})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			boot := []string{net.JoinHostPort(host, fmt.Sprint(a.Port()))}
			var nodes []*Node
			for range 2 {
				n, err := Open(Config{Listen: listen, Bootstrap: boot})
				if err != nil {
					t.Fatal(err)
				}
				defer n.Close()
				nodes = append(nodes, n)
			}
			var f finder
			nodes[0].Start(Torrent{InfoHash: ID{1}, Port: 4000})
			nodes[1].Start(Torrent{InfoHash: ID{1}, Found: f.found})
			want := netip.AddrPortFrom(netip.MustParseAddr(host), 4000)
			for end := time.Now().Add(3 * time.Minute); !f.has(want); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%v not found: %+v, %+v", want, a.Status(), nodes[1].Status())
				}
			}
		})
	}
}

// TestBootstrapNames says which strings are nodes.
func TestBootstrapNames(t *testing.T) {
	for s, good := range map[string]bool{"a.example:6881": true, "[::1]:6881": true, "1.2.3.4:1": true, "a": false, ":5": false, "a:": false, "a:0": false, "a:x y": false} {
		if err := CheckBootstrap(s); (err == nil) != good {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := Open(Config{Listen: "127.0.0.1:0", Bootstrap: []string{"nowhere"}}); err == nil {
		t.Error("a node with a senseless bootstrap node opens")
	}
}
