package consent

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bttnet/btt/metainfo"
)

func hash(b byte) metainfo.InfoHash { return metainfo.InfoHash{b} }

// TestChoiceLasts: nothing is consented to until somebody says so, and what was
// said is there for the next process.
func TestChoiceLasts(t *testing.T) {
	home := filepath.Join(t.TempDir(), "not", "there")
	if c, err := Load(home); err != nil || !reflect.DeepEqual(c, Choice{}) || c.Phase != Off {
		t.Fatalf("without a file: %+v, %v", c, err)
	}
	want := Choice{Phase: Full, Said: 3, Ledger: "http://127.0.0.1:7700", Limits: Limits{Budget: "5 BTT"},
		Plain: []metainfo.InfoHash{hash(1), hash(2)}}
	if _, err := Change(home, false, func(c *Choice) error { *c = want; return nil }); err != nil {
		t.Fatal(err)
	}
	got, err := Load(home)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("kept %+v, %v; want %+v", got, err, want)
	}
	no := errors.New("no")
	if _, err := Change(home, false, func(c *Choice) error { c.Phase = Off; return no }); !errors.Is(err, no) {
		t.Errorf("refused change: %v", err)
	}
	if got, _ := Load(home); got.Phase != Full {
		t.Errorf("a refused change was kept: %+v", got)
	}
	none := filepath.Join(t.TempDir(), "none")
	if _, err := Change(none, true, func(*Choice) error { return no }); !errors.Is(err, no) {
		t.Errorf("refused first change: %v", err)
	}
	if _, err := os.Stat(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused change made the folder: %v", err)
	}
	st, err := os.Stat(filepath.Join(home, fileName))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", st.Mode(), err)
	}
}

// TestDamagedChoice: a file that cannot be understood is no consent, an error, and
// replaced only when asked.
func TestDamagedChoice(t *testing.T) {
	for name, text := range map[string]string{
		"cut":        `{"phase": "on"`,
		"more":       `{"phase": "on", "said": 1} {}`,
		"phase":      `{"phase": "perhaps"}`,
		"number":     `{"phase": 2}`,
		"field":      `{"phase": "on", "ask-first": true}`,
		"order":      `{"phase": "on", "plain": ["` + hash(2).String() + `", "` + hash(1).String() + `"]}`,
		"twice":      `{"phase": "on", "plain": ["` + hash(1).String() + `", "` + hash(1).String() + `"]}`,
		"long":       `{"phase": "on", "ledger": "` + strings.Repeat("x", maxText+1) + `"}`,
		"endless":    strings.Repeat(" ", maxFile+1),
		"count":      `{"phase": "on", "said": -1}`,
		"no content": "",
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			if err := os.WriteFile(filepath.Join(home, fileName), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if c, err := Load(home); err == nil || c.Phase != Off {
				t.Fatalf("read as %+v, %v", c, err)
			}
			if _, err := Change(home, false, func(*Choice) error { return nil }); err == nil {
				t.Error("changed what was not understood")
			}
			if c, err := Change(home, true, func(c *Choice) error { c.Said++; return nil }); err != nil || c.Said != 1 {
				t.Errorf("made anew: %+v, %v", c, err)
			}
		})
	}
}

// TestDecisionAfterLoss: whoever follows a choice hears of a decision that was made
// after the file was damaged or removed, though it may be the same one.
func TestDecisionAfterLoss(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, fileName)
	now := time.Unix(1_795_000_000, 0)
	decide := func(phase Phase) Choice {
		t.Helper()
		now = now.Add(time.Second)
		c, err := Change(home, true, func(c *Choice) error { c.Decide(phase, now); return nil })
		if err != nil || c.Phase != phase {
			t.Fatalf("kept %+v, %v", c, err)
		}
		return c
	}
	heard := decide(Full).Said
	for name, lose := range map[string]func() error{
		"nothing":      func() error { return nil },
		"damaged":      func() error { return os.WriteFile(path, []byte(`{"phase": "on", "said": `), 0o600) },
		"removed":      func() error { return os.Remove(path) },
		"clock behind": func() error { now = now.Add(-time.Hour); return nil },
	} {
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		c := decide(Off)
		if c.Said == heard {
			t.Errorf("%s: what is said then is number %d as before", name, heard)
		}
		heard = c.Said
	}
	c := Choice{Said: math.MaxInt64}
	if c.Decide(Off, now); c.Said != now.UnixMilli() {
		t.Errorf("after the last number comes %d", c.Said)
	}
}

// TestPlainIsASet: torrents are named once, and no more than MaxPlain.
func TestPlainIsASet(t *testing.T) {
	var c Choice
	for _, b := range []byte{5, 1, 9, 5} {
		c.SetPlain(hash(b), true)
	}
	before := c.Plain
	c.SetPlain(hash(1), false)
	c.SetPlain(hash(7), false)
	if want := []metainfo.InfoHash{hash(5), hash(9)}; !reflect.DeepEqual(c.Plain, want) {
		t.Errorf("got %v, want %v", c.Plain, want)
	}
	if !c.IsPlain(hash(9)) || c.IsPlain(hash(1)) || !c.IsPlain(hash(1), hash(5)) || len(before) != 3 {
		t.Errorf("%v, before %v", c.Plain, before)
	}
	for i := range MaxPlain {
		c.SetPlain(metainfo.InfoHash{100, byte(i >> 8), byte(i)}, true)
	}
	if _, err := c.Encode(); !errors.Is(err, errPlain) {
		t.Errorf("%d torrents: %v", len(c.Plain), err)
	}
	c.Plain = c.Plain[:MaxPlain]
	for _, s := range []*string{&c.Ledger, &c.SpendRate, &c.Bids, &c.PriceCap, &c.Budget, &c.Reserve, &c.ReserveGrowth, &c.ReserveCap} {
		*s = strings.Repeat("x", maxText)
	}
	b, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode(b); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("the greatest choice, %d bytes, is not read: %v", len(b), err)
	}
}

// TestChangesOfMany: changes at the same time are all kept.
func TestChangesOfMany(t *testing.T) {
	home := t.TempDir()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := Change(home, false, func(c *Choice) error {
				c.Said++
				c.SetPlain(hash(byte(i)), true)
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c, err := Load(home); err != nil || c.Said != 20 || len(c.Plain) != 20 {
		t.Errorf("kept %+v, %v", c, err)
	}
}

func FuzzDecode(f *testing.F) {
	full := Choice{Phase: Full, Said: 2, Ledger: "unix:/run/ledger", Limits: Limits{SpendRate: "0.5", PriceCap: "5 BTT/GiB", Reserve: "0"}, Plain: []metainfo.InfoHash{hash(3)}}
	b, err := full.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"phase":"earn"}`))
	f.Add([]byte(`{"phase":"on","plain":["00"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Decode(b)
		if err != nil {
			if !reflect.DeepEqual(c, Choice{}) {
				t.Fatalf("an error with a choice: %+v", c)
			}
			return
		}
		again, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		d, err := Decode(again)
		if err != nil {
			t.Fatal(err)
		}
		if third, _ := d.Encode(); !bytes.Equal(again, third) {
			t.Fatalf("%s becomes %s", again, third)
		}
	})
}
