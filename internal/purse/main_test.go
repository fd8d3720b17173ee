package purse

import (
	"os"
	"testing"

	"github.com/bttnet/btt/wallet"
)

// TestMain makes passwords cheap: what stretching costs is package wallet's to
// test.
func TestMain(m *testing.M) {
	wallet.PasswordKDF = wallet.KDF{Time: 1, MemoryKiB: 64, Threads: 1}
	os.Exit(m.Run())
}
