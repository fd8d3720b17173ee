// Package swarm is one torrent: its peers, its picker, its store, its tracker
// announces and, when the node takes part in BitTorrent Speed, its market
// (internal/market).
//
// Ownership: a [Swarm] is owned by one goroutine, [Swarm.run], with one
// select. It is started by [New] and ends after [Swarm.Close], which waits for
// it. Everything else talks to it in batches: connections through
// [peer.Owner], disk writers and trackers through channels, callers through
// closures that run on the goroutine. Policies (picker, choker, auction,
// autobid) are passive and called by it.
//
// internal/session owns the swarms of a node and runs the choker over all of
// them. The package serves R1.6, R4, R6 (what trackers know of bids), R7
// (reserve prices and proofs of possession), R8.8, R10 (the provider's side of
// a round) and R11-R12 (pay after verification, choke and ban on failure).
package swarm
