package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/foreign"
)

var (
	network *Network
	refused string // why nothing can run on this machine
)

// buildErrorEnv tells the namespaced run why there is no btt.
const buildErrorEnv = "BTT_INTEROP_BUILD_ERROR"

func TestMain(m *testing.M) {
	if Inside() {
		flag.Parse()
		flag.Set("test.parallel", "8") // the tests wait for timers of others, they do not compute
		var err error
		if err = MountProc(); err == nil {
			network, err = NewNetwork()
		}
		if err != nil {
			refused = err.Error()
		}
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	env := []string{"TMPDIR=" + dir}
	binary, err := buildBTT(dir)
	if err != nil {
		env = append(env, buildErrorEnv+"="+err.Error())
	}
	code, err := Enter(append(env, bttBinaryEnv+"="+binary)...)
	if err != nil {
		refused = err.Error()
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// buildBTT builds the program under test, with the race detector when the
// tests have it. BTT_INTEROP_BINARY names another to test instead. No cmd/btt
// means no binary, which the tests report.
func buildBTT(dir string) (string, error) {
	if binary := os.Getenv(bttBinaryEnv); binary != "" {
		return filepath.Abs(binary)
	}
	if _, err := os.Stat(filepath.Join("..", "..", "cmd", "btt")); errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	binary := filepath.Join(dir, "btt")
	args := []string{"build", "-o", binary}
	if raceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "../../cmd/btt")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build cmd/btt: %w\n%s", err, out)
	}
	return binary, nil
}

// bench is what one test works with.
type bench struct {
	*testing.T
	dir   string
	hosts atomic.Int32

	hostOf map[netip.Addr]*Host
}

func newBench(t *testing.T, programs ...string) *bench {
	t.Helper()
	foreign.Missing(t, refused)
	foreign.Missing(t, needs(programs...)())
	return &bench{T: t, dir: t.TempDir(), hostOf: map[netip.Addr]*Host{}}
}

// config gives a fresh host and folder.
func (b *bench) config(name string) Config {
	b.Helper()
	h, err := network.NewHost()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Close() })
	b.hostOf[h.Addr] = h
	return Config{Host: h, Dir: filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, b.hosts.Add(1)))}
}

func (b *bench) within(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), limit)
	b.Cleanup(cancel)
	return ctx
}

func (b *bench) check(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// folder makes an empty folder.
func (b *bench) folder(name string) string {
	b.Helper()
	dir := filepath.Join(b.dir, name)
	b.check(os.MkdirAll(dir, 0o755))
	return dir
}

// start runs a third-party client until the end of the test.
func (b *bench) start(ctx context.Context, d Driver, change ...func(*Config)) Peer {
	b.Helper()
	foreign.Missing(b.T, d.Missing())
	c := b.config(d.Name)
	for _, f := range change {
		f(&c)
	}
	p, err := d.Start(ctx, c)
	b.check(err)
	b.stopAtEnd(p)
	return p
}

// btt returns a btt peer that is stopped, and must exit 0, at the end of the test.
func (b *bench) btt(args ...string) *BTT {
	b.Helper()
	p := NewBTT(b.config("btt"), args...)
	b.stopAtEnd(p)
	return p
}

// bttWith is btt with another configuration.
func (b *bench) bttWith(change func(*Config), args ...string) *BTT {
	b.Helper()
	c := b.config("btt")
	change(&c)
	p := NewBTT(c, args...)
	b.stopAtEnd(p)
	return p
}

// startBTT runs another command of btt until the end of the test.
func (b *bench) startBTT(c Config, args ...string) *BTT {
	b.Helper()
	p, err := StartBTT(c, args...)
	b.check(err)
	b.stopAtEnd(p)
	return p
}

func (b *bench) stopAtEnd(p Peer) {
	b.Cleanup(func() {
		if err := p.Stop(); err != nil {
			b.Errorf("stop %s: %v", p.Name(), err)
		}
	})
}

// openTracker runs opentracker until the end of the test. The caller makes the
// torrent first with a placeholder, because the tracker wants its infohash.
func (b *bench) openTracker(ctx context.Context, c Config, infoHashes ...string) *Tracker {
	b.Helper()
	foreign.Missing(b.T, openTrackerMissing())
	t, err := StartOpenTracker(ctx, c, infoHashes...)
	b.check(err)
	b.Cleanup(func() {
		if err := t.Stop(); err != nil {
			b.Errorf("stop opentracker: %v", err)
		}
	})
	return t
}

// flushMax is how long a client may take to write what it has called complete:
// libtorrent, and with it qBittorrent, reports a piece before it is in its file.
const flushMax = 2 * time.Minute

// same compares what arrived below got with what is below want, file by file.
// by is the client that fetched. btt must have it on disk when it says so.
func (b *bench) same(want, got, name string, by Peer) {
	b.Helper()
	end := time.Now().Add(flushMax)
	for {
		diff := b.differences(want, got, name, by)
		if len(diff) == 0 {
			return
		}
		if by.Name() == "btt" || time.Now().After(end) {
			b.Errorf("%s: %s", by.Name(), strings.Join(diff, "; "))
			return
		}
		time.Sleep(pollInterval)
	}
}

func (b *bench) differences(want, got, name string, by Peer) (diff []string) {
	b.Helper()
	a, err := tree(want, name)
	b.check(err)
	g, err := tree(got, name)
	if err != nil {
		return []string{err.Error()}
	}
	if by.Name() == "transmission" { // does not create empty files
		maps.DeleteFunc(a, func(_, sum string) bool { return sum == emptySum })
		maps.DeleteFunc(g, func(_, sum string) bool { return sum == emptySum })
	}
	maps.DeleteFunc(g, func(path, _ string) bool { return strings.HasSuffix(path, ".aria2") })
	if len(a) == 0 {
		b.Fatal("the content is empty")
	}
	for path, sum := range a {
		if g[path] != sum {
			diff = append(diff, fmt.Sprintf("%q arrived with SHA-256 %q, sent %q", path, g[path], sum))
		}
		delete(g, path)
	}
	for path := range g {
		diff = append(diff, fmt.Sprintf("%q arrived and was not sent", path))
	}
	return diff
}

// emptySum is the SHA-256 of an empty file.
const emptySum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// tree hashes dir/name, a file or a folder.
func tree(dir, name string) (map[string]string, error) {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return HashTree(filepath.Join(dir, name))
	}
	all, err := HashTree(dir)
	maps.DeleteFunc(all, func(path, _ string) bool { return path != name })
	return all, err
}
