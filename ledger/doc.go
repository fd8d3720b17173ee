// Package ledger is the private ledger as a pure function: keys, addresses,
// transactions, the state machine with rules LR1 to LR10, and the Client
// interface through which everyone else sees a ledger.
//
// Wallets, channels and the gateway build and sign transactions with it;
// internal/ledgerd runs State behind a durable block log; ledgertest has an
// in-memory ledger for tests and simulations. Nothing here reads a clock, a
// file, a socket or randomness: time comes with blocks, entropy as an
// io.Reader. The package starts no goroutine of its own; a State belongs to
// one goroutine, all other types are values.
//
// The rules in short. LR1: valid shape, no input twice, outputs of at least
// the minimum, sums equal, witnesses exact and valid. LR2: every input exists
// and is unspent. LR3: a transaction without a lock time in the future is
// applied at once and drops what is parked on its inputs. LR4: any other is
// parked if it has one input of the 2-of-2 kind, at most two outputs and a
// lock time within the limit. LR5: only a higher sequence replaces a parked
// one, at most 64 times. LR6: ledger time advances by at most the clamp in a
// block, never backwards. LR7: time first, then the block's transactions, then
// the parked ones that are due. LR8 binds the payee's client: when up to
// D blocks may leave its close out, it must take no payment and close from
// (D+2) clamps before the lock time on (the exact bound, found by search over
// this state machine with one-second steps). LR9: mints carry a deposit reference, usable once; redeems
// destroy. LR10: after each block unspent = minted - burned <= supply, or the
// state halts.
//
// Requirements: R3.2, R3.7, R3.13, R11.4 to R11.18, A1, A3 to A5, A31.
package ledger
