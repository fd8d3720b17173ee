package metainfo

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// DiskFile is a file as the disk layer wants it: a safe path relative to the download
// folder, with "/" between components.
type DiskFile struct {
	Path   string
	Length int64 // bytes
	Pad    bool  // takes part in the piece space but is not written
}

const (
	// maxComponent is the longest path component of common file systems, in bytes.
	maxComponent = 255
	// maxExtension is the longest file extension that survives cutting a name.
	maxExtension = 32
	// maxSuffix leaves room for what tells equal names apart: " (", digits and ")".
	maxSuffix = 12
)

// checkComponent refuses names that no system could hold as one path component.
func checkComponent(s string) error {
	switch {
	case s == "" || s == "." || s == "..":
		return errors.New("component is empty or relative")
	case len(s) > maxComponent:
		return errors.New("component is longer than 255 bytes")
	case strings.ContainsAny(s, "/\\\x00"):
		return errors.New("component holds a separator or a zero byte")
	case !utf8.ValidString(s):
		return errors.New("component is no UTF-8")
	}
	return nil
}

// DiskFiles are the torrent's files as they go to disk, in the order of the piece space:
// entry i belongs to Files[i]. Pad files and symbolic links are marked Pad, so they are
// not written. The paths are those of SafePaths, below a folder of the torrent's name
// unless it is a single file.
func (in *Info) DiskFiles() []DiskFile {
	files := make([]DiskFile, len(in.Files))
	paths := make([][]string, 0, len(in.Files))
	for i := range in.Files {
		f := &in.Files[i]
		files[i] = DiskFile{Length: f.Length, Pad: f.Pad || f.Attr&AttrSymlink != 0}
		if !files[i].Pad {
			paths = append(paths, f.Path)
		}
	}
	folder := ""
	if !in.SingleFile {
		folder = SafeName(in.Name) + "/"
	}
	safe := safePaths(folder, paths)
	for i, n := 0, 0; i < len(files); i++ {
		if files[i].Pad {
			files[i].Path = folder + ".pad/" + strconv.Itoa(i)
			continue
		}
		files[i].Path = safe[n]
		n++
	}
	return files
}

// SafeName makes one path component of a name a stranger chose, the same on every system:
// never empty, "." or "..", at most 255 bytes of valid UTF-8 (the extension survives
// cutting), without separators, control characters, characters that turn the direction
// of text, and characters Windows forbids (each becomes "_"), without trailing dots and
// spaces, and none of Windows' device names.
func SafeName(s string) string {
	if isPlainName(s) {
		return s
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if isUnsafeRune(r) {
			return '_'
		}
		return r
	}, s)
	s = strings.TrimRight(s, ". ")
	if s == "" {
		return "_"
	}
	if stem, rest := cutDevice(s); stem != "" {
		s = stem + "_" + rest
	}
	return cutName(s, maxComponent)
}

// isPlainName reports whether s is safe as it is, for the common names at little cost;
// false means only that the long way must decide.
func isPlainName(s string) bool {
	if s == "" || len(s) > maxComponent {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || unsafeASCII[c] {
			return false
		}
	}
	if last := s[len(s)-1]; last == '.' || last == ' ' {
		return false
	}
	stem, _ := cutDevice(s)
	return stem == ""
}

// unsafeASCII is isUnsafeRune for the characters most names consist of.
var unsafeASCII = func() (table [utf8.RuneSelf]bool) {
	for c := range table {
		table[c] = isUnsafeRune(rune(c))
	}
	return table
}()

func isUnsafeRune(r rune) bool {
	switch r {
	case '/', '\\', ':', '*', '?', '"', '<', '>', '|', 0x7F:
		return true
	case 0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2066, 0x2067, 0x2068, 0x2069:
		return true // would show "gpj.exe" as "exe.jpg"
	case 0x2028, 0x2029:
		return true // line and paragraph separators
	}
	return r < 0x20 || (0x80 <= r && r < 0xA0)
}

// cutDevice splits a Windows device name off the front of s: "con .txt" gives "con" and
// " .txt". If there is none, stem is "" and rest is s.
func cutDevice(s string) (stem, rest string) {
	stem, _, _ = strings.Cut(s, ".")
	stem = strings.TrimRight(stem, " ")
	if n := len(stem); n < 3 || n > len("CONOUT$") {
		return "", s
	}
	for _, device := range [...]string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} {
		if strings.EqualFold(stem, device) {
			return stem, s[len(stem):]
		}
	}
	if port := stem[:3]; strings.EqualFold(port, "COM") || strings.EqualFold(port, "LPT") {
		switch stem[3:] {
		case "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "¹", "²", "³":
			return stem, s[len(stem):]
		}
	}
	return "", s
}

