package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/receipts"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

var errNoReceipt = errors.New("no receipt")

func newReceipts(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "receipts [ID]",
		Short: "Show who was paid, who paid, and what came for nothing",
		Long: `Shows what each torrent moved: sums and verified bytes, and with an ID (an info
hash or its first digits, or a name) each account with its prices beside the
bid, the reserve price and the highest losing bid where the price shows it.
The sums equal those of the wallet's journal (btt wallet history); an
adjustment says what a crash kept from being itemized. While channels are open
the newest ten seconds may be unsaved; they are set right when the channel ends.`,
		Example: `  btt receipts
  btt receipts 5f1a
  btt receipts debian.iso --json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("%s takes one ID at most", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			home, err := g.dir()
			if err != nil {
				return err
			}
			if _, err := os.Stat(home); err != nil {
				return fmt.Errorf("no receipts: there is no folder %s (name that of btt get or btt seed with --home): %w", home, bare(err))
			}
			list, err := btt.ReadReceipts(home)
			r := g.reporter(cmd.OutOrStdout())
			defer r.Close()
			if len(args) == 1 {
				if list = pick(list, args[0]); len(list) == 0 && err == nil {
					return fmt.Errorf("%w of %q: see \"btt receipts\" for those that there are", errNoReceipt, args[0])
				}
				for _, x := range list {
					reportReceipt(r, x, true)
				}
				return err
			}
			listReceipts(r, list)
			return err
		},
	}
}

// pick returns the receipts that an ID means.
func pick(list []*btt.Receipt, id string) []*btt.Receipt {
	return slices.DeleteFunc(slices.Clone(list), func(r *btt.Receipt) bool {
		hash := strings.HasPrefix(r.InfoHash.String(), strings.ToLower(id)) && len(id) >= 4
		return !hash && r.Name != id
	})
}

func listReceipts(r *terminal.Reporter, list []*btt.Receipt) {
	var paid, earned amount.Amount
	for _, x := range list {
		t := x.Totals()
		paid, earned = paid+t.Paid, earned+t.Earned
		reportReceipt(r, x, false)
	}
	r.Event("total", fmt.Sprintf("%s: paid %s, earned %s", terminal.Count(len(list), "torrent"), paid, earned),
		terminal.Fields{"torrents": len(list), "paid": paid, "earned": earned})
}

func nameOf(x *btt.Receipt) string {
	switch {
	case x.Name != "":
		return printable(x.Name)
	case x.InfoHash == (receipts.Hash{}):
		return "channels of unknown torrents"
	}
	return "(no name yet)"
}

// printable keeps a stranger's name from steering the terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
}

// moved tells the sums of a receipt.
func moved(t *receipts.Totals) string {
	return fmt.Sprintf("paid %s for %s, earned %s for %s, %s free", t.Paid, terminal.Bytes(t.PaidBytes), t.Earned, terminal.Bytes(t.EarnedBytes), terminal.Bytes(t.FreeBytes))
}

// reportReceipt shows one receipt: in a line, or with all its accounts.
func reportReceipt(r *terminal.Reporter, x *btt.Receipt, all bool) {
	t := x.Totals()
	text := fmt.Sprintf("%.8s  %s: %s", x.InfoHash, nameOf(x), moved(&t))
	if all {
		text += "\n" + strings.Join(receiptLines(x, &t), "\n")
	}
	f := terminal.Fields{"infohash": x.InfoHash, "name": x.Name, "size": x.Size, "began": x.Began, "changed": x.Changed,
		"paid": t.Paid, "earned": t.Earned, "totals": t}
	if all {
		f["lines"], f["plain"] = x.Lines, x.Plain
	}
	r.Event("receipt", text, f)
}

func receiptLines(x *btt.Receipt, t *receipts.Totals) []string {
	var out []string
	for _, l := range x.Lines {
		who := "accounts beyond the limit"
		if !l.Account.IsZero() {
			who = l.Account.String()
		}
		line := fmt.Sprintf("  %s %s %s: %s verified", verb(l.Role), who, l.Total(), terminal.Bytes(l.Bytes))
		if l.Deals > 0 {
			line += ", " + prices(l)
		}
		if l.Free.Bytes > 0 {
			line += fmt.Sprintf(", and %s free", terminal.Bytes(l.Free.Bytes))
		}
		if l.Adjusted != 0 {
			line += fmt.Sprintf(", %d µBTT of it an adjustment to the ledger", l.Adjusted)
		}
		out = append(out, line)
	}
	if x.Plain.Bytes > 0 {
		out = append(out, fmt.Sprintf("  %d peers without BTT: %s free", x.Plain.Peers, terminal.Bytes(x.Plain.Bytes)))
	}
	if t.PaidSeconds > 0 && t.PaidBytes > 0 {
		out = append(out, fmt.Sprintf("  speed of a paid slot: %s", speedOf(t.PaidBytes, t.PaidSeconds)))
	}
	if t.FreeSeconds > 0 && t.FreeBytes > 0 {
		out = append(out, fmt.Sprintf("  speed of a free slot: %s", speedOf(t.FreeBytes, t.FreeSeconds)))
	}
	return append(out, fmt.Sprintf("  since %s, last change %s", x.Began.Local().Format(time.DateTime), x.Changed.Local().Format(time.DateTime)))
}

func verb(role receipts.Role) string {
	if role == btt.ReceiptPaid {
		return "paid"
	}
	return "earned from"
}

func speedOf(bytes, seconds int64) string {
	return fmt.Sprintf("%s over %d s", terminal.Rate(bytes/seconds), seconds)
}

// prices tells a line's prices beside what they rest on.
func prices(l *btt.ReceiptLine) string {
	price := func(p receipts.Price) string { return amount.Price(p).String() }
	text := "at " + price(l.Last.Price)
	if l.Lowest != l.Highest {
		text = fmt.Sprintf("at %s to %s", price(l.Lowest), price(l.Highest))
	}
	text += "; bid " + price(l.Last.Bid)
	if l.Last.Reserve >= 0 {
		text += ", reserve " + price(l.Last.Reserve)
	}
	if p, known := l.Last.Losing(); known {
		text += ", highest losing bid " + price(p)
	}
	if part, ok := l.Share(); ok {
		text += fmt.Sprintf("; %d %% of the bid over %d rounds", part/10_000, l.Rounds)
	}
	return text
}

// bill is what a download cost: in this run of the command, and in all.
type bill struct{ run, all amount.Amount }

func (b bill) String() string {
	if b.run == b.all {
		return b.run.String()
	}
	return fmt.Sprintf("%s (%s in all runs)", b.run, b.all)
}

// bills tell what this run of a command adds to what torrents moved before.
type bills struct {
	before map[receipts.Hash]*btt.Receipt
	paid   map[receipts.Hash]amount.Amount // seen last: a torrent that left Speed tells no sum
	// now tells a torrent's receipt; nil, or of nil, = as it was.
	now func(metainfo.InfoHash) *btt.Receipt
}

// newBills begins with the receipts that there are when the command begins.
func newBills(list []*btt.Receipt) *bills {
	b := &bills{before: map[receipts.Hash]*btt.Receipt{}, paid: map[receipts.Hash]amount.Amount{}}
	for _, x := range list {
		b.before[x.InfoHash] = x
	}
	return b
}

// of is the bill of a download; zero while it has taken no part in Speed in this run.
func (b *bills) of(st *btt.Status) bill {
	hash := receipts.Hash(st.InfoHash)
	if st.Paid > 0 {
		b.paid[hash] = st.Paid
	}
	all, old, then := b.paid[hash], b.before[hash], amount.Amount(0)
	if old != nil {
		then = old.Totals().Paid
	}
	var x *btt.Receipt
	if all > 0 && b.now != nil {
		x = b.now(st.InfoHash)
	}
	if x == nil {
		return bill{max(all-then, 0), all}
	}
	// What made good for an earlier run is in all if it came before the torrent started.
	since, total := x.Since(old).Paid, x.Totals().Paid
	late := max(total-then-since, 0)
	return bill{max(since, all-then-late), max(all, total)}
}

// reportSpent shows in short what this run moved for a torrent, and if there were others
// what all did, once its node is closed.
func (b *bills) reportSpent(r *terminal.Reporter, home string, hash [20]byte) {
	list, err := btt.ReadReceipts(home)
	if err != nil {
		r.Warn("warning", plain(err), terminal.Fields{"error": plain(err)})
	}
	for _, x := range list {
		if x.InfoHash == receipts.Hash(hash) {
			if old := b.before[x.InfoHash]; old != nil && old.Totals() != (receipts.Totals{}) {
				run := x.Since(old)
				r.Event("run", fmt.Sprintf("%.8s  %s, this run: %s; all runs:", x.InfoHash, nameOf(x), moved(&run)),
					terminal.Fields{"infohash": x.InfoHash, "name": x.Name, "paid": run.Paid, "earned": run.Earned, "paid_bytes": run.PaidBytes, "earned_bytes": run.EarnedBytes, "free_bytes": run.FreeBytes})
			}
			reportReceipt(r, x, false)
			if t := x.Totals(); t.Paid+t.Earned > 0 {
				r.Event("hint", fmt.Sprintf("who was paid: btt receipts %.8s", x.InfoHash), nil)
			}
		}
	}
}
