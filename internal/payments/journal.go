package payments

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/durable"
)

// Frames: length u32, CRC-32C u32 of length and payload, payload. A zero
// length ends the journal. The file is filled with zeros ahead, so that a
// sync writes data blocks only.
const (
	journalName  = "channels.journal"
	journalMagic = "bttchan1"
	frameHeader  = 8
	maxFrame     = 96 << 10
	growBy       = 4 << 20
	maxJournal   = 1 << 30

	fastSync = time.Millisecond // a disk that callers may wait for
)

var (
	crcTable = crc32.MakeTable(crc32.Castagnoli)
	// ErrJournal means that the journal cannot be written (any more); the
	// node must be restarted before it can pay or earn.
	ErrJournal = errors.New("payment journal cannot be written; check the disk and restart")
)

// journal is the append-only store of channel records. Appends come from all
// pairs; one syncer goroutine makes them durable in groups.
type journal struct {
	mu     sync.Mutex
	moved  sync.Cond // synced or fault changed
	work   sync.Cond // wanted or closed changed
	file   *os.File
	end    int64 // of written frames
	filled int64 // zeros written up to here
	wanted int64
	synced atomic.Int64 // written under mu
	pace   atomic.Int64 // nanoseconds of a sync, smoothed
	fault  error
	closed bool
	done   chan struct{}
	buf    []byte
	sync   func(*os.File) error
}

func crcFrame(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header[:4], crcTable), crcTable, payload)
}

// readJournal calls f for each whole frame, in order. It reports whether the
// file holds anything behind the last whole frame (a torn write, or damage).
func readJournal(path string, f func(channel.Record) error) (rest bool, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read payment journal: %w", err)
	}
	if rest, err = scanJournal(raw, f); errors.Is(err, errNoJournal) {
		err = fmt.Errorf("read payment journal %s: %w", path, err)
	}
	return rest, err
}

var errNoJournal = errors.New("not a journal of this program; move it away")

// scanJournal is readJournal of a file's content.
func scanJournal(raw []byte, f func(channel.Record) error) (rest bool, err error) {
	if len(raw) < len(journalMagic) || string(raw[:len(journalMagic)]) != journalMagic {
		return false, errNoJournal
	}
	b := raw[len(journalMagic):]
	for len(b) >= frameHeader {
		n := int(binary.BigEndian.Uint32(b))
		if n == 0 || n > maxFrame || len(b) < frameHeader+n {
			break
		}
		payload := b[frameHeader : frameHeader+n]
		if binary.BigEndian.Uint32(b[4:]) != crcFrame(b, payload) {
			break
		}
		rec, err := channel.DecodeRecord(payload)
		if err != nil {
			return false, fmt.Errorf("read payment journal: %w", err)
		}
		if err := f(rec); err != nil {
			return false, err
		}
		b = b[frameHeader+n:]
	}
	for _, c := range b {
		if c != 0 {
			return true, nil
		}
	}
	return false, nil
}

// newJournal replaces the journal in dir by one that holds records; the old
// one stays beside it when keep is set.
func newJournal(dir string, records []channel.Record, keep bool) (*journal, error) {
	path := filepath.Join(dir, journalName)
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create payment journal: %w", err)
	}
	j := &journal{file: f, done: make(chan struct{}), sync: datasync}
	j.moved.L, j.work.L = &j.mu, &j.mu
	err = j.begin(records)
	if err == nil && keep {
		err = os.Link(path, path+".damaged")
		if errors.Is(err, os.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("create payment journal: %w", err)
	}
	go j.run() // ends in close
	return j, nil
}

func (j *journal) begin(records []channel.Record) error {
	if _, err := j.file.WriteAt([]byte(journalMagic), 0); err != nil {
		return err
	}
	j.end = int64(len(journalMagic))
	for i := range records {
		if err := j.write(&records[i]); err != nil {
			return err
		}
	}
	if err := j.grow(); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return err
	}
	j.wanted = j.end
	j.synced.Store(j.end)
	return nil
}

// grow keeps zeros ahead of the frames. The caller holds mu or is alone.
func (j *journal) grow() error {
	if j.filled-j.end >= growBy/4 {
		return nil
	}
	if j.end > maxJournal {
		return fmt.Errorf("grow payment journal beyond %d bytes: restart the node to compact it", int64(maxJournal))
	}
	to := j.end + growBy
	zeros := make([]byte, to-max(j.filled, j.end))
	if _, err := j.file.WriteAt(zeros, max(j.filled, j.end)); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil { // the new length and blocks
		return err
	}
	j.filled = to
	return nil
}

// write puts one frame behind the last. The caller holds mu or is alone.
func (j *journal) write(r *channel.Record) error {
	j.buf = r.Append(append(j.buf[:0], make([]byte, frameHeader)...))
	n := len(j.buf) - frameHeader
	if n > maxFrame {
		return fmt.Errorf("write record of %d bytes: %w", n, ErrJournal)
	}
	binary.BigEndian.PutUint32(j.buf, uint32(n))
	binary.BigEndian.PutUint32(j.buf[4:], crcFrame(j.buf, j.buf[frameHeader:]))
	if _, err := j.file.WriteAt(j.buf, j.end); err != nil {
		return err
	}
	j.end += int64(len(j.buf))
	return nil
}

// append writes records and starts to make them durable; wait with the
// returned mark.
func (j *journal) append(records ...channel.Record) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fault != nil || j.closed {
		return 0, j.broken()
	}
	for i := range records {
		if err := j.write(&records[i]); err != nil {
			j.fault = err
			j.moved.Broadcast()
			return 0, j.broken()
		}
	}
	j.wanted = j.end
	j.work.Signal()
	return j.end, nil
}

// wait returns when everything up to mark is durable.
func (j *journal) wait(mark int64) error {
	if j.durable(mark) {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.synced.Load() < mark && j.fault == nil {
		j.moved.Wait()
	}
	if !j.durable(mark) {
		return j.broken()
	}
	return nil
}

// durable reports whether everything up to mark is durable.
func (j *journal) durable(mark int64) bool { return j.synced.Load() >= mark }

// fast reports whether syncs take well under a millisecond.
func (j *journal) fast() bool { return j.pace.Load() < int64(fastSync) }

func (j *journal) broken() error {
	if j.fault == nil {
		return fmt.Errorf("journal is closed: %w", ErrJournal)
	}
	return fmt.Errorf("%w: %w", ErrJournal, j.fault)
}

// run syncs whatever is wanted until close. A failed sync is final: the
// kernel may have dropped the pages.
func (j *journal) run() {
	defer close(j.done)
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		for j.wanted <= j.synced.Load() && !j.closed {
			j.work.Wait()
		}
		if j.wanted <= j.synced.Load() || j.fault != nil {
			return
		}
		mark := j.wanted
		j.mu.Unlock()
		start := time.Now()
		err := j.sync(j.file)
		j.pace.Add((int64(time.Since(start)) - j.pace.Load()) / 8)
		j.mu.Lock()
		if err != nil {
			j.fault = err
			j.moved.Broadcast()
			return
		}
		j.synced.Store(mark)
		j.moved.Broadcast()
		if err := j.grow(); err != nil {
			j.fault = err
			j.moved.Broadcast()
			return
		}
	}
}

// close makes everything durable and ends the syncer.
func (j *journal) close() error {
	j.mu.Lock()
	j.closed = true
	j.work.Signal()
	j.mu.Unlock()
	<-j.done
	err := j.fault
	if cerr := j.file.Close(); err == nil {
		err = cerr
	}
	return err
}
