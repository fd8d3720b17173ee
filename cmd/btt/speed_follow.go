package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/consent"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed/autobid"
	"github.com/bttnet/btt/wallet"
)

// followEvery is how soon a running command hears of "btt speed".
const followEvery = time.Second

// followAgain is how long after a ledger did not answer it is asked again.
const followAgain = 5 * time.Second

// choose lets what "btt speed" keeps stand for the flags that were not given.
func (t *transfer) choose(g *global, r *terminal.Reporter) error {
	if err := t.contradicts(); err != nil {
		return err
	}
	home, err := g.dir()
	if err != nil {
		return nil // said where a home is needed
	}
	c, err := consent.Load(home)
	switch {
	case err != nil && t.speed: // it may say that a torrent stays out
		return err
	case err != nil:
		r.Warn("warning", plain(err), terminal.Fields{"error": plain(err)})
		return nil
	}
	t.chosen = &c
	if !t.given("speed") && c.Phase != consent.Off {
		t.speed, t.byChoice = true, true
	}
	if !t.speed {
		return t.alone()
	}
	t.ledger = firstText(t.ledger, os.Getenv(ledgerEnv), c.Ledger)
	flagged := *t
	*t = *flagged.with(&c.Limits)
	if _, err := t.terms(); err != nil {
		if _, own := flagged.terms(); own != nil {
			return own
		}
		return errChoice(err)
	}
	return nil
}

// with returns the flags with kept limits in the places of those not given.
func (t *transfer) with(l *consent.Limits) *transfer {
	n, use := *t, *l
	if t.given("reserve") || t.given("reserve-growth") {
		use.Reserve, use.ReserveGrowth, use.ReserveCap = t.reserve, t.growth, t.resCap
	}
	into := map[string]*string{"spend-rate": &n.spendRate, "bids": &n.bidsBy, "price-cap": &n.priceCap, "budget": &n.budget,
		"reserve": &n.reserve, "reserve-growth": &n.growth, "reserve-cap": &n.resCap}
	for _, s := range texts(&use) {
		if !t.given(s.name) {
			*into[s.name] = *s.text
		}
	}
	return &n
}

// lasting keeps the node able to bid although "btt speed" keeps a spend rate of 0 now:
// the follower sets the rate before there are torrents, and again when it changes.
func (t *transfer) lasting(c *btt.SpeedConfig) {
	if t.chosen != nil && !t.given("spend-rate") {
		c.EarnOnly = t.earnOnly
	}
}

// phase is how far the command takes part at its start.
func (t *transfer) phase() consent.Phase {
	switch {
	case !t.speed:
		return consent.Off
	case t.byChoice:
		return t.chosen.Phase
	}
	return consent.Full // --earn-only is another matter
}

// open starts the node that the flags describe. The caller closes it. Where only
// the kept choice asks for Speed, trouble with the wallet or the ledger does not
// keep anybody from downloading: the command goes on as a plain client and says so.
func (t *transfer) open(ctx context.Context, g *global, r *terminal.Reporter) (*running, error) {
	x, err := t.start(ctx, g)
	if err == nil && !t.speed {
		t.tellWaiting(r)
	}
	needed := (t.whenPaid || t.join != nil || t.paidOnly) && !errors.Is(err, purse.ErrInUse) && !errors.Is(err, errAway)
	if err == nil || !t.byChoice || needed || ctx.Err() != nil || errors.Is(err, errUsage) {
		return x.followed(ctx, t, r, nil), err
	}
	t.speed, t.byChoice = false, false
	x, plainErr := t.start(ctx, g)
	if plainErr != nil {
		return nil, plainErr
	}
	text, fields := "without BitTorrent Speed for now: "+plain(err)+"; "+whenMended(err), terminal.Fields{"error": plain(err), "next": whenMended(err)}
	if list := t.waiting(); len(list) > 0 {
		text, fields["waiting"] = text+"; "+waitText(list), list
	}
	r.Warn("warning", text, fields)
	return x.followed(ctx, t, r, err), nil
}

