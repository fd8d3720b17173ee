package metainfo

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/bttnet/btt/bencode"
)

// Version says which hashes a created torrent carries.
type Version uint8

// The versions to create.
const (
	V1     Version = iota // BEP 3; every client reads it
	V2                    // BEP 52 alone
	Hybrid                // both
)

var versionNames = [...]string{V1: "v1", V2: "v2", Hybrid: "hybrid"}

// String is "v1", "v2" or "hybrid".
func (v Version) String() string { return versionNames[v] }

// ParseVersion reads what String writes. It fails with ErrVersion.
func ParseVersion(s string) (Version, error) {
	i := slices.Index(versionNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("%w: %q is not v1, v2 or hybrid", ErrVersion, s)
	}
	return Version(i), nil
}

// Builder describes a torrent to create. Fill it, ask Layout what to hash, hash it, and
// call Build. The zero values of the optional fields leave them out.
type Builder struct {
	Name  string // of the file, or of the folder around the files
	Files []BuildFile
	// SingleFile makes a torrent without a folder: Files holds one file, whose path is
	// taken to be Name.
	SingleFile bool
	// PieceLength in bytes, a power of two from MinCreatedPieceLength to MaxPieceLength;
	// 0 lets AutoPieceLength choose.
	PieceLength int64
	Version     Version
	// Align begins every file with a piece of its own, by pad files (BEP 47), in
	// version 1 too; the others always do.
	Align        bool
	Private      bool
	Source       string
	AnnounceList [][]string // tiers of tracker URLs
	WebSeeds     []string
	HTTPSeeds    []string
	Nodes        []HostPort
	Comment      string
	CreatedBy    string
	CreationDate time.Time
}

// BuildFile is a file to put into a torrent.
type BuildFile struct {
	Path   []string // relative to the folder; unused in a single-file torrent
	Length int64    // bytes
	Attr   Attr     // AttrExecutable and AttrHidden
}

// Layout is what there is to hash.
type Layout struct {
	PieceLength int64
	NumPieces   int
	TotalLength int64 // bytes of the piece space, pad files included
	// Files is the piece space in order: the files to read, with the pad files (zeros)
	// that version 2 and hybrids need between them. Versions 2 and hybrid put the files
	// in the order of the file tree.
	Files []File
	// Source is for each entry of Files the index in Builder.Files, -1 for pad files.
	Source []int
}

// Hashes are the results of hashing a Layout.
type Hashes struct {
	// Pieces are the SHA-1s of the pieces in order, 20 bytes each; for V1 and Hybrid.
	Pieces []byte
	// Layers are for each entry of Layout.Files the SHA-256 tree hashes of its pieces, 32
	// bytes each (see HashPiece); nil for empty and pad files. For V2 and Hybrid.
	Layers [][]byte
}

const (
	maxAutoPieceLength = 16 << 20
	autoPieces         = 2048 // more pieces than this double the piece length
)

// AutoPieceLength chooses a piece length for total bytes: the smallest power of two from
// 16 KiB to 16 MiB that makes at most 2048 pieces.
func AutoPieceLength(total int64) int64 {
	length := int64(MinCreatedPieceLength)
	for length < maxAutoPieceLength && total/autoPieces >= length {
		length *= 2
	}
	return length
}

// Layout checks the description and says what to hash. It fails with ErrBuild or the
// sentinel of the bad field.
func (b *Builder) Layout() (*Layout, error) {
	l, err := b.layout()
	if err != nil {
		return nil, fmt.Errorf("lay out torrent: %w", err)
	}
	return l, nil
}

func (b *Builder) layout() (*Layout, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	l := &Layout{PieceLength: b.PieceLength}
	if l.PieceLength == 0 {
		var total int64
		for _, f := range b.Files {
			total += f.Length
		}
		l.PieceLength = AutoPieceLength(total)
	}
	if err := b.layFiles(l); err != nil {
		return nil, err
	}
	in := Info{Files: l.Files, PieceLength: l.PieceLength}
	if err := in.sum(); err != nil {
		return nil, err
	}
	if in.TotalLength == 0 {
		return nil, ErrEmpty
	}
	l.TotalLength, l.NumPieces = in.TotalLength, in.NumPieces()
	return l, nil
}

