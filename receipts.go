package btt

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/payments"
	"github.com/bttnet/btt/internal/receipts"
)

// Receipt is what one torrent moved: who was paid and who paid, for how many
// verified bytes and at which prices, and what came for nothing (R15.2).
type Receipt = receipts.Receipt

// ReceiptLine is one account of a [Receipt].
type ReceiptLine = receipts.Line

// Roles of a receipt's lines.
const (
	ReceiptPaid   = receipts.Paid
	ReceiptEarned = receipts.Earned
)

// saveReceiptsEvery is how much of the receipts a crash may lose. The sums are
// made good from the channels then, the lines show it as an adjustment.
const saveReceiptsEvery = 10 * time.Second

func receiptsDir(home string) string { return filepath.Join(home, "receipts") }

// ReadReceipts reads the receipts of a node's home, which may be running; the
// newest are last. On an error what could be read is returned too.
func ReadReceipts(home string) ([]*Receipt, error) {
	list, bad := receipts.ReadAll(receiptsDir(home))
	if len(bad) > 0 {
		return list, fmt.Errorf("read receipts: %w: %q", receipts.ErrFormat, bad)
	}
	return list, nil
}

// Receipts returns the node's receipts, the newest last; none without Speed.
func (n *Node) Receipts() []*Receipt {
	if n.booked == nil {
		return nil
	}
	return n.booked.List()
}

func (n *Node) openReceipts() (err error) {
	n.booked, err = receipts.Open(receiptsDir(n.cfg.Home), time.Now)
	if errors.Is(err, receipts.ErrFormat) { // they are set aside; the channels know the sums
		n.cfg.Log.Warn("some receipts are lost", "err", err)
		return nil
	}
	return err
}

// bookPayment books one payment on its torrent's receipt.
func (n *Node) bookPayment(e *payments.Event) {
	role := receipts.Paid
	switch e.Kind {
	case payments.EventPaid:
	case payments.EventEarned:
		role = receipts.Earned
	default:
		return
	}
	n.booked.Moved(e.Tag, role, e.Account.Address(), e.Channel, e.Sum, e.Bytes)
}

// bookEnded makes the receipts say what the ledger moved in a channel.
func (n *Node) bookEnded(c *payments.Summary) {
	role, moved := receipts.Paid, c.Paid
	if c.Role == channel.RolePayee {
		role = receipts.Earned
	}
	if c.Stage != channel.Settled {
		moved = amount.Amount(0)
	}
	n.booked.Ended(c.Channel, role, c.Account.Address(), moved)
}

// saveReceipts writes the receipts unless that was done less than every ago, and who
// did not pay if that changed.
// It runs on the balance keeper's goroutine, and last in Close.
func (n *Node) saveReceipts(every time.Duration) {
	if err := n.savePenalties(); err != nil { // at each look: who is banned may end this process
		n.cfg.Log.Error("keep penalties", "err", err)
	}
	if err := n.saveDebtors(); err != nil {
		n.cfg.Log.Error("keep debtors", "err", err)
	}
	now := time.Now()
	if now.Sub(n.receiptsSaved) < every {
		return
	}
	n.receiptsSaved = now
	if err := n.booked.Save(); err != nil {
		n.cfg.Log.Error("keep receipts", "err", err)
	}
	if err := n.savePrices(); err != nil {
		n.cfg.Log.Error("keep prices seen", "err", err)
	}
}
