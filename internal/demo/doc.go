// Package demo runs a whole BTT economy in one process: a ledger with its
// genesis, a tracker, a seed with limited upload that sells its slots,
// requesters with different wallets and one plain peer. All of it is the
// production code over loopback TCP, real files, real signatures and real
// fsync; nothing is simulated.
//
// cmd/btt calls [Run]. Its goroutines are those of the parts it starts, and
// one for the tracker; all end with Run.
package demo
