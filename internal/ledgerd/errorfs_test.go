package ledgerd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/ledger"
)

// disk fails the n-th operation that changes something, of the block log and of
// the database together; with lasting set, all after it too.
type disk struct {
	mu      sync.Mutex
	n       int
	lasting bool
	count   int
	hit     string // the operation that failed first
	healed  bool
}

func (d *disk) step(op string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	if d.healed || d.count != d.n && !(d.lasting && d.count > d.n) {
		return nil
	}
	if d.hit == "" {
		d.hit = op
	}
	return &errorOf{op}
}

// errorOf is what a dying disk says.
type errorOf struct{ op string }

func (e *errorOf) Error() string { return e.op + ": input/output error (injected)" }
func (e *errorOf) Unwrap() error { return syscall.EIO }

func (d *disk) operations() (count int, hit string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count, d.hit
}

// heal ends the faults, so that what was abandoned comes to rest.
func (d *disk) heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.healed = true
}

// MaybeError implements errorfs.Injector.
func (d *disk) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose {
		return nil
	}
	return d.step(fmt.Sprintf("database op %d on %s", op.Kind, op.Path))
}

func (d *disk) String() string { return "disk" }

// diskLog is a block log on such a disk: what was not synced when it failed is
// lost, half of a write that failed is there.
type diskLog struct {
	logFile
	disk         *disk
	synced, size int64
}

func (l *diskLog) Write(p []byte) (int, error) {
	if err := l.disk.step("write block log"); err != nil {
		n, _ := l.logFile.Write(p[:len(p)/2])
		return n, err
	}
	n, err := l.logFile.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *diskLog) Sync() error {
	if err := l.disk.step("sync block log"); err != nil {
		return errors.Join(err, l.logFile.Truncate(l.synced))
	}
	l.synced = l.size
	return l.logFile.Sync()
}

func (l *diskLog) Truncate(size int64) error {
	if err := l.disk.step("truncate block log"); err != nil {
		return err
	}
	l.size = size
	return l.logFile.Truncate(size)
}

// scenario is a short life of a server with channels: it opens, works, closes,
// opens again and works on.
type scenario struct {
	t            *testing.T
	disk         *disk
	dir          string
	fs           *vfs.MemFS
	clk          *clock
	acknowledged []ledger.TxID
	fatal        chan error
	openErr      error
	closeErr     error
}

func (x *scenario) config() Config {
	cfg := testConfig(x.t, x.dir, x.clk)
	cfg.Fatal = func(err error) { x.fatal <- err }
	cfg.openLog = func(dir string) (logFile, error) {
		if err := x.disk.step("open block log"); err != nil {
			return nil, err
		}
		f, err := openLogFile(dir)
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		return &diskLog{logFile: f, disk: x.disk, size: size, synced: size}, err
	}
	cfg.database = func(c *ledgerdb.Config) {
		c.FS, c.FlushSize, c.FlushPeriod = errorfs.Wrap(x.fs, x.disk), 12, -1
	}
	return cfg
}

// live opens the ledger, makes n rounds of payments and channels, and closes it.
// It reports whether nothing failed.
func (x *scenario) live(n int) bool {
	s, err := Open(x.config())
	if err != nil {
		x.openErr = err
		return false
	}
	c := s.Client()
	submit := func(tx *ledger.Tx) bool {
		_, err := c.Submit(x.t.Context(), tx.Encode())
		if err == nil {
			x.acknowledged = append(x.acknowledged, tx.ID(s.Network()))
		} else if ledger.CodeOf(err) != "" {
			x.t.Errorf("refused: %v", err)
		}
		return err == nil
	}
	ok := true
	for round := 0; ok && round < n; round++ {
		ok = x.round(s, c, submit, round)
	}
	x.closeErr = s.Close()
	return ok && x.closeErr == nil
}

