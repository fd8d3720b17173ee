package ledgerd

import (
	"bytes"
	"testing"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
)

// TestSnapshotEqualsReplay: a snapshot, read back, with the later blocks of the log
// on top, is the snapshot of the whole log, and what the server holds.
func TestSnapshotEqualsReplay(t *testing.T) {
	dir := t.TempDir()
	s, _ := varied(t, dir)
	c := s.Client()
	var early, late, again bytes.Buffer
	rep, err := Snapshot(dir, &early)
	if err != nil {
		t.Fatal(err)
	}
	from := s.db.Position().End
	for n := range byte(4) {
		coin := coinOf(t, c, key(n+1).Address(), amount.BTT)
		mustSubmit(t, c, transfer(s.Network(), key(n+1), coin, ledger.PayTo(key(n+50).Address()), amount.BTT/2))
	}
	if _, err := Snapshot(dir, &late); err != nil || bytes.Equal(early.Bytes(), late.Bytes()) {
		t.Fatalf("four transfers changed nothing, %v", err)
	}
	store := ledger.NewMemoryCoins()
	state, err := ledger.ReadSnapshot(&early, s.cfg.Genesis, store)
	if err != nil || state.Head().Height != rep.Blocks {
		t.Fatal(rep.Blocks, err)
	}
	r := s.readLog(from, s.db.Position().End)
	for range 4 {
		b, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		next := ledger.Block{Height: b.Header.Height, Time: b.Header.Time}
		for _, raw := range b.Raws {
			tx, err := ledger.DecodeTx(raw)
			if err != nil {
				t.Fatal(err)
			}
			next.Txs = append(next.Txs, tx)
		}
		delta, err := state.Replay(next)
		if err == nil {
			err = state.Commit(delta)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := state.WriteSnapshot(&again, store); err != nil || !bytes.Equal(again.Bytes(), late.Bytes()) {
		t.Errorf("snapshot and replay differ, %v", err)
	}
	if h := state.Head(); h.AppHash() != s.head().AppHash {
		t.Errorf("at block %d the snapshot is not what the server holds at %d", h.Height, s.head().Height)
	}
	coins := uint64(0)
	if err := store.Coins(func(coin ledger.Coin) error {
		coins++
		got, err := c.Outpoint(t.Context(), coin.OutPoint)
		if err == nil && (got.Status != ledger.OutpointUnspent || got.Coin.Amount != coin.Amount) {
			t.Errorf("%v: the server says %+v", coin, got)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if want := uint64(s.db.Position().Coins); coins != want {
		t.Errorf("%d coins, the server holds %d", coins, want)
	}
}
