package trackerd

import "sync/atomic"

// closeFlag settles between serve and close who frees a socket.
type closeFlag struct{ state atomic.Uint32 }

const (
	flagServing = 1
	flagClosed  = 2
)

func newCloseFlag() *closeFlag { return new(closeFlag) }

// begin is serve's first act; false if the socket is closed already.
func (c *closeFlag) begin() bool { return c.state.CompareAndSwap(0, flagServing) }

func (c *closeFlag) isSet() bool { return c.state.Load()&flagClosed != 0 }

// set asks serve to end; true if there is no serve and the caller frees.
func (c *closeFlag) set() (free bool) { return c.state.Or(flagClosed) == 0 }
