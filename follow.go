package btt

import (
	"context"
	"crypto/x509"
	"path/filepath"

	"github.com/bttnet/btt/internal/heads"
	"github.com/bttnet/btt/internal/ledgerhttp"
	"github.com/bttnet/btt/ledger"
)

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
