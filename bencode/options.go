package bencode

import (
	"errors"
	"fmt"
)

// Limits that hold when Options leaves a field at zero.
const (
	// DefaultMaxSize is the longest input accepted, in bytes.
	DefaultMaxSize = 64 << 20
	// DefaultMaxDepth is how deep lists and dictionaries may nest.
	DefaultMaxDepth = 100
	// DefaultMaxItems is how many tokens (integers, strings, keys, lists and
	// dictionaries) one input may hold. A token costs 16 bytes of memory.
	DefaultMaxItems = 1 << 20
	// MaxSize is the hard limit of the input size, whatever Options says: offsets
	// are 32 bits wide.
	MaxSize = 1<<31 - 1
)

// Why an input was refused. Errors of this package are a *SyntaxError around one of these.
var (
	ErrTruncated    = errors.New("input ends inside a value")
	ErrSyntax       = errors.New("unexpected byte")
	ErrInteger      = errors.New("malformed integer")
	ErrRange        = errors.New("integer does not fit 64 bits")
	ErrLength       = errors.New("malformed string length")
	ErrKey          = errors.New("dictionary key is not a string")
	ErrKeyOrder     = errors.New("dictionary keys are not sorted")
	ErrDuplicateKey = errors.New("duplicate dictionary key")
	ErrTrailing     = errors.New("bytes after the value")
	ErrTooLarge     = errors.New("input is too large")
	ErrTooDeep      = errors.New("values nest too deep")
	ErrTooManyItems = errors.New("too many items")
	ErrStringSize   = errors.New("string is too long")
)

// SyntaxError says where in the input and why parsing stopped.
type SyntaxError struct {
	Offset int   // byte offset into the input
	Err    error // one of the package's sentinels
}

// Error implements error.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("parse bencode at byte %d: %v", e.Offset, e.Err)
}

// Unwrap gives the sentinel.
func (e *SyntaxError) Unwrap() error { return e.Err }

// Options choose strictness and limits. The zero value is strict with default limits.
type Options struct {
	// Lenient accepts what the wild holds: unsorted and duplicate keys (Get finds the
	// first of equal keys), leading zeros and negative zero.
	Lenient bool
	// AllowTrailing ignores bytes after the value.
	AllowTrailing bool

	MaxSize   int // longest input in bytes; 0 = DefaultMaxSize
	MaxDepth  int // deepest nesting; 0 = DefaultMaxDepth
	MaxItems  int // most tokens; 0 = DefaultMaxItems
	MaxString int // longest string in bytes; 0 = the input's length
}

// Kind says what a value is.
type Kind uint8

// The kinds of values.
const (
	Invalid Kind = iota // no value: a missing key or an unparsed document
	Integer
	String
	List
	Dictionary
)

// String gives the kind's name for messages.
func (k Kind) String() string {
	switch k {
	case Integer:
		return "integer"
	case String:
		return "string"
	case List:
		return "list"
	case Dictionary:
		return "dictionary"
	}
	return "nothing"
}

func (o *Options) maxSize() int {
	if o.MaxSize > 0 {
		return min(o.MaxSize, MaxSize)
	}
	return DefaultMaxSize
}

func orDefault(v, def int) int {
	if v > 0 {
		return v
	}
	return def
}
