package ledgerd

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bttnet/btt/amount"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// Report is what an audit found in a ledger directory.
type Report struct {
	Network      ledger.Network
	Operator     ledger.PublicKey // signed every block; compare it with the one published
	Blocks       uint64
	Transactions uint64
	LedgerTime   uint64
	Head         [32]byte      // hash of the newest header, for anchoring
	AppHash      [32]byte      // in the newest header
	Tree         books.Head    // of the tree over all blocks, as the operator would sign it
	Held         int           // signed heads of the caller that the log agrees with
	Coins        int           // unspent outputs
	Parked       int           // transactions waiting in slots
	Minted       amount.Amount // with the genesis
	Burned       amount.Amount
	Unspent      amount.Amount // sum of all balances, added up coin by coin
	Unfinished   int64         // bytes of an unfinished record at the end, as a crash leaves them
}

// ErrAudit says that the history in a directory is not a valid one.
var ErrAudit = errors.New("audit failed")

// Audit reads the block log of a directory from the genesis on and checks all of
// it: framing, checksums, hash chain, roots, the operator's signatures, ledger
// time, every rule of value (inputs exist and are unspent, sums equal, deposits
// used once), every signature of every spender, and the total supply. It keeps
// its own books: nothing of the server's or the state machine's bookkeeping is
// used for them, and in the end the state machine must agree. It reads only, and
// needs no lock. held are signed tree heads that the caller got from this ledger
// earlier: the log must contain the history that each of them signs. Errors wrap
// ErrAudit unless the files cannot be read.
func Audit(dir string, held ...string) (Report, error) {
	a, err := audit(dir, held)
	if a == nil {
		return Report{}, fmt.Errorf("audit %s: %w", dir, err)
	}
	if err != nil {
		err = fmt.Errorf("audit %s: %w", dir, err)
	}
	return a.report, err
}

// audit returns the auditor of a whole log, or nil when there is nothing to read.
func audit(dir string, held []string) (*auditor, error) {
	g, err := readGenesis(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, blocksFile))
	if err != nil {
		return nil, fmt.Errorf("open block log: %w", err)
	}
	defer f.Close()
	a, err := newAuditor(g)
	if err != nil {
		return nil, err
	}
	a.held = held
	err = a.read(bufio.NewReaderSize(f, replayBuffer))
	if err == nil {
		err = a.compareHeads()
	}
	if err != nil {
		return a, fmt.Errorf("after block %d: %w: %w", a.report.Blocks, ErrAudit, err)
	}
	if err := a.balance(); err != nil {
		return a, fmt.Errorf("%w: %w", ErrAudit, err)
	}
	return a, nil
}

// auditor keeps the books of one audit.
type auditor struct {
	report   Report
	genesis  ledger.Genesis
	state    *ledger.State       // the second opinion
	store    *ledger.MemoryCoins // behind state
	coins    map[ledger.OutPoint]ledger.Output
	releases map[ledger.OutPoint]uint64 // of the genesis: not to be spent before
	slots    map[ledger.OutPoint]*ledger.Tx
	deposits map[ledger.Reference]bool
	time     uint64 // of the newest block
	checks   []ledger.SignatureCheck
	held     []string
	peaks    [][32]byte          // of the tree over the blocks, left to right
	roots    map[uint64][32]byte // of the tree at the sizes of held
}

func newAuditor(g ledger.Genesis) (*auditor, error) {
	store := ledger.NewMemoryCoins()
	state, err := ledger.NewStateOn(g, store)
	if err != nil {
		return nil, err
	}
	a := &auditor{
		genesis: g, state: state, store: store, time: g.Time,
		coins: map[ledger.OutPoint]ledger.Output{}, slots: map[ledger.OutPoint]*ledger.Tx{}, deposits: map[ledger.Reference]bool{}, releases: map[ledger.OutPoint]uint64{},
		roots:  map[uint64][32]byte{},
		report: Report{Network: g.Hash(), LedgerTime: g.Time},
	}
	a.report.Head = a.report.Network
	for _, c := range g.Coins() {
		a.coins[c.OutPoint] = ledger.Output{Amount: c.Amount, Lock: c.Lock}
		if c.NotBefore > 0 {
			a.releases[c.OutPoint] = c.NotBefore
		}
		a.report.Minted += c.Amount // validated to be the supply
	}
	a.report.Coins = len(a.coins)
	a.report.Tree.Root = sha256.Sum256(nil)
	return a, nil
}

// auditChunk is how many signatures are verified together.
const auditChunk = 4096

