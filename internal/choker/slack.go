package choker

import "time"

const (
	// slackMost bounds the slots that idle upload opens.
	slackMost = 4
	// slackRounds is how many rounds such a slot stays once the upload is used up.
	slackRounds = 4
	// slackPart is how many eighths of its limit a full upload uses at least.
	slackPart = 7
)

// Slack opens slots while those that are served ask for less than the upload limit
// lets pass and others wait: say near the end, when who bought a slot has most of
// what it lacks from others, or when a peer begins slowly. What nobody else takes is
// everyone's (A21), so these slots are free of charge and given by turn.
//
// What a torrent may send is the lesser of its own limit and the session's; peers of one that
// is at its limit are no reason for a slot, for they would only share the same. Where a torrent
// that is asked for has neither limit the upload's capacity is not known and nothing is
// opened; a slot whose holder asks for nothing at all is lent all the same.
//
// It is passive and owned by its caller; the zero value is ready.
type Slack struct {
	open int
	full int // rounds since the upload was full again
	list []flow
	at   map[uint32]int // in list, by torrent
}

// flow is what a torrent sent in a round.
type flow struct {
	limit, sent int64
	waiting     bool // somebody wants a slot
}

// Book takes the round that ends: what was sent in it, in how long, under a limit of the
// session in bytes a second (0 = none) and those of the torrents ([Candidate.Limit]). Call
// it once a round, before Round.
func (s *Slack) Book(limit int64, took time.Duration, cands []Candidate) {
	if took <= 0 {
		s.open, s.full = 0, 0
		return
	}
	sent := s.sum(cands)
	idle, waiting, known := false, false, limit > 0
	for _, f := range s.list {
		if known = f.limit > 0 || limit > 0; !known {
			break
		}
		if !fullBy(f.sent, f.limit, took) {
			idle, waiting = true, waiting || f.waiting
		}
	}
	switch {
	case !known:
		s.open, s.full = 0, 0
	case fullBy(sent, limit, took) || !idle && len(s.list) > 0:
		if s.full++; s.full >= slackRounds && s.open > 0 {
			s.open, s.full = s.open-1, 0
		}
	default:
		s.full = 0
		if waiting && s.open < slackMost {
			s.open++
		}
	}
}

// fullBy says whether so many bytes in a time use up a limit; without one nothing does.
func fullBy(sent, limit int64, took time.Duration) bool {
	return limit > 0 && 8*float64(sent) >= slackPart*float64(limit)*took.Seconds()
}

// sum adds up what was sent, and what each torrent sent that somebody wants something of.
func (s *Slack) sum(cands []Candidate) (all int64) {
	s.list = s.list[:0]
	if s.at == nil {
		s.at = map[uint32]int{}
	}
	clear(s.at)
	for i := range cands {
		c := &cands[i]
		all += max(c.Sent, 0)
		if !c.wants() && c.Sent <= 0 {
			continue
		}
		k, known := s.at[c.Torrent]
		if !known {
			k = len(s.list)
			s.at[c.Torrent], s.list = k, append(s.list, flow{limit: max(c.Limit, 0)})
		}
		f := &s.list[k]
		f.sent += max(c.Sent, 0)
		f.waiting = f.waiting || c.wants() && !c.Unchoked
	}
	return all
}

// Apply returns the configuration for the next decision.
func (s *Slack) Apply(cfg Config) Config {
	if cfg.Slots > 0 {
		cfg.Slots, cfg.Optimistic = cfg.Slots+s.open, min(max(cfg.Optimistic, 0), cfg.Slots)+s.open
	}
	return cfg
}
