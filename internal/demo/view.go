package demo

import (
	"fmt"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/terminal"
)

// view shows the running economy: a table that is drawn anew on a terminal,
// a line a second and actor elsewhere, JSON lines for programs.
type view struct {
	r    *terminal.Reporter
	last time.Time
}

func newView(r *terminal.Reporter) *view { return &view{r: r} }

const lineEvery = 2 * time.Second

func (v *view) show(e *economy) {
	if v.r.Mode() == terminal.Bars {
		v.r.Table(e.rows())
		return
	}
	if time.Since(v.last) < lineEvery {
		return
	}
	v.last = time.Now()
	for _, a := range e.actors[1:] {
		if a.done > 0 || a.node == nil || a.role == provider {
			continue
		}
		slot, price := e.slot(a)
		st := a.status
		have := st.Size - st.Left
		v.r.Event("progress", fmt.Sprintf("%5.1f s  %-6s %3d %%  %10s  slot %-10s  bid %-20s price %-20s paid %s",
			time.Since(e.began).Seconds(), a.name, have*100/max(1, st.Size), terminal.Rate(st.Down), slot, short(st.Bid), short(price), st.Paid),
			terminal.Fields{"name": a.name, "bytes": have, "size": st.Size, "down": st.Down, "slot": slot, "bid": int64(st.Bid),
				"price": int64(price), "paid": st.Paid, "balance": a.start - st.Paid + st.Earned})
	}
}

func (v *view) close() { v.r.Table(nil) }

const barWidth = 24

// rows is the live table.
func (e *economy) rows() []string {
	seed := e.actors[0].status
	rows := []string{
		fmt.Sprintf("%5.1f s   seed uploads %s of at most %s, earned %s", time.Since(e.began).Seconds(),
			terminal.Rate(seed.Up), terminal.Rate(e.o.Upload), seed.Earned),
		fmt.Sprintf("%-6s %-*s %5s %12s  %-10s %-18s %-18s %s", "", barWidth+2, "progress", "", "speed", "slot", "bid", "price", "balance"),
	}
	for _, a := range e.actors[1:] {
		st := a.status
		have := st.Size - st.Left
		full := int(have * barWidth / max(1, st.Size))
		slot, price := e.slot(a)
		balance := "no wallet"
		if a.role != plain {
			balance = (a.start - st.Paid + st.Earned).String()
		}
		rows = append(rows, fmt.Sprintf("%-6s [%s%s] %3d %% %12s  %-10s %-18s %-18s %s", a.name, bar(full, '#'), bar(barWidth-full, '.'),
			have*100/max(1, st.Size), terminal.Rate(st.Down), slot, short(st.Bid), short(price), balance))
	}
	return rows
}

func bar(n int, c byte) string {
	b := make([]byte, max(0, n))
	for i := range b {
		b[i] = c
	}
	return string(b)
}

// short writes a price for people: whole BTT per GiB.
func short(p amount.Price) string {
	if p == 0 {
		return "-"
	}
	return fmt.Sprintf("%d BTT/GiB", int64(p)/int64(amount.BTT))
}
