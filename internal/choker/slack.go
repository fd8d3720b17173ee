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
// Without a limit the upload's capacity is not known and nothing is opened; a slot
// whose holder asks for nothing at all is lent all the same.
//
// It is passive and owned by its caller; the zero value is ready.
type Slack struct {
	open int
	full int // rounds since the upload was full again
}

// Book takes the round that ends: what was sent in it, in how long, under a limit in
// bytes a second (0 = none). Call it once a round, before Round.
func (s *Slack) Book(limit int64, took time.Duration, cands []Candidate) {
	sent, waiting := int64(0), false
	for i := range cands {
		c := &cands[i]
		sent += max(c.Sent, 0)
		waiting = waiting || c.wants() && !c.Unchoked
	}
	most := float64(limit) * took.Seconds()
	switch {
	case limit <= 0 || took <= 0:
		*s = Slack{}
	case 8*float64(sent) >= slackPart*most:
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

// Apply returns the configuration for the next decision.
func (s *Slack) Apply(cfg Config) Config {
	if cfg.Slots > 0 {
		cfg.Slots, cfg.Optimistic = cfg.Slots+s.open, min(max(cfg.Optimistic, 0), cfg.Slots)+s.open
	}
	return cfg
}
