package peer

import "net"

// gatherer is a connection that is not TCP itself, such as an encrypted one,
// and takes a batch of buffers with one call.
type gatherer interface {
	WriteBuffers(net.Buffers) (int64, error)
}

// writeBuffers writes a batch with as few system calls as the connection can.
func writeBuffers(nc net.Conn, bufs *net.Buffers) (int64, error) {
	if g, ok := nc.(gatherer); ok {
		return g.WriteBuffers(*bufs)
	}
	return bufs.WriteTo(nc)
}
