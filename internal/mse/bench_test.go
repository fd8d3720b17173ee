package mse

import (
	"io"
	"net"
	"testing"
)

func BenchmarkHandshake(b *testing.B) {
	for b.Loop() {
		x, y := pair(b)
		if _, got, err := meet(x, y, Allowed, Allowed, torrent, make([]byte, 68)); err != nil || got.err != nil {
			b.Fatal(err, got.err)
		}
		x.Close()
		y.Close()
	}
}

// BenchmarkStream sends batches of 16 blocks over loopback TCP, encrypted and
// decrypted.
func BenchmarkStream(b *testing.B) {
	x, y := loopback(b)
	nc, got, err := meet(x, y, Required, Required, torrent, nil)
	if err != nil || got.err != nil {
		b.Fatal(err, got.err)
	}
	const block = 16 << 10
	var batch net.Buffers
	for range 16 {
		batch = append(batch, make([]byte, 13), make([]byte, block))
	}
	read := make(chan int64)
	go func() {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{got.Conn}, make([]byte, 256<<10))
		read <- n
	}()
	b.SetBytes(16 * (block + 13))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.(*Stream).WriteBuffers(batch); err != nil {
			b.Fatal(err)
		}
	}
	x.Close()
	<-read
}