// round pays once and lives through a channel: T1, T2 parked, and T3 or the
// refund's time.
func (x *scenario) round(s *Server, c ledger.Client, submit func(*ledger.Tx) bool, round int) bool {
	coins, err := c.Unspent(x.t.Context(), key(1).Address(), ledger.OutPoint{}, 0)
	if err != nil || len(coins) == 0 {
		return false
	}
	joint := ledger.Joint(key(1).PublicKey(), key(3).PublicKey())
	t1 := transfer(s.Network(), key(1), coins[0], joint, 10*amount.BTT)
	if !submit(t1) {
		return false
	}
	o := t1.OutPoint(s.Network(), 0)
	t2 := &ledger.Tx{Kind: ledger.Transfer, LockTime: s.head().LedgerTime + 20, Inputs: []ledger.OutPoint{o}, Outputs: []ledger.Output{{Amount: 10 * amount.BTT, Lock: ledger.PayTo(key(1).Address())}}}
	sign(s.Network(), t2, joint, key(1), key(3))
	if !submit(t2) {
		return false
	}
	if round%2 == 0 {
		t3 := &ledger.Tx{Kind: ledger.Transfer, Sequence: 1, Inputs: []ledger.OutPoint{o}, Outputs: []ledger.Output{{Amount: 10 * amount.BTT, Lock: ledger.PayTo(key(3).Address())}}}
		sign(s.Network(), t3, joint, key(1), key(3))
		return submit(t3)
	}
	x.clk.advance(30 * time.Second)
	return s.Beat(x.t.Context()) == nil
}

// failed returns the error by which the process would have ended.
func (x *scenario) failed() error {
	if x.openErr != nil {
		return x.openErr
	}
	if x.closeErr != nil {
		return x.closeErr
	}
	select {
	case err := <-x.fatal:
		return err
	case <-time.After(3 * time.Minute):
		return nil
	}
}

// check starts again on a disk that works, with what a crash left of the
// database, and looks for everything that was acknowledged.
func (x *scenario) check(crashed *vfs.MemFS) {
	t := x.t
	cfg := testConfig(t, x.dir, x.clk)
	cfg.database = func(c *ledgerdb.Config) { c.FS, c.FlushPeriod = crashed, -1 }
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("restart: %v", err)
	}
	for _, id := range x.acknowledged {
		if _, err := s.Client().Transaction(t.Context(), id); err != nil {
			t.Errorf("acknowledged transaction %s is lost: %v", id, err)
		}
	}
	if sum := s.head().Totals.Unspent; sum != amount.Supply {
		t.Errorf("%s are unspent", sum)
	}
	if err := s.db.Audit(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestEveryDiskOperationFails lets each operation of a whole scenario fail that
// writes, syncs, renames or removes, in the block log and in the database, once
// and for ever. The process must end with an error that says so, and nothing that
// was acknowledged may be missing after the next start. A file that the database
// no longer needs and cannot remove is the one fault that does no harm.
func TestEveryDiskOperationFails(t *testing.T) {
	rounds, stride := 6, 1
	if testing.Short() {
		stride = 7
	}
	var tried, harmless atomic.Int32
	for _, lasting := range []bool{false, true} {
		for n := 1; ; n += stride {
			x := &scenario{
				t: t, disk: &disk{n: n, lasting: lasting}, dir: t.TempDir(), fs: vfs.NewCrashableMem(), clk: newClock(),
				fatal: make(chan error, 4),
			}
			fine := x.live(rounds)
			if fine {
				fine = x.live(rounds) // a second life, on what the first left
			}
			_, hit := x.disk.operations()
			if hit == "" {
				if !fine {
					t.Fatalf("failed without a fault: %v %v", x.openErr, x.closeErr)
				}
				break // n is beyond the last operation
			}
			tried.Add(1)
			crashed := x.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: (n * 37) % 101, RNG: rand.New(rand.NewPCG(7, uint64(n)))})
			err := error(nil)
			if !fine {
				err = x.failed()
			}
			x.disk.heal()
			if err != nil && !strings.Contains(err.Error(), "input/output error (injected)") {
				t.Errorf("operation %d (%s): the error does not say why: %v", n, hit, err)
			}
			if err == nil {
				harmless.Add(1)
				if !strings.HasPrefix(hit, fmt.Sprintf("database op %d ", errorfs.OpRemove)) {
					t.Errorf("operation %d (%s) failed and nobody said so", n, hit)
				}
			}
			x.check(crashed)
		}
	}
	t.Logf("%d faults, %d did no harm", tried.Load(), harmless.Load())
}
