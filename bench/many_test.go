//go:build unix

package bench

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/metainfo"
)

// manyEnv makes this test binary a node that restores the torrents in the
// folder it names: what is measured then is a process of its own.
const manyEnv = "BTT_BENCH_RESTORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(manyEnv); dir != "" {
		if err := restore(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// restored is what the child tells.
type restored struct {
	Torrents     int
	Millis       float64 // from the start of the node until all are ready to seed
	RSS, PeakRSS float64 // MiB, then
	Idle         float64 // percent of one core in the seconds after
	CloseMillis  float64
}

// restore opens a node on a folder and measures it.
func restore(dir string) error {
	want, err := strconv.Atoi(os.Getenv("BTT_BENCH_COUNT"))
	if err != nil {
		return err
	}
	idle, err := time.ParseDuration(os.Getenv("BTT_BENCH_IDLE"))
	if err != nil {
		return err
	}
	var ready atomic.Int32
	all := make(chan struct{}, 1)
	began := time.Now()
	n, err := btt.Open(context.Background(), btt.Config{Home: dir, Keep: true, Listen: "127.0.0.1:0", Notify: func(e btt.Event) {
		if e.Kind == btt.Completed && int(ready.Add(1)) == want {
			all <- struct{}{}
		}
	}})
	if err != nil {
		return err
	}
	select {
	case <-all:
	case <-time.After(5 * time.Minute):
		return fmt.Errorf("%d of %d torrents are ready", ready.Load(), want)
	}
	r := restored{Torrents: len(n.Torrents()), Millis: time.Since(began).Seconds() * 1000, RSS: memory("VmRSS"), PeakRSS: memory("VmHWM")}
	if idle > 0 {
		time.Sleep(5 * time.Second) // the first ticks, the collector
		from, at := cpu(), time.Now()
		time.Sleep(idle)
		r.Idle = 100 * (cpu() - from).Seconds() / time.Since(at).Seconds()
	}
	began = time.Now()
	if err := n.Close(context.Background()); err != nil {
		return err
	}
	r.CloseMillis = time.Since(began).Seconds() * 1000
	return json.NewEncoder(os.Stdout).Encode(r)
}

// memory reads a figure of this process, in MiB; 0 where there is no /proc.
func memory(field string) float64 {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kib, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib / 1024
		}
	}
	return 0
}

// cpu is the time that this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// library makes a home with count kept torrents of one file of 40 KiB in three
// pieces, ready to seed.
func library(b *testing.B, count int) (home string) {
	b.Helper()
	dir := scratch(b)
	home, data := filepath.Join(dir, "home"), filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o777); err != nil {
		b.Fatal(err)
	}
	var ready atomic.Int32
	n, err := btt.Open(context.Background(), btt.Config{Home: home, Keep: true, Listen: "off", Notify: func(e btt.Event) {
		if e.Kind == btt.Completed {
			ready.Add(1)
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	for i := range count {
		content := bytes.Repeat(binary.BigEndian.AppendUint64(nil, uint64(i)), 5<<10)
		name := fmt.Sprintf("file %05d.bin", i)
		if err := os.WriteFile(filepath.Join(data, name), content, 0o666); err != nil {
			b.Fatal(err)
		}
		build := metainfo.Builder{Name: name, SingleFile: true, PieceLength: 16 << 10,
			Files: []metainfo.BuildFile{{Path: []string{name}, Length: int64(len(content))}}}
		var hashes []byte
		for len(content) > 0 {
			k := min(len(content), 16<<10)
			sum := sha1.Sum(content[:k])
			hashes, content = append(hashes, sum[:]...), content[k:]
		}
		torrent, err := build.Build(metainfo.Hashes{Pieces: hashes})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := n.Add(btt.Add{Torrent: torrent, Dir: data}); err != nil {
			b.Fatal(err)
		}
	}
	for end := time.Now().Add(5 * time.Minute); int(ready.Load()) < count; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("%d of %d torrents are ready", ready.Load(), count)
		}
	}
	if err := n.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
	return home
}

func measure(b *testing.B, home string, count int, idle time.Duration) restored {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), manyEnv+"="+home, "BTT_BENCH_COUNT="+strconv.Itoa(count), "BTT_BENCH_IDLE="+idle.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	var r restored
	if err := json.Unmarshal(out, &r); err != nil {
		b.Fatal(err)
	}
	if r.Torrents != count {
		b.Fatalf("%d of %d torrents came back", r.Torrents, count)
	}
	return r
}

// BenchmarkRestore starts a node of many kept torrents, in a process of its own:
// the time until all are ready to seed, and its memory then.
func BenchmarkRestore(b *testing.B) {
	for _, count := range []int{1000, 10_000} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			home := library(b, count)
			var sum restored
			for b.Loop() {
				r := measure(b, home, count, 0)
				sum.Millis += r.Millis
				sum.CloseMillis += r.CloseMillis
				sum.RSS, sum.PeakRSS = max(sum.RSS, r.RSS), max(sum.PeakRSS, r.PeakRSS)
			}
			b.ReportMetric(sum.Millis/float64(b.N), "ms/restore")
			b.ReportMetric(sum.CloseMillis/float64(b.N), "ms/close")
			b.ReportMetric(sum.RSS, "MiB")
			b.ReportMetric(sum.PeakRSS, "MiB-peak")
		})
	}
}

// BenchmarkIdle tells what torrents without peers cost, as percent of a core.
func BenchmarkIdle(b *testing.B) {
	for _, count := range []int{1000, 10_000} {
		b.Run(strconv.Itoa(count), func(b *testing.B) {
			home := library(b, count)
			for b.Loop() {
				r := measure(b, home, count, 20*time.Second)
				b.ReportMetric(r.Idle, "%core")
			}
		})
	}
}
