package resume

import (
	"crypto/sha1"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
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
	s, err := disk.Open(c)
	if err != nil {
		return err
	}
	folder, err := Open(filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	now, err := s.Stat()
	if err != nil {
		return err
	}
	old, _ := folder.Load([20]byte{1})
	trusted, list := Check(old, Layout{killLength, c.Files}, now)
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
	for {
		mu.Lock()
		written := append([]byte(nil), bits...)
		mu.Unlock()
		if err := s.Sync(); err != nil {
			return err
		}
		now, err := s.Stat()
		if err != nil {
			return err
		}
		err = folder.Save(&State{InfoHash: [20]byte{1}, Dir: c.Dir, Pieces: killPieces, Bitfield: written, Files: now})
		if err != nil {
			return err
		}
	}
}

// TestKill kills a downloading process at random moments: what the state says
// must be true each time, and the download must get on.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := t.TempDir()
	pool := disk.NewPool(disk.PoolConfig{})
	defer pool.Close()
	c, _ := killTorrent(dir, pool, nil)
	saved := 0
	for range 12 {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), killEnv+"="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+rand.IntN(150)) * time.Millisecond)
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
	trusted, list := Check(state, Layout{killLength, c.Files}, now)
	claimed := 0
	for i := range killPieces {
		trust := trusted[i/8]&(0x80>>(i%8)) != 0
		if trust && !state.Has(i) {
			t.Fatalf("piece %d trusted and not claimed", i)
		}
		if !state.Has(i) {
			continue
		}
		claimed++
		if ok, err := s.VerifyPiece(uint32(i)); !ok || err != nil {
			t.Fatalf("piece %d of the bitfield is bad on disk (%v)", i, err)
		}
	}
	if len(list) == 0 && claimed < killPieces {
		t.Fatal("a killed process left nothing to check")
	}
	return claimed
}
