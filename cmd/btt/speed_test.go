package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/bttnet/btt"
	"github.com/bttnet/btt/internal/consent"
	"github.com/bttnet/btt/metainfo"
)

// TestPlainHybrid: a hybrid that is to stay out does so whichever of its two hashes it is
// named by, then and when it is downloaded.
func TestPlainHybrid(t *testing.T) {
	one, two := "magnet:?xt=urn:btih:"+strings.Repeat("1a", 20), "magnet:?xt=urn:btmh:1220"+strings.Repeat("2b", 32)
	both := one + "&xt=urn:btmh:1220" + strings.Repeat("2b", 32)
	for _, tt := range []struct {
		out, get string
		want     bool
	}{
		{both, both, true},
		{both, one, true},
		{both, two, true},
		{one, both, true},
		{two, both, true},
		{strings.Repeat("2b", 20), two, true},
		{one, two, false}, // nobody knows that they are one
	} {
		hashes, err := hashesOf(tt.out)
		if err != nil {
			t.Fatal(err)
		}
		var c consent.Choice
		for _, h := range hashes {
			c.SetPlain(h, true)
		}
		m, err := metainfo.ParseMagnet(tt.get)
		if err != nil {
			t.Fatal(err)
		}
		a := btt.FromMagnet(m)
		if names := namesOf(&a); c.IsPlain(names...) != tt.want || !slices.Contains(names, m.Hash()) {
			t.Errorf("out by %s, got by %s, known as %v: stays out %v, want %v", tt.out, tt.get, names, !tt.want, tt.want)
		}
	}
}
