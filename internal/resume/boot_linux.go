package resume

import (
	"os"
	"strings"
)

// bootID names the run of the system: what a process wrote before it was killed
// is still there in the same run, if only in memory.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(b) > maxBoot {
		return ""
	}
	return strings.TrimSpace(string(b))
}
