// Package terminal shows what the program does: progress bars where people
// watch, plain lines where output is kept, JSON lines for programs.
//
// cmd/btt and internal/demo use it. A [Reporter] belongs to one goroutine,
// but its methods may be called from several: they are serialised by a leaf
// lock. Data goes to stdout, talk to stderr.
package terminal
