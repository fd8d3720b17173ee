package chanlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/bttnet/btt/channel"
	"github.com/bttnet/btt/internal/durable"
)

// Frames: length u32, CRC-32C u32 of length and payload, payload. A zero
// length ends the journal. The file is filled with zeros ahead, so that a
// sync writes data blocks only.
const (
	FileName    = "channels.journal"
	magic       = "bttchan1"
	frameHeader = 8
	maxFrame    = 96 << 10
	growBy      = 4 << 20
	maxJournal  = 1 << 30
)

var (
	crcTable = crc32.MakeTable(crc32.Castagnoli)
	// ErrBroken means that the journal cannot be written (any more); the
	// node must be restarted before it can pay or earn.
	ErrBroken = errors.New("payment journal cannot be written; check the disk and restart")
)

// Log is the append-only store of channel records. Its methods are safe for
// concurrent use. Appends come from all
// pairs; one syncer goroutine makes them durable in groups.
type Log struct {
	mu     sync.Mutex
	moved  sync.Cond // synced or fault changed
	work   sync.Cond // wanted or closed changed
	file   *os.File
	end    int64 // of written frames
	filled int64 // zeros written up to here
	wanted int64
	synced atomic.Int64 // written under mu
	fault  error
	closed bool
	done   chan struct{}
	buf    []byte
	sync   func(*os.File) error
	after  []after // what After was told and did not do yet, in order of marks
}

// after is one call of [Log.After].
type after struct {
	mark int64
	f    func()
}

func crcFrame(header, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(header[:4], crcTable), crcTable, payload)
}

// readFile calls f for each whole frame, in order. It reports whether the
// file holds anything behind the last whole frame (a torn write, or damage).
func readFile(path string, f func(channel.Record) error) (rest bool, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read payment journal: %w", err)
	}
	if rest, err = scan(raw, f); errors.Is(err, errNoJournal) {
		err = fmt.Errorf("read payment journal %s: %w", path, err)
	}
	return rest, err
}

var errNoJournal = errors.New("not a journal of this program; move it away")

