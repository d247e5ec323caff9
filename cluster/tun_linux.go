package cluster

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

const (
	device   = "eth0" // of every place on the network
	tunPath  = "/dev/net/tun"
	maxQueue = 10000 // packets; the kernel's 500 are fewer than a burst
)

// offloads is what the switch lets the kernel leave undone: checksums, and the
// segmentation of TCP.
const offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6

// openTun returns a port that is a new TUN device with an address, in the calling
// thread's network namespace.
func openTun(addr netip.Addr) (_ port, err error) {
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, tunRefused(err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	ifr, err := unix.NewIfreq(device)
	if err != nil {
		return nil, err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return nil, tunRefused(err)
	}
	// Where it is refused packets come segmented and summed: slower, and as good.
	_ = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads)
	if err := setQueue(device, maxQueue); err != nil {
		return nil, err
	}
	if err := setAddr(device, addr.As4()); err != nil {
		return nil, err
	}
	if err := linkUp(device); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), tunPath), nil
}

// tunRefused says what is missing for TUN devices, if that is why err came.
func tunRefused(err error) error {
	refused := &RefusedError{What: "TUN devices", Err: fmt.Errorf("open %s: %w", tunPath, err)}
	switch err {
	case unix.ENOENT, unix.ENODEV, unix.ENXIO:
		refused.Remedy = "sudo modprobe tun; sudo mkdir -p /dev/net; [ -e " + tunPath + " ] || sudo mknod -m 666 " + tunPath + " c 10 200"
	case unix.EACCES:
		refused.Remedy = "sudo chmod 666 " + tunPath
	case unix.EPERM:
		refused.Remedy = privilegedRemedy()
	default:
		return refused.Err
	}
	return refused
}
