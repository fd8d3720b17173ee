package queue

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPlan(t *testing.T) {
	load, seed, off := Entry{May: true}, Entry{May: true, Whole: true}, Entry{}
	forced := Entry{May: true, Apart: true}
	for name, c := range map[string]struct {
		limits Limits
		list   []Entry
		want   []bool
	}{
		"nothing":               {},
		"no limits":             {Limits{}, []Entry{load, seed, off, load}, []bool{true, true, false, true}},
		"in order":              {Limits{Downloads: 2}, []Entry{load, off, load, load, seed}, []bool{true, false, true, false, true}},
		"seeds apart":           {Limits{Downloads: 1, Seeds: 1}, []Entry{seed, load, seed, load}, []bool{true, true, false, false}},
		"forced is not counted": {Limits{Downloads: 1}, []Entry{forced, load, forced, load}, []bool{true, true, true, false}},
		"forced and stopped":    {Limits{Downloads: 1}, []Entry{{Apart: true}, load}, []bool{false, true}},
	} {
		if got := Plan(nil, c.limits, c.list); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestPlanFills: as many run as may and fit, and none runs while one that
// stands before it waits.
func TestPlanFills(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		list := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Entry {
			return Entry{May: rapid.Bool().Draw(t, "may"), Apart: rapid.Bool().Draw(t, "apart")}
		})).Draw(t, "list")
		may, runs, waits := 0, 0, false
		for i, run := range Plan(nil, Limits{Downloads: limit}, list) {
			switch e := list[i]; {
			case run && !e.May:
				t.Fatal("one runs that may not")
			case e.Apart:
				if run != e.May {
					t.Fatal("one that stands apart waits")
				}
			case e.May && !run:
				may, waits = may+1, true
			case e.May:
				if may, runs = may+1, runs+1; waits {
					t.Fatal("one runs while another before it waits")
				}
			}
		}
		if runs != min(may, limit) {
			t.Fatalf("%d run, %d may, the limit is %d", runs, may, limit)
		}
	})
}

// TestOrder compares with a plain list, also when positions must be spread
// anew.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o Order[int]
		var want []int
		places := map[int]*Place[int]{}
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				p := &Place[int]{}
				p.Init(next, 0)
				o.Add(p)
				places[next] = p
				want = append(want, next)
				next++
			},
			"remove": func(t *rapid.T) {
				if len(want) == 0 {
					t.Skip("is empty")
				}
				i := rapid.IntRange(0, len(want)-1).Draw(t, "i")
				o.Remove(places[want[i]])
				want = slices.Delete(want, i, i+1)
			},
			"move": func(t *rapid.T) {
				if len(want) == 0 {
					t.Skip("is empty")
				}
				item, to := rapid.SampledFrom(want).Draw(t, "item"), rapid.IntRange(-1, len(want)+1).Draw(t, "to")
				before := map[int]int64{}
				for _, i := range want {
					before[i] = places[i].Position()
				}
				told := o.Move(places[item], to)
				want = slices.DeleteFunc(want, func(i int) bool { return i == item })
				want = slices.Insert(want, min(max(to, 0), len(want)), item)
				for _, i := range want {
					if places[i].Position() != before[i] && !slices.Contains(told, i) {
						t.Fatalf("the position of %d changed and nobody was told", i)
					}
				}
			},
			"": func(t *rapid.T) {
				if got := o.Items(); !slices.Equal(got, want) {
					t.Fatalf("%v, want %v", got, want)
				}
				for i, item := range want {
					if got := o.Rank(places[item]); got != i {
						t.Fatalf("rank of %d is %d, want %d", item, got, i)
					}
				}
				if !slices.IsSortedFunc(want, func(a, b int) int { return cmp.Compare(places[a].Position(), places[b].Position()) }) {
					t.Fatal("positions do not give the order")
				}
			},
		})
	})
}

// TestOrderSpreads moves between the same two until no room is left.
func TestOrderSpreads(t *testing.T) {
	var o Order[int]
	places := make([]Place[int], 4)
	for i := range places {
		places[i].Init(i, 0)
		o.Add(&places[i])
	}
	spread := false
	for i := range 60 {
		told := o.Move(&places[2+i%2], 1)
		spread = spread || len(told) == 4
	}
	if !spread {
		t.Error("positions were never spread anew")
	}
	if got := o.Items(); !slices.Equal(got, []int{0, 3, 2, 1}) {
		t.Errorf("the order is %v", got)
	}
}

func TestOrderSort(t *testing.T) {
	var o Order[int]
	places := make([]Place[int], 3)
	for i, at := range []int64{7, 3, 7} {
		places[i].Init(i, at)
		o.Add(&places[i])
	}
	o.Sort(func(a, b int) int { return b - a })
	if got := o.Items(); !slices.Equal(got, []int{1, 2, 0}) {
		t.Errorf("the order is %v", got)
	}
	o.Remove(&Place[int]{}) // not in it
	if got := o.Move(&Place[int]{}, 0); got != nil {
		t.Errorf("a stranger moved %v", got)
	}
}
