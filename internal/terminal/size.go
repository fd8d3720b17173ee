package terminal

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ErrSize says that a text is no number of bytes.
var ErrSize = errors.New("not a size")

var sizeUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"B", 1}, {"", 1},
}

// ParseBytes reads a number of bytes such as 65536, 256KiB, 2MiB or 10MB. A
// trailing "/s" is allowed. The error wraps [ErrSize].
func ParseBytes(s string) (int64, error) {
	text := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "/s"))
	for _, u := range sizeUnits {
		num, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(num), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.factor {
			break
		}
		return n * u.factor, nil
	}
	return 0, fmt.Errorf("%q is %w: write for example 65536, 256KiB or 2MiB", s, ErrSize)
}
