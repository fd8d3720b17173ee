package btt

import (
	"context"
	"crypto/x509"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/internal/heads"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/ledgerhttp"
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

// headsDir is the folder of a node's home that remembers signed heads.
const headsDir = "heads"

// FollowedLedger is a ledger.Client that remembers the signed heads it has seen
// and refuses to pay through a history that does not hold (A31). Close it after
// the node that uses it.
type FollowedLedger = heads.Client

// DialLedger returns a client of the ledger at "http://host:port",
// "https://host:port" or "unix:/path". It does not connect yet. roots are the
// certificate authorities to trust for https; nil means the system's.
func DialLedger(address string, roots *x509.CertPool) (ledger.Client, error) {
	return ledgerhttp.DialTLS(address, roots)
}

// FollowConfig says what to follow and where to remember it.
type FollowConfig struct {
	Home     string // of the node
	Ledger   ledger.Client
	Operator ledger.PublicKey // as published; zero: whoever signs first
	// Report hears of each thing that does not hold; it is called from a goroutine
	// of the followed ledger. FollowedLedger.Evidence names the file that proves a
	// fork to anybody.
	Report func(error)
}

// FollowLedger puts a memory for signed heads between a ledger and the node or
// wallet that pays through it: give the result as SpeedConfig.Ledger or
// WalletConfig.Ledger. It has one goroutine, which ends with Close. It fails when
// the ledger does not answer or the folder cannot be used; a history that does
// not hold is reported, and then Submit refuses all but closes of channels.
func FollowLedger(ctx context.Context, cfg FollowConfig) (*FollowedLedger, error) {
	if cfg.Home == "" {
		return nil, ErrNoHome
	}
	return heads.Open(ctx, heads.Config{Dir: filepath.Join(cfg.Home, headsDir), Ledger: cfg.Ledger, Operator: cfg.Operator, Report: cfg.Report})
}
