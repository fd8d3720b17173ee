package metainfo

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bttnet/btt/internal/foreign"
)

// The interop tests compare with other programs.

// oracleAnswer is a line of testdata/oracle.py.
type oracleAnswer struct {
	Error, V1, V2, Name string
	Pieces              int
	Piece               int64
	Private             bool
	Trackers            [][2]any
	Files               [][3]any
}

// askLibtorrent sends lines to the oracle and reads one answer for each.
func askLibtorrent(t *testing.T, mode string, lines []string) []oracleAnswer {
	t.Helper()
	cmd := exec.Command(foreign.Python(t, "libtorrent"), filepath.Join("testdata", "oracle.py"), mode)
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run libtorrent oracle: %v\n%s", err, stderr.String())
	}
	var answers []oracleAnswer
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		var a oracleAnswer
		if err := json.Unmarshal(scan.Bytes(), &a); err != nil {
			t.Fatalf("read oracle answer %q: %v", scan.Text(), err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(lines) {
		t.Fatalf("%d oracle answers for %d lines", len(answers), len(lines))
	}
	return answers
}

// writeContent makes a folder and a file to share; the names keep their order in the
// folder's listing, by bytes and by component.
func writeContent(t *testing.T) (folder, single string) {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	folder, single = filepath.Join(dir, "content"), filepath.Join(dir, "one.bin")
	for name, size := range map[string]int{
		"content/a.bin":         200_001,
		"content/b-empty":       0,
		"content/c/deep/er.bin": 65_536,
		"content/c/tiny":        1,
		"content/d ü.bin":       16_384,
		"content/e":             131_072,
		"content/f":             20_000,
		"one.bin":               300_000,
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return folder, single
}

// readSpace reads the whole piece space of files below base.
func readSpace(t *testing.T, base string, single bool, files []File) []byte {
	t.Helper()
	var space []byte
	for _, f := range files {
		if f.Pad {
			space = append(space, make([]byte, f.Length)...)
			continue
		}
		path := base
		if !single {
			path = filepath.Join(append([]string{base}, f.Path...)...)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		space = append(space, data...)
	}
	return space
}

// hashLayout computes what Builder.Build wants.
func hashLayout(l *Layout, space []byte) (h Hashes) {
	for rest := space; len(rest) > 0; {
		n := min(int64(len(rest)), l.PieceLength)
		sum := sha1.Sum(rest[:n])
		h.Pieces = append(h.Pieces, sum[:]...)
		rest = rest[n:]
	}
	h.Layers = make([][]byte, len(l.Files))
	for i, f := range l.Files {
		data := space[:f.Length]
		space = space[f.Length:]
		if f.Pad {
			continue
		}
		for len(data) > 0 {
			n := min(int64(len(data)), l.PieceLength)
			sum := HashPiece(data[:n], f.Length, l.PieceLength)
			h.Layers[i] = append(h.Layers[i], sum[:]...)
			data = data[n:]
		}
	}
	return h
}

// verifyContent checks all hashes a torrent has against its content.
func verifyContent(t *testing.T, torrent *Torrent, space []byte) {
	t.Helper()
	in := torrent.Info
	if int64(len(space)) != in.TotalLength {
		t.Fatalf("piece space has %d bytes, want %d", in.TotalLength, len(space))
	}
	v2 := torrent.PiecesV2()
	for i := range in.NumPieces() {
		piece := space[int64(i)*in.PieceLength:][:in.PieceSize(i)]
		if want, ok := in.PieceHash(i); ok && sha1.Sum(piece) != want {
			t.Errorf("version 1 hash of piece %d differs", i)
		}
		if v2 == nil {
			continue
		}
		p := v2[i]
		if !p.Known || HashPiece(piece[:p.Bytes], in.Files[p.File].Length, in.PieceLength) != p.Hash {
			t.Errorf("version 2 hash of piece %d differs (known %v)", i, p.Known)
		}
	}
}

func compareHashes(t *testing.T, torrent *Torrent, a oracleAnswer) {
	t.Helper()
	var v1, v2 string
	if torrent.Info.HasV1() {
		v1 = torrent.InfoHash.String()
	}
	if torrent.Info.HasV2() {
		v2 = torrent.InfoHashV2.String()
	}
	if a.Error != "" || v1 != a.V1 || v2 != a.V2 {
		t.Errorf("hashes are %q %q, libtorrent says %q %q %s", v1, v2, a.V1, a.V2, a.Error)
	}
}

func TestInteropParseLibtorrent(t *testing.T) {
	folder, single := writeContent(t)
	out := t.TempDir()
	type job struct {
		Path     string   `json:"path"`
		Out      string   `json:"out"`
		Flags    string   `json:"flags"`
		Piece    int64    `json:"piece"`
		Trackers []string `json:"trackers"`
		Private  bool     `json:"private"`
	}
	var jobs []job
	var lines []string
	for _, path := range []string{folder, single} {
		for _, flags := range []string{"v1", "v2", "hybrid"} {
			for _, piece := range []int64{16 << 10, 64 << 10, 1 << 20} {
				j := job{path, filepath.Join(out, fmt.Sprint(len(jobs), ".torrent")), flags, piece,
					[]string{"http://a.example/announce", "udp://b.example:6969/announce"}, len(jobs)%2 == 0}
				jobs = append(jobs, j)
				line, err := json.Marshal(j)
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, string(line))
			}
		}
	}
	for i, a := range askLibtorrent(t, "make", lines) {
		j := jobs[i]
		t.Run(fmt.Sprintf("%s/%s/%d", filepath.Base(j.Path), j.Flags, j.Piece), func(t *testing.T) {
			data, err := os.ReadFile(j.Out)
			if err != nil {
				t.Fatal(err, a.Error)
			}
			torrent, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			compareHashes(t, torrent, a)
			in := torrent.Info
			if in.NumPieces() != a.Pieces || in.Private != j.Private || in.Name != a.Name || len(torrent.AnnounceList) != 2 ||
				len(torrent.WebSeeds) != 1 || torrent.Comment != "made by libtorrent" {
				t.Errorf("parsed %+v, libtorrent says %+v", torrent, a)
			}
			verifyContent(t, torrent, readSpace(t, j.Path, in.SingleFile, in.Files))
		})
	}
}

func TestInteropLoadOurs(t *testing.T) {
	folder, single := writeContent(t)
	out := t.TempDir()
	var torrents []*Torrent
	var paths, magnets []string
	for _, base := range []string{folder, single} {
		for _, version := range []Version{V1, V2, Hybrid} {
			for _, piece := range []int64{0, 16 << 10, 64 << 10, 1 << 20} {
				b := Builder{
					Name: filepath.Base(base), SingleFile: base == single, PieceLength: piece, Version: version,
					Private: piece == 0, AnnounceList: [][]string{{"http://a.example/x", "udp://b.example:1"}, {"wss://c.example"}},
					Comment: "comment", CreatedBy: "btt",
				}
				b.Files = listFiles(t, base)
				l, err := b.Layout()
				if err != nil {
					t.Fatal(err)
				}
				space := readSpace(t, base, b.SingleFile, l.Files)
				torrent, err := b.Build(hashLayout(l, space))
				if err != nil {
					t.Fatal(err)
				}
				verifyContent(t, torrent, space)
				path := filepath.Join(out, fmt.Sprint(len(paths), ".torrent"))
				if err := os.WriteFile(path, torrent.Encode(), 0o644); err != nil {
					t.Fatal(err)
				}
				torrents, paths = append(torrents, torrent), append(paths, path)
				magnets = append(magnets, torrent.Magnet().String())
			}
		}
	}
	for i, a := range askLibtorrent(t, "load", paths) {
		compareHashes(t, torrents[i], a)
		if a.Pieces != torrents[i].Info.NumPieces() || len(a.Trackers) != 3 || a.Private != torrents[i].Info.Private {
			t.Errorf("torrent %d: libtorrent says %+v", i, a)
		}
	}
	for i, a := range askLibtorrent(t, "magnet", magnets) {
		compareHashes(t, torrents[i], a)
		if a.Name != torrents[i].Info.Name || len(a.Trackers) != 3 {
			t.Errorf("%s: libtorrent says %+v", magnets[i], a)
		}
	}
}

// listFiles lists what is below base in lexical order.
func listFiles(t *testing.T, base string) (files []BuildFile) {
	t.Helper()
	err := filepath.WalkDir(base, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(base, path)
		files = append(files, BuildFile{Path: strings.Split(filepath.ToSlash(relative), "/"), Length: info.Size()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestInteropMktorrentAndTransmission(t *testing.T) {
	foreign.Programs(t, "mktorrent", "transmission-create", "transmission-show")
	folder, single := writeContent(t)
	out := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = out
		output, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("run %s: %v\n%s", name, err, output)
		}
		return string(output)
	}
	for i, base := range []string{folder, single} {
		m, tr := filepath.Join(out, fmt.Sprint("m", i)), filepath.Join(out, fmt.Sprint("t", i))
		run("mktorrent", "-l", "16", "-a", "http://a.example/announce", "-c", "hello", "-o", m, base)
		run("transmission-create", "-p", "-t", "udp://b.example:80", "-s", "32", "-o", tr, base)
		for _, path := range []string{m, tr} {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			torrent, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			verifyContent(t, torrent, readSpace(t, base, torrent.Info.SingleFile, torrent.Info.Files))
			if shown := run("transmission-show", path); !strings.Contains(shown, torrent.InfoHash.String()) {
				t.Errorf("%s: hash %v is not in\n%s", path, torrent.InfoHash, shown)
			}
		}
	}
}
