package ledgerhttp

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/bttnet/btt/ledger"
)

// Limits bound what one client and all clients together may ask of a ledger. A
// client is an IPv4 address or an IPv6 /64. Those on a unix socket are the
// operator's own: only the totals bind them.
type Limits struct {
	// Submits and Reads are per client and second. A proof counts as proofCost
	// reads, a new watch as watchCost.
	Submits, Reads Rate
	// Opens are accepted transactions for each address that they spend from,
	// except closes of channels and consolidations (more inputs than outputs):
	// no address can fill the ledger alone, and none is kept from its money.
	Opens Rate
	// Submissions that wait for their answer, and watches, at a time.
	WaitingEach, WaitingAll int
	WatchesEach, WatchesAll int
	// WriteTimeout is how long a watcher may leave events unread before it is
	// cut off; it comes back with its cursor.
	WriteTimeout time.Duration
}

// DefaultLimits are those of Handler. They are far above what a busy node needs
// and far below what a ledger carries.
var DefaultLimits = Limits{
	Submits: Rate{PerSecond: 200, Burst: 2000}, Reads: Rate{PerSecond: 1000, Burst: 5000}, Opens: Rate{PerSecond: 50, Burst: 1000},
	WaitingEach: 512, WaitingAll: 1 << 14, WatchesEach: 64, WatchesAll: 4096, WriteTimeout: 15 * time.Second,
}

// Costs in reads.
const (
	proofCost = 5
	watchCost = 5
)

// retryWaiting is what a client is told to wait when all places are taken.
const retryWaiting = time.Second

// gates are the limits at work.
type gates struct {
	now            func() time.Time
	submits, reads *Gate[netip.Prefix]
	opens          *Gate[ledger.Address]
	waiting, watch *Quota[netip.Prefix]
}

func newGates(l Limits, now func() time.Time) *gates {
	return &gates{
		now: now, submits: NewGate[netip.Prefix](l.Submits), reads: NewGate[netip.Prefix](l.Reads), opens: NewGate[ledger.Address](l.Opens),
		waiting: NewQuota[netip.Prefix](l.WaitingEach, l.WaitingAll), watch: NewQuota[netip.Prefix](l.WatchesEach, l.WatchesAll),
	}
}

// clientOf names the client of a request; the zero prefix is a unix socket.
func clientOf(r *http.Request) netip.Prefix {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// limited is a refusal for a while.
type limited struct {
	what string
	wait time.Duration
}

// Error says who should wait and how long.
func (l *limited) Error() string {
	return l.what + "; try again in " + strconv.Itoa(l.seconds()) + " s"
}

// seconds rounds up: the header Retry-After knows whole ones only.
func (l *limited) seconds() int { return int((l.wait + time.Second - 1) / time.Second) }

// read lets a request pass that costs n reads.
func (g *gates) read(client netip.Prefix, n int) error {
	if !client.IsValid() {
		return nil
	}
	if d := g.reads.Take(client, n, g.now()); d > 0 {
		return &limited{"too many requests from this address", d}
	}
	return nil
}

// submit lets a submission of tx pass, and returns what to call when it is
// answered.
func (g *gates) submit(client netip.Prefix, tx *ledger.Tx) (done func(accepted bool), err error) {
	now := g.now()
	if client.IsValid() {
		if d := g.submits.Take(client, 1, now); d > 0 {
			return nil, &limited{"too many transactions from this address", d}
		}
	}
	spenders := openers(tx)
	for _, a := range spenders {
		if d := g.opens.Wait(a, 1, now); d > 0 {
			return nil, &limited{"too many transactions that spend from " + a.String(), d}
		}
	}
	if !g.waiting.Take(client) {
		return nil, &limited{"too many transactions wait for the ledger", retryWaiting}
	}
	return func(accepted bool) {
		g.waiting.Release(client)
		if !accepted {
			return // whoever signs nothing valid uses up nobody's share
		}
		for _, a := range spenders {
			g.opens.Charge(a, 1, g.now())
		}
	}, nil
}

// openers returns the addresses whose share a transaction uses up.
func openers(tx *ledger.Tx) []ledger.Address {
	if tx == nil || tx.Kind == ledger.Mint || len(tx.Inputs) > len(tx.Outputs) {
		return nil
	}
	var list []ledger.Address
	for i := range tx.Witnesses {
		if w := &tx.Witnesses[i]; len(w.Keys) == 1 { // an address lock; closes spend none
			list = append(list, w.Keys[0].Address())
		}
	}
	return list
}
