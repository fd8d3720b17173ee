package ledger

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/bttnet/btt/amount"
)

// Meta is all of a state but coins and deposits: what a server stores together
// with a flush of its coin cache.
type Meta struct {
	Head    Head
	Pending []Pending // ascending by OutPoint
}

// metaVersion starts an encoded Meta, snapshotMagic a snapshot.
const (
	metaVersion   = 1
	snapshotMagic = "btt ledger snapshot 1\n"
	restoreBatch  = 4096 // coins handed to the store at once
	metaHeadSize  = 1 + 8*3 + 8*3 + 32 + 8*2 + 4
)

// Meta returns the state without coins and deposits.
func (s *State) Meta() Meta {
	m := Meta{Head: s.head, Pending: make([]Pending, 0, len(s.slots))}
	for _, p := range s.slots {
		m.Pending = append(m.Pending, *p)
	}
	slices.SortFunc(m.Pending, func(a, b Pending) int { return a.OutPoint.Compare(b.OutPoint) })
	return m
}

// Encode returns the canonical binary form.
func (m *Meta) Encode() []byte {
	h := &m.Head
	b := []byte{metaVersion}
	for _, v := range []uint64{h.Height, h.BlockTime, h.LedgerTime, uint64(h.Totals.Minted), uint64(h.Totals.Burned), uint64(h.Totals.Unspent)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = append(b, h.History[:]...)
	b = binary.BigEndian.AppendUint64(b, h.ActiveTime)
	b = binary.BigEndian.AppendUint64(b, h.Cursor)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Pending)))
	for i := range m.Pending {
		p := &m.Pending[i]
		b = append(b, p.TxID[:]...)
		b = binary.BigEndian.AppendUint64(b, p.Height)
		b = binary.BigEndian.AppendUint32(b, p.Index)
		b = binary.BigEndian.AppendUint32(b, p.Replacements)
		raw := p.Tx.Encode()
		b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
		b = append(b, raw...)
	}
	return b
}

// DecodeMeta reads what Encode writes; errors wrap ErrSnapshot.
func DecodeMeta(raw []byte) (Meta, error) {
	if len(raw) < metaHeadSize || raw[0] != metaVersion {
		return Meta{}, fmt.Errorf("decode ledger head: %w", ErrSnapshot)
	}
	r := reader{rest: raw[1:]}
	var m Meta
	h := &m.Head
	h.Height, h.BlockTime, h.LedgerTime = r.u64(), r.u64(), r.u64()
	h.Totals = Totals{Minted: amount.Amount(r.u64()), Burned: amount.Amount(r.u64()), Unspent: amount.Amount(r.u64())}
	copy(h.History[:], r.take(32))
	h.ActiveTime, h.Cursor = r.u64(), r.u64()
	for range r.u32() {
		var p Pending
		copy(p.TxID[:], r.take(32))
		p.Height, p.Index, p.Replacements = r.u64(), r.u32(), r.u32()
		n := r.u32()
		if n > MaxTxBytes {
			r.fail("a parked transaction is too long")
		}
		tx, err := DecodeTx(r.take(int(min(n, MaxTxBytes))))
		if !r.ok() || err != nil || len(tx.Inputs) != 1 {
			return Meta{}, fmt.Errorf("decode ledger head: parked transaction %d: %w", len(m.Pending), ErrSnapshot)
		}
		p.Tx, p.OutPoint = tx, tx.Inputs[0]
		if k := len(m.Pending); k > 0 && m.Pending[k-1].OutPoint.Compare(p.OutPoint) >= 0 {
			return Meta{}, fmt.Errorf("decode ledger head: parked transactions out of order: %w", ErrSnapshot)
		}
		m.Pending = append(m.Pending, p)
	}
	if !r.ok() || len(r.rest) != 0 {
		return Meta{}, fmt.Errorf("decode ledger head: wrong length: %w", ErrSnapshot)
	}
	return m, nil
}

// EncodeCoin appends the canonical form of a coin: outpoint, amount, height,
// lock.
func EncodeCoin(b []byte, c *Coin) []byte {
	b = c.OutPoint.append(b)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Amount))
	b = binary.BigEndian.AppendUint64(b, c.Height)
	return c.Lock.append(b)
}

// DecodeCoin reads one coin and returns the bytes after it; errors wrap
// ErrSnapshot.
func DecodeCoin(b []byte) (Coin, []byte, error) {
	r := reader{rest: b}
	c := Coin{OutPoint: r.outPoint(), Amount: amount.Amount(r.u64()), Height: r.u64(), Lock: r.lock()}
	if !r.ok() || c.Amount <= 0 || c.Amount > amount.Supply {
		return Coin{}, nil, fmt.Errorf("decode coin: %w", ErrSnapshot)
	}
	return c, r.rest, nil
}

