package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
)

// town is a folder with programs that a test kills and starts again.
type town struct {
	t   *testing.T
	dir string
	env []string
}

func newTown(t *testing.T) *town {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	return &town{t: t, dir: dir, env: append(os.Environ(), dhtEnv+"=off", "HOME="+dir, "XDG_STATE_HOME="+dir,
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))}
}

func (w *town) path(name string) string { return filepath.Join(w.dir, name) }

// start runs btt in the background; it is killed with the test at the latest.
func (w *town) start(name string, args ...string) *program {
	w.t.Helper()
	p, err := startProgram(w.dir, name, w.env, args)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails if it has ended
		<-p.ended
	})
	return p
}

// run runs btt to its end and returns its JSON events.
func (w *town) run(args ...string) []map[string]any {
	w.t.Helper()
	cmd := exec.Command("btt", append(args, "--json")...)
	cmd.Dir, cmd.Env = w.dir, w.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("btt %s: %v: %s", strings.Join(args, " "), err, tail(errs.Bytes()))
	}
	return w.parse(out)
}

func (w *town) parse(out []byte) (list []map[string]any) {
	w.t.Helper()
	for line := range bytes.Lines(out) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // a kill cut it off
		}
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil {
			w.t.Fatalf("line %q: %v", line, err)
		}
		list = append(list, e)
	}
	return list
}

// await waits for a match in a file and returns its first group.
func (w *town) await(p *program, file, pattern string) string {
	w.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		last := p.hasEnded()
		b, err := os.ReadFile(file)
		if m := re.FindSubmatch(b); m != nil {
			return string(m[len(m)-1])
		}
		if last || time.Now().After(deadline) {
			w.t.Fatalf("no %q in %s: %v: %s\n%s", pattern, filepath.Base(file), err, tail(b), p.complaint())
		}
	}
}

// end waits for the end of a program by itself, or interrupts it, and checks
// that it went well.
func (w *town) end(p *program, interrupt bool) {
	w.t.Helper()
	code, err := 0, error(nil)
	if interrupt {
		code, err = p.stop(syscall.SIGINT)
	} else {
		code, err = p.wait()
	}
	if err != nil || code != 0 {
		out, _ := os.ReadFile(p.stdout)
		w.t.Fatalf("%v ended with code %d (%v): %s\n%s", p.cmd.Args, code, err, p.complaint(), tail(out))
	}
}

// kill ends a program as a power cut does.
func (w *town) kill(p *program) {
	w.t.Helper()
	if p.hasEnded() {
		w.t.Fatalf("%v ended before it could be killed: %s", p.cmd.Args, p.complaint())
	}
	if _, err := p.stop(syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) content(size int64) [32]byte {
	w.t.Helper()
	if err := writeRandom(w.path("share/film.bin"), size); err != nil {
		w.t.Fatal(err)
	}
	return w.sum("share/film.bin")
}

func (w *town) sum(name string) [32]byte {
	w.t.Helper()
	b, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// pipe passes TCP connections on to a seed and counts what the seed sends. It
// ends with the test.
type pipe struct {
	net.Listener
	to    string
	bytes atomic.Int64
}

func (w *town) pipe(to string) *pipe {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	p := &pipe{Listener: l, to: to}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	return p
}

func (p *pipe) pass(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		_, _ = io.Copy(s, c) // ends with either connection
		s.Close()
	}()
	_, _ = io.Copy(c, io.TeeReader(s, p))
}

// Write counts.
func (p *pipe) Write(b []byte) (int, error) {
	p.bytes.Add(int64(len(b)))
	return len(b), nil
}

// until waits for a condition while a program runs.
func (w *town) until(p *program, what string, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if p.hasEnded() || time.Now().After(deadline) {
			w.t.Fatalf("no %s: %s", what, p.complaint())
		}
	}
}

// onDisk counts the bytes of whole pieces of the download that are right.
func (w *town) onDisk(piece int) (n int64) {
	w.t.Helper()
	want, err := os.ReadFile(w.path("share/film.bin"))
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := os.ReadFile(w.path("download/film.bin"))
	if err != nil {
		return 0 // not begun
	}
	for at := 0; at < len(want); at += piece {
		end := min(at+piece, len(want))
		if end <= len(got) && bytes.Equal(got[at:end], want[at:end]) {
			n += int64(end - at)
		}
	}
	return n
}

