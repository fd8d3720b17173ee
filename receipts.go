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
	"github.com/bttnet/btt/metainfo"
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
	if m := n.money.Load(); m != nil {
		return m.booked.List()
	}
	return nil
}

// Receipt returns the receipt of a torrent; nil = it has none, or the node no part in
// Speed.
func (n *Node) Receipt(hash metainfo.InfoHash) *Receipt {
	if m := n.money.Load(); m != nil {
		return m.booked.Get(hash)
	}
	return nil
}

func (m *money) openReceipts() (err error) {
	m.booked, err = receipts.Open(receiptsDir(m.home), time.Now)
	if errors.Is(err, receipts.ErrFormat) { // they are set aside; the channels know the sums
		m.log.Warn("some receipts are lost", "err", err)
		return nil
	}
	return err
}

// bookPayment books one payment on its torrent's receipt.
func (m *money) bookPayment(e *payments.Event) {
	role := receipts.Paid
	switch e.Kind {
	case payments.EventPaid:
	case payments.EventEarned:
		role = receipts.Earned
	default:
		return
	}
	m.booked.Moved(e.Tag, role, e.Account.Address(), e.Channel, e.Sum, e.Bytes)
}

// bookEnded makes the receipts say what the ledger moved in a channel.
func (m *money) bookEnded(c *payments.Summary) {
	role, moved := receipts.Paid, c.Paid
	if c.Role == channel.RolePayee {
		role = receipts.Earned
	}
	if c.Stage != channel.Settled {
		moved = amount.Amount(0)
	}
	m.booked.Ended(c.Channel, role, c.Account.Address(), moved)
}

// saveReceipts writes the receipts unless that was done less than every ago, and who
// did not pay if that changed.
// It runs on the balance keeper's goroutine, and last in Close.
func (m *money) saveReceipts(every time.Duration) {
	if err := m.savePenalties(); err != nil { // at each look: who is banned may end this process
		m.log.Error("keep penalties", "err", err)
	}
	if err := m.saveDebtors(); err != nil {
		m.log.Error("keep debtors", "err", err)
	}
	now := time.Now()
	if now.Sub(m.receiptsSaved) < every {
		return
	}
	m.receiptsSaved = now
	if err := m.booked.Save(); err != nil {
		m.log.Error("keep receipts", "err", err)
	}
	if err := m.savePrices(); err != nil {
		m.log.Error("keep prices seen", "err", err)
	}
}