// read takes in the whole log.
func (a *auditor) read(src io.Reader) error {
	lead := make([]byte, 12)
	for {
		n, err := io.ReadFull(src, lead)
		if err == io.EOF {
			return a.verify()
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			a.report.Unfinished = int64(n)
			return a.verify()
		}
		if err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(lead[4:])
		if !bytes.Equal(lead[:4], []byte("BLK1")) || binary.BigEndian.Uint32(lead[8:]) != crc32.Checksum(lead[:8], crc32.MakeTable(crc32.Castagnoli)) || size > MaxBlockBytes {
			return errors.New("no record where one must start")
		}
		body := make([]byte, size+4)
		n, err = io.ReadFull(src, body)
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			a.report.Unfinished = int64(len(lead) + n)
			return a.verify()
		}
		if err != nil {
			return err
		}
		if binary.BigEndian.Uint32(body[size:]) != crc32.Checksum(body[:size], crc32.MakeTable(crc32.Castagnoli)) {
			return errors.New("the checksum of a record does not fit")
		}
		if err := a.block(body[:size]); err != nil {
			return err
		}
		if len(a.checks) >= auditChunk {
			if err := a.verify(); err != nil {
				return err
			}
		}
	}
}

// verify checks the signatures gathered so far.
func (a *auditor) verify() error {
	if bad := ledger.VerifyBatch(a.checks, rand.Reader); bad >= 0 {
		return fmt.Errorf("a signature of key %s is not valid", a.checks[bad].Key)
	}
	a.checks = a.checks[:0]
	return nil
}

// Places of the fields in the body of a record.
const (
	atHeight    = 0
	atPrevious  = 8
	atTime      = 40
	atClock     = 48
	atTxRoot    = 56
	atAppHash   = 88
	atRawsRoot  = 120
	atCount     = 152
	atSignature = 156
	atRaws      = 221
)

// block checks one record and books its transactions.
func (a *auditor) block(body []byte) error {
	if len(body) < atRaws {
		return errors.New("a record is too short")
	}
	number := func(at int) uint64 { return binary.BigEndian.Uint64(body[at:]) }
	if number(atHeight) != a.report.Blocks+1 || [32]byte(body[atPrevious:]) != a.report.Head {
		return errors.New("a block does not follow the one before")
	}
	clock := a.report.LedgerTime
	if t := number(atTime); t > a.time {
		clock += min(t-a.time, a.genesis.Params.Clamp)
	}
	if number(atClock) != clock {
		return errors.New("the ledger time of a block is wrong")
	}
	raws, err := cutRaws(body[atRaws:], binary.BigEndian.Uint32(body[atCount:]))
	if err != nil {
		return err
	}
	if treeHash(raws) != [32]byte(body[atRawsRoot:]) {
		return errors.New("the transactions of a block are not those that were signed")
	}
	if err := a.seal(body); err != nil {
		return err
	}
	a.time, a.report.LedgerTime = number(atTime), clock
	a.report.Blocks++
	a.plant(body[:atCount])
	ids := make([][]byte, 0, len(raws))
	txs := make([]*ledger.Tx, 0, len(raws))
	for i, raw := range raws {
		tx, err := ledger.DecodeTx(raw)
		if err != nil {
			return err
		}
		id := tx.ID(a.report.Network)
		if err := a.book(tx, id); err != nil {
			return fmt.Errorf("transaction %d (%s): %w", i, id, err)
		}
		ids, txs = append(ids, id[:]), append(txs, tx)
	}
	a.report.Transactions += uint64(len(txs))
	if treeHash(ids) != [32]byte(body[atTxRoot:]) {
		return errors.New("the identifiers of a block are not those that were signed")
	}
	if err := a.mature(); err != nil {
		return err
	}
	return a.agree(ledger.Block{Height: a.report.Blocks, Time: a.time, Txs: txs}, [32]byte(body[atAppHash:]))
}

// cutRaws takes count transactions, each behind its length, out of list.
func cutRaws(list []byte, count uint32) ([][]byte, error) {
	var raws [][]byte
	for range count {
		if len(list) < 4 || uint64(binary.BigEndian.Uint32(list)) > uint64(len(list)-4) {
			return nil, errors.New("the transactions of a block are cut short")
		}
		n := binary.BigEndian.Uint32(list)
		raws, list = append(raws, list[4:4+n]), list[4+n:]
	}
	if len(list) != 0 {
		return nil, errors.New("bytes follow the transactions of a block")
	}
	return raws, nil
}