// checked is how many pieces a download hashed again at its start.
func (w *town) checked(p *program) int {
	w.t.Helper()
	log, err := os.ReadFile(p.stderr)
	if err != nil {
		w.t.Fatal(err)
	}
	m := regexp.MustCompile(`to_check=(\d+)`).FindSubmatch(log)
	if m == nil {
		w.t.Fatalf("no files were opened: %s", tail(log))
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestKillGet kills a download at random moments. A restart hashes again and
// fetches nothing that a kill left on disk but what was in progress, a kill loses no more than the pieces in progress,
// and the file is right at the end.
func TestKillGet(t *testing.T) {
	const (
		size, piece, kills = 8<<20 + 12345, 64 << 10, 5
		inProgress         = 12 * piece // pieces that one peer of this speed may have begun
		overhead           = 64 << 10   // of the messages, a session
	)
	w := newTown(t)
	want := w.content(size)
	w.run("create", "share/film.bin", "--piece-size", "64KiB")
	seed := w.start("seed", "seed", "share/film.bin", "--home", "seed", "--listen", "127.0.0.1:0", "--limit-up", "2MiB", "--json")
	pipe := w.pipe(w.await(seed, seed.stdout, `"listen":"([^"]+)"`))
	var had int64
	for i := range kills + 1 {
		before := pipe.bytes.Load()
		get := w.start(fmt.Sprintf("get%d", i), "get", "share/film.bin.torrent", "-o", "download", "--home", "leech", "--peer", pipe.Addr().String(), "--json", "--verbose")
		if i == kills {
			w.end(get, false)
		} else {
			moment := before + rand.Int64N(2*size/(kills+2))
			w.until(get, "download", func() bool { return pipe.bytes.Load() >= moment })
			w.kill(get)
		}
		if n := w.checked(get); i > 0 && n > inProgress/piece {
			t.Errorf("run %d: %d pieces were hashed again", i, n)
		}
		has, received := w.onDisk(piece), pipe.bytes.Load()-before
		t.Logf("run %d: %d bytes received, %d more on disk", i, received, has-had)
		if has < had {
			t.Errorf("run %d: %d bytes are right on disk, before it were %d", i, has, had)
		}
		if received > has-had+inProgress+overhead {
			t.Errorf("run %d: %d bytes received for %d more on disk", i, received, has-had)
		}
		had = has
	}
	if w.sum("download/film.bin") != want {
		t.Error("the file differs")
	}
	if total := pipe.bytes.Load(); total > size+(kills+1)*overhead+kills*inProgress {
		t.Errorf("%d bytes received for a file of %d", total, size)
	}
	w.end(seed, true)
}

// bank is a town with a ledger, a paying leech and a selling seed.
type bank struct {
	*town
	url          string
	ledger, seed *program
	seeds        []*program // all runs of the seed
	pipe         *pipe
	want         [32]byte
}

const (
	bankSize  = 6<<20 + 4321
	bankGrant = 100 * amount.BTT
)

func newBank(t *testing.T) *bank {
	w := newTown(t)
	b := &bank{town: w, want: w.content(bankSize)}
	w.run("create", "share/film.bin", "--piece-size", "64KiB")
	leech := w.run("wallet", "init", "--home", "leech")[0]["address"].(string)
	w.run("wallet", "init", "--home", "seed")
	w.run("ledger", "init", "--dir", "ledger", "--grant", leech+"=100")
	b.serve("127.0.0.1:0")
	b.url = w.await(b.ledger, b.ledger.stdout, `"url":"([^"]+)"`)
	b.sells("127.0.0.1:0")
	b.pipe = w.pipe(w.await(b.seed, b.seed.stdout, `"event":"seeding".*"listen":"([^"]+)"`))
	return b
}

// sells starts a seed.
func (b *bank) sells(listen string) {
	b.t.Helper()
	b.seed = b.start(fmt.Sprintf("seed%d", len(b.seeds)), "seed", "share/film.bin", "--home", "seed", "--listen", listen, "--limit-up", "2MiB",
		"--speed", "--ledger", b.url, "--reserve", "2 BTT/GiB", "--choke-interval", "1s", "--json")
	b.seeds = append(b.seeds, b.seed)
}

func (b *bank) serve(listen string) {
	b.t.Helper()
	b.ledger = b.start("ledger", "ledger", "serve", "--dir", "ledger", "--listen", listen, "--json")
}

// restartLedger kills the ledger and starts it at the same address.
func (b *bank) restartLedger() {
	b.t.Helper()
	b.kill(b.ledger)
	b.serve(strings.TrimPrefix(b.url, "http://"))
	b.until(b.ledger, "ledger", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (b *bank) get(name string) *program {
	b.t.Helper()
	return b.start(name, "get", "share/film.bin.torrent", "-o", "download", "--home", "leech", "--listen", "off",
		"--peer", b.pipe.Addr().String(), "--speed", "--ledger", b.url, "--json")
}

func (b *bank) balance(home string) amount.Amount {
	b.t.Helper()
	return b.amount(b.run("wallet", "balance", "--home", home, "--ledger", b.url)[0]["free"])
}

// reconcile ends the seed, which settles, and checks the file and every sum:
// what the leech lost is what the seed has, it is not more than what was sent
// costs, and the audit agrees. It returns what was paid.
func (b *bank) reconcile() amount.Amount {
	b.t.Helper()
	if b.sum("download/film.bin") != b.want {
		b.t.Error("the file differs")
	}
	b.end(b.seed, true)
	paid, earned := bankGrant-b.balance("leech"), b.balance("seed")
	if paid != earned || earned == 0 {
		b.t.Errorf("the leech lost %s, the seed got %s", paid, earned)
	}
	b.end(b.ledger, true)
	if e := b.run("ledger", "audit", "--dir", "ledger"); e[0]["reconciled"] != true {
		b.t.Errorf("audit: %v", e)
	}
	return earned
}

// earnings are the sums that the seed reported as earned.
func (b *bank) earnings() (sum amount.Amount) {
	b.t.Helper()
	for _, p := range b.seeds {
		out, err := os.ReadFile(p.stdout)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, e := range b.parse(out) {
			if e["event"] == "payment" && e["kind"] == "earned" {
				sum += b.amount(e["sum"])
			}
		}
	}
	return sum
}

func (w *town) amount(field any) amount.Amount {
	w.t.Helper()
	s, _ := field.(string)
	a, err := amount.Parse(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// TestKillLedger kills the ledger while a channel opens and while it is paid
// through. The download goes on, and nothing that was acknowledged is lost.
func TestKillLedger(t *testing.T) {
	b := newBank(t)
	get := b.get("get")
	for _, moment := range []int64{rand.Int64N(64 << 10), 1<<20 + rand.Int64N(1<<20), 3<<20 + rand.Int64N(1<<20)} {
		b.until(get, "download", func() bool { return b.pipe.bytes.Load() >= moment })
		b.restartLedger()
	}
	b.end(get, false)
	acknowledged := b.earnings()
	if got := b.reconcile(); got < acknowledged {
		t.Errorf("the seed acknowledged %s and got %s", acknowledged, got)
	}
}
