package ledgerd

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bttnet/btt/internal/durable"
)

// Files of a ledger directory; all are readable by their owner alone.
const (
	genesisFile = "genesis.json" // the network's first state; its hash names the network
	blocksFile  = "blocks.log"   // every block since; the truth
	lockFile    = "lock"         // held while a server runs
	cacheDir    = "cache"        // internal/ledgerdb's; may be deleted
)

// logFile is what the block log needs of a file: the seam where tests inject
// disk failures.
type logFile interface {
	io.Writer
	io.ReaderAt
	Sync() error // data and size are on the disk when it returns nil
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// osFile is a logFile on the operating system.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error { return dataSync(f.File) }

// openLogFile opens the block log for reading and appending, and makes its
// directory entry durable.
func openLogFile(dir string) (logFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, blocksFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open block log: %w", err)
	}
	if err := durable.SyncDir(dir); err != nil {
		f.Close()
		return nil, err
	}
	return osFile{f}, nil
}
