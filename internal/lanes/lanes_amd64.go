//go:build amd64 && !purego

package lanes

import "golang.org/x/sys/cpu"

// fast is a variable for tests.
var fast = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW

// fastBoth is a variable for tests; bit 29 stands for the SHA instructions.
var fastBoth = leaf7()>>29&1 == 1 && cpu.X86.HasSSSE3 && cpu.X86.HasSSE41

func leaf7() uint32

// bothBlocks hashes that many blocks of 64 bytes from data on in two ways.
//
//go:noescape
func bothBlocks(h1 *[5]uint32, h2 *[8]uint32, data *byte, blocks int)

// sha1Blocks hashes that many blocks of 64 bytes from each address on.
//
//go:noescape
func sha1Blocks(state *[5][Width]uint32, data *[Width]*byte, blocks int)

// sha256Blocks is the same for SHA-256.
//
//go:noescape
func sha256Blocks(state *[8][Width]uint32, data *[Width]*byte, blocks int)

// sha256Pad64 hashes the block that ends a message of 64 bytes.
//
//go:noescape
func sha256Pad64(state *[8][Width]uint32)
