package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/metainfo"
)

// scriptCommands are the scripts' own commands.
var scriptCommands = map[string]func(*testscript.TestScript, bool, []string){
	"start":   cmdStart,
	"quit":    cmdQuit,
	"ended":   cmdEnded,
	"waitfor": cmdWaitFor,
	"exits":   cmdExits,
	"random":  cmdRandom,
	"same":    cmdSame,
	"only":    cmdOnly,
	"events":  cmdEvents,
	"get":     cmdGet,
	"owed":    cmdOwed,
	"minus":   cmdMinus,
	"forge":   cmdForge,
	"flip":    cmdFlip,
	"reseal":  cmdReseal,
	"scrape":  cmdScrape,
	"last":    cmdLast,
	"clock":   cmdClock,
	"elapse":  cmdElapse,
	"web":     cmdWeb,
	"small":   cmdSmall,
	"listen":  cmdListen,
	"signal":  cmdSignal,

	"glob":        cmdGlob,
	"certificate": cmdCertificate,
}

// check ends the script for a wrong use of a command.
func check(ts *testscript.TestScript, neg bool, ok bool, use string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", use)
	}
}

// cmdStart runs btt in the background; its output goes to NAME.out and NAME.err.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) >= 2, "start NAME ARGS...")
	f := fleetOf(ts)
	p, err := startProgram(ts.MkAbs("."), args[0], environment(ts), args[1:])
	ts.Check(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.programs[args[0]] = p
}

// cmdQuit ends a background program by a signal and checks its exit code; that
// of a killed one is -1.
func cmdQuit(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2 || len(args) == 3, "quit NAME CODE [INT|TERM|KILL]")
	sig := os.Signal(syscall.SIGINT)
	if len(args) == 3 {
		sig = map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[2]]
	}
	p := fleetOf(ts).get(ts, args[0])
	if p.hasEnded() {
		ts.Fatalf("%s has ended by itself with code %d: %s", args[0], p.cmd.ProcessState.ExitCode(), p.complaint())
	}
	code, err := p.stop(sig)
	expectCode(ts, p, args[0], args[1], code, err)
}

// cmdEnded waits until a background program ends by itself.
func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "ended NAME CODE")
	p := fleetOf(ts).get(ts, args[0])
	code, err := p.wait()
	expectCode(ts, p, args[0], args[1], code, err)
}

func expectCode(ts *testscript.TestScript, p *program, name, want string, code int, err error) {
	if err != nil || strconv.Itoa(code) != want {
		ts.Fatalf("%s ended with code %d (%v), want %s: %s", name, code, err, want, p.complaint())
	}
}

// cmdWaitFor waits until a file holds a match; the match's first group goes
// into VAR. The end of the program that writes the file ends the waiting.
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2 || len(args) == 3, "waitfor FILE REGEXP [VAR]")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	writer := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(args[0]), ".out"), ".err")
	p := fleetOf(ts).programs[writer]
	file := ts.MkAbs(args[0])
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		last := p != nil && p.hasEnded() // before reading
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			ts.Check(err)
		}
		if m := re.FindSubmatch(b); m != nil {
			if len(args) == 3 {
				ts.Setenv(args[2], string(m[1]))
			}
			return
		}
		if last {
			ts.Fatalf("%s ended without %q: %s\n%s", writer, args[1], tail(b), p.complaint())
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not hold %q: %s", args[0], args[1], tail(b))
		}
	}
}

