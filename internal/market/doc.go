// Package market is a torrent's part in BitTorrent Speed: it bids for slots and
// pays for what they brought, sells slots and has them paid, keeps the reserve
// price and its proofs of possession, and uses what trackers tell of bids.
//
// A [Node] is shared by all torrents of a node and safe for concurrent use. A
// [Torrent] and its [Trade]s are passive: they are owned and called by the
// goroutine of one internal/swarm, which they reach through [Swarm] and
// [Peer]. The only goroutines are short reads of chunks for proofs, two at
// most, which end with the read.
//
// The package serves R5, R6 (what trackers know of bids), R7 (reserve prices
// and proofs of possession), R8, the provider's side of R10, and R11-R12 (pay
// after verification, choke and ban on failure).
package market
