// Package ledgerdb is what a ledger server knows of the blocks in its log:
// unspent coins, who spent what, where each transaction is, the coins of an
// address, parked transactions and recent events (R3.7, R3.8).
//
// It is a cache. The block log is the write-ahead log: nothing here is made
// durable before a block is, nothing is lost that the log does not still have,
// and the whole directory may be deleted, after which the log is replayed from
// its first block. internal/ledgerd is the only user.
//
// # Layers
//
// New blocks go into a layer in memory. When the layer is large or old, the
// flusher freezes it, writes it to a pebble store without a log of its own, in one
// batch that also says which block it belongs to, and drops it. A coin made and
// spent within one layer never reaches the disk. Readers look into the newest
// layer, the frozen one, then the store. After a crash the store is at some
// block; Position tells from where the log must be replayed.
//
// The index by address is brought up to date beside the commits, by a goroutine
// or by the first reader that needs it; no reader sees it behind.
//
// # Concurrency
//
// Publish, Close and an Ahead belong to one goroutine each; all else may be
// called from anywhere. Open starts two goroutines, which end with Close or at
// the first failure: a write or sync that fails ends the DB, and Config.Fatal
// hears of it once.
package ledgerdb
