package interop

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// hostsMax bounds how many hosts one network takes: what fits the last two
// bytes of its addresses with room for the bridge.
const hostsMax = 4000

// Network is a bridge with one namespace of its own for each client, in an
// address range that clients treat as an ordinary one (Transmission refuses
// peers in 127.0.0.0/8). The calling process must already live in a network
// namespace that it may configure; see Enter. Safe for concurrent use.
type Network struct {
	mu    sync.Mutex
	hosts int
}

// Host is one machine of a Network.
type Host struct {
	Addr netip.Addr
	ns   *os.File
}

// NewNetwork sets up the bridge 10.77.0.1/16 in the namespace of the caller.
func NewNetwork() (*Network, error) {
	err := runIP(nil,
		"link set lo up",
		"link add br0 type bridge",
		"addr add 10.77.0.1/16 dev br0",
		"link set br0 up")
	if err != nil {
		return nil, err
	}
	return &Network{}, nil
}

// NewHost adds a host with an address that no other host of the network had.
func (n *Network) NewHost() (*Host, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == hostsMax {
		return nil, fmt.Errorf("add host: the network already holds %d", hostsMax)
	}
	n.hosts++
	id := n.hosts + 1
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	h := &Host{Addr: netip.AddrFrom4([4]byte{10, 77, byte(id / 200), byte(id%200 + 2)}), ns: ns}
	err = runIP([]*os.File{ns},
		fmt.Sprintf("link add v%d type veth peer name eth0 netns /proc/self/fd/3", id),
		fmt.Sprintf("link set v%d master br0", id),
		fmt.Sprintf("link set v%d up", id))
	if err == nil {
		err = h.runIP("link set lo up", fmt.Sprintf("addr add %s/16 dev eth0", h.Addr), "link set eth0 up")
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return h, nil
}

// Close lets the kernel drop the host once its last process has ended.
func (h *Host) Close() error { return h.ns.Close() }

// start runs cmd on the host. The thread that enters the namespace is never
// used again: its goroutine ends while locked to it.
func (h *Host) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("enter namespace of %s: %w", h.Addr, err)
			return
		}
		result <- cmd.Start()
	}()
	return <-result
}

func (h *Host) runIP(lines ...string) error {
	cmd, out := ipBatch(nil, lines)
	if err := h.start(cmd); err != nil {
		return err
	}
	return ipResult(cmd.Wait(), out)
}

// newNamespace makes a network namespace and returns the file that keeps it.
func newNamespace() (*os.File, error) {
	type result struct {
		ns  *os.File
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: fmt.Errorf("make network namespace: %w", err)}
			return
		}
		ns, err := os.Open("/proc/thread-self/ns/net")
		done <- result{ns, err}
	}()
	r := <-done
	return r.ns, r.err
}

func ipBatch(files []*os.File, lines []string) (*exec.Cmd, *bytes.Buffer) {
	out := new(bytes.Buffer)
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, files
	return cmd, out
}

func runIP(files []*os.File, lines ...string) error {
	cmd, out := ipBatch(files, lines)
	return ipResult(cmd.Run(), out)
}

func ipResult(err error, out *bytes.Buffer) error {
	if err != nil {
		return fmt.Errorf("configure network with ip: %w: %s", err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}
