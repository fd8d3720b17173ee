package main

import (
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/swarm"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/metainfo"
)

func TestLacking(t *testing.T) {
	choked, free := []swarm.PeerStatus{{Choked: true}}, []swarm.PeerStatus{{Choked: true}, {}}
	web := []swarm.WebSeedStatus{{}}
	for _, tt := range []struct {
		name string
		st   swarm.Status
		want string // a part; "" = nothing is lacking
	}{
		{"a link without peers", swarm.Status{State: btt.FetchingMetadata}, "none that has this torrent"},
		{"a link with peers", swarm.Status{State: btt.FetchingMetadata, Peers: free}, "waits for its metadata"},
		{"layers", swarm.Status{State: btt.FetchingMetadata, Name: "film", Peers: free}, "waits for hashes"},
		{"no peers", swarm.Status{State: btt.Downloading, Name: "film"}, "none is connected"},
		{"a web seed", swarm.Status{State: btt.Downloading, Name: "film", WebSeeds: web}, ""},
		{"something comes", swarm.Status{State: btt.Downloading, Name: "film", Down: 1}, ""},
		{"parts", swarm.Status{State: btt.Downloading, Name: "film", Peers: free, Availability: 0.9}, "do not have all"},
		{"choked", swarm.Status{State: btt.Downloading, Name: "film", Peers: choked, Availability: 1}, "upload slot"},
		{"unchoked", swarm.Status{State: btt.Downloading, Name: "film", Peers: free, Availability: 1}, ""},
		{"checking", swarm.Status{State: btt.Checking, Name: "film"}, ""},
		{"queued", swarm.Status{State: btt.Queued}, ""},
		{"complete", swarm.Status{State: btt.Seeding, Name: "film"}, ""},
	} {
		got := lacking(&btt.Status{Status: tt.st})
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

// TestWait: a cause is told when it has lasted, once, and again when it comes back.
func TestWait(t *testing.T) {
	var out strings.Builder
	w := newWatch(terminal.New(terminal.JSON, &out), false, newBills(nil))
	lone := &btt.Status{Status: swarm.Status{State: btt.Downloading, Name: "film"}}
	busy := &btt.Status{Status: swarm.Status{State: btt.Downloading, Name: "film", Down: 1}}
	now := time.Unix(1_000_000, 0)
	for _, step := range []struct {
		st   *btt.Status
		secs int
		told int
	}{{lone, 0, 0}, {lone, 14, 0}, {lone, 15, 1}, {lone, 60, 1}, {busy, 61, 1}, {lone, 62, 1}, {lone, 90, 1}, {busy, 91, 1}, {busy, 107, 1}, {lone, 108, 1}, {lone, 123, 2}} {
		w.wait(nil, step.st, now.Add(time.Duration(step.secs)*time.Second))
		if got := strings.Count(out.String(), `"event":"waiting"`); got != step.told {
			t.Errorf("after %d s: told %d times, want %d", step.secs, got, step.told)
		}
	}
}

// TestBills: what a command says it paid is what this run added to earlier ones, also of
// a download that left Speed and tells no sum any more; one that took no part has no bill.
func TestBills(t *testing.T) {
	b := newBills([]*btt.Receipt{{InfoHash: [20]byte{1}, Lines: []*btt.ReceiptLine{{Role: btt.ReceiptPaid, Sum: 7_000_000}}}})
	for _, tt := range []struct {
		name string
		hash byte
		paid amount.Amount
		want bill
		text string
	}{
		{"out of it", 1, 0, bill{}, "0 BTT"},
		{"nothing yet", 1, 7_000_000, bill{0, 7_000_000}, "0 BTT (7 BTT in all runs)"},
		{"both", 1, 9_000_000, bill{2_000_000, 9_000_000}, "2 BTT (9 BTT in all runs)"},
		{"left it", 1, 0, bill{2_000_000, 9_000_000}, "2 BTT (9 BTT in all runs)"},
		{"a first run", 2, 5_000_000, bill{5_000_000, 5_000_000}, "5 BTT"},
		{"the ledger moved less", 1, 6_000_000, bill{0, 6_000_000}, "0 BTT (6 BTT in all runs)"},
	} {
		st := btt.Status{Status: swarm.Status{InfoHash: [20]byte{tt.hash}, Paid: tt.paid}}
		if got := b.of(&st); got != tt.want || got.String() != tt.text {
			t.Errorf("%s: %v, %q, want %v, %q", tt.name, got, got.String(), tt.want, tt.text)
		}
	}
}

// TestBillAfterCrash: what made good for an earlier run, which a crash kept from being
// booked, is no cost of this one, whether it came before the torrent started or after.
func TestBillAfterCrash(t *testing.T) {
	receipt := func(sum amount.Amount, adjusted int64) *btt.Receipt {
		return &btt.Receipt{InfoHash: [20]byte{1}, Lines: []*btt.ReceiptLine{{Role: btt.ReceiptPaid, Sum: sum, Adjusted: adjusted}}}
	}
	b := newBills([]*btt.Receipt{receipt(7_000_000, 0)})
	now := receipt(9_000_000, 4_000_000)
	b.now = func(metainfo.InfoHash) *btt.Receipt { return now }
	for _, tt := range []struct {
		name string
		paid amount.Amount
	}{{"after its start", 9_000_000}, {"before its start", 13_000_000}} {
		st := btt.Status{Status: swarm.Status{InfoHash: [20]byte{1}, Paid: tt.paid}}
		if got, want := b.of(&st), (bill{2_000_000, 13_000_000}); got != want {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
	now = receipt(8_000_000, 0) // booked a moment later than told
	st := btt.Status{Status: swarm.Status{InfoHash: [20]byte{1}, Paid: 13_000_000}}
	if got, want := b.of(&st), (bill{6_000_000, 13_000_000}); got != want {
		t.Errorf("not booked yet: %v, want %v", got, want)
	}
}
