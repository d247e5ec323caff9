// Package qemu runs guests by QEMU, which computes what they do (TCG) and needs no rights
// for it. A guest is a boot sector of 512 bytes, guest.S, that counts, says so on its serial
// line, and writes to its disk: an image in a folder that all hosts share. QEMU locks images:
// of two of one image the second does not start.
//
// Each guest has a shim, a process of this program in a session of its own. It owns QEMU, tells
// the observer what it hears of the guest, and does what the agent asks. Agents come and go; QEMU
// dies with its shim, by PR_SET_PDEATHSIG, and the shim at the end of what was permitted, by its
// watchdog. The rest is as the kernel shows it: see names.
package qemu

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// A Config is what a hypervisor is told when it is made.
type Config struct {
	Host string // its name
	Addr string // its address, without a port: guests that migrate are received there
	Dir  string // for what QEMU complains of; guests are known by it and Host, so it is to stay
	// Images is where the images of all machines are, the same for all hosts: it stands for
	// shared storage.
	Images string
	// Probe is the observer's pipe, or empty: see package probe.
	Probe string
	// Program runs this program again, to call [RunShim]: a path and arguments, behind which
	// comes {"shim":...}, and what is in there is RunShim's.
	Program []string
	// Bug is the name of a deliberate bug, or empty: see package bug.
	Bug string
}

// program is QEMU, and leastVersion the first that says on which port it waits for a source.
const (
	program      = "qemu-system-x86_64"
	leastVersion = 4
)

var versionLine = regexp.MustCompile(`version (\d+)\.`)

// Installed says whether QEMU is here and can be started; if not, what to install.
func Installed() error {
	const install = "install QEMU (Debian, Ubuntu: qemu-system-x86)"
	// On a busy machine it takes a second to be loaded.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w: %s", program, err, install)
	}
	found := versionLine.FindSubmatch(out)
	if found == nil {
		return fmt.Errorf("%s --version says %q: %s", program, out, install)
	}
	if major, err := strconv.Atoi(string(found[1])); err != nil || major < leastVersion {
		return fmt.Errorf("%s is version %s, and must be at least %d: %s", program, found[1], leastVersion, install)
	}
	return nil
}
