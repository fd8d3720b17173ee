package durable

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Claims are claims on things that one at a time may use: of the Claims of a file
// in all processes one has what is named. Between processes each is a lock on a
// byte of the file, so that nothing is left of it when its process ends, however
// it ends; systems that are not Unix know no such locks here, and there a claim
// counts within the process alone. The methods are safe for concurrent use.
type Claims struct{ file *claimsFile }

// claimsFile is a file of claims, opened once in a process: the system drops all
// locks that a process has on a file when it closes it once.
type claimsFile struct {
	f     *os.File
	users int
	taken map[string]*Claims
}

// claimed are the files of this process; its lock is held for system calls that
// do not wait.
var claimed struct {
	sync.Mutex
	files []*claimsFile
}

// OpenClaims opens the claims in dir, which must be there.
func OpenClaims(dir string) (*Claims, error) {
	path := filepath.Join(dir, "claims")
	claimed.Lock()
	defer claimed.Unlock()
	if st, err := os.Stat(path); err == nil {
		for _, file := range claimed.files {
			if mine, err := file.f.Stat(); err == nil && os.SameFile(mine, st) {
				file.users++
				return &Claims{file}, nil
			}
		}
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open claims: %w", err)
	}
	file := &claimsFile{f: f, users: 1, taken: map[string]*Claims{}}
	claimed.files = append(claimed.files, file)
	return &Claims{file}, nil
}

// place is the byte that stands for a name, below 2^62.
func place(name string) int64 {
	sum := sha256.Sum256([]byte(name))
	return int64(binary.BigEndian.Uint64(sum[:]) >> 2)
}

// Take claims what is named until Release or Close. The error wraps [ErrLocked]
// when others have it. What these Claims have they may take again.
func (c *Claims) Take(name string) error {
	claimed.Lock()
	defer claimed.Unlock()
	if c.file == nil {
		return fmt.Errorf("claim %s: %w", name, os.ErrClosed)
	}
	switch c.file.taken[name] {
	case c:
		return nil
	case nil:
	default:
		return ErrLocked
	}
	if err := lockByte(c.file.f, place(name)); err != nil {
		return err
	}
	c.file.taken[name] = c
	return nil
}

// Release ends a claim, if it is one.
func (c *Claims) Release(name string) error {
	claimed.Lock()
	defer claimed.Unlock()
	if c.file == nil || c.file.taken[name] != c {
		return nil
	}
	delete(c.file.taken, name)
	return unlockByte(c.file.f, place(name))
}

// Close ends all claims of c. Further calls do nothing.
func (c *Claims) Close() error {
	claimed.Lock()
	defer claimed.Unlock()
	file := c.file
	if file == nil {
		return nil
	}
	c.file = nil
	if file.users--; file.users == 0 {
		for i, other := range claimed.files {
			if other == file {
				claimed.files = append(claimed.files[:i:i], claimed.files[i+1:]...)
				break
			}
		}
		return file.f.Close()
	}
	var first error
	for name, owner := range file.taken {
		if owner != c {
			continue
		}
		delete(file.taken, name)
		if err := unlockByte(file.f, place(name)); first == nil {
			first = err
		}
	}
	return first
}
