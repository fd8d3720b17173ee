//go:build !unix

package mover

// otherDevice takes any failed rename for one between file systems: copying
// then says what is wrong.
func otherDevice(err error) bool { return err != nil }
