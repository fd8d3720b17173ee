package swarm

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/resume"
	"github.com/bttnet/btt/metainfo"
	"github.com/bttnet/btt/wire"
)

// The torrent of which an earlier process bought units of piece 1: pieces, blocks of one and
// of a unit, and units that are in the file.
const begunPieces, begunBlocks, begunUnit, begunRight = 4, 8, 2, 2

// begun is what that process left: its log, and the folder with its file.
func (w *world) begun() (folder *resume.Folder, dir string) {
	w.t.Helper()
	folder, err := resume.Open(w.t.TempDir())
	if err != nil {
		w.t.Fatal(err)
	}
	const size = begunBlocks * wire.BlockSize
	leaves := metainfo.AppendLeaves(nil, w.data[size:2*size])
	log := folder.Log(w.torrent.InfoHash, 0)
	log.Units(1, begunUnit, metainfo.Climb(leaves, 0, 1))
	if err := log.Close(); err != nil {
		w.t.Fatal(err)
	}
	dir = w.t.TempDir()
	have := make([]byte, len(w.data))
	copy(have[size:], w.data[size:size+begunRight*begunUnit*wire.BlockSize])
	if err := os.WriteFile(filepath.Join(dir, "film"), have, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return folder, dir
}

// TestBegunBeforeLayers: a hybrid without its piece layers, of which an earlier process
// bought units of a piece, asks for nothing of that piece before its layer is here, and then
// for the rest of it only; if nobody sends the layer, it is fetched after a minute, as a whole.
func TestBegunBeforeLayers(t *testing.T) {
	const pieces, per, unit, right = begunPieces, begunBlocks, begunUnit, begunRight
	for name, sends := range map[string]bool{"layer late": true, "no layer": false} {
		t.Run(name, func(t *testing.T) {
			bubbleV2(t, pieces*per*wire.BlockSize, per*wire.BlockSize, metainfo.Hybrid, func(t *testing.T, w *world) {
				folder, to := w.begun()
				s := w.bareKept(to, folder)
				var answers atomic.Bool
				p := w.play(s, &script{free: true, hash: func(r wire.HashRange) []byte {
					if !answers.Load() || !sends {
						return nil
					}
					return wire.AppendHashes(nil, &r, w.torrent.PieceLayers.Get(w.torrent.Info.Files[0].PiecesRoot), nil)
				}})
				after(laterWait / 2)
				if n := p.seen(false); n != (pieces-1)*per {
					t.Errorf("%d blocks were asked for before the layer is here, of %d", n, (pieces-1)*per)
				}
				answers.Store(true)
				after(laterWait)
				want := pieces * per
				if sends {
					want -= right * unit
				}
				if st := s.Status(); st.State != Seeding || p.seen(false) != want {
					t.Errorf("%v: %d blocks were asked for, want %d", st.State, p.seen(false), want)
				}
				if got, err := os.ReadFile(filepath.Join(to, "film")); err != nil || !bytes.Equal(got, w.data) {
					t.Errorf("content differs: %v", err)
				}
			})
		})
	}
}

// served is a web server that has the torrent's file.
type served struct{ data []byte }

func (s served) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	http.ServeContent(answer, r, "film", time.Time{}, bytes.NewReader(s.data))
	return answer.Result(), nil
}

// TestBegunAlone: a begun piece whose layer nobody sends is fetched anew after a minute where
// it is all that those could send who serve us, where there are web seeds alone, and where
// pieces are wanted in their order; but not while other pieces are under way.
func TestBegunAlone(t *testing.T) {
	const per = begunBlocks
	run := func(name string, f func(t *testing.T, w *world, open func(f func(*Config)) *Swarm)) {
		t.Run(name, func(t *testing.T) {
			bubbleV2(t, begunPieces*per*wire.BlockSize, per*wire.BlockSize, metainfo.Hybrid, func(t *testing.T, w *world) {
				folder, dir := w.begun()
				f(t, w, func(f func(*Config)) *Swarm { return w.bareWith(dir, folder, f) })
			})
		})
	}
	some := func(w *world, s *Swarm, p *script, bits byte) *script {
		p.none = true // at first
		w.play(s, p)
		for i := range uint32(begunPieces) {
			if bits&(0x80>>i) != 0 {
				p.write(wire.AppendIndex(nil, wire.Have, i))
			}
		}
		p.write(wire.AppendEmpty(nil, wire.Unchoke))
		return p
	}
	run("nothing else to be had", func(t *testing.T, w *world, open func(f func(*Config)) *Swarm) {
		s := open(nil)
		p := some(w, s, &script{free: true}, 0xe0) // not the last one
		if after(laterWait / 2); p.seen(false) != 2*per {
			t.Errorf("%d blocks were asked for at first", p.seen(false))
		}
		if after(laterWait); p.seen(false) != 3*per {
			t.Errorf("%d blocks were asked for", p.seen(false))
		}
	})
	run("web seed", func(t *testing.T, w *world, open func(f func(*Config)) *Swarm) {
		s := open(func(c *Config) {
			c.Web, c.WebSeeds = &http.Client{Transport: served{w.data}}, []string{"http://192.0.2.1/film"}
		})
		after(laterWait / 2)
		if st := s.Status(); st.Left != per*wire.BlockSize {
			t.Errorf("%d bytes are left at first", st.Left)
		}
		after(laterWait)
		if st := s.Status(); st.State != Seeding {
			t.Errorf("%v, %d bytes are left", st.State, st.Left)
		}
	})
	for name, ordered := range map[string]bool{"in order": true, "others under way": false} {
		run(name, func(t *testing.T, w *world, open func(f func(*Config)) *Swarm) {
			s := open(func(c *Config) { c.Sequential = ordered })
			p := some(w, s, &script{free: true}, 0xe0)
			slow := some(w, s, &script{}, 0x10) // sends nothing of the last one
			want := 2 * per
			if ordered {
				want = 3 * per
			}
			if after(laterWait + 2*tickEvery); p.seen(false) != want || slow.seen(false) == 0 {
				t.Errorf("%d blocks were asked for, want %d; of the other %d", p.seen(false), want, slow.seen(false))
			}
		})
	}
}
