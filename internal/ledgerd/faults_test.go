package ledgerd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

var errDisk = errors.New("injected disk failure")

// faultyLog fails the n-th operation of one sort and keeps track of what a disk
// would hold then.
type faultyLog struct {
	logFile
	failWrite, failSync int // which call fails, from 1; 0 = none
	keepUnsynced        bool
	writes, syncs       int
	synced, size        int64
}

func (f *faultyLog) Write(p []byte) (int, error) {
	f.writes++
	if f.writes == f.failWrite {
		n, _ := f.logFile.Write(p[:len(p)/2])
		f.size += int64(n)
		f.lose()
		return n, errDisk
	}
	n, err := f.logFile.Write(p)
	f.size += int64(n)
	return n, err
}

func (f *faultyLog) Sync() error {
	f.syncs++
	if f.syncs == f.failSync {
		f.lose()
		return errDisk
	}
	f.synced = f.size
	return f.logFile.Sync()
}

// lose drops what was not synced, as a kernel does with pages it failed to write.
func (f *faultyLog) lose() {
	if !f.keepUnsynced {
		_ = f.logFile.Truncate(f.synced)
	}
}

// TestDiskFailures lets each write and each sync of a run fail, with the unsynced
// data kept or lost. The server must stop at once, take nothing more, and show
// after a restart all that it acknowledged.
func TestDiskFailures(t *testing.T) {
	const blocks = 6
	for n := 1; n <= blocks; n++ {
		for _, f := range []faultyLog{{failSync: n}, {failSync: n, keepUnsynced: true}, {failWrite: n}, {failWrite: n, keepUnsynced: true}} {
			t.Run(fmt.Sprintf("write %d sync %d kept %v", f.failWrite, f.failSync, f.keepUnsynced), func(t *testing.T) {
				diskFailure(t, f, n, blocks)
			})
		}
	}
}

func diskFailure(t *testing.T, f faultyLog, n, blocks int) {
	dir := t.TempDir()
	cfg := testConfig(t, dir, newClock())
	var fatal atomic.Int32
	cfg.Fatal = func(err error) {
		if !errors.Is(err, errDisk) || !errors.Is(err, ErrFailed) {
			t.Errorf("fatal error %v", err)
		}
		fatal.Add(1)
	}
	cfg.openLog = func(dir string) (logFile, error) {
		var err error
		f.logFile, err = openLogFile(dir)
		return &f, err
	}
	s := openServer(t, cfg)
	c := s.Client()
	coin := coinOf(t, c, key(1).Address(), amount.BTT)
	var acknowledged []ledger.TxID
	var last *ledger.Tx
	failed := 0
	for range blocks + 2 {
		last = transfer(s.Network(), key(1), coin, ledger.PayTo(key(4).Address()), amount.BTT)
		_, err := c.Submit(t.Context(), last.Encode())
		if err != nil {
			if !errors.Is(err, ErrFailed) {
				t.Fatalf("submit: %v", err)
			}
			failed++
			continue
		}
		if failed > 0 {
			t.Fatal("a transaction was acknowledged after the failure")
		}
		acknowledged = append(acknowledged, last.ID(s.Network()))
		coin = ledger.Coin{OutPoint: last.OutPoint(s.Network(), 1), Amount: last.Outputs[1].Amount, Lock: last.Outputs[1].Lock}
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) || fatal.Load() != 1 || len(acknowledged) != n-1 || failed != blocks+3-n {
		t.Fatalf("close: %v, %d fatal calls, %d acknowledged, %d failed", err, fatal.Load(), len(acknowledged), failed)
	}
	cfg.openLog, cfg.Fatal = nil, nil
	s = openServer(t, cfg)
	c = s.Client()
	for _, id := range acknowledged {
		if r, err := c.Transaction(t.Context(), id); err != nil || r.State != ledger.Committed {
			t.Errorf("acknowledged transaction %s is lost: %v", id, err)
		}
	}
	if _, err := Audit(dir); err != nil {
		t.Error(err)
	}
	mustSubmit(t, c, last) // safe to repeat, whether it survived or not
}

func TestFatalStopsWaiters(t *testing.T) {
	cfg := testConfig(t, t.TempDir(), newClock())
	f := &faultyLog{failSync: 1}
	cfg.openLog = func(dir string) (logFile, error) {
		var err error
		f.logFile, err = openLogFile(dir)
		return f, err
	}
	s := openServer(t, cfg)
	c := s.Client()
	answers := make(chan error)
	var list []*ledger.Tx
	for i := range byte(4) {
		list = append(list, transfer(s.Network(), key(i+1), coinOf(t, c, key(i+1).Address(), amount.BTT), ledger.PayTo(key(9).Address()), amount.BTT))
	}
	for _, tx := range list {
		go func() {
			_, err := c.Submit(context.Background(), tx.Encode())
			answers <- err
		}()
	}
	for range 4 {
		if err := <-answers; !errors.Is(err, ErrFailed) {
			t.Errorf("answer %v", err)
		}
	}
	if err := s.Beat(t.Context()); !errors.Is(err, ErrFailed) {
		t.Errorf("beat: %v", err)
	}
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrFailed) {
		t.Errorf("status: %v", err)
	}
}