// seal checks the operator's signature; the signer of block 1 is the operator.
func (a *auditor) seal(body []byte) error {
	header, err := ledger.DecodeHeader(body[:atRawsRoot])
	if err != nil {
		return err
	}
	b := block{Header: header, RawsRoot: [32]byte(body[atRawsRoot:])}
	digest, signature := b.seal(a.report.Network), ledger.Signature(body[atSignature:atRaws])
	if a.report.Operator.IsZero() {
		if a.report.Operator, err = ledger.RecoverKey(digest, signature); err != nil {
			return fmt.Errorf("the operator's signature: %w", err)
		}
	}
	a.checks = append(a.checks, ledger.SignatureCheck{Key: a.report.Operator, Digest: digest, Signature: signature})
	a.report.Head = header.Hash(a.report.Network)
	return nil
}

// plant adds a block to the tree over all blocks (RFC 6962), with code of its own.
func (a *auditor) plant(leaf []byte) {
	node := sha256.Sum256(append([]byte{0}, leaf...))
	for range bits.TrailingZeros64(a.report.Blocks) {
		last := len(a.peaks) - 1
		node, a.peaks = join(a.peaks[last], node), a.peaks[:last]
	}
	a.peaks = append(a.peaks, node)
	root := a.peaks[len(a.peaks)-1]
	for i := len(a.peaks) - 2; i >= 0; i-- {
		root = join(a.peaks[i], root)
	}
	a.report.Tree = books.Head{Size: a.report.Blocks, Root: root}
	if len(a.held) > 0 {
		a.note()
	}
}

func join(left, right [32]byte) [32]byte {
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

// note keeps the root if a held head is of this size; the size stands in a head's
// second line, and whether it is a head at all is seen in the end.
func (a *auditor) note() {
	for _, text := range a.held {
		lines := strings.SplitN(text, "\n", 3)
		if len(lines) == 3 && lines[1] == strconv.FormatUint(a.report.Blocks, 10) {
			a.roots[a.report.Blocks] = a.report.Tree.Root
		}
	}
}

// compareHeads compares the roots of the log with those of the held heads.
func (a *auditor) compareHeads() error {
	r := &a.report
	a.roots[0] = sha256.Sum256(nil)
	for i, text := range a.held {
		h, err := books.OpenHead(text, r.Network, r.Operator)
		if err != nil {
			return fmt.Errorf("held head %d: %w", i+1, err)
		}
		if h.Size > r.Blocks {
			return fmt.Errorf("held head %d signs %d blocks, the log has %d: blocks are missing", i+1, h.Size, r.Blocks)
		}
		if a.roots[h.Size] != [32]byte(h.Root) {
			return fmt.Errorf("held head %d signs another history of %d blocks: the ledger was forked or rewritten", i+1, h.Size)
		}
		r.Held++
	}
	return nil
}

// agree executes the block with the state machine and compares.
func (a *auditor) agree(b ledger.Block, appHash [32]byte) error {
	delta, err := a.state.Replay(b)
	if err != nil {
		return err
	}
	if err := a.state.Commit(delta); err != nil {
		return err
	}
	head := a.state.Head()
	a.report.AppHash = appHash
	if head.AppHash() != appHash || head.LedgerTime != a.report.LedgerTime ||
		head.Totals.Minted != a.report.Minted || head.Totals.Burned != a.report.Burned {
		return errors.New("the state machine comes to another result")
	}
	return nil
}

// mature books the parked transactions that are due, in the order of LR7.
func (a *auditor) mature() error {
	type waiting struct {
		tx *ledger.Tx
		id ledger.TxID
	}
	var due []waiting
	for _, tx := range a.slots {
		if tx.LockTime <= a.report.LedgerTime {
			due = append(due, waiting{tx, tx.ID(a.report.Network)})
		}
	}
	slices.SortFunc(due, func(x, y waiting) int {
		return cmp.Or(cmp.Compare(x.tx.LockTime, y.tx.LockTime), x.id.Compare(y.id))
	})
	for _, w := range due {
		a.move(w.tx, w.id)
	}
	return nil
}

// balance adds up what is left and compares it with the supply.
func (a *auditor) balance() error {
	r := &a.report
	for _, out := range a.coins {
		sum, err := r.Unspent.Add(out.Amount)
		if err != nil {
			return fmt.Errorf("the balances exceed the supply: %w", err)
		}
		r.Unspent = sum
	}
	r.Coins, r.Parked = len(a.coins), len(a.slots)
	if r.Unspent != r.Minted-r.Burned {
		return fmt.Errorf("the balances sum to %s, minted less burned is %d µBTT", r.Unspent, int64(r.Minted-r.Burned))
	}
	return nil
}
