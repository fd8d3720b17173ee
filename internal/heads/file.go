package heads

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

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

// load reads the heads of earlier runs.
func (c *Client) load() error {
	path := filepath.Join(c.cfg.Dir, c.name())
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Size() > MaxFileBytes {
		return fmt.Errorf("%s has %d bytes, at most %d", path, info.Size(), MaxFileBytes)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := parseFile(text)
	if err != nil {
		return fmt.Errorf("%s cannot be read; put back a copy, or remove it to trust the ledger anew: %w", path, err)
	}
	if key := c.cfg.Operator; !key.IsZero() && key != f.Operator {
		return fmt.Errorf("%w: %s is wanted, %s is remembered in %s", ErrOperator, key, f.Operator, path)
	}
	newest := f.Heads[len(f.Heads)-1]
	if c.follower, err = books.NewFollower(c.network, f.Operator, newest); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	c.kept = f.Heads
	return nil
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

// remember is keep for the goroutine, which has nobody to return to.
func (c *Client) remember() {
	if c.source == nil || c.size() == 0 {
		return
	}
	if err := c.keep(); err != nil {
		c.report(err)
	}
}

// keep stores the newest head if it is a new one.
func (c *Client) keep() error {
	c.mu.Lock()
	note := c.follower.Note()
	if len(c.kept) > 0 && c.kept[len(c.kept)-1] == note {
		c.mu.Unlock()
		return nil
	}
	if len(c.kept) >= MaxKept {
		c.kept = slices.Delete(c.kept, 0, 1)
	}
	c.kept = append(c.kept, note)
	text, err := json.MarshalIndent(file{Network: c.network, Operator: c.follower.Operator(), Heads: c.kept}, "", "  ")
	c.mu.Unlock()
	if err == nil {
		err = durable.Write(c.cfg.Dir, c.name(), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep head of the ledger: %w", err)
	}
	return nil
}
