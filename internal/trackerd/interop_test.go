package trackerd

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bttnet/btt/bencode"
	"github.com/bttnet/btt/internal/foreign"
)

// torrentFile makes a torrent of data named payload.
func torrentFile(t *testing.T, announce string, data []byte) []byte {
	t.Helper()
	const piece = 16 << 10
	var pieces []byte
	for at := 0; at < len(data); at += piece {
		sum := sha1.Sum(data[at:min(at+piece, len(data))])
		pieces = append(pieces, sum[:]...)
	}
	var info, root bencode.Dict
	info.SetInt("length", int64(len(data)))
	info.SetString("name", "payload")
	info.SetInt("piece length", piece)
	info.SetBytes("pieces", pieces)
	root.SetString("announce", announce)
	root.SetDict("info", &info)
	return root.Append(nil)
}

// aria2 runs aria2c in dir with everything but trackers off.
func aria2(ctx context.Context, t *testing.T, bin, dir string, more ...string) *exec.Cmd {
	t.Helper()
	// aria2 reaches UDP trackers by its DHT socket only; without entry points it
	// finds nobody by it.
	args := append([]string{"--enable-dht=true", "--dht-file-path=" + filepath.Join(dir, "dht.dat"), "--enable-dht6=false", "--bt-enable-lpd=false", "--enable-peer-exchange=false",
		"--disable-ipv6=true", "--check-integrity=true", "--console-log-level=warn", "--summary-interval=0", "--file-allocation=none", "--dir=" + dir}, more...)
	cmd := exec.CommandContext(ctx, bin, append(args, filepath.Join(dir, "test.torrent"))...)
	cmd.Dir = dir
	return cmd
}

// TestAria2 lets two aria2 clients find each other through our tracker alone,
// over HTTP and over UDP.
func TestAria2(t *testing.T) {
	bin := foreign.Programs(t, "aria2c")
	data := make([]byte, 200_000)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for _, scheme := range []string{"http", "udp"} {
		t.Run(scheme, func(t *testing.T) {
			s := start(t, Config{Interval: 2 * time.Minute})
			torrent := torrentFile(t, fmt.Sprintf("%s://%v/announce", scheme, s.Addr()), data)
			dirs := [2]string{t.TempDir(), t.TempDir()}
			for _, dir := range dirs {
				if err := os.WriteFile(filepath.Join(dir, "test.torrent"), torrent, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dirs[0], "payload"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			seeder := aria2(ctx, t, bin, dirs[0], "--seed-ratio=0.0", "--listen-port=21413", "--dht-listen-port=21413")
			if err := seeder.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { seeder.Process.Kill(); seeder.Wait() }()
			for s.Stats().Seeds4 == 0 {
				select {
				case <-ctx.Done():
					t.Fatalf("the seeder does not announce: %+v", s.Stats())
				case <-time.After(50 * time.Millisecond):
				}
			}
			out, err := aria2(ctx, t, bin, dirs[1], "--seed-time=0", "--listen-port=21414", "--dht-listen-port=21414").CombinedOutput()
			if err != nil {
				t.Fatalf("leecher: %v\n%s\n%+v", err, out, s.Stats())
			}
			got, err := os.ReadFile(filepath.Join(dirs[1], "payload"))
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("downloaded %d bytes, %v", len(got), err)
			}
		})
	}
}
