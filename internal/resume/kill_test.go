package resume

import (
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/internal/disk"
)

func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(nil), b...), crc32.Checksum(b, castagnoli))
}

const (
	killEnv    = "RESUME_KILL_TEST_DIR"
	killLength = 96 << 10
	killPieces = 200
	// inProgress is what two writers and a download of one piece at a time may
	// have under way: batches of 1 MiB each, and the piece itself.
	inProgress = 2*(1<<20/killLength+2) + 1
)

// killTorrent is the torrent of the kill test, the same in both processes.
func killTorrent(dir string, pool *disk.Pool, notify func(disk.Event)) (disk.Config, []byte) {
	files := []disk.File{{Path: "a", Length: 3 * killLength / 2}, {Path: "d/b", Length: 100*killLength + 5}}
	files = append(files, disk.File{Path: "d/c", Length: killPieces*killLength - files[0].Length - files[1].Length})
	data := make([]byte, killPieces*killLength)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(data)
	c := disk.Config{Dir: filepath.Join(dir, "data"), Files: files, PieceLength: killLength, Pool: pool, Notify: notify}
	for i := range killPieces {
		sum := sha1.Sum(data[i*killLength:][:killLength])
		c.Hashes = append(c.Hashes, sum[:]...)
	}
	return c, data
}

// TestMain makes the test binary the victim of TestKill when asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killEnv); dir != "" {
		if err := victim(dir); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// victim goes on with a download, saving all the time, until it is killed.
func victim(dir string) error {
	pool := disk.NewPool(disk.PoolConfig{})
	var mu sync.Mutex
	bits := make([]byte, (killPieces+7)/8)
	c, data := killTorrent(dir, pool, func(e disk.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == disk.Written {
			bits[e.Piece/8] |= 0x80 >> (e.Piece % 8)
		}
	})
	folder, err := Open(filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	old, _ := folder.Load([20]byte{1})
	var history *History
	var gen uint64
	if old != nil {
		history, _, gen = folder.LoadLog([20]byte{1}, old.Log)
	}
	log := folder.Log([20]byte{1}, gen)
	c.Journal = log
	s, err := disk.Open(c)
	if err != nil {
		return err
	}
	now, err := s.Stat()
	if err != nil {
		return err
	}
	trusted, list := Check(old, history, Layout{killLength, c.Files}, now)
	for i := range uint32(killPieces) {
		s.SetVerified(i, trusted[i/8]&(0x80>>(i%8)) != 0)
	}
	copy(bits, trusted)
	for _, i := range list {
		if ok, err := s.VerifyPiece(uint32(i)); err != nil {
			return err
		} else if ok {
			bits[i/8] |= 0x80 >> (i % 8)
		}
	}
	go func() {
		for _, i := range rand.Perm(killPieces) {
			mu.Lock()
			had := bits[i/8]&(0x80>>(i%8)) != 0
			mu.Unlock()
			for b := 0; b < killLength && !had; b += disk.BlockSize {
				if _, err := s.Block(uint32(i), uint32(b), data[i*killLength+b:][:disk.BlockSize]); err != nil {
					panic(err)
				}
			}
			time.Sleep(time.Millisecond)
		}
	}()
	fmt.Println("at work")
	pause := time.Duration(0)
	for {
		time.Sleep(pause) // the first save is at once
		pause = time.Duration(rand.IntN(100)) * time.Millisecond
		gen := log.Rotate()
		written := s.Written(nil)
		if err := s.Sync(); err != nil {
			return err
		}
		now, err := s.Stat()
		if err != nil {
			return err
		}
		err = folder.Save(&State{InfoHash: [20]byte{1}, Dir: c.Dir, Pieces: killPieces, Bitfield: written, Files: now, Log: gen})
		if err == nil {
			err = log.Drop(gen)
		}
		if err != nil {
			return err
		}
	}
}

// TestKill kills a downloading process at random moments: what the state and the
// log say must be true each time, nothing but pieces in progress is to be hashed
// again, and the download must get on.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	pool := disk.NewPool(disk.PoolConfig{})
	defer pool.Close()
	c, _ := killTorrent(dir, pool, nil)
	saved := 0
	const rounds, most = 12, 60
	for round := 0; round < rounds || saved == 0 && round < most; round++ { // a slow disk needs longer lives
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), killEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal("the victim ended by itself")
		}
		time.Sleep(time.Duration(5+rand.IntN(150)) * time.Millisecond * time.Duration(1+round/rounds))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal("the victim ended by itself")
		}
		_ = cmd.Wait()
		saved = max(saved, checkState(t, dir, c))
	}
	if saved == 0 {
		t.Fatal("nothing was ever saved")
	}
	t.Logf("%d of %d pieces saved", saved, killPieces)
}

// checkState hashes every piece the state claims and every piece Check trusts.
func checkState(t *testing.T, dir string, c disk.Config) int {
	folder, err := Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	state, err := folder.Load([20]byte{1})
	if err == ErrNotFound {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := disk.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now, err := s.Stat()
	if err != nil {
		t.Fatal(err)
	}
	history, _, _ := folder.LoadLog([20]byte{1}, state.Log)
	trusted, list := Check(state, history, Layout{killLength, c.Files}, now)
	if len(list) > inProgress {
		t.Errorf("%d pieces to be hashed again, at most %d were in progress", len(list), inProgress)
	}
	claimed := 0
	for i := range killPieces {
		if trusted[i/8]&(0x80>>(i%8)) == 0 {
			if state.Has(i) && !slices.Contains(list, i) {
				t.Fatalf("piece %d was forgotten", i)
			}
			continue
		}
		claimed++
		if ok, err := s.VerifyPiece(uint32(i)); !ok || err != nil {
			t.Fatalf("piece %d is trusted and bad on disk (%v)", i, err)
		}
	}
	// What is whole on disk is trusted or hashed again: nothing is fetched twice.
	for i := range killPieces {
		if trusted[i/8]&(0x80>>(i%8)) != 0 || slices.Contains(list, i) {
			continue
		}
		if ok, _ := s.VerifyPiece(uint32(i)); ok {
			t.Errorf("piece %d is whole and unknown", i)
		}
	}
	return claimed
}
