package terminal

import (
	"strings"
	"testing"
)

// TestWarn: what is no result is beside the results, where these are kept.
func TestWarn(t *testing.T) {
	for mode, want := range map[Mode][2]string{
		Lines: {"done\n", "btt: trouble\n"},
		Bars:  {"btt: trouble\ndone\n", ""},
		JSON:  {`{"event":"warning","x":1}` + "\n" + `{"event":"done"}` + "\n", ""},
	} {
		var out, talk strings.Builder
		r := New(mode, &out)
		r.talk = &talk
		r.Warn("warning", "trouble", Fields{"x": 1})
		r.Event("done", "done", nil)
		if out.String() != want[0] || talk.String() != want[1] {
			t.Errorf("mode %d: %q and %q", mode, out.String(), talk.String())
		}
	}
}

// TestCut: a line of a table takes one line of the terminal, whatever is in it.
func TestCut(t *testing.T) {
	for _, tt := range []struct {
		line  string
		width int
		want  string
	}{
		{"film.bin 3 %", 0, "film.bin 3 %"}, {"film.bin 3 %", 12, "film.bin 3 %"}, {"film.bin 3 %", 11, "film.bin 3…"}, {"映画映画", 5, "映画…"}, {"ab", 1, "…"},
	} {
		if got := cut(tt.line, tt.width); got != tt.want {
			t.Errorf("%q in %d columns: %q, want %q", tt.line, tt.width, got, tt.want)
		}
	}
}

// TestProgressWithoutSize: what is not known is not counted.
func TestProgressWithoutSize(t *testing.T) {
	var out strings.Builder
	r := New(Lines, &out)
	r.Progress("link", 0, 0, "no peers", nil)
	if got := out.String(); got != "link: no peers\n" {
		t.Errorf("%q", got)
	}
	out.Reset()
	r = New(Lines, &out)
	r.Progress("film", 1024, 4096, "2 peers", nil)
	if got := out.String(); got != "film: 1.0 KiB of 4.0 KiB (25 %) 2 peers\n" {
		t.Errorf("%q", got)
	}
}
