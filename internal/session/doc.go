// Package session is all torrents of a node: the listener, the table of
// torrents, the trackers' announcer, rate limits, the address filter, and one
// choker for everything (R10). Which of them run internal/queue decides, what is
// remembered of them internal/catalog keeps, and their files internal/mover
// moves.
//
// A [Torrent] lasts from Add to Remove; its swarm runs only while the queue
// lets it. With [Config.Keep] torrents come back after a restart, as they were
// left (docs/rfcs/0016-torrents-that-last.md), and a crash in the middle of a
// move is made good (docs/rfcs/0017-moving-files.md).
//
// Ownership: [Session.run] is the one goroutine that runs choke rounds and
// looks through the queue; it owns nothing else. The table of torrents is a
// leaf cache under a lock. Each torrent's own lock (op) puts its start, stop,
// check, move and removal in order. The accept loop has a goroutine of its own,
// each incoming handshake a short one, bounded in number and time. All end with
// [Session.Close].
//
// The root package uses it.
package session