// follower has a running node do what "btt speed" is told meanwhile. Only its
// goroutine uses it, which ends with close.
type follower struct {
	x     *running
	t     *transfer // a copy: it takes part later than the command began
	r     *terminal.Reporter
	last  consent.Choice
	phase consent.Phase
	out   map[*btt.Torrent]bool // named to stay out, as far as seen
	bad   string                // what was told last of a file that cannot be read
	queue bool                  // another program uses the wallet: it takes part when that ends
	away  bool                  // the ledger does not answer: it takes part when it does,
	again time.Time             // and is asked then
}

// followed starts the goroutine that follows the choice; it ends with close. failed is
// why the command takes no part that should by the choice.
func (x *running) followed(ctx context.Context, t *transfer, r *terminal.Reporter, failed error) *running {
	if x == nil || t.chosen == nil || t.given("speed") && !t.speed {
		return x
	}
	own := *t
	f := &follower{x: x, t: &own, r: r, last: *t.chosen, phase: t.phase(), out: map[*btt.Torrent]bool{}}
	f.wait(failed)
	if t.speed {
		f.spend() // a phase that only earns does so from the first peer on
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the ledgers of the command are in it
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.run(run)
	}()
	x.unfollow = func() { cancel(); <-done }
	return x
}

func (f *follower) run(ctx context.Context) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.look(ctx)
		}
	}
}

// look reads the choice and does what changed in it.
func (f *follower) look(ctx context.Context) {
	c, err := consent.Load(f.x.state)
	if err != nil {
		if f.bad != plain(err) {
			f.bad = plain(err)
			f.r.Warn("warning", f.bad, terminal.Fields{"error": f.bad})
		}
		return
	}
	f.bad = ""
	if f.t.speed && !slices.Equal(c.Plain, f.last.Plain) {
		f.part() // those that came since the last look came by what was said then
	}
	last := f.last
	f.last = c
	switch {
	case c.Said != last.Said:
		f.enter(ctx, c.Phase, true)
	case f.queue && !inUse(f.x.state), f.away && !time.Now().Before(f.again):
		f.enter(ctx, c.Phase, false)
	}
	if f.t.speed && (c.Said != last.Said || c.Limits != last.Limits) {
		f.spend()
	}
	if f.t.speed {
		f.part()
	}
}

// wait notes why the command is a plain client that should take part; nil = it need not.
// For the wallet and for the ledger's answer it waits by itself.
func (f *follower) wait(err error) {
	if f.away = errors.Is(err, errAway); f.away {
		f.again = time.Now().Add(followAgain)
	}
	f.queue = errors.Is(err, purse.ErrInUse)
	f.x.queued.Store(f.queue)
}

// enter takes part as far as the user says now; if nobody said it now, that the wallet is
// another's still, or that the ledger does not answer, is told no more.
func (f *follower) enter(ctx context.Context, phase consent.Phase, said bool) {
	if phase == f.phase {
		f.wait(nil) // what is off waits for nothing
		return
	}
	if !f.t.speed {
		err := f.open(ctx)
		f.wait(err)
		if err != nil {
			if ctx.Err() == nil && (said || !f.queue && !f.away) {
				f.r.Warn("speed", "BitTorrent Speed is "+phase.String()+", but this command stays a plain client: "+plain(err)+"; "+whenMended(err),
					terminal.Fields{"chosen": phase, "phase": consent.Off, "error": plain(err), "next": whenMended(err)})
			}
			return
		}
	}
	f.phase = phase
	if phase != consent.Off { // before the first peer hears of it
		f.spend()
		f.part()
	}
	f.x.apart.Store(phase == consent.Off)
	if err := f.x.node.SetSpeed(phase != consent.Off); err != nil {
		f.r.Warn("warning", plain(err), terminal.Fields{"error": plain(err)})
		return
	}
	f.tell(phase)
}

// tell says how far the command takes part now, and what becomes of its flags.
func (f *follower) tell(phase consent.Phase) {
	text, list := "BitTorrent Speed is "+phaseTexts[phase], f.t.waiting()
	switch {
	case len(list) == 0:
		f.r.Event("speed", text, terminal.Fields{"phase": phase})
	case phase == consent.Off:
		f.r.Event("speed", text+"; "+waitText(list), terminal.Fields{"phase": phase, "waiting": list})
	default:
		f.r.Event("speed", text+"; in force now: "+strings.Join(list, ", "), terminal.Fields{"phase": phase, "in_force": list})
	}
}

