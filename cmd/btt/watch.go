package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/tracker"
)

const progressEvery = 500 * time.Millisecond

// watch shows downloads until all are complete, or have failed.
type watch struct {
	r         *terminal.Reporter
	list      []*btt.Torrent
	began     time.Time
	seedAfter bool
	back      *giveBack // nil = who has paid leaves at once
	bills     *bills
	complete  map[*btt.Torrent]bool
	failed    map[*btt.Torrent]bool
	warned    map[string]string // by tracker
	lacks     map[*btt.Torrent]*lack
	// queued says whether Speed waits for the wallet, which another program uses; nil = no.
	queued func() bool
}

func newWatch(r *terminal.Reporter, seedAfter bool, bills *bills) *watch {
	return &watch{r: r, began: time.Now(), seedAfter: seedAfter, bills: bills, complete: map[*btt.Torrent]bool{}, failed: map[*btt.Torrent]bool{},
		warned: map[string]string{}, lacks: map[*btt.Torrent]*lack{}}
}

func (w *watch) run(ctx context.Context, events <-chan btt.Event) error {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if len(w.complete)+len(w.failed) < len(w.list) {
				return fmt.Errorf("%w: the same command goes on from here", errInterrupted)
			}
			return w.result()
		case <-tick.C:
			for _, t := range w.list {
				if err := w.look(t); err != nil {
					return err
				}
			}
			w.show()
		case e := <-events:
			w.report(&e)
			if e.Kind != btt.Completed && e.Kind != btt.Broken {
				continue
			}
			if err := w.look(e.Torrent); err != nil {
				return err
			}
		}
		if len(w.complete)+len(w.failed) == len(w.list) && (!w.seedAfter || len(w.complete) == 0) && !(w.back != nil && w.back.goesOn(time.Now())) {
			return w.result()
		}
	}
}

// result is how it went when nothing is left to do.
func (w *watch) result() error {
	if n := len(w.failed); n > 0 {
		return someFailed(errIncomplete, n, len(w.list), "failed; the same command tries again")
	}
	return nil
}

// look notes what became of a torrent. The error is that of the only one.
func (w *watch) look(t *btt.Torrent) error {
	if w.complete[t] || w.failed[t] {
		return nil
	}
	st := t.Status()
	switch whole := st.Pieces > 0 && st.Left == 0; {
	case st.State == btt.Failed && len(w.list) == 1:
		return st.Err
	case st.State == btt.Failed:
		w.failed[t] = true
		w.r.Warn("failed", title(&st)+": "+plain(st.Err), of(&st, terminal.Fields{"error": plain(st.Err)}))
	case st.State == btt.Seeding, st.State == btt.Finished, st.State == btt.Queued && whole:
		w.complete[t] = true
		if len(w.list) == 1 {
			w.r.Finish(st.Size)
		}
		took := time.Since(w.began)
		reportComplete(w.r, &st, w.bills.of(&st), took)
		if w.back != nil && !w.seedAfter && st.State == btt.Seeding {
			w.back.begin(t, &st, took, time.Now())
		}
	default:
		if w.back != nil {
			w.back.look(t, &st, time.Now())
		}
		warn(w.r, &st, w.warned)
		w.wait(t, &st, time.Now())
	}
	return nil
}

// lackAfter is how long a download gets nothing before it is told what it waits for.
const lackAfter = 15 * time.Second

// lack is what a download waits for.
type lack struct {
	text  string
	since time.Time
	told  string
}

// wait tells what a download waits for that gets nothing, each cause once in a row.
func (w *watch) wait(t *btt.Torrent, st *btt.Status, now time.Time) {
	l := w.lacks[t]
	if l == nil {
		l = &lack{}
		w.lacks[t] = l
	}
	text := lacking(st)
	if text != l.text || l.since.IsZero() {
		l.text, l.since = text, now
	}
	switch {
	case now.Sub(l.since) < lackAfter || l.told == text:
	case text == "": // it goes on: told again when it stops again
		l.told = ""
	default:
		l.told = text
		w.r.Warn("waiting", title(st)+": "+text, of(st, terminal.Fields{"state": st.State.String(), "reason": text}))
	}
}

// lacking says what a download waits for, as far as that is seen from here; "" if it
// gets something, or cannot get anything yet.
func lacking(st *btt.Status) string {
	fetching := st.State == btt.FetchingMetadata
	switch {
	case !fetching && st.State != btt.Downloading, st.Down > 0:
		return ""
	case fetching && st.Name == "" && len(st.Peers) == 0:
		return "waits for a peer, none that has this torrent was found; it goes on looking (is the link right? --peer and --tracker name more to ask)"
	case fetching && st.Name == "":
		return "waits for its metadata, no connected peer has sent it; it goes on asking"
	case len(st.Peers) == 0 && len(st.WebSeeds) == 0:
		return "waits for a peer, none is connected; it goes on looking (--peer and --tracker name more to ask)"
	case fetching:
		return "waits for hashes of its pieces, no connected peer has sent them; it goes on asking"
	case len(st.WebSeeds) > 0:
		return ""
	case st.Availability < 1:
		return "gets nothing now, those connected do not have all of it; it goes on looking"
	}
	for i := range st.Peers {
		if !st.Peers[i].Choked {
			return ""
		}
	}
	return "waits for its turn, no connected peer gives it an upload slot now"
}

