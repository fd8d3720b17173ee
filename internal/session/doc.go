// Package session is all torrents of a node: the listener, the swarms, the
// trackers' announcer, rate limits, and one choker for everything (R10).
//
// Ownership: [Session.run] is the one goroutine that runs choke rounds and
// owns nothing else; the table of swarms is a leaf cache under a lock. The
// accept loop has a goroutine of its own, and each incoming handshake a short
// one, bounded in number and time. All end with [Session.Close].
//
// The root package and cmd/btt use it.
package session
