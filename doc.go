// Package btt embeds a whole BitTorrent node in a program: torrents, and, when
// asked for, BitTorrent Speed with its wallet, payment channels and ledger
// client.
//
// [Open] starts a [Node]; [Node.Add] adds torrents; [Node.Close] stops
// everything and settles what was earned. Events come through
// [Config.Notify]. A node without a wallet is a first-class plain client (R9.1,
// R15.3, R15.4).
//
// The node's goroutines belong to internal/session and internal/payments; one
// more keeps the balance fresh and ends with Close.
package btt
