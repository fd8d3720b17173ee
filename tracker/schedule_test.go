package tracker

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Unix(1_700_000_000, 0)

var errDown = errors.New("down")

// due expects exactly one announce.
func due(t *testing.T, s *Schedule, now time.Time, url string, e Event) Announce {
	t.Helper()
	got := s.Due(now)
	if len(got) != 1 || got[0].Event != e || url != "" && got[0].Tracker != url {
		t.Fatalf("due %+v, want %q to %s", got, e, url)
	}
	return got[0]
}

func none(t *testing.T, s *Schedule, now time.Time) {
	t.Helper()
	if got := s.Due(now); len(got) != 0 {
		t.Fatalf("due %+v, want nothing", got)
	}
}

func TestScheduleLife(t *testing.T) {
	s := NewSchedule(ScheduleConfig{Tiers: [][]string{{"a"}}})
	a := due(t, s, t0, "a", EventStarted)
	none(t, s, t0.Add(time.Hour)) // under way
	s.Done(a, t0, Outcome{Interval: 30 * time.Minute, MinInterval: 10 * time.Minute, TrackerID: "id"})
	if next := s.Next(); !next.Equal(t0.Add(30 * time.Minute)) {
		t.Fatalf("next at %v", next.Sub(t0))
	}
	none(t, s, t0.Add(29*time.Minute))
	s.Now(t0.Add(5 * time.Minute)) // must wait for the min interval
	none(t, s, t0.Add(5*time.Minute))
	if next := s.Next(); !next.Equal(t0.Add(10 * time.Minute)) {
		t.Fatalf("forced next at %v", next.Sub(t0))
	}
	a = due(t, s, t0.Add(10*time.Minute), "a", EventNone)
	if a.TrackerID != "id" {
		t.Fatalf("tracker id %q", a.TrackerID)
	}
	s.Done(a, t0.Add(10*time.Minute), Outcome{Interval: 30 * time.Minute, MinInterval: 10 * time.Minute})
	s.Completed(t0.Add(11 * time.Minute)) // events do not wait
	a = due(t, s, t0.Add(11*time.Minute), "a", EventCompleted)
	s.Done(a, t0.Add(11*time.Minute), Outcome{})
	s.Completed(t0.Add(12 * time.Minute))
	none(t, s, t0.Add(12*time.Minute))
	bye := s.Stop()
	if len(bye) != 1 || bye[0].Event != EventStopped {
		t.Fatalf("goodbyes %+v", bye)
	}
	none(t, s, t0.Add(24*time.Hour))
	if len(s.Stop()) != 0 || !s.Next().IsZero() {
		t.Fatal("a stopped schedule goes on")
	}
}

func TestScheduleCompletedWhileStarting(t *testing.T) {
	s := NewSchedule(ScheduleConfig{Tiers: [][]string{{"a"}}})
	a := due(t, s, t0, "a", EventStarted)
	s.Completed(t0)
	s.Done(a, t0, Outcome{})
	due(t, s, t0, "a", EventCompleted)
	// A torrent that was complete from the start never completes.
	s = NewSchedule(ScheduleConfig{Tiers: [][]string{{"a"}}, Complete: true})
	s.Done(due(t, s, t0, "a", EventStarted), t0, Outcome{})
	s.Completed(t0)
	due(t, s, t0.Add(time.Hour), "a", EventNone)
}

func TestScheduleTiers(t *testing.T) {
	s := NewSchedule(ScheduleConfig{Tiers: [][]string{{"a", "b", "c"}, {"d"}}, Seed: 3})
	order := s.Trackers()
	if len(order) != 4 || order[3] != "d" {
		t.Fatalf("order %v", order)
	}
	s.Done(due(t, s, t0, order[0], EventStarted), t0, Outcome{Err: errDown})
	s.Done(due(t, s, t0, order[1], EventStarted), t0, Outcome{Err: errDown})
	s.Done(due(t, s, t0, order[2], EventStarted), t0, Outcome{})
	if got := s.Trackers(); !slices.Equal(got, []string{order[2], order[0], order[1], "d"}) {
		t.Fatalf("after its answer %s is not in front: %v", order[2], got)
	}
	now := t0.Add(time.Hour)
	for range 3 { // the whole first tier fails: on to the second
		got := s.Due(now)
		if len(got) != 1 {
			t.Fatalf("due %+v", got)
		}
		s.Done(got[0], now, Outcome{Err: errDown})
	}
	s.Done(due(t, s, now, "d", EventStarted), now, Outcome{Err: errDown})
	none(t, s, now) // all failed: a pause
	if wait := s.Next().Sub(now); wait < firstBackoff || wait > 2*firstBackoff {
		t.Fatalf("pause of %v", wait)
	}
}

