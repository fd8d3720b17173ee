package resume

import (
	"errors"
	"testing"
)

// TestOpenBesideSave opens a folder again and again, as other programs with the same
// home folder do, while states, hashes of units and logs are written there: what they
// clean up is never what is being written.
func TestOpenBesideSave(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { // ends with stop
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if _, err := Open(dir); err != nil {
				ended <- err
				return
			}
		}
	}()
	s := sample()
	l := f.Log(s.InfoHash, 0)
	for range 200 {
		l.End(l.Begin([]uint32{1}), nil, nil)
		if l.lost {
			t.Error("the log of writes is lost")
			break
		}
		s.Log = l.Rotate()
		if err := errors.Join(f.Save(s), f.SaveUnits(s.InfoHash, []byte("x")), l.Drop(s.Log)); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	if err := errors.Join(<-ended, l.Close()); err != nil {
		t.Error(err)
	}
}

// TestHold: of two folders over one directory the first has a torrent until it gives
// it back, whatever the second does meanwhile.
func TestHold(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	one, two := [20]byte{1}, [20]byte{2}
	if err := errors.Join(a.Hold(one), a.Hold(one), b.Hold(two)); err != nil {
		t.Fatal(err)
	}
	if err := b.Hold(one); !errors.Is(err, ErrHeld) {
		t.Errorf("held twice: %v", err)
	}
	if err := errors.Join(b.Release(one), b.Close()); err != nil {
		t.Fatal(err)
	}
	if err := b.Hold(one); !errors.Is(err, ErrHeld) {
		t.Errorf("held twice after another's Release: %v", err)
	}
	if err := errors.Join(a.Hold(two), a.Release(one), b.Hold(one), a.Close(), b.Hold(two), b.Close()); err != nil {
		t.Error(err)
	}
}
