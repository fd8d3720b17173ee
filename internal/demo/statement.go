package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
)

// Statement is what a demonstration ends with: every µBTT accounted for.
type Statement struct {
	Reconciled bool          `json:"reconciled"`
	Seconds    float64       `json:"seconds"`
	Bytes      int64         `json:"bytes"` // of the shared file
	SHA256     string        `json:"sha256"`
	Actors     []Account     `json:"actors"`
	Channels   int           `json:"channels"`
	Payments   amount.Amount `json:"payments"` // all that was paid
	Earnings   amount.Amount `json:"earnings"` // all that was earned; equals Payments
	Supply     amount.Amount `json:"supply"`
	Audited    amount.Amount `json:"audited"` // sum of all balances, by the independent audit
	Ledger     uint64        `json:"ledger_transactions"`
	Problems   []string      `json:"problems,omitempty"`
	// Free says that nobody had to pay: there were slots for all, and no
	// reserve price (R10.21), or the file was too small for an auction.
	Free bool `json:"free,omitempty"`
}

// Account is one actor's line of the statement: Start - Paid + Earned = End.
type Account struct {
	Name    string        `json:"name"`
	Role    string        `json:"role"`
	Address string        `json:"address,omitempty"`
	Seconds float64       `json:"seconds,omitempty"` // until its file was complete
	Start   amount.Amount `json:"start"`
	Paid    amount.Amount `json:"paid"`
	Earned  amount.Amount `json:"earned"`
	End     amount.Amount `json:"end"` // on the ledger
	FileOK  bool          `json:"file_ok"`
}

// settle closes the nodes, waits for the ledger and adds everything up.
func (e *economy) settle(ctx context.Context) (*Statement, error) {
	e.view.close()
	st := &Statement{Seconds: time.Since(e.began).Seconds(), Bytes: e.o.Size, SHA256: fmt.Sprintf("%x", e.sum), Supply: amount.Supply}
	e.report.Event("settling", "all have the file; settling the channels on the ledger", nil)
	if err := e.closeNodes(ctx); err != nil {
		return nil, err
	}
	settled := e.settled()
	if err := e.reopen(ctx, settled); err != nil {
		return nil, err
	}
	for _, a := range e.actors {
		acc, err := e.account(ctx, a, st, settled)
		if err != nil {
			return nil, err
		}
		st.Actors = append(st.Actors, acc)
	}
	if err := e.audit(st); err != nil {
		return nil, err
	}
	if f := e.o.scenario.problem; f != nil {
		if p := f(e); p != "" {
			st.Problems = append(st.Problems, "scenario "+e.o.scenario.name+": "+p)
		}
	}
	e.receipts(st)
	st.Free = e.free()
	st.check()
	e.print(st)
	if !st.Reconciled {
		return st, fmt.Errorf("%w: %s", ErrUnreconciled, st.Problems[0])
	}
	return st, nil
}

// free says whether there were slots for all that bid, without a reserve price,
// or whether free slots may have served the file before two choke rounds were over.
func (e *economy) free() bool {
	if time.Duration(float64(e.o.Size)/float64(e.o.Upload)*float64(time.Second)) <= 2*e.o.ChokeEach {
		return true
	}
	bidders := 0
	for _, a := range e.actors {
		if a.role == requester {
			bidders++
		}
	}
	return bidders <= e.o.Slots && e.actors[0].reserve == nil
}

// receipts compares each actor's receipts with its channels: two books kept
// apart.
func (e *economy) receipts(st *Statement) {
	for i, a := range e.actors {
		if a.role == plain {
			continue
		}
		var paid, earned amount.Amount
		for _, r := range a.node.Receipts() {
			t := r.Totals()
			paid, earned = paid+t.Paid, earned+t.Earned
		}
		if acc := &st.Actors[i]; paid != acc.Paid || earned != acc.Earned {
			st.Problems = append(st.Problems, fmt.Sprintf("%s: the receipts say paid %s and earned %s, the channels %s and %s",
				a.name, paid, earned, acc.Paid, acc.Earned))
		}
	}
}

// settled are the channels whose providers saw their end, and what it was.
func (e *economy) settled() map[channel.ID]channel.Stage {
	ends := map[channel.ID]channel.Stage{}
	for _, a := range e.actors {
		if a.role == plain {
			continue
		}
		for _, c := range a.node.Channels().Summary() {
			if c.Role == channel.RolePayee && c.Stage.Final() {
				ends[c.Channel] = c.Stage
			}
		}
	}
	return ends
}

// reopen starts those once more that left before the provider had settled what they
// paid: a payer waits for that for a short time only. Until it starts again its books
// say what it signed, and then what the ledger moved, which is less where a payment
// came too late or was under the ledger's least output.
func (e *economy) reopen(ctx context.Context, settled map[channel.ID]channel.Stage) error {
	for _, a := range e.actors {
		if a.role == plain || !a.behind(settled) {
			continue
		}
		node, err := btt.Open(ctx, e.config(a))
		if err != nil {
			return fmt.Errorf("start %s again: %w", a.name, err)
		}
		a.node = node
		for a.behind(settled) && ctx.Err() == nil {
			time.Sleep(watchEvery / 25)
		}
		if err := node.Close(ctx); err != nil {
			return fmt.Errorf("close %s again: %w", a.name, err)
		}
	}
	return nil
}

