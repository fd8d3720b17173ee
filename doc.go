// Package btt embeds a whole BitTorrent node in a program: torrents, and, when
// asked for, BitTorrent Speed with its wallet, payment channels and ledger
// client.
//
// [Open] starts a [Node]; [Node.Add] adds torrents; [Node.Close] stops
// everything and settles what was earned. Events come through
// [Config.Notify]. A node without a wallet is a first-class plain client (R9.1,
// R15.3, R15.4).
//
// [OpenWallet] uses a node's wallet without the node, also beside it for looking:
// what it holds and where, its channels, payments, limits. [ExportWallet] and
// [RestoreWallet] carry it to another machine. [DialLedger] reaches a ledger that
// runs elsewhere, [OpenLedger] runs one in the program, [FollowLedger] checks either.
//
// The node's goroutines belong to internal/session and internal/payments; a few
// more keep the balance, the wallet's journal and its coins in order and end with
// Close.
package btt
