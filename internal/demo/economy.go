package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/internal/announce"
	"github.com/bttnet/btt/internal/choker"
	"github.com/bttnet/btt/internal/create"
	"github.com/bttnet/btt/internal/ledgerd"
	"github.com/bttnet/btt/internal/purse"
	"github.com/bttnet/btt/internal/terminal"
	"github.com/bttnet/btt/internal/trackerd"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/metainfo"
)

// economy is all parts of a running demonstration.
type economy struct {
	dir     string
	o       Options
	report  *terminal.Reporter
	ledger  *ledgerd.Server
	actors  []*actor
	torrent *metainfo.Torrent
	sum     [32]byte
	began   time.Time
	stop    context.CancelFunc
	tracked chan struct{}
	view    *view

	// What the scenario noted.
	entered          time.Time // the last actor
	peak, told, fell amount.Price
	proofs           int64
	rested           bool
	returns          int
}

// actor is one node.
type actor struct {
	part
	start   amount.Amount
	address ledger.Address
	node    *btt.Node
	torrent *btt.Torrent
	files   string
	done    time.Duration // when its download was complete
	highest amount.Price  // highest price it was sold a slot for
	status  btt.Status
	closed  bool
}

const announceEvery = 2 * time.Second

func newEconomy(ctx context.Context, dir string, o Options, r *terminal.Reporter) (*economy, error) {
	e := &economy{dir: dir, o: o, report: r, began: time.Now(), view: newView(r)}
	for _, step := range []func(context.Context) error{e.openLedger, e.openTracker, e.makeTorrent, e.openNodes} {
		if err := step(ctx); err != nil {
			e.close()
			return nil, err
		}
	}
	return e, nil
}

// openLedger makes the wallets, and a ledger whose genesis gives each of them
// its balance; the rest of the supply belongs to a treasury.
func (e *economy) openLedger(context.Context) error {
	rest := amount.Supply
	var grants []ledger.Grant
	for _, c := range e.o.scenario.parts(e.o.Peers) {
		a := &actor{part: c, start: c.balance, files: filepath.Join(home(e.dir, c.name), "files")}
		if err := os.MkdirAll(a.files, 0o755); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
		e.actors = append(e.actors, a)
		if a.role == plain {
			continue
		}
		addr, err := walletAddress(home(e.dir, c.name))
		if err != nil {
			return err
		}
		a.address = addr
		if c.balance > 0 {
			grants = append(grants, ledger.Grant{Address: addr, Amount: c.balance})
			if rest, err = rest.Sub(c.balance); err != nil {
				return err
			}
		}
	}
	treasury, err := walletAddress(home(e.dir, "treasury"))
	if err != nil {
		return err
	}
	s, err := ledgerd.Open(ledgerd.Config{Dir: home(e.dir, "ledger"), Genesis: ledger.Genesis{
		Name: "btt-demo", Time: uint64(time.Now().Unix()), Params: ledger.DefaultParams(),
		Shares: []ledger.Share{{Name: "actors", Grants: grants}, {Name: "treasury", Grants: []ledger.Grant{{Address: treasury, Amount: rest}}}},
	}})
	if err != nil {
		return fmt.Errorf("open ledger: %w", err)
	}
	e.ledger = s
	e.report.Event("ledger", fmt.Sprintf("ledger %.8s… holds the supply of %s", s.Network(), amount.Supply),
		terminal.Fields{"network": s.Network(), "supply": amount.Supply})
	return nil
}

func walletAddress(home string) (ledger.Address, error) {
	p, err := purse.Open(purse.Config{Dir: filepath.Join(home, "wallet"), Ledger: purse.Offline{}})
	if err != nil {
		return ledger.Address{}, fmt.Errorf("make wallet: %w", err)
	}
	a := p.Address()
	return a, p.Close()
}

