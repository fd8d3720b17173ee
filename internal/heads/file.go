package heads

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bttnet/btt/internal/durable"
	"github.com/bttnet/btt/ledger"
	"github.com/bttnet/btt/ledger/books"
)

// file is what a client remembers of a ledger.
type file struct {
	Network  ledger.Network   `json:"network"`
	Operator ledger.PublicKey `json:"operator"`
	Heads    []string         `json:"heads"` // signed notes, newest last
}

func (c *Client) name() string { return c.network.String() + ".heads" }

// load takes the heads of earlier runs.
func (c *Client) load() error {
	f, err := c.read()
	if f == nil || err != nil {
		return err
	}
	if key := c.cfg.Operator; !key.IsZero() && key != f.Operator {
		return fmt.Errorf("%w: %s is wanted, %s is remembered in %s", ErrOperator, key, f.Operator, filepath.Join(c.cfg.Dir, c.name()))
	}
	newest := f.Heads[len(f.Heads)-1]
	if c.follower, err = books.NewFollower(c.network, f.Operator, newest); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(c.cfg.Dir, c.name()), err)
	}
	c.kept, c.dealt = f.Heads, newest
	return nil
}

// read reads the file; nil = there is none.
func (c *Client) read() (*file, error) {
	path := filepath.Join(c.cfg.Dir, c.name())
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxFileBytes {
		return nil, fmt.Errorf("%s has %d bytes, at most %d", path, info.Size(), MaxFileBytes)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := parseFile(text)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read; put back a copy, or remove it to trust the ledger anew: %w", path, err)
	}
	return f, nil
}

func parseFile(text []byte) (*file, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	if len(f.Heads) == 0 || len(f.Heads) > MaxKept {
		return nil, fmt.Errorf("%d heads, want 1 to %d", len(f.Heads), MaxKept)
	}
	return &f, nil
}

// remember is keep for the goroutine, which has nobody to return to. It tries as often as
// it is called, and tells of a row of failures once.
func (c *Client) remember() {
	if c.source == nil || c.size() == 0 {
		return
	}
	switch err := c.keep(); {
	case err == nil:
		c.failing = false
	case serious(err):
		c.breakOff(err)
	case !c.failing:
		c.failing = true
		c.report(err)
	}
}

// keep stores the newest head if it is a new one, beside those that other processes
// with the same folder stored meanwhile. A file that says all that already is left alone:
// another process may have stored the same head, or MaxKept newer ones.
func (c *Client) keep() error {
	c.mu.Lock()
	note, operator := c.follower.Note(), c.follower.Operator()
	dealt := note == c.dealt
	c.mu.Unlock()
	if dealt {
		return nil
	}
	lock, err := c.acquire()
	if err != nil {
		return fmt.Errorf("keep head of the ledger: %w", err)
	}
	defer func() { _ = lock.Release() }() // the process's end does it too
	others, err := c.stored(operator)
	if err != nil {
		return fmt.Errorf("keep head of the ledger: %w", err)
	}
	c.mu.Lock()
	list, foreign := c.merge(others, note, operator)
	if foreign != "" {
		c.other = foreign
	}
	c.kept = list
	text, err := json.MarshalIndent(file{Network: c.network, Operator: operator, Heads: list}, "", "  ")
	c.mu.Unlock()
	if err == nil && !slices.Equal(list, others) {
		err = durable.Write(c.cfg.Dir, c.name(), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep head of the ledger: %w", err)
	}
	c.mu.Lock()
	c.dealt = note
	c.mu.Unlock()
	return nil
}

// Times of the lock over the file.
const (
	lockWait = 10 * time.Second // for another process; it takes one write
	lockPoll = 10 * time.Millisecond
)

func (c *Client) acquire() (*durable.Lock, error) {
	for end := time.Now().Add(lockWait); ; time.Sleep(lockPoll) {
		lock, err := durable.Acquire(c.cfg.Dir, c.network.String()+".lock")
		if !errors.Is(err, durable.ErrLocked) || time.Now().After(end) {
			return lock, err
		}
	}
}

// stored reads the heads that the file holds now.
func (c *Client) stored(operator ledger.PublicKey) ([]string, error) {
	f, err := c.read()
	if f == nil || err != nil {
		return nil, err
	}
	if f.Operator != operator {
		return nil, fmt.Errorf("%w: %s, another process remembered %s", ErrOperator, operator, f.Operator)
	}
	return f.Heads, nil
}

// merge returns what is known with what others stored, by size, at most MaxKept of the
// newest; and the newest of others that was not known, "" = none. c.mu is held.
func (c *Client) merge(others []string, note string, operator ledger.PublicKey) (list []string, foreign string) {
	sizes := map[string]uint64{}
	for _, n := range slices.Concat(c.kept, others, []string{note}) {
		if head, err := books.OpenHead(n, c.network, operator); err == nil { // else nobody signed it
			sizes[n] = head.Size
		}
	}
	list = slices.Collect(maps.Keys(sizes))
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(cmp.Compare(sizes[a], sizes[b]), cmp.Compare(a, b)) })
	list = slices.Delete(list, 0, max(0, len(list)-MaxKept))
	for _, n := range list {
		if n != note && slices.Contains(others, n) && !slices.Contains(c.kept, n) {
			foreign = n
		}
	}
	return list, foreign
}

// compare sees that what the ledger showed another process with the same folder is of
// the same history.
func (c *Client) compare(ctx context.Context) error {
	c.mu.Lock()
	other, operator := c.other, c.follower.Operator()
	c.mu.Unlock()
	if other == "" {
		return nil
	}
	f, err := books.NewFollower(c.network, operator, other)
	if err != nil {
		return err
	}
	x, err := c.source.Head(ctx, f.Head().Size)
	if err == nil {
		err = f.Extend(&x)
	}
	if err == nil {
		c.mu.Lock()
		c.other = ""
		c.mu.Unlock()
	}
	return err
}
