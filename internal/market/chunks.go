package market

import (
	"cmp"
	"sort"
	"sync"

	"github.com/bttnet/btt/internal/peer"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/speed/reserve"
)

// Layout is how a torrent's content is cut.
type Layout struct {
	Name                     string
	TotalLength, PieceLength int64
	Pieces                   int
	// Pads are the runs of padding. Trimmed says that a piece ends with its file:
	// in version 2 alone.
	Pads    []metainfo.Span
	Trimmed bool
	// InfoHash binds proofs and lanes: that of version 1 in a hybrid, by whichever the
	// torrent was added. Zero = Config.InfoHash.
	InfoHash [20]byte
}

// bound is the infohash that binds proofs and lanes.
func (t *Torrent) bound() [20]byte { return cmp.Or(t.layout.InfoHash, t.cfg.InfoHash) }

// chunkJob is a chunk to be read and what to do with it: work runs beside the
// swarm's goroutine, and what it returns on it.
type chunkJob struct {
	piece, begin, length uint32
	work                 func(data []byte) func()
}

// withChunk reads a chunk that we have, now or soon. It is false if there is
// no such chunk or too many wait.
func (t *Torrent) withChunk(piece, chunk uint32, work func(data []byte) func()) bool {
	length := t.layout.chunk(piece, chunk)
	if length == 0 || len(t.chunkJobs) >= maxChunkJobs {
		return false
	}
	t.chunkJobs = append(t.chunkJobs, chunkJob{piece, chunk * reserve.ChunkSize, length, work})
	t.readChunks()
	return true
}

// chunk is the bytes of a chunk, 0 if there is none or if it is padding alone.
func (l *Layout) chunk(piece, chunk uint32) uint32 {
	start := int64(piece) * l.PieceLength
	from := start + int64(chunk)*reserve.ChunkSize
	to := min(from+reserve.ChunkSize, start+l.PieceLength, l.TotalLength)
	i := sort.Search(len(l.Pads), func(i int) bool { return l.Pads[i].To > from })
	if i < len(l.Pads) && l.Pads[i].From < to {
		if p := l.Pads[i]; l.Trimmed || p.From <= from && p.To >= to {
			to = p.From
		}
	}
	return uint32(max(to-from, 0))
}

// readChunks starts waiting reads.
func (t *Torrent) readChunks() {
	for len(t.chunkJobs) > 0 && t.chunkReads < maxChunkReads {
		job := t.chunkJobs[0]
		t.chunkJobs = t.chunkJobs[1:]
		t.chunkReads++
		go func() { // ends with the read, or when the swarm is closed
			data := make([]byte, job.length)
			err := t.swarm.ReadChunk(data, job.piece, job.begin)
			var done func()
			if err == nil {
				done = job.work(data)
			}
			t.swarm.Post(func() {
				t.chunkReads--
				t.readChunks()
				if err != nil {
					t.cfg.Log.Warn("read chunk for a proof", "piece", job.piece, "err", err)
					return
				}
				done()
			})
		}()
	}
}

// sentStore is the store with a note of what is read for peers.
type sentStore struct {
	peer.Store
	sent sentRuns
}

// Read implements [peer.Store].
func (s *sentStore) Read(buf []byte, piece, begin uint32) error {
	s.sent.note(piece, begin, begin+uint32(len(buf)))
	return s.Store.Read(buf, piece, begin)
}

// Trimmed and BlockLength implement [peer.Trimmer]; without them the last block
// of a file of version 2 would be asked for as a whole one.
func (s *sentStore) Trimmed() bool {
	t, ok := s.Store.(peer.Trimmer)
	return ok && t.Trimmed()
}

// BlockLength is for a store that is Trimmed.
func (s *sentStore) BlockLength(piece, begin uint32) uint32 {
	return s.Store.(peer.Trimmer).BlockLength(piece, begin)
}

// sentRuns gathers what all connections send until the swarm takes it. Two
// slices change places, so that nothing is allocated in the long run.
type sentRuns struct {
	mu    sync.Mutex // leaf lock
	runs  []sentRun
	taken []sentRun
}

type sentRun struct{ piece, begin, end uint32 }

func (q *sentRuns) note(piece, begin, end uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.runs); n > 0 && q.runs[n-1].piece == piece && q.runs[n-1].end == begin {
		q.runs[n-1].end = end
		return
	}
	if len(q.runs) < maxSentRuns {
		q.runs = append(q.runs, sentRun{piece, begin, end})
	}
}

// take returns what came since the last call; it is valid until the next.
func (q *sentRuns) take() []sentRun {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.runs, q.taken = q.taken[:0], q.runs
	return q.taken
}