// scan is readFile of a file's content.
func scan(raw []byte, f func(channel.Record) error) (rest bool, err error) {
	if len(raw) < len(magic) || string(raw[:len(magic)]) != magic {
		return false, errNoJournal
	}
	b := raw[len(magic):]
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

// keepPays is how many of a channel's newest payment records recovery looks
// at: the last may be torn in meaning (its signature does not verify), those
// before it were answered.
const keepPays = 4

// Read returns the newest state of each channel in a folder's log, in order of
// opening; none if there is no log. It may run beside the Log. rest is set when something behind the last whole record
// could not be read.
func Read(dir string) (list []*channel.Snapshot, rest bool, err error) {
	byID := make(map[channel.ID]*channel.Snapshot)
	pays := make(map[channel.ID][]channel.Record)
	rest, err = readFile(filepath.Join(dir, FileName), func(r channel.Record) error {
		id := r.ID()
		s := byID[id]
		switch {
		case r.Pay != nil && s != nil:
			if list := append(pays[id], r); len(list) > keepPays {
				pays[id] = append(list[:0], list[1:]...)
			} else {
				pays[id] = list
			}
		case r.Snapshot != nil && s == nil:
			byID[id] = r.Snapshot
			list = append(list, r.Snapshot)
		case r.Snapshot != nil:
			best := s.Best
			*s = *r.Snapshot
			if best.Sequence > s.Best.Sequence {
				s.Best = best
			}
		case s != nil:
			return s.Apply(r)
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	for _, s := range list {
		for p := pays[s.Contract.ID()]; len(p) > 0; p = p[:len(p)-1] {
			if s.Apply(p[len(p)-1]) == nil {
				break // the newest that verifies
			}
		}
	}
	return list, rest, nil
}

// Create replaces the log in dir by one that holds records; the old
// one stays beside it when keep is set.
func Create(dir string, records []channel.Record, keep bool) (*Log, error) {
	path := filepath.Join(dir, FileName)
	f, err := durable.Temporary(path)
	if err != nil {
		return nil, fmt.Errorf("create payment journal: %w", err)
	}
	j := &Log{file: f, done: make(chan struct{}), sync: datasync}
	j.moved.L, j.work.L = &j.mu, &j.mu
	err = j.begin(records)
	if err == nil && keep {
		err = os.Link(path, path+".damaged")
		if errors.Is(err, os.ErrExist) {
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("create payment journal: %w", err)
	}
	go j.run() // ends in Close
	return j, nil
}

func (j *Log) begin(records []channel.Record) error {
	if _, err := j.file.WriteAt([]byte(magic), 0); err != nil {
		return err
	}
	j.end = int64(len(magic))
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
func (j *Log) grow() error {
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
func (j *Log) write(r *channel.Record) error {
	j.buf = r.Append(append(j.buf[:0], make([]byte, frameHeader)...))
	n := len(j.buf) - frameHeader
	if n > maxFrame {
		return fmt.Errorf("write record of %d bytes: %w", n, ErrBroken)
	}
	binary.BigEndian.PutUint32(j.buf, uint32(n))
	binary.BigEndian.PutUint32(j.buf[4:], crcFrame(j.buf, j.buf[frameHeader:]))
	if _, err := j.file.WriteAt(j.buf, j.end); err != nil {
		return err
	}
	j.end += int64(len(j.buf))
	return nil
}

// Append writes records, so that the end of this process loses nothing of them, and
// starts to make them durable; Wait with the returned mark, or see After.
func (j *Log) Append(records ...channel.Record) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fault != nil || j.closed {
		return 0, j.broken()
	}
	for i := range records {
		if err := j.write(&records[i]); err != nil {
			j.fault = err
			j.reach()
			return 0, j.broken()
		}
	}
	j.wanted = j.end
	j.work.Signal()
	return j.end, nil
}

// Wait returns when everything up to mark is durable.
func (j *Log) Wait(mark int64) error {
	if j.Durable(mark) {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.synced.Load() < mark && j.fault == nil {
		j.moved.Wait()
	}
	if !j.Durable(mark) {
		return j.broken()
	}
	return nil
}

// Durable reports whether everything up to mark is durable.
func (j *Log) Durable(mark int64) bool { return j.synced.Load() >= mark }

// After has f called once when everything up to mark is durable or the log failed
// (see Fault), by the syncer: f must not block. The caller bounds how much waits.
func (j *Log) After(mark int64, f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.synced.Load() >= mark || j.fault != nil {
		f()
		return
	}
	j.after = append(j.after, after{mark, f})
}

// reach does what waited for what is durable now. The caller holds mu.
func (j *Log) reach() {
	j.moved.Broadcast()
	n := 0
	for _, a := range j.after {
		if a.mark <= j.synced.Load() || j.fault != nil {
			a.f()
		} else {
			j.after[n] = a
			n++
		}
	}
	clear(j.after[n:])
	j.after = j.after[:n]
}

// Fault says why nothing can be written any more; nil as long as it can.
func (j *Log) Fault() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fault == nil {
		return nil
	}
	return j.broken()
}

// SetSync puts f in the place of fdatasync, for tests of failing and slow disks.
func (j *Log) SetSync(f func(*os.File) error) {
	j.mu.Lock()
	j.sync = f
	j.mu.Unlock()
}

// String tells how far the log is, for tests that stall.
func (j *Log) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return fmt.Sprintf("end %d wanted %d synced %d", j.end, j.wanted, j.synced.Load())
}

func (j *Log) broken() error {
	if j.fault == nil {
		return fmt.Errorf("journal is closed: %w", ErrBroken)
	}
	return fmt.Errorf("%w: %w", ErrBroken, j.fault)
}

// run syncs whatever is wanted until Close. A failed sync is final: the
// kernel may have dropped the pages.
func (j *Log) run() {
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
		sync := j.sync
		j.mu.Unlock()
		err := sync(j.file)
		j.mu.Lock()
		if err == nil {
			j.synced.Store(mark)
			j.reach()
			err = j.grow()
		}
		if err != nil {
			j.fault = err
			j.reach()
			return
		}
	}
}

// Close makes everything durable and ends the syncer.
func (j *Log) Close() error {
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