func (e *economy) openTracker(context.Context) error {
	s, err := trackerd.New(trackerd.Config{Listen: "127.0.0.1:0", Interval: announceEvery})
	if err != nil {
		return fmt.Errorf("open tracker: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop, e.tracked = stop, make(chan struct{})
	go func() { // ends with stop
		defer close(e.tracked)
		if err := s.Serve(ctx); err != nil && !errors.Is(err, context.Canceled) {
			e.o.Log.Error("tracker", "err", err)
		}
	}()
	url := fmt.Sprintf("http://%s/announce", s.Addr())
	e.report.Event("tracker", "tracker on "+url, terminal.Fields{"announce": url})
	e.o.announce = url
	return nil
}

func (e *economy) makeTorrent(ctx context.Context) error {
	path := filepath.Join(e.actors[0].files, fileName)
	var err error
	if e.sum, err = makeFile(ctx, path, e.o.Size); err != nil {
		return err
	}
	e.torrent, err = create.File(ctx, path, filepath.Join(e.dir, fileName+".torrent"), torrentOptions(e.o.announce))
	if err != nil {
		return err
	}
	e.report.Event("torrent", fmt.Sprintf("%s: %s in pieces of %s", fileName, terminal.Bytes(e.o.Size), terminal.Bytes(pieceLength)),
		terminal.Fields{"name": fileName, "bytes": e.o.Size, "infohash": e.torrent.InfoHash})
	return nil
}

func (e *economy) openNodes(ctx context.Context) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	e.report.Event("start", fmt.Sprintf("the seed uploads at most %s and sells %d slots; one more is optimistic and free",
		terminal.Rate(e.o.Upload), e.o.Slots), nil)
	return nil
}

// enter opens the nodes whose time has come, and then gives each the torrent: to open
// one takes long on a slow machine, and who began meanwhile would have all slots alone.
func (e *economy) enter(ctx context.Context) error {
	var come []*actor
	for _, a := range e.actors {
		if a.node != nil || a.enters != nil && !a.enters(e) {
			continue
		}
		node, err := btt.Open(ctx, e.config(a))
		if err != nil {
			return fmt.Errorf("start %s: %w", a.name, err)
		}
		a.node, e.entered = node, time.Now()
		come = append(come, a)
	}
	for _, a := range come {
		if err := e.begin(a); err != nil {
			return fmt.Errorf("start %s: %w", a.name, err)
		}
		e.entered = time.Now()
		if a.enters != nil {
			e.report.Event("enters", fmt.Sprintf("%s enters", a.name), terminal.Fields{"name": a.name})
		}
	}
	return nil
}

// config is what an actor's node is made of.
func (e *economy) config(a *actor) btt.Config {
	cfg := btt.Config{Home: home(e.dir, a.name), NoResume: true, Listen: "127.0.0.1:0", ChokeEvery: e.o.ChokeEach, Log: e.o.Log.With("node", a.name)}
	cfg.Announce = announce.Config{Floor: announceEvery}
	cfg.Choker = choker.Default(e.o.Slots + 1)
	cfg.UploadRate = e.o.Upload / 10 // a home's uplink
	if a.role == provider {
		cfg.UploadRate = e.o.Upload
	}
	if a.role != plain {
		cfg.Speed = &btt.SpeedConfig{Ledger: e.client(a), EarnOnly: a.role == provider, PriceCap: a.most, NoReserve: true,
			Demand: &btt.Demand{Every: time.Second / 2, Stay: 3 * time.Second}}
	}
	return cfg
}

// client is an actor's way to the ledger.
func (e *economy) client(a *actor) ledger.Client {
	if e.o.client != nil {
		return e.o.client(a.name, e.ledger.Client())
	}
	return e.ledger.Client()
}

// begin gives an actor the torrent.
func (e *economy) begin(a *actor) error {
	var peers []netip.AddrPort
	if a.file && a != e.actors[0] {
		peers = append(peers, e.actors[0].node.Addr()) // trackers give no seeds to seeds
		if err := os.CopyFS(a.files, os.DirFS(e.actors[0].files)); err != nil {
			return fmt.Errorf("copy content: %w", err)
		}
	}
	var err error
	a.torrent, err = a.node.Add(btt.Add{Torrent: e.torrent, Dir: a.files, Reserve: a.reserve, WhenPaid: a.whenPaid, Peers: peers})
	return err
}

// close stops what still runs.
func (e *economy) close() {
	e.view.close()
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	if err := e.closeNodes(ctx); err != nil {
		e.o.Log.Warn("close nodes", "err", err)
	}
	if e.stop != nil {
		e.stop()
		<-e.tracked
	}
	e.stopLedger()
}

func (e *economy) stopLedger() {
	if e.ledger == nil {
		return
	}
	if err := e.ledger.Close(); err != nil {
		e.o.Log.Warn("close ledger", "err", err)
	}
	e.ledger = nil
}

const settleTime = 15 * time.Second

// closeNodes stops all nodes at once: each settles what it earned, and what
// it paid is settled by the others.
func (e *economy) closeNodes(ctx context.Context) error {
	errs := make([]error, len(e.actors))
	var wg sync.WaitGroup
	for i, a := range e.actors {
		if a.node == nil || a.closed {
			continue
		}
		a.closed = true
		if a.torrent != nil {
			a.status = a.torrent.Status()
		}
		wg.Go(func() {
			if err := a.node.Close(ctx); err != nil {
				errs[i] = fmt.Errorf("close %s: %w", a.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
