package cluster

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A namespace is a network namespace, kept alive by an open file.
type namespace struct{ f *os.File }

// newNamespace returns a new network namespace, with its loopback up and IPv6
// off, so that nothing speaks on its network but what runs in it.
//
// Network namespaces belong to threads. The one that makes it is thrown away: it
// ends with its goroutine, since that never unlocks it.
func newNamespace() (ns namespace, err error) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			switch err := unix.Unshare(unix.CLONE_NEWNET); err {
			case nil:
			case unix.ENOSPC:
				return &RefusedError{What: "so many network namespaces", Err: err, Remedy: "sudo sysctl -w user.max_net_namespaces=15000"}
			default:
				return fmt.Errorf("new network namespace: %w", err)
			}
			if ns.f, err = os.Open("/proc/thread-self/ns/net"); err != nil {
				return err
			}
			// Some kernels have no IPv6, and then there is nothing to turn off.
			_ = os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)
			_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
			return linkUp("lo")
		}()
	}()
	return ns, <-done
}

// currentNamespace returns the one that the calling thread is in.
func currentNamespace() (namespace, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	return namespace{f}, err
}

// do calls f on a thread that is in the namespace, and afterwards is back where it
// was. Sockets and children that f makes stay there.
func (ns namespace) do(f func() error) error {
	runtime.LockOSThread()
	back, err := currentNamespace()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer back.f.Close()
	defer func() {
		// A thread that does not find back stays locked, and ends with its goroutine.
		if unix.Setns(int(back.f.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	if err := unix.Setns(int(ns.f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return f()
}

func (ns namespace) close() {
	if ns.f != nil {
		ns.f.Close()
	}
}

// linkUp turns a device of the calling thread's namespace on, with more flags.
func linkUp(name string, flags ...uint16) error {
	return onDevice(name, func(fd int, ifr *unix.Ifreq) error {
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
			return err
		}
		on := ifr.Uint16() | unix.IFF_UP
		for _, f := range flags {
			on |= f
		}
		ifr.SetUint16(on)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
	})
}

// setAddr gives a device the IPv4 address a in a network of 24 bits.
func setAddr(name string, a [4]byte) error {
	return onDevice(name, func(fd int, ifr *unix.Ifreq) error {
		if err := ifr.SetInet4Addr(a[:]); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, ifr); err != nil {
			return err
		}
		if err := ifr.SetInet4Addr([]byte{255, 255, 255, 0}); err != nil {
			return err
		}
		return unix.IoctlIfreq(fd, unix.SIOCSIFNETMASK, ifr)
	})
}

// setQueue sets how many packets a device queues for whoever reads them. (The
// ioctl for it asks for rights outside; netlink does not.)
func setQueue(name string, packets int) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetTxQLen(link, packets)
	}
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	return nil
}

func onDevice(name string, do func(fd int, ifr *unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	if err := do(fd, ifr); err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	return nil
}