// layFiles puts the files in the order of the piece space.
func (b *Builder) layFiles(l *Layout) error {
	for i, f := range b.Files {
		path := f.Path
		if b.SingleFile {
			path = []string{b.Name}
		}
		l.Files = append(l.Files, File{Path: path, Length: f.Length, Attr: f.Attr})
		l.Source = append(l.Source, i)
	}
	order := slices.Clone(l.Source)
	slices.SortFunc(order, func(i, j int) int { return slices.Compare(l.Files[i].Path, l.Files[j].Path) })
	for n := 1; n < len(order); n++ {
		// Sorted, what lies below a path comes right behind it.
		if a, b := l.Files[order[n-1]].Path, l.Files[order[n]].Path; len(a) <= len(b) && slices.Equal(a, b[:len(a)]) {
			return fmt.Errorf("%w: %q is there twice, or a file and a folder", ErrPath, a)
		}
	}
	if b.Version == V1 && !b.Align {
		return nil
	}
	sorted := make([]File, len(order))
	for n, i := range order {
		sorted[n] = l.Files[i]
	}
	l.Files, l.Source = padFiles(sorted, l.PieceLength)
	if b.Version == V2 { // as ParseInfo has it
		in := Info{Files: l.Files, PieceLength: l.PieceLength}
		if err := errors.Join(in.sum(), in.padTail()); err != nil {
			return err
		}
		if l.Files = in.Files; len(l.Source) < len(l.Files) {
			l.Source = append(l.Source, -1)
		}
	}
	for i, n := range l.Source {
		if n >= 0 {
			l.Source[i] = order[n]
		}
	}
	return nil
}

// check validates everything but the sums.
func (b *Builder) check() error {
	if err := checkComponent(b.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrName, err)
	}
	if n := b.PieceLength; n != 0 && (n < MinCreatedPieceLength || n > MaxPieceLength || bits.OnesCount64(uint64(n)) != 1) {
		return fmt.Errorf("%w: %d: want a power of two from 16 KiB to 256 MiB", ErrPieceLength, n)
	}
	if len(b.Files) == 0 || (b.SingleFile && len(b.Files) != 1) {
		return fmt.Errorf("%w: %d files", ErrFiles, len(b.Files))
	}
	if len(b.Files) > MaxFiles {
		return fmt.Errorf("%w: %d files, at most %d", ErrTooMany, len(b.Files), MaxFiles)
	}
	for _, f := range b.Files {
		if err := b.checkFile(f); err != nil {
			return err
		}
	}
	return b.checkOuter()
}

func (b *Builder) checkFile(f BuildFile) error {
	if f.Length < 0 || f.Length > MaxTotalLength {
		return fmt.Errorf("%w: %q: %d", ErrFileLength, f.Path, f.Length)
	}
	if f.Attr&^(AttrExecutable|AttrHidden) != 0 {
		return fmt.Errorf("%w: %q: attributes %v", ErrBuild, f.Path, f.Attr)
	}
	if b.SingleFile {
		return nil
	}
	if len(f.Path) == 0 || len(f.Path) > MaxPathDepth {
		return fmt.Errorf("%w: %q has %d components", ErrPath, f.Path, len(f.Path))
	}
	for _, part := range f.Path {
		if err := checkComponent(part); err != nil {
			return fmt.Errorf("%w: %q: %w", ErrPath, f.Path, err)
		}
	}
	return nil
}

