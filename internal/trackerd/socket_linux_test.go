//go:build linux && (amd64 || arm64)

package trackerd

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bttnet/btt/tracker"
)

// serveVariable makes the test program a tracker with one worker, for
// BenchmarkSocketAnnounce.
const serveVariable = "BTT_TRACKERD_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) == "" {
		os.Exit(m.Run())
	}
	if err := serveSocket(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveSocket serves until its input ends.
func serveSocket() error {
	s, err := New(Config{Listen: "127.0.0.1:0", Workers: 1, NoHTTP: true})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	fmt.Printf("port %d\n", s.Addr().Port())
	return s.Serve(ctx)
}

// loaded is a tracker in a process of its own and the load it gets.
type loaded struct {
	name     string
	pid, fd  int
	ring     *ring
	requests [][]byte
	next     int
	cpu      []float64 // ns for each announce, by turn
	given    int       // bytes of all answers
	answers  int
}

const (
	socketTorrents = 10_000
	socketPeers    = 100_000
	socketTurn     = 20_032 // announces of a turn, 313 batches
)

// BenchmarkSocketAnnounce gives the tracker's own processor time for each
// announce through its socket, without bids, with the peer's bid, and with the
// wish for ten bidders besides. The trackers get their load in turns, so that
// what else the machine does meets all of them; ratios are medians over turns.
// It wants -benchtime of some turns, such as 600000x.
func BenchmarkSocketAnnounce(b *testing.B) {
	for _, seeders := range []int{0, 75} {
		b.Run(fmt.Sprintf("seeders=%d%%", seeders), func(b *testing.B) {
			var all []*loaded
			for _, l := range []struct{ name, data string }{
				{"plain", ""}, {"bid", "/announce?btt_bid=%d"},
				{"top", "/announce?btt_bid=%d&btt_top=10"}, {"ext", "/announce?btt_bid=%d&btt_top=10&btt_ext=1"},
			} {
				all = append(all, startLoaded(b, l.name, l.data, seeders))
			}
			b.ResetTimer()
			for done := 0; done < b.N; done += socketTurn {
				for _, l := range all {
					l.turn(b)
				}
			}
			b.StopTimer()
			if b.N == 1 {
				return // the run that only sets b.N
			}
			for i, l := range all {
				ratios := make([]float64, len(l.cpu))
				for j := range l.cpu {
					ratios[j] = l.cpu[j] / all[0].cpu[j]
				}
				slices.Sort(ratios)
				slices.Sort(l.cpu)
				b.Logf("%-5s %5.0f ns (%.0f-%.0f), %.3f of plain (%.3f-%.3f), %d bytes an answer", l.name, l.cpu[len(l.cpu)/2], l.cpu[0],
					l.cpu[len(l.cpu)-1], ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1], l.given/l.answers)
				b.ReportMetric(l.cpu[len(l.cpu)/2], l.name+"-cpu-ns")
				if i > 0 {
					b.ReportMetric(ratios[len(ratios)/2], l.name+"/plain")
				}
			}
		})
	}
}

// startLoaded starts a tracker, and announces every peer once.
func startLoaded(b *testing.B, name, data string, seeders int) *loaded {
	args := []string{os.Args[0]}
	if taskset, err := exec.LookPath("taskset"); err == nil {
		args = append([]string{taskset, "-c", "0"}, args...)
	}
	cmd := exec.CommandContext(b.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), serveVariable+"=1", "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	port, perr := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "port ")))
	if err != nil || perr != nil {
		b.Fatalf("tracker said %q: %v", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the process
	l := &loaded{name: name, pid: cmd.Process.Pid, ring: newRing()}
	l.connect(b, uint16(port))
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range socketPeers {
		r := &tracker.Request{Port: uint16(i%65535 + 1), NumWant: 30, Event: tracker.EventStarted}
		binary.LittleEndian.PutUint64(r.InfoHash[8:], mum(uint64(rng.IntN(socketTorrents))+1, 0x9e3779b97f4a7c15))
		r.InfoHash[0] = r.InfoHash[8]
		if rng.IntN(100) >= seeders {
			r.Left = 1 << 20
		}
		text := data
		if strings.Contains(data, "%d") {
			text = fmt.Sprintf(data, 1_000_000+rng.IntN(1_000_000))
		}
		l.requests = append(l.requests, tracker.AppendAnnounceRequest(nil, tracker.UDPHeader{Action: tracker.ActionAnnounce}, r, text))
	}
	for range (socketPeers + socketTurn) / socketTurn {
		l.turn(b)
	}
	l.cpu, l.given, l.answers = nil, 0, 0
	return l
}

// connect opens the sender's socket.
func (l *loaded) connect(b *testing.B, port uint16) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	timeout := unix.NsecToTimeval(int64(time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		b.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(port), Addr: netip.MustParseAddr("127.0.0.1").As4()}); err != nil {
		b.Fatal(err)
	}
	l.fd = fd
}

// turn announces socketTurn peers, 64 in flight.
func (l *loaded) turn(b *testing.B) {
	id := l.connectionID(b)
	before := l.used(b)
	r := l.ring
	for range socketTurn / batch {
		for i := range batch {
			q := l.requests[l.next]
			l.next = (l.next + 7919) % len(l.requests)
			binary.BigEndian.PutUint64(q, id)
			n := copy(r.send[i][:], q)
			r.outVec[i].SetLen(n)
		}
		if n, _, e := syscall.Syscall6(unix.SYS_SENDMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&r.out)), batch, 0, 0, 0); e != 0 || n != batch {
			b.Fatalf("sent %d of %d: %v", n, batch, e)
		}
		for got := 0; got < batch; {
			n, _, e := syscall.Syscall6(unix.SYS_RECVMMSG, uintptr(l.fd), uintptr(unsafe.Pointer(&r.in[got])), uintptr(batch-got), unix.MSG_WAITFORONE, 0, 0)
			if e == unix.EINTR {
				continue
			}
			if e != 0 {
				b.Fatalf("%s: %d of %d answers: %v", l.name, got, batch, e)
			}
			for i := got; i < got+int(n); i++ {
				if action := tracker.Action(binary.BigEndian.Uint32(r.receive[i][:])); action != tracker.ActionAnnounce && action != tracker.ActionBidAnnounce {
					b.Fatalf("%s: answer %q", l.name, r.receive[i][:r.in[i].length])
				}
				l.given += int(r.in[i].length)
			}
			got += int(n)
			l.answers += int(n)
		}
	}
	l.cpu = append(l.cpu, (l.used(b)-before)/float64(socketTurn/batch*batch))
}

func (l *loaded) connectionID(b *testing.B) uint64 {
	var answer [64]byte
	if _, err := unix.Write(l.fd, tracker.AppendConnectRequest(nil, 1)); err != nil {
		b.Fatal(err)
	}
	n, err := unix.Read(l.fd, answer[:])
	if err != nil {
		b.Fatal(err)
	}
	id, err := tracker.ParseConnectResponse(answer[:n])
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// used is the tracker's processor time in ns.
func (l *loaded) used(b *testing.B) float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^l.pid<<3|2), &t); err != nil {
		b.Fatal(err)
	}
	return float64(t.Nano())
}
