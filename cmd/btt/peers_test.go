package main

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"testing"

	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

// TestPeers: peers are named by address or by host, and what is neither is
// refused.
func TestPeers(t *testing.T) {
	ctx := context.Background()
	got, err := parsePeers(ctx, []string{"127.0.0.1:1", "[::1]:2", "localhost:3"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"127.0.0.1:1", "[::1]:2"} {
		if !slices.Contains(got, netip.MustParseAddrPort(want)) {
			t.Errorf("%v lacks %s", got, want)
		}
	}
	if i := slices.IndexFunc(got, func(a netip.AddrPort) bool { return a.Port() == 3 && a.Addr().IsLoopback() }); i < 0 {
		t.Errorf("%v lacks localhost", got)
	}
	for _, bad := range []string{"", "x", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:65536", ":5", "::1:5"} {
		if _, err := parsePeers(ctx, []string{bad}); exitCode(err) != 2 {
			t.Errorf("%q: %v", bad, err)
		}
	}
	m, err := metainfo.ParseMagnet("magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567&x.pe=localhost:7&x.pe=127.0.0.1:8")
	if err != nil {
		t.Fatal(err)
	}
	peers := magnetPeers(ctx, terminal.New(terminal.Lines, io.Discard), m)
	if len(peers) == 0 || !peers[0].Addr().IsLoopback() || peers[0].Port() != 7 {
		t.Errorf("peers of the link: %v", peers)
	}
}
