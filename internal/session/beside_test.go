package session

import (
	"context"
	"net/netip"
	"testing"
)

// TestBeside runs two sessions over one folder of resume data, as programs with the
// same home folder are, with the same torrent in different folders. The second keeps
// none and harms none of the first's, whether it completes, moves or removes its files.
func TestBeside(t *testing.T) {
	dir, torrent := content(t, manyFiles, 64<<10)
	state, mine := t.TempDir(), t.TempDir()
	seed := open(t, Config{})
	await(t, add(t, seed, Add{Torrent: torrent, Dir: dir}))
	from := []netip.AddrPort{seed.Addr()}

	first, second := open(t, Config{StateDir: state}), open(t, Config{StateDir: state})
	x := add(t, first, Add{Torrent: torrent, Dir: mine, Peers: from})
	await(t, x)
	y := add(t, second, Add{Torrent: torrent, Dir: t.TempDir(), Peers: from})
	await(t, y)
	must(t, y.Move(context.Background(), t.TempDir()))
	await(t, y)
	must(t, y.Remove(context.Background(), true))
	must(t, first.Remove(torrent.InfoHash))
	st, err := first.resume.Load(torrent.InfoHash)
	if err != nil || st.Dir != mine || !st.Clean {
		t.Fatalf("the first's state is %+v, %v", st, err)
	}

	// Now nobody has the torrent, and what is kept of it is the second's.
	y = add(t, second, Add{Torrent: torrent, Dir: dir})
	await(t, y)
	must(t, second.Remove(torrent.InfoHash))
	if st, err = first.resume.Load(torrent.InfoHash); err != nil || st.Dir != dir {
		t.Errorf("the second's state is %+v, %v", st, err)
	}
}
