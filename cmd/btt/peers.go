package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

const (
	// lookupTimeout bounds the question where one peer is, or all of a link.
	lookupTimeout = 10 * time.Second
	// maxPeerAddresses is how many addresses of one name are tried.
	maxPeerAddresses = 4
)

// parsePeers finds the peers that --peer names, HOST:PORT each. A name that
// cannot be found is an error: the user wrote it.
func parsePeers(ctx context.Context, list []string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, p := range list {
		host, text, err := net.SplitHostPort(p)
		port, err2 := strconv.ParseUint(text, 10, 16)
		if err != nil || err2 != nil || host == "" || port == 0 {
			return nil, usage("--peer %q is not HOST:PORT", p)
		}
		addrs, err := lookup(ctx, host, uint16(port))
		if err != nil {
			return nil, fmt.Errorf("find peer %s (is the name right, and is there a network?): %w", p, err)
		}
		out = append(out, addrs...)
	}
	return out, nil
}

// magnetPeers finds the peers that a magnet link names by host (x.pe); those
// given by address are taken by [btt.FromMagnet]. Of a stranger's link, names
// that cannot be found are told and passed over.
func magnetPeers(ctx context.Context, r *terminal.Reporter, m *metainfo.Magnet) []netip.AddrPort {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout) // for all of them
	defer cancel()
	var out []netip.AddrPort
	for _, p := range m.Peers {
		if _, err := netip.ParseAddr(p.Host); err == nil {
			continue
		}
		addrs, err := lookup(ctx, p.Host, p.Port)
		if err != nil {
			r.Warn("warning", "peer of the magnet link is not found: "+printable(err.Error()), terminal.Fields{"peer": p.Host, "error": err.Error()})
		}
		out = append(out, addrs...)
	}
	return out
}

// checkListen says whether a flag holds an address to listen on, "" or "off".
func checkListen(flag, addr string) error {
	if addr == "" || addr == "off" {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return usage("%s %q is not HOST:PORT", flag, addr)
	}
	return nil
}

func lookup(ctx context.Context, host string, port uint16) ([]netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(ip, port)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var out []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxPeerAddresses)] {
		out = append(out, netip.AddrPortFrom(ip.Unmap(), port))
	}
	return out, nil
}
