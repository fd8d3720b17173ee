package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
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

// sum is the hash of a file, or of all that a folder holds, one file after the other.
func (w *town) sum(name string) (sum [32]byte) {
	w.t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(w.path(name), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		_, _ = h.Write(b) // never fails
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// pipe passes TCP connections on to a seed and counts what the seed sends. It
// ends with the test.
type pipe struct {
	net.Listener
	to    string
	bytes atomic.Int64
	brake atomic.Int64                                       // so many bytes pass; 0 = all
	open  atomic.Int32                                       // connections that the seed has not ended
	late  atomic.Pointer[func(message []byte) time.Duration] // that the seed sent without encryption; nil = none is
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
	p.open.Add(1)
	defer p.open.Add(-1)
	defer s.Close()
	go func() {
		_, _ = io.Copy(s, c)              // ends with either connection
		_ = s.(*net.TCPConn).CloseWrite() // so the seed reads all that was said
	}()
	if late := p.late.Load(); late == nil {
		_, _ = io.Copy(c, io.TeeReader(s, p))
	} else {
		_ = hold(c, io.TeeReader(s, p), *late) // ends as a copy does
	}
	_, _ = io.Copy(io.Discard, s) // until the seed did, and ends
}

// hold passes messages on, those late that are to be: others overtake them.
func hold(c io.Writer, s io.Reader, late func(message []byte) time.Duration) error {
	const handshake = 68
	if _, err := io.CopyN(c, s, handshake); err != nil {
		return err
	}
	var mu sync.Mutex // over c
	for {
		message := make([]byte, 4)
		if _, err := io.ReadFull(s, message); err != nil {
			return err
		}
		message = append(message, make([]byte, binary.BigEndian.Uint32(message))...)
		if _, err := io.ReadFull(s, message[4:]); err != nil {
			return err
		}
		pass := func() {
			mu.Lock()
			defer mu.Unlock()
			_, _ = c.Write(message) // it ends with the connection
		}
		if wait := late(message[4:]); wait > 0 {
			time.AfterFunc(wait, pass)
		} else {
			pass()
		}
	}
}

// Write counts, and waits at the brake.
func (p *pipe) Write(b []byte) (int, error) {
	for n := p.bytes.Add(int64(len(b))); p.brake.Load() > 0 && n > p.brake.Load(); {
		time.Sleep(time.Millisecond)
	}
	return len(b), nil
}

// brakeWay is how much more may pass than a test waits for.
const brakeWay = 256 << 10

// reached has the pipe stop behind so many bytes, and says whether they came: a test that
// stands still in between finds the download where it is to be. release is to follow.
func (p *pipe) reached(bytes int64) func() bool {
	p.brake.Store(bytes + brakeWay)
	return func() bool { return p.bytes.Load() >= bytes }
}

// release lets all pass.
func (p *pipe) release() { p.brake.Store(0) }

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
