package dht

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// examples are messages of BEP 5, of other clients, and broken ones.
var examples = []string{
	"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
	"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
	"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
	"d1:rd2:id20:0123456789abcdefghij5:nodes9:def456...e1:t2:aa1:y1:re",
	"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
	"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
	"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
	"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
	"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz1234564:wantl2:n42:n6ee1:q9:find_node2:roi1e1:t2:aa1:v4:LT\x01\x001:y1:qe",
	"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q17:sample_infohashes1:t2:aa1:y1:qe",
	"d1:q13:announce_peer1:t1:x1:y1:qe", "d1:eli201ee1:t2:aa1:y1:ee", "d1:e0:1:t0:1:y1:ee", "de", "",
}

// TestExamples reads the messages of BEP 5.
func TestExamples(t *testing.T) {
	m, err := parse([]byte(examples[6]))
	if err != nil || m.query != queryAnnounce || m.port != 6881 || !m.implied || string(m.token) != "aoeusnth" || string(m.target[:]) != "mnopqrstuvwxyz123456" {
		t.Errorf("announce_peer: %+v, %v", m, err)
	}
	m, err = parse([]byte(examples[5]))
	if err != nil || len(m.values) != 2 || m.values[0] != netip.MustParseAddrPort("97.120.106.101:11893") {
		t.Errorf("values: %+v, %v", m, err)
	}
	m, err = parse([]byte(examples[7]))
	if err != nil || m.code != 201 || m.text != "A Generic Error Ocurred" {
		t.Errorf("error: %+v, %v", m, err)
	}
	m, err = parse([]byte(examples[8]))
	if err != nil || !m.readOnly || !m.want4 || !m.want6 {
		t.Errorf("wants: %+v, %v", m, err)
	}
	out := (&message{kind: kindQuery, transaction: "aa", query: queryPing, id: ID([]byte("abcdefghij0123456789"))}).append(nil)
	if string(out) != examples[0] {
		t.Errorf("ping is %q", out)
	}
}

// FuzzParse holds the reader to its limits, and to reading what it wrote.
func FuzzParse(f *testing.F) {
	for _, e := range examples {
		f.Add([]byte(e))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		if len(m.transaction) > maxTransaction || len(m.token) > maxToken || len(m.nodes) > 2*maxNodes || len(m.values) > maxValues || len(m.text) > maxText || len(m.query) > maxText {
			t.Fatalf("limits passed: %+v", m)
		}
		if m.kind == kindQuery {
			m.implied = false
		}
		if m.kind == kindResponse {
			m.want4, m.want6 = true, true
		}
		again, err := parse(m.append(nil))
		if err != nil {
			t.Fatalf("cannot read %q: %v", m.append(nil), err)
		}
		if again.implied = false; m.kind == kindResponse {
			again.want4, again.want6 = true, true
		}
		if !bytes.Equal(m.append(nil), again.append(nil)) {
			t.Fatalf("%q became %q", m.append(nil), again.append(nil))
		}
	})
}

// FuzzState holds the reader of the state file to reading what was written.
func FuzzState(f *testing.F) {
	s := state{id: ID{1}, nodes: []contact{{ID{2}, netip.MustParseAddrPort("1.2.3.4:5")}, {ID{3}, netip.MustParseAddrPort("[2001:db8::1]:6")}}}
	f.Add(s.append(nil))
	f.Add([]byte("d2:id20:abcdefghij01234567895:nodes3:abce"))
	f.Add([]byte("de"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseState(b)
		if err != nil {
			return
		}
		again, err := parseState(s.append(nil))
		if err != nil || again.id != s.id || len(again.nodes) != len(s.nodes) || len(s.nodes) > 0 && !reflect.DeepEqual(again.nodes, s.nodes) {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
	})
}