// cutName shortens s to limit bytes between runes and keeps the extension.
func cutName(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	stem, ext := splitExtension(s)
	n := limit - len(ext)
	for n > 0 && !utf8.RuneStart(stem[n]) {
		n--
	}
	stem = strings.TrimRight(stem[:n], " ")
	if stem == "" || (ext == "" && strings.TrimRight(stem, ". ") != stem) {
		stem = strings.TrimRight(stem, ". ") + "_"
	}
	return stem + ext
}

// splitExtension cuts a short extension off, dot included.
func splitExtension(s string) (stem, ext string) {
	if i := strings.LastIndexByte(s, '.'); i > 0 && len(s)-i <= maxExtension {
		return s[:i], s[i:]
	}
	return s, ""
}

// SafePaths makes on-disk paths of torrent paths: each component goes through SafeName,
// and no two results are equal, nor is one a folder of another, even where case and
// Unicode composition do not count. Of clashing files the first keeps its name, and a
// file gives way to a folder; others get " (1)", " (2)" … before the extension. The
// result depends on the input alone: the same torrent always has the same paths.
func SafePaths(paths [][]string) []string { return safePaths("", paths) }

// safePaths puts folder, which ends with a slash or is empty, before each path.
func safePaths(folder string, paths [][]string) []string {
	safe := make([]string, len(paths))
	keys := make([]string, len(paths))
	size := 0
	for _, path := range paths {
		size += len(folder) + 1
		for _, part := range path {
			size += min(len(part), maxComponent) + 1
		}
	}
	var text, folded strings.Builder // one allocation for all the usual names
	text.Grow(size)
	folded.Grow(size)
	for i, path := range paths {
		start := text.Len()
		text.WriteString(folder)
		for j, part := range path {
			if j > 0 {
				text.WriteByte('/')
			}
			text.WriteString(SafeName(part))
		}
		if len(path) == 0 {
			text.WriteByte('_')
		}
		safe[i] = text.String()[start:]
		keys[i] = appendKey(&folded, safe[i][len(folder):])
	}
	resolveCollisions(safe, keys, len(folder))
	return safe
}

// collisionKey is equal for paths that some file system takes for one. Separators become
// zero bytes, which sorts a folder's content directly behind the folder's name.
func collisionKey(path string) string {
	fold := func(r rune) rune {
		if r == '/' {
			return 0
		}
		return unicode.ToLower(unicode.ToUpper(r))
	}
	// Folding can undo composition and the other way around, hence twice.
	path = norm.NFD.String(strings.Map(fold, norm.NFD.String(path)))
	return norm.NFC.String(strings.Map(fold, path))
}

// appendKey is collisionKey, in the memory of b for the usual paths of ASCII.
func appendKey(b *strings.Builder, path string) string {
	start := b.Len()
	for i := range len(path) {
		c := path[i]
		switch {
		case c >= utf8.RuneSelf:
			return collisionKey(path)
		case c == '/':
			c = 0
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()[start:]
}

// resolveCollisions renames files in safe until no two clash; keys are the collision keys
// of what follows the first skip bytes.
func resolveCollisions(safe, keys []string, skip int) {
	sorted := slices.Clone(keys)
	slices.Sort(sorted)
	if !anyClash(sorted) {
		return
	}
	// taken holds the keys given out so far; next counts the numbers used up for a name,
	// so that a million equal names take a million steps.
	taken := make(map[string]bool, len(safe))
	next := make(map[string]int)
	for i, key := range keys {
		if !taken[key] && !isFolder(sorted, key) {
			taken[key] = true
			continue
		}
		folder, name := "", safe[i][skip:]
		if cut := strings.LastIndexByte(name, '/'); cut >= 0 {
			folder, name = name[:cut+1], name[cut+1:]
		}
		stem, ext := splitExtension(cutName(name, maxComponent-maxSuffix))
		base := collisionKey(folder + stem + "\x00" + ext)
		for {
			next[base]++
			candidate := folder + stem + " (" + strconv.Itoa(next[base]) + ")" + ext
			key := collisionKey(candidate)
			if _, original := slices.BinarySearch(sorted, key); original || taken[key] || isFolder(sorted, key) {
				continue
			}
			taken[key] = true
			safe[i] = safe[i][:skip] + candidate
			break
		}
	}
}

// anyClash reports whether sorted keys hold equal ones or a file that is a folder too.
func anyClash(sorted []string) bool {
	for i := 1; i < len(sorted); i++ {
		if rest, ok := strings.CutPrefix(sorted[i], sorted[i-1]); ok && (rest == "" || rest[0] == 0) {
			return true
		}
	}
	return false
}

// isFolder reports whether any of the sorted keys lies below key.
func isFolder(sorted []string, key string) bool {
	below := key + "\x00"
	i, _ := slices.BinarySearch(sorted, below)
	return i < len(sorted) && strings.HasPrefix(sorted[i], below)
}