// show draws how far the downloads are.
func (w *watch) show() {
	var rows []string
	var all btt.Status // sums
	var paid bill
	for _, t := range w.list {
		st := t.Status()
		all.Size, all.Left, all.Down = all.Size+st.Size, all.Left+st.Left, all.Down+st.Down
		bill := w.bills.of(&st)
		paid.run, paid.all = paid.run+bill.run, paid.all+bill.all
		all.Peers = append(all.Peers, st.Peers...)
		if w.complete[t] || w.failed[t] {
			continue
		}
		if len(w.list) == 1 || w.r.Mode() == terminal.JSON {
			progress(w.r, &st, bill, w.plain())
			continue
		}
		rows = append(rows, fmt.Sprintf("%-30.30s %3d %% of %s, %s, %s", title(&st), terminal.Percent(st.Size-st.Left, st.Size), terminal.Bytes(st.Size), terminal.Rate(st.Down), terminal.Count(len(st.Peers), "peer")))
	}
	if len(w.list) == 1 || w.r.Mode() == terminal.JSON {
		return
	}
	switch w.r.Mode() {
	case terminal.Bars:
		if rows = few(rows); w.plain() != "" {
			rows = append(rows, w.plain())
		}
		w.r.Table(rows)
	case terminal.Lines:
		w.r.Progress(fmt.Sprintf("%d of %d complete", len(w.complete), len(w.list)), all.Size-all.Left, all.Size, note(&all, paid, w.plain()), nil)
	}
}

// queuedText stands in the status of a command that takes no part in Speed for now.
const queuedText = "no Speed while another btt has the wallet"

// plain is what the status says of a command that waits for the wallet.
func (w *watch) plain() string {
	if w.queued != nil && w.queued() {
		return queuedText
	}
	return ""
}

// maxRows is how many torrents a terminal shows.
const maxRows = 20

// few are the rows that a terminal has room for.
func few(rows []string) []string {
	if len(rows) > maxRows {
		rows = append(rows[:maxRows:maxRows], fmt.Sprintf("and %d more", len(rows)-maxRows))
	}
	return rows
}

// title is what a torrent is called on the screen.
func title(st *btt.Status) string {
	if st.Name == "" {
		return st.State.String()
	}
	return printable(st.Name)
}

// of adds to the fields of an event which torrent it is about.
func of(st *btt.Status, f terminal.Fields) terminal.Fields {
	f["infohash"], f["name"] = hex.EncodeToString(st.InfoHash[:]), st.Name
	if len(st.Labels) > 0 {
		f["labels"] = st.Labels
	}
	return f
}

// report shows an event of a download.
func (w *watch) report(e *btt.Event) {
	switch e.Kind {
	case btt.GotMetadata:
		st := e.Torrent.Status()
		w.r.Event("metadata", "got the metadata of "+printable(st.Name), of(&st, terminal.Fields{}))
	case btt.PeerPayment:
		reportPayment(w.r, e)
	}
}

// warn tells what keeps a download from finding peers: each tracker's error
// once. While there are peers, a tracker that is down is nobody's trouble.
func warn(r *terminal.Reporter, st *btt.Status, warned map[string]string) {
	if len(st.Peers) > 0 {
		return
	}
	for _, t := range st.Trackers {
		if t.Err == nil || warned[t.Name] == t.Err.Error() {
			continue
		}
		warned[t.Name] = t.Err.Error()
		next := " (tried again by itself)"
		if f, ok := errors.AsType[*tracker.Failure](t.Err); ok && f.Never {
			next = " (it is not asked again; --tracker and --peer name more to ask)"
		}
		r.Warn("warning", "no peers: "+printable(t.Err.Error())+next, terminal.Fields{"tracker": t.Name, "error": t.Err.Error()})
	}
}

// copies tells the availability: how often the torrent's pieces are there among
// the connected peers (R1.12).
func copies(st *btt.Status) string { return fmt.Sprintf("available: %.2f copies", st.Availability) }

// note is what stands beside a bar.
func note(st *btt.Status, paid bill, plain string) string {
	text := fmt.Sprintf("%s, %s", terminal.Rate(st.Down), terminal.Count(len(st.Peers), "peer"))
	if st.Pieces > 0 {
		text += ", " + copies(st)
	}
	if st.Down > 0 && st.Left > 0 {
		text += ", " + terminal.Span(time.Duration(st.Left/st.Down)*time.Second) + " left"
	}
	if paid.all > 0 {
		text += ", paid " + paid.String()
	}
	if plain != "" {
		text += ", " + plain
	}
	return text
}

func progress(r *terminal.Reporter, st *btt.Status, paid bill, plain string) {
	done := st.Size - st.Left
	r.Progress(title(st), done, st.Size, note(st, paid, plain), of(st, terminal.Fields{"state": st.State.String(), "bytes": done,
		"size": st.Size, "down": st.Down, "up": st.Up, "peers": len(st.Peers), "paid": paid.run, "paid_all_runs": paid.all, "bid": int64(st.Bid),
		"availability": st.Availability, "waits_for_wallet": plain != ""}))
}

func reportComplete(r *terminal.Reporter, st *btt.Status, paid bill, took time.Duration) {
	secs := took.Seconds()
	text := fmt.Sprintf("%s is complete: %s in %.1f s", printable(st.Name), terminal.Bytes(st.Size), secs)
	if paid.all > 0 {
		text += ", paid " + paid.String()
	}
	r.Event("complete", text, of(st, terminal.Fields{"bytes": st.Size, "seconds": secs, "paid": paid.run, "paid_all_runs": paid.all}))
}
