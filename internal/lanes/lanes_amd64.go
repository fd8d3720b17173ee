//go:build amd64 && !purego

package lanes

import "golang.org/x/sys/cpu"

// fast is a variable for tests.
var fast = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW

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
