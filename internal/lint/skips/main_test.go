package main

import (
	"strings"
	"testing"
)

const events = `{"Action":"start","Package":"p"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"    a_test.go:1: chatter\n"}
{"Action":"pass","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestBad","Output":"    a_test.go:2: reason of failure\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Test":"TestSkip","Output":"    a_test.go:3: reason of skip\n"}
{"Action":"skip","Package":"p","Test":"TestSkip"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
{"Action":"skip","Package":"q"}
`

func TestReport(t *testing.T) {
	cases := map[string]struct {
		without string // lines that name it are left out
		forbid  bool
		good    bool
		says    []string
		silent  []string
	}{
		"all":                {"", false, false, []string{"reason of failure", "reason of skip", "FAIL\tp", "no test files", "1 passed, 1 failed, 1 skipped"}, []string{"chatter", "=== RUN"}},
		"skip is allowed":    {"TestBad", false, true, []string{"SKIPPED p TestSkip", "1 passed, 0 failed, 1 skipped"}, nil},
		"skip is forbidden":  {"TestBad", true, false, []string{"skipped tests fail the run"}, nil},
		"a package may skip": {"TestSkip", true, false, []string{"1 passed, 1 failed, 0 skipped"}, []string{"skipped tests fail"}},
		"unfinished":         {`"Action":"fail"`, false, false, []string{"unfinished: p TestBad"}, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var in, out strings.Builder
			for line := range strings.Lines(events) {
				if c.without == "" || !strings.Contains(line, c.without) {
					in.WriteString(line)
				}
			}
			r := newReport(&out)
			if err := r.read(strings.NewReader(in.String())); err != nil {
				t.Fatal(err)
			}
			if good := r.summary(c.forbid); good != c.good {
				t.Errorf("good = %t, want %t", good, c.good)
			}
			for _, s := range c.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("does not say %q:\n%s", s, out.String())
				}
			}
			for _, s := range c.silent {
				if strings.Contains(out.String(), s) {
					t.Errorf("says %q:\n%s", s, out.String())
				}
			}
		})
	}
}
