package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// Mode is how a [Reporter] writes.
type Mode uint8

// Modes.
const (
	Lines Mode = iota // plain lines
	Bars              // a live view; only for terminals
	JSON              // one JSON object a line
)

// ModeFor returns JSON if asked for, Bars if f is a terminal, else Lines.
func ModeFor(f *os.File, asJSON bool) Mode {
	switch {
	case asJSON:
		return JSON
	case term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb":
		return Bars
	}
	return Lines
}

// lineEvery is the least time between two progress lines.
const lineEvery = 5 * time.Second

// Reporter writes events of one command.
type Reporter struct {
	mode Mode
	out  io.Writer
	talk io.Writer // what is no result: warnings among plain lines

	mu   sync.Mutex
	bars *mpb.Progress
	bar  *mpb.Bar
	note string
	last time.Time
	rows int // lines of the table on the screen
}

// New returns a reporter that writes to out, and warns on stderr.
func New(mode Mode, out io.Writer) *Reporter { return &Reporter{mode: mode, out: out, talk: os.Stderr} }

// Warn tells of trouble that does not end the command: as an event where people
// or programs watch, on stderr where the output is kept.
func (r *Reporter) Warn(name, text string, f Fields) {
	text = "btt: " + text
	if r.mode != Lines {
		r.Event(name, text, f)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(r.talk, text)
}

// Mode returns how the reporter writes.
func (r *Reporter) Mode() Mode { return r.mode }

// Fields are the members of a JSON event besides "event".
type Fields map[string]any

// Event writes one event: as JSON, or as the line text (nothing if empty).
func (r *Reporter) Event(name, text string, f Fields) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.mode == JSON:
		m := make(map[string]any, len(f)+1)
		for k, v := range f {
			m[k] = v
		}
		m["event"] = name
		b, err := json.Marshal(m)
		if err != nil {
			b = fmt.Appendf(nil, `{"event":"error","error":%q}`, err.Error())
		}
		fmt.Fprintf(r.out, "%s\n", b)
	case text == "":
	case r.bars != nil:
		fmt.Fprintln(r.bars, text)
	default:
		if r.rows > 0 { // lines go above the table
			fmt.Fprintf(r.out, "\x1b[%dA\x1b[J", r.rows)
			r.rows = 0
		}
		fmt.Fprintln(r.out, text)
	}
}

// Progress shows how far a transfer is; note is a short text beside the bar.
func (r *Reporter) Progress(name string, done, total int64, note string, f Fields) {
	switch r.mode {
	case JSON:
		r.Event("progress", "", f)
	case Bars:
		r.showBar(name, done, total, note)
	default:
		r.mu.Lock()
		due := time.Since(r.last) >= lineEvery
		if due {
			r.last = time.Now()
		}
		r.mu.Unlock()
		if due {
			if total > 0 {
				note = fmt.Sprintf("%s of %s (%d %%) %s", Bytes(done), Bytes(total), Percent(done, total), note)
			}
			r.Event("progress", name+": "+note, nil)
		}
	}
}

func (r *Reporter) showBar(name string, done, total int64, note string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note = note
	if r.bars == nil {
		r.bars = mpb.New(mpb.WithOutput(r.out), mpb.WithWidth(48), mpb.WithRefreshRate(200*time.Millisecond))
		r.bar = r.bars.AddBar(total,
			mpb.PrependDecorators(decor.Name(name+" "), decor.Percentage(decor.WC{W: 5})),
			mpb.AppendDecorators(decor.CountersKibiByte("% .1f / % .1f "), decor.Any(func(decor.Statistics) string {
				return r.noteText()
			})))
	}
	r.bar.SetTotal(total, false)
	r.bar.SetCurrent(done)
}

// noteText is called from the bars' own goroutine.
func (r *Reporter) noteText() string {
	if !r.mu.TryLock() {
		return ""
	}
	defer r.mu.Unlock()
	return r.note
}

// Finish fills the bar: all of the size is there.
func (r *Reporter) Finish(size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bar != nil {
		r.note = ""
		r.bar.SetTotal(size, false)
		r.bar.SetCurrent(size)
		r.bar.SetTotal(-1, true)
	}
}

// Close ends a live view.
func (r *Reporter) Close() {
	r.mu.Lock()
	bars, bar := r.bars, r.bar
	r.bars = nil
	r.mu.Unlock()
	if bars != nil {
		bar.SetTotal(-1, true)
		bars.Shutdown()
	}
}

func Percent(done, total int64) int64 {
	if total <= 0 {
		return 0
	}
	return done * 100 / total
}

// Bytes writes a number of bytes for people, in binary units.
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// Rate writes bytes per second for people.
func Rate(n int64) string { return Bytes(n) + "/s" }

// Count writes a number of things: "1 peer", "2 peers".
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Span writes a time for people, such as "45 s", "12 min" or "3 h 20 min".
func Span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 100*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Table draws lines in place of those drawn before; nil ends the drawing and
// leaves the last lines. It does nothing unless the mode is [Bars].
func (r *Reporter) Table(rows []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mode != Bars {
		return
	}
	if rows == nil {
		r.rows = 0
		return
	}
	if r.rows > 0 {
		fmt.Fprintf(r.out, "\x1b[%dA", r.rows)
	}
	width := r.width()
	for _, row := range rows {
		fmt.Fprintf(r.out, "\r\x1b[2K%s\n", cut(row, width))
	}
	r.rows = len(rows)
}

// width is how many columns the terminal has; 0 = not known.
func (r *Reporter) width() int {
	f, ok := r.out.(*os.File)
	if !ok {
		return 0
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return columns
}

// cut shortens a line to width columns, 0 = as many as it needs: one that wraps would
// take two lines of a table that is drawn anew. Wide letters take two columns.
func cut(line string, width int) string {
	if width <= 0 {
		return line
	}
	return new(runewidth.Condition).Truncate(line, width, "…") // whatever the locale
}