// open gives the node of a command that began as a plain client what BitTorrent Speed
// needs: the ledger, the wallet and the channels. Its torrents stay out until they are
// let in.
func (f *follower) open(ctx context.Context) error {
	t := f.t.with(&f.last.Limits)
	t.ledger = firstText(os.Getenv(ledgerEnv), f.last.Ledger)
	if t.given("ledger") {
		t.ledger = f.t.ledger
	}
	terms, err := t.terms()
	if err != nil {
		return errChoice(err)
	}
	t.lasting(terms)
	if terms.Ledger, err = dialLedger(ctx, t.ledger); err != nil {
		return err
	}
	terms.Password, _, err = secretFrom(walletPasswordEnv, "") // nobody is asked in the midst of a transfer
	if err == nil {
		err = f.x.node.OpenSpeed(ctx, *terms)
	}
	if err != nil {
		hangUp(ctx, terms.Ledger)
		return err
	}
	t.speed, t.byChoice = true, true
	f.t = t
	f.x.trades.Store(true)
	return nil
}

// whenMended is the next step of somebody whose command takes no part in Speed because
// of err.
func whenMended(err error) string {
	const again = "say \"btt speed on\" or \"btt speed earn\" again"
	switch {
	case errors.Is(err, purse.ErrInUse):
		return "one at a time takes part, this one when that one ends"
	case errors.Is(err, errAway):
		return "this command takes part when it answers"
	case errors.Is(err, wallet.ErrPassword), errors.Is(err, purse.ErrPasswordNeeded), errors.Is(err, purse.ErrLocked):
		return "open it with \"btt wallet unlock\" and " + again
	}
	return "when that is mended, " + again
}

// inUse says whether a program spends from the wallet of a home.
func inUse(home string) bool {
	_, used := purse.InUse(filepath.Join(home, "wallet"))
	return used
}

// spend bids within the limits of now.
func (f *follower) spend() {
	terms, err := f.t.with(&f.last.Limits).terms()
	if err != nil {
		f.r.Warn("warning", plain(errChoice(err)), terminal.Fields{"error": plain(err)})
		return
	}
	set := btt.Spending{Rate: cmp.Or(terms.SpendRate, autobid.DefaultSpendRate), Market: terms.BidMarket, PriceCap: terms.PriceCap, TorrentBudget: terms.TorrentBudget}
	if terms.EarnOnly || f.phase != consent.Full {
		set.Rate = 0
	}
	if now, err := f.x.node.Spending(); err == nil && now == set {
		return
	}
	if err := f.x.node.SetSpending(set); err != nil {
		f.r.Warn("warning", plain(err), terminal.Fields{"error": plain(err)})
	}
}

// part takes out torrents that are named to stay out, and lets in again those that
// are not named any more. It looks at all of them each time: one may have come since,
// joined for pay, or be known by its other hash since its metadata came.
func (f *follower) part() {
	if len(f.last.Plain)+len(f.out) == 0 {
		return
	}
	for _, t := range f.x.node.Torrents() {
		names := []metainfo.InfoHash{t.InfoHash()}
		if m := t.Metainfo(); m != nil {
			names = m.Swarms()
		}
		out := f.last.IsPlain(names...)
		if out == f.out[t] {
			continue
		}
		f.out[t] = out
		if !out {
			delete(f.out, t)
		}
		st := t.Status()
		if st.Plain == out {
			continue
		}
		if err := t.SetSpeed(!out); err != nil {
			f.r.Warn("warning", plain(err), terminal.Fields{"error": plain(err)})
			continue
		}
		text := "takes part in BitTorrent Speed"
		if out {
			text = "stays out of BitTorrent Speed"
		}
		f.r.Event("speed", fmt.Sprintf("%s %s", title(&st), text), of(&st, terminal.Fields{"plain": out}))
	}
}
