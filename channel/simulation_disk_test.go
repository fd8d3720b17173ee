package channel

import (
	"fmt"
)

// simLog is a journal: what is durable, and what a crash may lose.
type simLog struct{ durable, pending [][]byte }

// crashed unwinds a step at a boundary.
type crashed struct{ side int }

// boundary is a point between two writes or sends at which a process may die.
func (l *life) boundary(side int) {
	if l.fuse == 0 || l.calm {
		return
	}
	if l.fuse--; l.fuse == 0 {
		panic(crashed{side})
	}
}

// step runs f, and the crash that it may run into.
func (l *life) step(f func()) {
	defer func() {
		if r := recover(); r != nil {
			c, ok := r.(crashed)
			if !ok {
				panic(r)
			}
			l.crash(c.side)
		}
	}()
	f()
}

// crash ends a process: a prefix of what was not synced survives, cut inside a
// record or not.
func (l *life) crash(side int) {
	log := &l.logs[side]
	n := l.rng.IntN(len(log.pending) + 1)
	l.trace("life %d: side %d dies, %d of %d records survive", l.number, side, n, len(log.pending))
	log.durable = append(log.durable, log.pending[:n]...)
	log.pending = nil
	if l.rng.IntN(4) == 0 && len(log.durable) > 0 { // a compacted journal
		if s := l.fold(side); s != nil {
			log.durable = [][]byte{(&Record{Snapshot: s}).Append(nil)}
		}
	}
	l.up[side], l.tasks[side] = false, nil
	l.cut()
}

// cut breaks the line; what is on it is gone.
func (l *life) cut() {
	if l.open && l.selling && l.served > l.paid {
		l.lost++
	}
	l.line, l.open, l.attached = [2][]packet{}, false, false
	l.position, l.served, l.paid, l.selling = 0, 0, 0, false
}

// fold reads a journal as package payments does.
func (l *life) fold(side int) (s *Snapshot) {
	var pays []Record
	for _, raw := range l.logs[side].durable {
		r, err := DecodeRecord(raw)
		if err != nil {
			panic(err)
		}
		switch {
		case r.Snapshot != nil && s == nil:
			s = r.Snapshot
		case r.Snapshot != nil:
			best := s.Best
			if s = r.Snapshot; best.Sequence > s.Best.Sequence {
				s.Best = best
			}
		case r.Pay != nil:
			pays = append(pays, r)
		case s != nil:
			_ = s.Apply(r)
		}
	}
	for ; s != nil && len(pays) > 0; pays = pays[:len(pays)-1] {
		if s.Apply(pays[len(pays)-1]) == nil {
			break
		}
	}
	return s
}

// start brings a process back from its journal.
func (l *life) start(side int) {
	l.up[side] = true
	s := l.fold(side)
	if side == 0 {
		if l.payer = nil; s == nil {
			return // its proposal was never sent
		}
		l.payer = RestorePayer(s, l.keys[0], l.now())
		if l.payer.Stage() == Proposed {
			l.payer.Abandon(CodeClosing, "restart")
		}
		l.payer.Look()
		l.flush(0)
		return
	}
	if l.payee = nil; s == nil {
		return
	}
	l.payee = RestorePayee(s, l.keys[1], l.now())
	if l.payee.Paid() < l.held {
		panic(fmt.Sprintf("the payee holds %v after a restart, it had told of %v", l.payee.Paid(), l.held))
	}
	l.payee.Look()
	l.payee.Tick(l.now())
	l.flush(1)
}

func (l *life) append(side int, r *Record) {
	l.logs[side].pending = append(l.logs[side].pending, r.Append(nil))
}

func (l *life) sync(side int) {
	log := &l.logs[side]
	log.durable = append(log.durable, log.pending...)
	log.pending = nil
	if side == 0 && l.payer != nil {
		if s := l.fold(0); s != nil {
			l.payer.Stable(s.Ceiling)
		}
	}
}

// flush does what a machine wants, in the order that the package demands, with a
// boundary between any two parts.
func (l *life) flush(side int) {
	var rd Ready
	if side == 0 {
		rd = l.payer.Ready()
	} else {
		rd = l.payee.Ready()
	}
	for i := range rd.Records {
		l.append(side, &rd.Records[i])
		l.boundary(side)
	}
	if rd.Sync {
		l.sync(side)
	}
	l.boundary(side)
	for _, m := range rd.Messages {
		l.checkStored(side, m)
		l.send(1-side, packet{raw: Encode(m)})
		l.boundary(side)
	}
	l.tasks[side] = append(l.tasks[side], rd.Tasks...)
	for _, e := range rd.Events {
		l.event(side, e)
	}
}
