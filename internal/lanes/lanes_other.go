//go:build !amd64 || purego

package lanes

// fast is a variable for tests.
var fast = false

var fastBoth = false

const unreachable = "lanes: this processor has none"

func bothBlocks(*[5]uint32, *[8]uint32, *byte, int) { panic(unreachable) }

func sha1Blocks(*[5][Width]uint32, *[Width]*byte, int) { panic(unreachable) }

func sha256Blocks(*[8][Width]uint32, *[Width]*byte, int) { panic(unreachable) }

func sha256Pad64(*[8][Width]uint32) { panic(unreachable) }