func TestScheduleAllTiers(t *testing.T) {
	s := NewSchedule(ScheduleConfig{Tiers: [][]string{{"a", "b"}, {}, {"c", "a"}}, AllTiers: true})
	got := s.Due(t0)
	if len(got) != 2 || got[1].Tracker != "c" {
		t.Fatalf("due %+v, want one of each tier", got)
	}
	for _, a := range got {
		s.Done(a, t0, Outcome{})
	}
	if bye := s.Stop(); len(bye) != 2 {
		t.Fatalf("goodbyes %+v", bye)
	}
}

func TestScheduleObeysFailures(t *testing.T) {
	s := NewSchedule(ScheduleConfig{Tiers: [][]string{{"a"}}})
	s.Done(due(t, s, t0, "a", EventStarted), t0, Outcome{Err: &Failure{RetryIn: 3 * time.Hour}})
	none(t, s, t0.Add(3*time.Hour-1))
	s.Done(due(t, s, t0.Add(4*time.Hour), "a", EventStarted), t0, Outcome{Err: &Failure{Never: true}})
	none(t, s, t0.Add(10000*time.Hour))
	if len(s.Stop()) != 0 {
		t.Fatal("goodbye to a tracker that never heard of us")
	}
}

func TestScheduleLimits(t *testing.T) {
	var urls []string
	for i := range 2 * MaxTrackers {
		urls = append(urls, string(rune('A'+i)))
	}
	if n := len(NewSchedule(ScheduleConfig{Tiers: [][]string{urls}}).Trackers()); n != MaxTrackers {
		t.Errorf("%d trackers", n)
	}
	empty := NewSchedule(ScheduleConfig{})
	none(t, empty, t0)
	empty.Now(t0)
	if !empty.Next().IsZero() {
		t.Error("a schedule without trackers waits")
	}
}

// TestScheduleNeverHammers drives schedules with random outcomes: no tracker
// hears more than the floor allows outside events, started comes first and
// once, completed at most once, and there is always a next time.
func TestScheduleNeverHammers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tiers := [][]string{{"a", "b"}, {"c"}}
		s := NewSchedule(ScheduleConfig{Tiers: tiers, Seed: rapid.Uint64().Draw(t, "seed"), AllTiers: rapid.Bool().Draw(t, "all")})
		now := t0
		last := make(map[string]time.Time)
		started := make(map[string]bool)
		completed := make(map[string]bool)
		for range 200 {
			next := s.Next()
			if next.IsZero() {
				t.Fatal("nothing to wait for and nothing under way")
			}
			if next.After(now) {
				now = next
			}
			if rapid.IntRange(0, 20).Draw(t, "command") == 0 {
				s.Completed(now)
			}
			for _, a := range s.Due(now) {
				if at, ok := last[a.Tracker]; ok && a.Event != EventCompleted && now.Sub(at) < DefaultFloor {
					t.Fatalf("%s hears %q after %v", a.Tracker, a.Event, now.Sub(at))
				}
				if (a.Event == EventStarted) == started[a.Tracker] || a.Event == EventCompleted && completed[a.Tracker] {
					t.Fatalf("%s hears %q, started %v, completed %v", a.Tracker, a.Event, started[a.Tracker], completed[a.Tracker])
				}
				last[a.Tracker] = now
				o := Outcome{Interval: time.Duration(rapid.IntRange(0, 4000).Draw(t, "interval")) * time.Second}
				if rapid.Bool().Draw(t, "fails") {
					o.Err = errDown
				} else {
					started[a.Tracker] = true
					completed[a.Tracker] = completed[a.Tracker] || a.Event == EventCompleted
				}
				s.Done(a, now, o)
			}
		}
	})
}

// TestStopOwesCompleted: a download that ends right after it was complete still
// tells its trackers so.
func TestStopOwesCompleted(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	s := NewSchedule(ScheduleConfig{Tiers: [][]string{{"http://a.example/announce"}}})
	due := s.Due(now)
	if len(due) != 1 || due[0].Event != EventStarted {
		t.Fatalf("first announces %v", due)
	}
	s.Done(due[0], now, Outcome{Interval: time.Hour})
	s.Completed(now)
	var events []Event
	for _, a := range s.Stop() {
		events = append(events, a.Event)
	}
	if !slices.Equal(events, []Event{EventCompleted, EventStopped}) {
		t.Errorf("goodbye is %v, want completed, then stopped", events)
	}
}