// cmdExits runs btt to its end and checks the exit code. An error must be told
// on stderr in one line that begins with btt:, with a hint at most; stdout and
// stderr are those of the script then.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) >= 1, "exits CODE ARGS...")
	cmd := exec.Command("btt", args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), environment(ts)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	ts.Check(cmd.Start())
	slow := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	_ = cmd.Wait() // the state says it all
	slow.Stop()
	_, _ = out.WriteTo(ts.Stdout())
	text := errs.String()
	_, _ = errs.WriteTo(ts.Stderr())
	if code := strconv.Itoa(cmd.ProcessState.ExitCode()); code != args[0] {
		if strings.Contains(text, "SIGQUIT") {
			code = "no code at all: it hangs"
		}
		ts.Fatalf("btt %s ended with code %s, want %s: %s", strings.Join(args[1:], " "), code, args[0], tail([]byte(text)))
	}
	if args[0] == "0" {
		return
	}
	if slices.Contains(args, "--json") {
		ts.Check(checkErrorObject(text, args[0]))
		return
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for len(lines) > 1 && args[0] == "3" && strings.HasPrefix(lines[1], "btt: ") {
		lines = lines[1:] // what failed, each before it is said that not all is done
	}
	if len(lines) > 2 || !strings.HasPrefix(lines[0], "btt: ") || len(lines) == 2 && !strings.HasPrefix(lines[1], "  ") {
		ts.Fatalf("not an error line and a hint: %q", text)
	}
}

// checkErrorObject checks the one JSON object an error is told in.
func checkErrorObject(text, code string) error {
	var e struct {
		Event, Error string
		Code         int
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return fmt.Errorf("not one JSON object on stderr: %q: %w", text, err)
	}
	if e.Event != "error" || e.Error == "" || strconv.Itoa(e.Code) != code {
		return fmt.Errorf("not an error object with code %s: %q", code, text)
	}
	return nil
}

// cmdRandom makes a file with content of its own.
func cmdRandom(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "random SIZE FILE")
	size, err := terminal.ParseBytes(args[0])
	ts.Check(err)
	ts.Check(writeRandom(ts.MkAbs(args[1]), size))
}

// writeRandom makes a file whose content depends on its name and size.
func writeRandom(path string, size int64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var seed [32]byte
	copy(seed[:], filepath.Base(path)+strconv.FormatInt(size, 10))
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return os.WriteFile(path, b, 0o644)
}

// cmdSame checks that two folders hold the same files.
func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, false, len(args) == 2, "[!] same DIR DIR")
	err := errors.Join(holds(ts.MkAbs(args[0]), ts.MkAbs(args[1])), holds(ts.MkAbs(args[1]), ts.MkAbs(args[0])))
	if neg == (err == nil) {
		ts.Fatalf("same: %v", err)
	}
}

// holds checks that b has all files of a.
func holds(b, a string) error {
	return filepath.WalkDir(a, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(a, p)
		if err != nil {
			return err
		}
		want, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(b, rel))
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%s differs", rel)
		}
		return err
	})
}

// cmdOnly checks that a folder holds exactly the named entries.
func cmdOnly(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) >= 1, "only DIR NAMES...")
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	want := slices.Sorted(slices.Values(args[1:]))
	if !slices.Equal(names, want) {
		ts.Fatalf("%s holds %q, want %q", args[0], names, want)
	}
}

// cmdOwed computes what bytes cost.
func cmdOwed(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 3, "owed VAR PRICE BYTES")
	p, err := amount.ParsePrice(args[1])
	ts.Check(err)
	n, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	sum, err := p.Owed(n)
	ts.Check(err)
	ts.Setenv(args[0], strings.TrimSuffix(sum.String(), " BTT"))
}

// cmdMinus subtracts amounts.
func cmdMinus(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 3, "minus VAR AMOUNT AMOUNT")
	a, err := amount.Parse(args[1])
	ts.Check(err)
	b, err := amount.Parse(args[2])
	ts.Check(err)
	d, err := a.Sub(b)
	ts.Check(err)
	ts.Setenv(args[0], strings.TrimSuffix(d.String(), " BTT"))
}

// cmdForge makes DIR/NUMBER.torrent of one piece with any names, those that no
// honest program writes too, and beside it the content where btt keeps it. A
// path's components are parted by "|".
func cmdForge(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) >= 3, "forge DIR/TORRENT NAME CONTENT|PATH=CONTENT...")
	file := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(file), 0o755))
	raw, contents := forge(args[1], args[2:])
	ts.Check(os.WriteFile(file, raw, 0o644))
	t, err := metainfo.Parse(raw)
	ts.Check(err)
	for i, f := range t.Info.DiskFiles() {
		path := filepath.Join(filepath.Dir(file), f.Path)
		if !filepath.IsLocal(f.Path) {
			ts.Fatalf("%s would be written to %s", args[0], f.Path)
		}
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(os.WriteFile(path, []byte(contents[i]), 0o644))
	}
}

