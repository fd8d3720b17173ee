// Package channel holds the payment channel of the white paper (§ "Payment
// protocol", R11.3-R11.20): the machines of the payer (requester) and of the
// payee (provider) over the ledger's transactions T1 (funding), T2 (refund)
// and T3 (settlement), and the binary messages between them.
//
// The package is pure. It has no clock, no I/O, no goroutine and no random
// source; a [ledger.Signer] and the ledger's time are arguments. Package
// internal/payments runs the machines against a journal, a purse and a ledger;
// simulators and other clients may do the same.
//
// # Driving a machine
//
// A machine ([Payer], [Payee]) takes inputs (Step for a message of the other
// side, Tick for the ledger's time, and the named methods) and collects what
// has to be done. The caller takes it with Ready and must do it in this order:
//
//  1. append every record of Ready.Records to stable storage, and wait until
//     it is durable when Ready.Sync is set;
//  2. send Ready.Messages to the other side, in order;
//  3. act on Ready.Tasks (ledger transactions to submit, look-ups);
//  4. read Ready.Events.
//
// A caller that sends before it stored breaks the promises of LOSSES.md. A
// machine is not safe for concurrent use.
//
// # The nine steps (R11.3-R11.15)
//
//	terms      payee: account, K2, lock range, deposits, quantum (bid response)
//	Open       payer: K1, id of T1, deposit, lock time of T2     (steps 1-3)
//	RefundSig  payee: K2's signature on T2                       (step 4)
//	Fund       payer: T1 with witnesses, T3 number 1 signed      (steps 5-7)
//	Confirm    payee: T1 is committed                            (step 8)
//	Attach     payer: a lane of the channel pays for this service tag
//	State      payee: the newest payment it holds, to re-synchronise; or that
//	           less of the stream is paid than Attach claimed
//	Pay        payer: new cumulative amount and T3 signature     (step 9)
//	Close      either side: settle now
//	Closed     payee: T3 is with the ledger
//	Quote      payee: price from a byte of the stream on
//	Refuse     either side: code and reason
//
// # Lanes
//
// One channel between two accounts pays for many torrents. A lane is a number
// bound to a 20-byte service tag (an infohash) with its own cumulative byte
// count and its own price segments; the sum owed is the sum over the segments
// of floor(price x bytes), in 128 bits. A payment names the lane's cumulative
// bytes and the channel's cumulative amount, so a lost payment costs nothing
// and any drift between the books shows at once.
package channel
