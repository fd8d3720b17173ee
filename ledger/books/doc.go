// Package books makes the ledger's history a transparency log, so that one
// operator may stop it but cannot rewrite, hide or fork it unseen (A31, R3.13,
// R3.14).
//
// Each block of the ledger is one leaf of a Merkle tree after RFC 6962 (the tree
// of golang.org/x/mod/sumdb/tlog). The operator signs the tree's head as a note
// (golang.org/x/mod/sumdb/note). From a head follow short proofs: that a
// transaction is in it ([Proof]), and that it continues an older head
// ([Extension]). A [Follower] remembers the newest head it has seen and accepts
// only what continues it. Two heads that do not fit become a [Document]: evidence
// that anybody can check without a server.
//
// internal/ledgerd makes heads and proofs through [Source], internal/heads
// follows them for wallets and nodes, "btt ledger check" reads documents. The
// package is pure: values and functions, no goroutine, no clock, no files.
package books
