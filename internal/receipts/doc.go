// Package receipts keeps, for each torrent, who was paid and who paid: verified
// bytes, sums, the price beside the bid and the reserve price, and what came
// for nothing (R15.2, R17.5).
//
// A [Book] is written by the payment side ([Book.Moved], [Book.Ended]) and by
// internal/market ([Book.Deal], [Book.Flow]), and read by anybody. It has no
// goroutine: its owner calls [Book.Save] now and then. Each torrent is one JSON
// file, replaced as a whole.
//
// The sums of all lines equal those of the wallet's journal: when a channel
// ends, what the ledger moved is compared with the payments booked here, and
// the difference (payments after the last save before a crash, or sums too
// small for the ledger) becomes an adjustment in plain sight.
package receipts
