package interop

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sampleEvery is the time between two looks at the connections.
const sampleEvery = 250 * time.Millisecond

// Traffic counts who sent how much to whom, as the kernels of the hosts see it,
// so that every client is measured alike. What a connection carried between the
// last look at it and its end is missing.
type Traffic struct {
	names  map[netip.Addr]string
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	began   time.Time
	sockets map[string]map[string]int64 // "from to" -> socket -> bytes acknowledged
	points  []TrafficPoint
	err     error
}

// TrafficPoint is what was sent until a time, by "from to".
type TrafficPoint struct {
	At   time.Duration
	Sent map[string]int64
}

// WatchTraffic begins to count between the named hosts.
func WatchTraffic(hosts map[string]*Host) *Traffic {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Traffic{names: map[netip.Addr]string{}, cancel: cancel, ended: make(chan struct{}), began: time.Now(),
		sockets: map[string]map[string]int64{}}
	for name, h := range hosts {
		t.names[h.Addr] = name
	}
	go func() { // ends with Stop
		defer close(t.ended)
		for {
			t.look(hosts)
			select {
			case <-ctx.Done():
				return
			case <-time.After(sampleEvery):
			}
		}
	}()
	return t
}

// Stop ends the counting.
func (t *Traffic) Stop() error {
	t.cancel()
	<-t.ended
	return t.err
}

// At returns what was sent until d after the beginning, by "from to".
func (t *Traffic) At(d time.Duration) map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var last map[string]int64
	for _, p := range t.points {
		if p.At > d {
			break
		}
		last = p.Sent
	}
	return last
}

// First returns when more than n bytes had been sent in all.
func (t *Traffic) First(n int64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.points {
		sum := int64(0)
		for _, sent := range p.Sent {
			sum += sent
		}
		if sum > n {
			return p.At
		}
	}
	return 0
}

func (t *Traffic) look(hosts map[string]*Host) {
	for name, h := range hosts {
		out := new(bytes.Buffer)
		cmd := exec.Command("ss", "-tniOH", "state", "established")
		cmd.Stdout = out
		err := h.start(cmd)
		if err == nil {
			err = cmd.Wait()
		}
		if err != nil {
			t.err = fmt.Errorf("list connections of %s: %w", name, err)
			return
		}
		t.mu.Lock()
		t.read(name, out.String())
		t.mu.Unlock()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := TrafficPoint{At: time.Since(t.began), Sent: map[string]int64{}}
	for pair, list := range t.sockets {
		for _, n := range list {
			p.Sent[pair] += n
		}
	}
	t.points = append(t.points, p)
}

// read takes the lines of ss: queues, both addresses, then what is known of the
// connection, of which we want the bytes that the other side has.
func (t *Traffic) read(from, list string) {
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		peer, err := netip.ParseAddrPort(fields[3])
		if err != nil || t.names[peer.Addr().Unmap()] == "" {
			continue
		}
		pair := from + " " + t.names[peer.Addr().Unmap()]
		for _, f := range fields[4:] {
			if v, ok := strings.CutPrefix(f, "bytes_acked:"); ok {
				n, _ := strconv.ParseInt(v, 10, 64)
				if t.sockets[pair] == nil {
					t.sockets[pair] = map[string]int64{}
				}
				t.sockets[pair][fields[2]+" "+fields[3]] = n
			}
		}
	}
}