// behind says whether a payer does not know of a channel that is settled.
func (a *actor) behind(settled map[channel.ID]channel.Stage) bool {
	return slices.ContainsFunc(a.node.Channels().Summary(), func(c payments.Summary) bool {
		return !c.Stage.Final() && settled[c.Channel] == channel.Settled
	})
}

// account makes an actor's line from its channels and the ledger.
func (e *economy) account(ctx context.Context, a *actor, st *Statement, settled map[channel.ID]channel.Stage) (Account, error) {
	acc := Account{Name: a.name, Role: a.role.String(), Seconds: a.done.Seconds(), Start: a.start}
	sum, err := fileSum(filepath.Join(a.files, fileName))
	if err != nil {
		return acc, err
	}
	acc.FileOK = sum == e.sum
	if a.role == plain {
		return acc, nil
	}
	acc.Address = a.address.String()
	for _, c := range a.node.Channels().Summary() {
		if !c.Stage.Final() && settled[c.Channel] == 0 {
			st.Problems = append(st.Problems, fmt.Sprintf("%s: channel %s with %s is still %s", a.name, c.Channel, c.Account.Address(), c.Stage))
		}
		acc.add(c)
		if c.Role == channel.RolePayer {
			st.Channels++
		}
	}
	acc.End, err = balance(ctx, e.ledger.Client(), a.address)
	return acc, err
}

func (a *Account) add(c payments.Summary) {
	if c.Stage == channel.Abandoned || c.Stage == channel.Refunded {
		return // nothing moved
	}
	if c.Role == channel.RolePayer {
		a.Paid += c.Paid
	} else {
		a.Earned += c.Paid
	}
}

// balance sums an address's coins on the ledger.
func balance(ctx context.Context, c ledger.Client, a ledger.Address) (amount.Amount, error) {
	var sum amount.Amount
	var after ledger.OutPoint
	for {
		coins, err := c.Unspent(ctx, a, after, coinPage)
		if err != nil {
			return 0, fmt.Errorf("ask ledger for coins: %w", err)
		}
		for _, coin := range coins {
			if sum, err = sum.Add(coin.Amount); err != nil {
				return 0, err
			}
			after = coin.OutPoint
		}
		if len(coins) < coinPage {
			return sum, nil
		}
	}
}

const coinPage = 100

// audit replays the ledger's log with the independent reader.
func (e *economy) audit(st *Statement) error {
	e.stopLedger()
	rep, err := ledgerd.Audit(home(e.dir, "ledger"))
	if err != nil {
		return fmt.Errorf("audit ledger: %w", err)
	}
	st.Audited, st.Ledger = rep.Unspent, rep.Transactions
	return nil
}

// check decides whether everything adds up.
func (st *Statement) check() {
	for _, a := range st.Actors {
		st.Payments += a.Paid
		st.Earnings += a.Earned
		if !a.FileOK {
			st.Problems = append(st.Problems, a.Name+": the file differs from the original")
		}
		if want := a.Start - a.Paid + a.Earned; a.End != want {
			st.Problems = append(st.Problems, fmt.Sprintf("%s: the ledger holds %s, the books say %s", a.Name, a.End, want))
		}
	}
	if st.Payments != st.Earnings {
		st.Problems = append(st.Problems, fmt.Sprintf("%s paid, but %s earned", st.Payments, st.Earnings))
	}
	if st.Audited != st.Supply {
		st.Problems = append(st.Problems, fmt.Sprintf("the ledger holds %s of a supply of %s", st.Audited, st.Supply))
	}
	if st.Payments == 0 && !st.Free {
		st.Problems = append(st.Problems, "nothing was paid")
	}
	st.Reconciled = len(st.Problems) == 0
}

func (e *economy) print(st *Statement) {
	line := func(format string, a ...any) { e.report.Event("line", fmt.Sprintf(format, a...), nil) }
	if e.report.Mode() != terminal.JSON {
		line("")
		line("%-8s %-10s %9s %22s %22s %22s %22s  %s", "", "role", "file at", "start", "paid", "earned", "end, on the ledger", "SHA-256")
		for _, a := range st.Actors {
			at, ok := "-", "equal"
			if a.Seconds > 0 {
				at = fmt.Sprintf("%.1f s", a.Seconds)
			}
			if !a.FileOK {
				ok = "DIFFERENT"
			}
			line("%-8s %-10s %9s %22s %22s %22s %22s  %s", a.Name, a.Role, at, a.Start, a.Paid, a.Earned, a.End, ok)
		}
		line("")
		line("%d channels, %d transactions on the ledger; paid %s = earned %s", st.Channels, st.Ledger, st.Payments, st.Earnings)
		line("the ledger's balances sum to %s of %s", st.Audited, st.Supply)
		for _, p := range st.Problems {
			line("PROBLEM: %s", p)
		}
		if st.Free && st.Payments == 0 {
			line("nobody had to pay: there were slots for all, or the file was complete before one was sold (see --peers, --size)")
		}
		if st.Reconciled {
			line("every sum reconciles to the last µBTT")
		}
		return
	}
	e.report.Event("statement", "", terminal.Fields{"reconciled": st.Reconciled, "seconds": st.Seconds, "bytes": st.Bytes,
		"sha256": st.SHA256, "actors": st.Actors, "channels": st.Channels, "payments": st.Payments, "earnings": st.Earnings,
		"supply": st.Supply, "audited": st.Audited, "ledger_transactions": st.Ledger, "problems": st.Problems})
}
