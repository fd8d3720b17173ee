package market

import (
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
)

// TestDemand: a told bid of the reserve price or more brings a torrent back; it
// stays while peers bid that much, and rests again after.
func TestDemand(t *testing.T) {
	const ask = amount.Price(1000)
	d := NewDemand(DemandConfig{Stay: time.Minute})
	film, now := [20]byte{1}, time.Unix(1_000_000, 0)
	told := uint64(roundBid(uint64(ask))) // of a bid of the reserve price itself
	if d.Told(film, "a", told-1, ask, now) || !d.Told(film, "a", told, ask, now) || d.Told(film, "a", told, ask, now) {
		t.Fatal("called wrongly")
	}
	for range 10 {
		now = now.Add(50 * time.Second)
		if d.Seen(film, ask, ask, now) {
			t.Fatal("rests while peers pay")
		}
	}
	now = now.Add(59 * time.Second)
	if d.Seen(film, ask-1, ask, now) {
		t.Error("rests early")
	}
	now = now.Add(time.Second)
	if !d.Seen(film, ask-1, ask, now) || d.Seen(film, 0, ask, now) {
		t.Error("does not rest, or twice")
	}
	if !d.Told(film, "a", told, ask, now) {
		t.Error("a tracker that told the truth does not call again")
	}
	song := [20]byte{2}
	d.Runs(song, now)
	if d.Told(song, "a", told, ask, now) || d.Seen(song, 0, ask, now.Add(59*time.Second)) || !d.Seen(song, 0, ask, now.Add(time.Minute)) {
		t.Error("a torrent that was completed just now does not stay for the time")
	}
	play := [20]byte{3}
	for i, away := range []time.Duration{59 * time.Second, time.Hour} { // whoever called, it did not lie
		if now = now.Add(time.Hour); !d.Told(play, "a", told, ask, now) {
			t.Fatalf("call %d after the time away is not heard", i)
		}
		now = now.Add(away)
		if d.Away(play, now); d.Seen(play, 0, ask, now.Add(time.Second)) || d.Seen(play, ask, ask, now.Add(59*time.Second)) {
			t.Errorf("%v away count", away)
		}
		now = now.Add(time.Hour)
		if d.Away(play, now); d.Seen(play, 0, ask, now.Add(59*time.Second)) || !d.Seen(play, 0, ask, now.Add(time.Minute)) {
			t.Errorf("no rest after an hour away")
		}
		now = now.Add(time.Minute)
	}
	if d.Told(film, "a", 0, 0, now) || NewDemand(DemandConfig{MinBid: 5}).Told(film, "a", 3, 0, now) {
		t.Error("called by no bid, or one under the least")
	}
}

// TestDemandLies: a tracker that calls for nothing calls the torrent rarer and
// rarer, and after three calls in a row nothing for a day; a silent one is asked
// rarer (R6.3).
func TestDemandLies(t *testing.T) {
	d := NewDemand(DemandConfig{Stay: time.Minute})
	now := time.Unix(1_000_000, 0)
	film := [20]byte{1}
	for i, wait := range []time.Duration{2 * time.Minute, 4 * time.Minute} {
		if !d.Told(film, "liar", 1<<40, 1, now) {
			t.Fatalf("call %d is not heard", i)
		}
		now = now.Add(time.Minute)
		if !d.Seen(film, 0, 1, now) || d.Told(film, "liar", 1<<40, 1, now.Add(wait-1)) || d.Told(film, "honest", 1<<40, 1, now.Add(wait-1)) {
			t.Fatalf("after %d calls for nothing the next comes before %v", i+1, wait)
		}
		now = now.Add(wait)
	}
	if !d.Told(film, "liar", 1<<40, 1, now) || !d.Seen(film, 0, 1, now.Add(time.Minute)) {
		t.Fatal("third call")
	}
	now = now.Add(time.Hour)
	if d.Asks("liar", now) || d.Told([20]byte{2}, "liar", 1<<40, 1, now) || !d.Told(film, "honest", 1<<40, 1, now) {
		t.Error("the liar is believed, or an honest tracker is not")
	}
	if !d.Asks("liar", now.Add(24*time.Hour)) {
		t.Error("never asked again")
	}
	for i, wait := range []time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, time.Hour} {
		d.Silent("old", now)
		if d.Asks("old", now.Add(wait-1)) || !d.Asks("old", now.Add(wait)) {
			t.Errorf("a tracker that was silent %d times", i+1)
		}
	}
	d.Answered("old")
	d.Silent("old", now)
	if !d.Asks("old", now.Add(10*time.Minute)) {
		t.Error("an answer does not count")
	}
	for i := range 2 * maxTrackers {
		d.Silent(string(rune(i)), now)
	}
	if len(d.trackers) != maxTrackers || len(d.Known()) != 2 {
		t.Errorf("%d trackers, %d torrents", len(d.trackers), len(d.Known()))
	}
	d.Forget(film, now)
	if len(d.Known()) != 1 {
		t.Error("not forgotten")
	}
}
