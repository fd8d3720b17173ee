package ledgerd

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// dataSync waits until data and size are on the disk (fdatasync).
func dataSync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
