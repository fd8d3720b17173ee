package interop

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// sampleEvery is the time between two looks at the connections. Each walks through
// the kernel's whole table of them, some milliseconds for each host.
const sampleEvery = time.Second

// Traffic counts who sent how much to whom, as the kernels of the hosts see it,
// so that every client is measured alike. What a connection carried between the
// last look at it and its end is missing.
type Traffic struct {
	names  map[netip.Addr]string
	hosts  map[string]*sockets
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	began   time.Time
	sockets map[string]map[connection]int64 // "from to" -> its ends -> bytes acknowledged
	points  []TrafficPoint
	err     error
}

// TrafficPoint is what was sent until a time, by "from to".
type TrafficPoint struct {
	At   time.Duration
	Sent map[string]int64
}

// WatchTraffic begins to count between the named hosts.
func WatchTraffic(hosts map[string]*Host) (*Traffic, error) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &Traffic{names: map[netip.Addr]string{}, hosts: map[string]*sockets{}, cancel: cancel, ended: make(chan struct{}),
		began: time.Now(), sockets: map[string]map[connection]int64{}}
	for name, h := range hosts {
		list, err := openSockets(h)
		if err != nil {
			t.close()
			return nil, err
		}
		t.names[h.Addr], t.hosts[name] = name, list
	}
	go func() { // ends with Stop
		defer close(t.ended)
		defer t.close()
		for {
			if t.err = t.look(); t.err != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(sampleEvery):
			}
		}
	}()
	return t, nil
}

func (t *Traffic) close() {
	for _, list := range t.hosts {
		list.close()
	}
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

func (t *Traffic) look() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, list := range t.hosts {
		err := list.list(func(c connection) {
			to := t.names[c.to.Addr()]
			if to == "" {
				return
			}
			pair := name + " " + to
			if t.sockets[pair] == nil {
				t.sockets[pair] = map[connection]int64{}
			}
			t.sockets[pair][connection{from: c.from, to: c.to}] = c.acked
		})
		if err != nil {
			return fmt.Errorf("count what %s sends: %w", name, err)
		}
	}
	p := TrafficPoint{At: time.Since(t.began), Sent: map[string]int64{}}
	for pair, list := range t.sockets {
		for _, n := range list {
			p.Sent[pair] += n
		}
	}
	t.points = append(t.points, p)
	return nil
}