// WriteSnapshot writes the whole state in a canonical form: network, head,
// slots, coins and deposits in ascending order, SHA-256 of it all. Equal
// states give equal bytes. store is the one behind s.
func (s *State) WriteSnapshot(w io.Writer, store CoinScanner) error {
	sum := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), 1<<16)
	meta := s.Meta()
	raw := meta.Encode()
	var b []byte
	b = append(b, snapshotMagic...)
	b = append(b, s.net[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
	out.Write(append(b, raw...)) // bufio keeps the first error for Flush
	err := store.Coins(func(c Coin) error {
		b = EncodeCoin(append(b[:0], 1), &c)
		_, err := out.Write(b)
		return err
	})
	if err == nil {
		out.WriteByte(0)
		err = store.Deposits(func(d Deposit) error {
			b = append(append(b[:0], 1), d.Chain[:]...)
			_, err := out.Write(binary.BigEndian.AppendUint32(b, d.Index))
			return err
		})
	}
	if err == nil {
		out.WriteByte(0)
		err = out.Flush()
	}
	if err == nil {
		_, err = w.Write(sum.Sum(nil))
	}
	if err != nil {
		return fmt.Errorf("write ledger snapshot: %w", err)
	}
	return nil
}

// ReadSnapshot fills an empty store from a snapshot of the genesis' network
// and returns the state. It checks order, sums and the final hash, and fails
// with ErrSnapshot; the store is then to be thrown away.
func ReadSnapshot(r io.Reader, g Genesis, store Coins) (*State, error) {
	sr := snapshotReader{in: bufio.NewReaderSize(r, 1<<16), sum: sha256.New()}
	meta, err := sr.read(g.Hash(), store)
	if err != nil {
		return nil, fmt.Errorf("read ledger snapshot: %w: %w", ErrSnapshot, err)
	}
	return Resume(g, store, meta)
}

type snapshotReader struct {
	in  *bufio.Reader
	sum hash.Hash
	buf [128]byte
}

// next reads n bytes (at most the buffer) and hashes them.
func (r *snapshotReader) next(n int) ([]byte, error) {
	b := r.buf[:n]
	if _, err := io.ReadFull(r.in, b); err != nil {
		return nil, err
	}
	r.sum.Write(b)
	return b, nil
}

func (r *snapshotReader) read(net Network, store Coins) (Meta, error) {
	b, err := r.next(len(snapshotMagic))
	if err != nil || string(b) != snapshotMagic {
		return Meta{}, errors.Join(errors.New("no snapshot of this version"), err)
	}
	if b, err = r.next(32); err != nil || Network(b) != net {
		return Meta{}, errors.Join(errors.New("a snapshot of another network"), err)
	}
	if b, err = r.next(4); err != nil {
		return Meta{}, err
	}
	size := binary.BigEndian.Uint32(b)
	var raw bytes.Buffer
	// CopyN grows with what really arrives, not with what the size claims.
	if _, err := io.CopyN(io.MultiWriter(&raw, r.sum), r.in, int64(size)); err != nil {
		return Meta{}, err
	}
	meta, err := DecodeMeta(raw.Bytes())
	if err != nil {
		return Meta{}, err
	}
	total, err := r.readCoins(store)
	if err != nil {
		return Meta{}, err
	}
	if total != meta.Head.Totals.Unspent {
		return Meta{}, fmt.Errorf("coins sum to %s, head says %s", total, meta.Head.Totals.Unspent)
	}
	if err := r.readDeposits(store); err != nil {
		return Meta{}, err
	}
	want := r.sum.Sum(nil)
	if b, err = r.next(sha256.Size); err != nil || !bytes.Equal(b, want) {
		return Meta{}, errors.Join(errors.New("damaged: wrong hash"), err)
	}
	return meta, nil
}

// more reads the flag before a record.
func (r *snapshotReader) more() (bool, error) {
	b, err := r.next(1)
	if err != nil {
		return false, err
	}
	if b[0] > 1 {
		return false, errors.New("damaged: bad record mark")
	}
	return b[0] == 1, nil
}

func (r *snapshotReader) readCoins(store Coins) (amount.Amount, error) {
	const head = outPointSize + 8 + 8 + 1
	var total amount.Amount
	var last OutPoint
	var d Delta
	for n := 0; ; n++ {
		more, err := r.more()
		if err != nil {
			return 0, err
		}
		if !more {
			return total, store.Apply(&d)
		}
		b, err := r.next(head)
		if err != nil {
			return 0, err
		}
		rec := slices.Clone(b)
		size := 20
		if LockKind(b[head-1]) == JointLock {
			size = 66
		}
		if b, err = r.next(size); err != nil {
			return 0, err
		}
		c, rest, err := DecodeCoin(append(rec, b...))
		if err != nil || len(rest) != 0 {
			return 0, cmp.Or(err, ErrSnapshot)
		}
		if n > 0 && last.Compare(c.OutPoint) >= 0 {
			return 0, errors.New("coins out of order")
		}
		if last = c.OutPoint; len(d.Created) == restoreBatch {
			if err := store.Apply(&d); err != nil {
				return 0, err
			}
			d.Created = d.Created[:0]
		}
		d.Created = append(d.Created, c)
		if total, err = total.Add(c.Amount); err != nil {
			return 0, err
		}
	}
}

func (r *snapshotReader) readDeposits(store Coins) error {
	var last Deposit
	var d Delta
	for n := 0; ; n++ {
		more, err := r.more()
		if err != nil {
			return err
		}
		if !more {
			return store.Apply(&d)
		}
		b, err := r.next(36)
		if err != nil {
			return err
		}
		p := Deposit{Chain: [32]byte(b[:32]), Index: binary.BigEndian.Uint32(b[32:])}
		if n > 0 && compareDeposits(last, p) >= 0 {
			return errors.New("deposits out of order")
		}
		if last = p; len(d.Deposits) == restoreBatch {
			if err := store.Apply(&d); err != nil {
				return err
			}
			d.Deposits = d.Deposits[:0]
		}
		d.Deposits = append(d.Deposits, p)
	}
}
