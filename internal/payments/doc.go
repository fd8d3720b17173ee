// Package payments runs a node's payment channels: it drives the machines of
// package channel against a journal on disk (package chanlog), a purse and the
// ledger.
//
// internal/swarm makes one [Link] per peer connection and torrent; it calls
// Buy and Verified on the requester's side and Sell, Served and Allowance on
// the provider's side, and hands channel messages through (R10.14-R10.17,
// R11, R12). internal/session opens the [Book], one per node.
//
// # Goroutines
//
// Each pair (this node, other account, role) has one goroutine (pair.run) with
// one select; it alone touches the pair's channels. It ends with the Book, or
// when it has neither links nor live channels. The Book owns a clock (ledger
// time), a watcher (ledger events of open channels), a sweeper (payment
// timeouts) and the journal's syncer; all end in Close. Requests to the ledger
// and the purse run in short goroutines whose answer is posted to the pair.
//
// # Order of writes
//
// A payer stores an upper bound ahead of what it signs; a payee verifies each
// payment and writes it down before it raises the allowance. The sync runs beside,
// and payments for one window at most wait for it (docs/rfcs/0042). Nothing is ever sent, or
// told as earned, before its record is durable.
package payments