// cmdFlip changes one bit of a file; a negative offset counts from the end.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "flip FILE OFFSET")
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	file := ts.MkAbs(args[0])
	b, err := os.ReadFile(file)
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(file, b, 0o644))
}

// kinds are the types a JSON field may have in the contract of --json.
var kinds = map[string]func(any) bool{
	"string": func(v any) bool { s, ok := v.(string); return ok && s != "" },
	"text":   func(v any) bool { _, ok := v.(string); return ok },
	"number": func(v any) bool { _, ok := v.(float64); return ok },
	"bool":   func(v any) bool { _, ok := v.(bool); return ok },
	"true":   func(v any) bool { return v == true },
	"list":   func(v any) bool { l, ok := v.([]any); return ok && len(l) > 0 },
	"object": func(v any) bool { _, ok := v.(map[string]any); return ok },
	"hash": func(v any) bool {
		s, _ := v.(string)
		return regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`).MatchString(s)
	},
	"address": func(v any) bool { s, _ := v.(string); _, err := ledger.ParseAddress(s); return err == nil },
	"amount":  func(v any) bool { s, _ := v.(string); _, err := amount.Parse(s); return err == nil },
	"magnet":  func(v any) bool { s, _ := v.(string); _, err := metainfo.ParseMagnet(s); return err == nil },
	"time":    func(v any) bool { s, _ := v.(string); _, err := time.Parse(time.RFC3339, s); return err == nil },
}

// cmdEvents checks JSON lines: each is an object with an event, and those of
// the named event have the named fields.
func cmdEvents(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) >= 2, "events FILE EVENT FIELD:KIND...")
	found := 0
	for _, e := range readEvents(ts, args[0]) {
		if e["event"] != args[1] {
			continue
		}
		found++
		for _, want := range args[2:] {
			field, kind, _ := strings.Cut(want, ":")
			is := kinds[kind]
			if is == nil {
				ts.Fatalf("there is no kind %q", kind)
			}
			if v, ok := e[field]; !ok || !is(v) {
				ts.Fatalf("field %s of event %s is %v, no %s", field, args[1], v, kind)
			}
		}
	}
	if found == 0 {
		ts.Fatalf("no event %s in %s:\n%s", args[1], args[0], tail([]byte(ts.ReadFile(args[0]))))
	}
}

func readEvents(ts *testscript.TestScript, file string) []map[string]any {
	var list []map[string]any
	for line := range strings.Lines(ts.ReadFile(file)) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			ts.Fatalf("line %q of %s is no JSON object: %v", line, file, err)
		}
		if name, _ := e["event"].(string); name == "" {
			ts.Fatalf("line %q of %s has no event", line, file)
		}
		list = append(list, e)
	}
	return list
}

// cmdGet puts a field of the last event of a name into a variable.
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 4, "get VAR FILE EVENT FIELD")
	list := readEvents(ts, args[1])
	for _, e := range slices.Backward(list) {
		if v, ok := e[args[3]]; ok && e["event"] == args[2] {
			if f, ok := v.(float64); ok {
				v = strconv.FormatFloat(f, 'f', -1, 64)
			}
			ts.Setenv(args[0], fmt.Sprint(v))
			return
		}
	}
	ts.Fatalf("no event %s with %s in %s", args[2], args[3], args[1])
}

// cmdLast checks which event comes last.
func cmdLast(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "last FILE EVENT")
	list := readEvents(ts, args[0])
	if len(list) == 0 || list[len(list)-1]["event"] != args[1] {
		ts.Fatalf("the last event of %s is not %s: %v", args[0], args[1], list[max(0, len(list)-1):])
	}
}
