// Package chanlog keeps the records of payment channels on disk: an append-only
// log of package channel's records, made durable in groups, and read again after
// a crash (R11; docs/rfcs/0010 and 0011).
//
// internal/payments opens one for each Book. A [Log] has one goroutine, its
// syncer; it ends with [Log.Close] or the first failed sync.
package chanlog
