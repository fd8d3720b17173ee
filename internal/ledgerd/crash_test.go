package ledgerd

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/ledgerdb"
	"github.com/bttnet/btt/internal/ledgerhttp"
	"github.com/bttnet/btt/ledger"
)

// The crash test runs this test binary again as a server: crashDir names its
// directory. crashRounds sets how often it is killed.
const (
	crashDir    = "LEDGERD_CRASH_DIR"
	crashRounds = "BTT_KILLS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(openDir); dir != "" {
		if err := openOnce(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	if dir := os.Getenv(crashDir); dir != "" {
		if err := serveForCrash(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	os.Exit(m.Run())
}

// flushOften has the database at work in any short run.
func flushOften(c *ledgerdb.Config) { c.FlushSize, c.FlushPeriod = 50, 5*time.Millisecond }

// serveForCrash serves dir on a socket in it until it is killed.
func serveForCrash(dir string) error {
	s, err := Open(Config{Dir: dir, OperatorKey: key(200), Heartbeat: 20 * time.Millisecond, Fatal: func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}, database: flushOften})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "socket")
	_ = os.Remove(path) // the killed server's
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	return http.Serve(listener, ledgerhttp.Handler(s.Client()))
}

// payer pays out of one key in a chain; it repeats a payment until that is
// acknowledged.
type payer struct {
	key  *ledger.PrivateKey
	coin ledger.Coin
	next *ledger.Tx
	done []ledger.TxID // acknowledged
}

// pay works until ctx ends.
func (p *payer) pay(ctx context.Context, c ledger.Client, network ledger.Network) {
	for ctx.Err() == nil {
		if p.next == nil {
			p.next = transfer(network, p.key, p.coin, ledger.PayTo(key(99).Address()), 1000)
		}
		r, err := c.Submit(ctx, p.next.Encode())
		if err != nil {
			continue // the server is being killed
		}
		if r.State != ledger.Committed {
			panic(fmt.Sprintf("state %v", r.State))
		}
		p.done = append(p.done, r.TxID)
		p.coin = ledger.Coin{OutPoint: p.next.OutPoint(network, 1), Amount: p.next.Outputs[1].Amount, Lock: p.coin.Lock}
		p.next = nil
	}
}

// TestKill kills a serving process with SIGKILL again and again under load, 20
// times or as often as BTT_KILLS says, while its database writes layers. No
// acknowledged transaction may be missing afterwards.
func TestKill(t *testing.T) {
	rounds := 20
	if text := os.Getenv(crashRounds); text != "" {
		rounds, _ = strconv.Atoi(text)
	} else if testing.Short() {
		rounds = 3
	}
	dir, err := os.MkdirTemp("", "ledgerd") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	g := devGenesis(t, 8)
	if _, err := placeGenesis(dir, g); err != nil {
		t.Fatal(err)
	}
	network := g.Hash()
	var payers []*payer
	for i, c := range g.Coins()[:8] {
		payers = append(payers, &payer{key: key(byte(i + 1)), coin: c})
	}
	checked, total := make([]int, len(payers)), uint64(0)
	for round := 0; round < rounds || total == 0 && round < 5*rounds; round++ { // a slow disk needs longer lives
		killRound(t, dir, network, payers, time.Duration(20+round*7%60)*time.Millisecond*time.Duration(1+round/rounds))
		// Read the directory as the next start will, and look for what was new.
		s, err := Open(Config{Dir: dir, OperatorKey: key(200), Heartbeat: -1})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for i, p := range payers {
			for _, id := range p.done[checked[i]:] {
				if _, ok, err := s.db.Receipt(id); !ok {
					t.Errorf("round %d: acknowledged transaction %s is lost (%v)", round, id, err)
				}
			}
			total += uint64(len(p.done) - checked[i])
			checked[i] = len(p.done)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Audit(dir)
	if err != nil || r.Unspent != amount.Supply || r.Transactions < total || r.Transactions > total+uint64(len(payers)) {
		t.Fatalf("audit: %+v, %v; %d acknowledged", r, err, total)
	}
	if total == 0 {
		t.Fatal("nothing was acknowledged: the test tests nothing")
	}
	t.Logf("%d kills, %d acknowledged, %d in the log, %d blocks", rounds, total, r.Transactions, r.Blocks)
}

// killRound starts a server, loads it for a while, and kills it.
func killRound(t *testing.T, dir string, network ledger.Network, payers []*payer, load time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := ledgerhttp.Dial("unix:" + filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	up, stopWaiting := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stopWaiting()
	for {
		if _, err := c.Status(up); err == nil {
			break
		} else if up.Err() != nil {
			t.Fatalf("the server did not start: %v", err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for _, p := range payers {
		wg.Go(func() { p.pay(ctx, c, network) })
	}
	time.Sleep(load)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed" is what is wanted
	stop()
	wg.Wait()
}
