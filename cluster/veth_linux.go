package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ethernet is the length of the link-layer header on veth devices.
const ethernet = 14

// A vethPort is a port that is one end of a veth pair, read and written through a
// packet socket. What it writes is addressed to the device at the other end.
type vethPort struct {
	*os.File
	hub namespace
	mac net.HardwareAddr // of the other end
}

func (p *vethPort) Write(frame []byte) (int, error) {
	copy(frame[virtioHeader:], p.mac)
	return p.File.Write(frame)
}

// Close also takes the pair of devices away. The kernel would, once nobody was in
// their namespaces any more; but the tester stays in its own, and may want another
// lab.
func (p *vethPort) Close() error {
	return errors.Join(p.File.Close(), p.hub.do(func() error {
		link, err := netlink.LinkByName(p.Name())
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	}))
}

// openVeth makes a pair of devices, one of them in the namespace place, with an
// address, and the other in hub, and returns the latter as a port. Nobody asks who
// has an address (ARP): the switch knows.
func openVeth(hub, place namespace, n int, addr netip.Addr) (_ port, err error) {
	mac := net.HardwareAddr{2, 0, 0, 0, byte(n >> 8), byte(n)}
	peer := fmt.Sprintf("port%d", n)
	err = hub.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = peer
		if err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: device, PeerHardwareAddr: mac,
			PeerNamespace: netlink.NsFd(int(place.f.Fd())),
		}); err != nil {
			return vethRefused(fmt.Errorf("add veth pair: %w", err))
		}
		return linkUp(peer)
	})
	if err != nil {
		return nil, err
	}
	// This end is turned on last: then the other is there, and its queue works at once.
	if err := place.do(func() error {
		if err := setAddr(device, addr.As4()); err != nil {
			return err
		}
		return linkUp(device, unix.IFF_NOARP)
	}); err != nil {
		return nil, err
	}
	var f *os.File
	err = hub.do(func() error {
		f, err = openPacketSocket(peer)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &vethPort{f, hub, mac}, nil
}

// openPacketSocket returns a socket for the IPv4 frames of a device, with virtio
// headers.
func openPacketSocket(name string) (_ *os.File, err error) {
	const ipv4 = unix.ETH_P_IP>>8 | unix.ETH_P_IP&0xff<<8 // in network byte order
	// Made for no protocol, the socket is deaf until it is bound to its device.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, vethRefused(fmt.Errorf("open packet socket: %w", err))
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return nil, vethRefused(fmt.Errorf("virtio headers on packet socket: %w", err))
	}
	// The device's queue takes nothing until the kernel has noticed, up to a second
	// later, that the other end is there.
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return nil, vethRefused(fmt.Errorf("bypass the queue of packet socket: %w", err))
	}
	// As much as a TUN device queues. It may be cut to what the system allows.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 8<<20)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: link.Index}); err != nil {
		return nil, fmt.Errorf("bind packet socket to %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// vethRefused says what is missing for packet sockets, if that is why err came.
func vethRefused(err error) error {
	refused := &RefusedError{What: "packet sockets on veth devices", Err: err}
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.EINVAL):
		refused.Remedy = "sudo modprobe -a veth af_packet"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		refused.Remedy = privilegedRemedy()
	default:
		return err
	}
	return refused
}