func (b *Builder) checkOuter() error {
	trackers := 0
	for _, tier := range b.AnnounceList {
		trackers += len(tier)
		for _, u := range tier {
			if err := CheckTrackerURL(u); err != nil {
				return fmt.Errorf("tracker: %w", err)
			}
		}
	}
	for _, list := range [][]string{b.WebSeeds, b.HTTPSeeds} {
		if len(list) > MaxWebSeeds {
			return fmt.Errorf("%w: more than %d web seeds", ErrTooMany, MaxWebSeeds)
		}
		for _, u := range list {
			if err := CheckWebSeedURL(u); err != nil {
				return fmt.Errorf("web seed: %w", err)
			}
		}
	}
	if trackers > MaxTrackers || len(b.Nodes) > MaxNodes {
		return fmt.Errorf("%w: %d trackers, %d nodes", ErrTooMany, trackers, len(b.Nodes))
	}
	for _, n := range b.Nodes {
		if !validHost(n.Host) || n.Port == 0 {
			return fmt.Errorf("node: %w: %q", ErrURL, n.String())
		}
	}
	if len(b.Comment) > MaxTextLength || len(b.CreatedBy) > MaxTextLength || len(b.Source) > MaxTextLength {
		return fmt.Errorf("%w: comment, creator or source is longer than %d bytes", ErrBuild, MaxTextLength)
	}
	return nil
}

// Build makes the torrent from the hashes of Layout. Torrent.Encode gives the bytes of
// the .torrent file. It fails with ErrPieces when the hashes do not fit the layout.
func (b *Builder) Build(h Hashes) (*Torrent, error) {
	t, err := b.build(h)
	if err != nil {
		return nil, fmt.Errorf("build torrent: %w", err)
	}
	return t, nil
}

func (b *Builder) build(h Hashes) (*Torrent, error) {
	l, err := b.layout()
	if err != nil {
		return nil, err
	}
	var d bencode.Dict
	d.SetString("name", b.Name)
	d.SetInt("piece length", l.PieceLength)
	if b.Private {
		d.SetInt("private", 1)
	}
	if b.Source != "" {
		d.SetString("source", b.Source)
	}
	if b.Version != V2 {
		if len(h.Pieces) != 20*l.NumPieces {
			return nil, fmt.Errorf("%w: %d bytes of hashes for %d pieces", ErrPieces, len(h.Pieces), l.NumPieces)
		}
		b.setV1(&d, l, h.Pieces)
	}
	var layers Layers
	if b.Version != V1 {
		if layers, err = setV2(&d, l, h.Layers); err != nil {
			return nil, err
		}
	}
	in, err := ParseInfo(d.Append(nil))
	if err != nil {
		return nil, err
	}
	t := &Torrent{
		Info: in, PieceLayers: layers, WebSeeds: b.WebSeeds, HTTPSeeds: b.HTTPSeeds,
		Comment: b.Comment, CreatedBy: b.CreatedBy, CreationDate: b.CreationDate, Nodes: b.Nodes,
	}
	for _, tier := range b.AnnounceList {
		if len(tier) > 0 {
			t.AnnounceList = append(t.AnnounceList, tier)
		}
	}
	t.setHashes()
	return t, nil
}

// setV1 writes the version 1 keys.
func (b *Builder) setV1(d *bencode.Dict, l *Layout, pieces []byte) {
	d.SetBytes("pieces", pieces)
	if b.SingleFile {
		d.SetInt("length", l.Files[0].Length)
		if a := l.Files[0].Attr; a != 0 {
			d.SetString("attr", a.String())
		}
		return
	}
	d.SetFunc("files", func(dst []byte) []byte {
		dst = append(dst, 'l')
		for i := range l.Files {
			f := &l.Files[i]
			dst = append(dst, 'd')
			if f.Attr != 0 {
				dst = bencode.AppendString(dst, "attr")
				dst = bencode.AppendString(dst, f.Attr.String())
			}
			dst = bencode.AppendString(dst, "length")
			dst = bencode.AppendInt(dst, f.Length)
			dst = bencode.AppendString(dst, "path")
			dst = bencode.AppendStrings(dst, f.Path)
			dst = append(dst, 'e')
		}
		return append(dst, 'e')
	})
}
