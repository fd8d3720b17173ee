package mse

import "fmt"

// Policy says which connections are encrypted.
type Policy uint8

// Policies of a node.
const (
	// Allowed takes plain and encrypted calls; own calls are plain first and
	// encrypted when that fails, or the other way round for peers known to
	// want it. After the encrypted handshake plaintext is preferred: it costs
	// nothing.
	Allowed Policy = iota
	// Off neither takes nor makes encrypted calls.
	Off
	// Required takes and makes encrypted calls alone, and encrypts all of them
	// with RC4 to their end.
	Required
)

// String returns the policy's name on the command line.
func (p Policy) String() string {
	switch p {
	case Allowed:
		return "allowed"
	case Off:
		return "off"
	case Required:
		return "required"
	}
	return fmt.Sprintf("policy %d", uint8(p))
}

// ParsePolicy reads a policy's name.
func ParsePolicy(s string) (Policy, error) {
	for _, p := range []Policy{Allowed, Off, Required} {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("encryption %q is none of off, allowed and required", s)
}

// Method is a set of ways to carry the stream after the handshake, as bits.
type Method uint32

// The ways to carry the stream.
const (
	Plaintext Method = 1
	RC4       Method = 2
)

// methods are those that a policy takes and offers.
func (p Policy) methods() Method {
	switch p {
	case Allowed:
		return Plaintext | RC4
	case Required:
		return RC4
	}
	return 0
}

// choose picks one of the offered methods; 0 = none fits.
func (p Policy) choose(offered Method) Method {
	switch both := p.methods() & offered; {
	case both&Plaintext != 0:
		return Plaintext
	default:
		return both
	}
}
