package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/terminal"
)

// small is an economy that ends in a few seconds.
func small(t *testing.T) Options {
	return Options{Dir: t.TempDir(), Size: 3<<20 + 1, Upload: 2 << 20, ChokeEach: 500 * time.Millisecond, Timeout: 5 * time.Minute}
}

// TestRun runs the economy and checks its statement against the files and the
// accounts, not against what it says of itself.
func TestRun(t *testing.T) {
	o := small(t)
	var out bytes.Buffer
	st, err := Run(context.Background(), o, terminal.New(terminal.JSON, &out))
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !st.Reconciled || len(st.Problems) > 0 || st.Bytes != o.Size || st.Audited != amount.Supply || st.Supply != amount.Supply {
		t.Errorf("statement %+v", st)
	}
	var start, end, paid, earned amount.Amount
	for i, a := range st.Actors {
		if a.Name != scenarios[0].cast[i].name || a.Start != scenarios[0].cast[i].balance {
			t.Errorf("actor %d is %+v", i, a)
		}
		b, err := os.ReadFile(filepath.Join(o.Dir, a.Name, "files", fileName))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(b); !a.FileOK || st.SHA256 != hexOf(sum[:]) {
			t.Errorf("%s: file ok %v, its SHA-256 %x, that of the statement %s", a.Name, a.FileOK, sum, st.SHA256)
		}
		if a.Start-a.Paid+a.Earned != a.End {
			t.Errorf("%s: %s - %s + %s is not %s", a.Name, a.Start, a.Paid, a.Earned, a.End)
		}
		if a.Role == plain.String() && (a.Paid != 0 || a.Earned != 0 || a.End != 0) {
			t.Errorf("%s has no wallet but moved money: %+v", a.Name, a)
		}
		start, end, paid, earned = start+a.Start, end+a.End, paid+a.Paid, earned+a.Earned
	}
	if start != end || paid != earned || paid != st.Payments || earned != st.Earnings || paid == 0 {
		t.Errorf("start %s, end %s, paid %s, earned %s; statement %s, %s", start, end, paid, earned, st.Payments, st.Earnings)
	}
	checkLines(t, out.String(), st)
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

// checkLines checks that the last JSON line is the statement that Run returned.
func checkLines(t *testing.T, out string, st *Statement) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, l := range lines {
		if !json.Valid([]byte(l)) {
			t.Errorf("line %q is no JSON", l)
		}
	}
	var last struct {
		Event string
		Statement
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Event != "statement" || !last.Reconciled || last.Payments != st.Payments || len(last.Actors) != len(scenarios[0].cast) {
		t.Errorf("last line %+v", last)
	}
}

// TestScenarios: what each shows happens, and its sums reconcile.
func TestScenarios(t *testing.T) {
	for _, s := range scenarios[1:] {
		t.Run(s.name, func(t *testing.T) {
			o := small(t)
			o.Scenario, o.Size, o.Timeout = s.name, 12<<20, 2*time.Minute
			var out bytes.Buffer
			st, err := Run(context.Background(), o, terminal.New(terminal.JSON, &out))
			if err != nil || !st.Reconciled {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, event := range map[string][]string{"reserve": {"reserve", "proof"}, "dying": {"resting", "returned"}}[s.name] {
				if !strings.Contains(out.String(), `"event":"`+event+`"`) {
					t.Errorf("no event %q in\n%s", event, out.String())
				}
			}
		})
	}
}

// TestSmallFile: a file that is complete before a slot is sold costs nobody
// anything, and that is no fault of the books.
func TestSmallFile(t *testing.T) {
	o := small(t)
	o.Size, o.ChokeEach = 512<<10, time.Hour
	var out bytes.Buffer
	st, err := Run(context.Background(), o, terminal.New(terminal.Lines, &out))
	if err != nil || !st.Reconciled || !st.Free || st.Payments != 0 || !strings.Contains(out.String(), "nobody had to pay") {
		t.Fatalf("%v\n%s", err, out.String())
	}
}

// TestPeers: as many peers as wanted, within the limit.
func TestPeers(t *testing.T) {
	for n, want := range map[int]int{0: 5, 1: 2, 4: 5, 9: 10} {
		if got := len(scenarios[0].parts(n)); got != want {
			t.Errorf("%d peers make a cast of %d, want %d", n, got, want)
		}
	}
	o := small(t)
	for _, o.Peers = range []int{-1, MaxPeers + 1} {
		if _, err := Run(context.Background(), o, terminal.New(terminal.JSON, new(bytes.Buffer))); !errors.Is(err, ErrOptions) {
			t.Errorf("%d peers: %v", o.Peers, err)
		}
	}
	o.Peers, o.Scenario = 0, "nonsense"
	if _, err := Run(context.Background(), o, terminal.New(terminal.JSON, new(bytes.Buffer))); !errors.Is(err, ErrOptions) {
		t.Errorf("unknown scenario: %v", err)
	}
}

// TestLines: the plain view, a folder of its own that is gone afterwards.
func TestLines(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	o := small(t)
	o.Dir = ""
	var out bytes.Buffer
	if _, err := Run(context.Background(), o, terminal.New(terminal.Lines, &out)); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"holds the supply of 990000000000 BTT", "settling the channels", "every sum reconciles to the last µBTT"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("control sequences in plain lines")
	}
	checkEmpty(t, tmp)
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestTimeout: an economy that does not finish is an error, ends all its parts
// and leaves nothing.
func TestTimeout(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	o := small(t)
	o.Dir, o.Upload, o.Timeout = "", 64<<10, 500*time.Millisecond
	_, err := Run(context.Background(), o, terminal.New(terminal.Lines, new(bytes.Buffer)))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	checkEmpty(t, tmp)
}

// TestStatementFindsFaults: a statement that does not add up is not reconciled.
func TestStatementFindsFaults(t *testing.T) {
	good := func() *Statement {
		return &Statement{Supply: 100, Audited: 100, Actors: []Account{
			{Name: "p", Earned: 3, End: 3, FileOK: true}, {Name: "r", Start: 10, Paid: 3, End: 7, FileOK: true}}}
	}
	st := good()
	if st.check(); !st.Reconciled || len(st.Problems) != 0 {
		t.Fatalf("a right statement has problems: %q", st.Problems)
	}
	for name, spoil := range map[string]func(*Statement){
		"a file differs":           func(s *Statement) { s.Actors[1].FileOK = false },
		"a µBTT is lost":           func(s *Statement) { s.Actors[0].End-- },
		"a µBTT comes from nobody": func(s *Statement) { s.Actors[0].Earned++; s.Actors[0].End++ },
		"nobody paid":              func(s *Statement) { s.Actors[0], s.Actors[1].Paid, s.Actors[1].End = Account{FileOK: true}, 0, 10 },
		"the supply changed":       func(s *Statement) { s.Audited++ },
		"a channel is open":        func(s *Statement) { s.Problems = append(s.Problems, "channel is still open") },
	} {
		st := good()
		spoil(st)
		if st.check(); st.Reconciled || len(st.Problems) == 0 {
			t.Errorf("%s: reconciled", name)
		}
	}
}

// TestPatience: a larger demonstration is given more time before it counts as hung, and
// no size is too large to count.
func TestPatience(t *testing.T) {
	var last time.Duration
	for _, o := range []Options{{}, {Peers: 4, Size: 1 << 20}, {Peers: MaxPeers, Size: 1 << 20}, {Peers: MaxPeers}, {Peers: MaxPeers, Upload: 1, Size: 1 << 62}} {
		if err := o.defaults(); err != nil {
			t.Fatal(err)
		}
		if o.Timeout <= last || o.Timeout < DefaultTimeout {
			t.Errorf("%d peers, %d bytes at %d/s: given up after %v, a smaller one after %v", o.Peers, o.Size, o.Upload, o.Timeout, last)
		}
		if last == 0 && (o.Timeout != DefaultTimeout || o.Timeout >= time.Minute) { // "in under a minute", says its help
			t.Errorf("by default it is given up after %v", o.Timeout)
		}
		last = o.Timeout
	}
}
