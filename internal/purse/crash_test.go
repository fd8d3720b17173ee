package purse

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/wallet"
)

// TestCrashWhileWriting kills the machine at each step of each small file's
// write, and lets the disk refuse each: the wallet opens again with the old or
// the new state, and never loses the phrase or repeats a key.
func TestCrashWhileWriting(t *testing.T) {
	died := errors.New("died")
	for _, file := range []string{keyFile, vaultFile, indexFile, limitsFile, accountFile} {
		for step := durable.Create; step <= durable.Publish; step++ {
			b := newBench(t)
			b.cfg.Budget = nil
			b.reopen()
			_, first, err := b.purse.NewChannelKey()
			if err != nil {
				t.Fatal(err)
			}
			want := b.purse.Address()
			b.purse.Close()
			if file == accountFile {
				os.Remove(filepath.Join(b.cfg.Dir, accountFile))
			}
			armed := true
			b.cfg.disk = durable.Disk{Fault: func(s durable.Step, name string) error {
				if armed && s == step && name == file {
					return died
				}
				return nil
			}}
			hit := b.useUntil(died)
			if !hit {
				t.Fatalf("%s before %v: nothing was written", file, step)
			}
			armed = false
			b.recoverAfter(file, want, first)
		}
	}
}

// useUntil opens the wallet and writes every small file, up to the crash.
func (b *bench) useUntil(died error) bool {
	p, err := Open(b.cfg)
	if err != nil {
		return errors.Is(err, died)
	}
	defer p.Close()
	if err := p.SetBudget(wallet.Budget{PerDay: 1}); err != nil {
		return errors.Is(err, died)
	}
	for range 2*indexStride + 1 {
		if _, _, err := p.NewChannelKey(); err != nil {
			return errors.Is(err, died)
		}
	}
	if err := p.SetPassword("", "pw"); err != nil {
		return errors.Is(err, died)
	}
	return errors.Is(p.SetPassword("pw", ""), died)
}

func (b *bench) recoverAfter(file string, want ledger.Address, first ledger.Signer) {
	b.Helper()
	p, err := Open(b.cfg)
	if errors.Is(err, ErrPasswordNeeded) {
		cfg := b.cfg
		cfg.Password = "pw"
		p, err = Open(cfg)
	}
	if err != nil {
		b.Fatalf("%s: %v", file, err)
	}
	defer p.Close()
	if p.Address() != want {
		b.Errorf("%s: address %s, want %s", file, p.Address(), want)
	}
	if got := p.Budget(); got != wallet.DefaultBudget() && got != (wallet.Budget{PerDay: 1}) {
		b.Errorf("%s: limits %+v", file, got)
	}
	if _, key, err := p.NewChannelKey(); err != nil || key.PublicKey() == first.PublicKey() {
		b.Errorf("%s: channel key repeats (%v)", file, err)
	}
}

func FuzzAccountFile(f *testing.F) {
	b := []byte("02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5 TDvSsdrNM5eeXNL3czpa6AxLDHZA9nwe9K\n")
	f.Add(b)
	f.Add([]byte("00 T"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if pub, err := parseAccount(text); err == nil && !pub.Valid() {
			t.Fatalf("%q is no key", text)
		}
	})
}
