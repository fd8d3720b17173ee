// Package dht is a node of the mainline DHT: it finds peers of a torrent
// without a tracker, and keeps its part of the table for others.
//
// internal/session opens one [Node] when the user wants it; internal/swarm
// calls [Node.Start] for each torrent that is not private and [Node.AddNode]
// for nodes that peers tell of.
//
// Ownership: [Node.run] is one goroutine with one select that owns tables,
// lookups, stored peers and the announce schedule. One goroutine per socket
// reads and parses; short ones look up the names of bootstrap nodes and write
// the state file. All of them end with [Node.Close]. The routing table, the
// store of peers, the lookups and the codec are passive and take the time as
// an argument.
//
// Sources: BEP 5, 32 (IPv6), 42 (own id), 43 (read-only nodes); R4.1. What
// strangers can make grow has a named maximum beside the code it bounds. Why
// the node is our own: docs/rfcs/0018-own-dht.md.
package dht
