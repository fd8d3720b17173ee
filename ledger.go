package btt

import (
	"time"

	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/ledger"
)

// LedgerConfig is what a ledger inside this program is made of.
type LedgerConfig struct {
	// Dir is the ledger's folder; it is made when missing.
	Dir string
	// Genesis says who owns the supply (sums in µBTT, times in seconds since 1970)
	// and by which rules; a new folder needs one, for another it is the same or the
	// zero value.
	Genesis ledger.Genesis
	// OperatorKey signs the blocks; nil = a key kept in Dir, made when missing.
	OperatorKey ledger.Signer
	// Heartbeat is the longest time between two blocks, and so how often the
	// ledger's time goes on while nobody pays; 0 = 5 s.
	Heartbeat time.Duration
	// Fatal is called once, from a goroutine of the ledger, when it stops because
	// the disk failed or a file is damaged. It must not call Close.
	Fatal func(error)
}

// EmbeddedLedger is a ledger inside this program: Client gives what
// SpeedConfig.Ledger, WalletConfig.Ledger and FollowConfig.Ledger take. Its
// methods and those of its clients are safe for concurrent use.
type EmbeddedLedger = ledgerd.Server

// What OpenLedger, Close and the clients of an EmbeddedLedger return, wrapped.
var (
	ErrLedgerLocked  = ledgerd.ErrLocked  // the folder is in use, maybe by "btt ledger serve"
	ErrLedgerClosed  = ledgerd.ErrClosed  // Close was called
	ErrLedgerFailed  = ledgerd.ErrFailed  // it stopped itself; open it again
	ErrLedgerNetwork = ledgerd.ErrNetwork // the folder holds the ledger of another genesis
)

// OpenLedger opens or makes the ledger in a folder and runs it in this process,
// without a port: for tests, for a private network, for an operator's own
// service. The folder is that of "btt ledger", whose serve and audit work on it
// (R3.7, R3.8).
//
// What a client is told to be committed is on the disk: Submit returns after the
// block was signed, written and synced, and the next OpenLedger has it, also
// after a crash; an unfinished last block is cut. A folder that was damaged
// otherwise, is in use, or belongs to another genesis is refused with the reason.
//
// The ledger has goroutines of its own, which end with Close. Close the nodes,
// wallets and followed ledgers that use it first: they settle through it.
func OpenLedger(cfg LedgerConfig) (*EmbeddedLedger, error) {
	return ledgerd.Open(ledgerd.Config{Dir: cfg.Dir, Genesis: cfg.Genesis, OperatorKey: cfg.OperatorKey, Heartbeat: max(cfg.Heartbeat, 0), Fatal: cfg.Fatal})
}
