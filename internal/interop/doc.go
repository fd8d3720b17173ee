// Package interop drives the BitTorrent clients that people really run, so
// that btt is tested against them and not against our reading of a BEP.
//
// It holds one driver for each client (transmission-daemon, libtorrent, aria2,
// qBittorrent, opentracker and btt itself) and a small [Network]: every client
// runs as its own process on its own host, a network namespace joined by veth
// to one bridge. Nothing leaves that network. The package is used by its own
// tests and by nothing else; it imports no other package of this module and
// sees btt only through its command line, as a user does.
//
// A driver of another kind is testdata/stranger: a peer of BitTorrent Speed in
// Python, written from docs/beps alone, that buys from btt and sells to it.
//
// The tests need Linux and a user allowed to make namespaces (root, or
// unprivileged user namespaces); each client that is not installed skips its
// tests. With BTT_INTEROP=1 in the environment every such skip is a failure.
//
// Goroutines: each started process has one goroutine that reads its output and
// ends with the process; Stop waits for both.
//
// Covers R1.6, R1.7, R1.9, R1.10 and BEPs 3, 9, 10, 11, 15 and 23.
package interop
