//go:build !unix

package session

// otherDevice takes any failed rename for one between file systems: copying
// then says what is wrong.
func otherDevice(err error) bool { return err != nil }
