//go:build linux

package cluster

import (
	"encoding/binary"
	"slices"
)

// What the kernel leaves undone, the switch does itself for packets that it means
// to harm: a superpacket that is lost whole, or a flipped bit in a packet that
// nobody has summed yet, is not what a network does.

// The virtio header, as far as it is of interest: a flag that says that the
// checksum is to be made, the kind of segmentation that is to be done, the length
// of a segment's payload, and where the checksum begins and belongs.
const (
	virtioNeedsSum = 1    // flags, byte 0
	virtioTCP4     = 1    // kind, byte 1
	virtioECN      = 0x80 // also in the kind
)

// The numbers of protocols in an IP header, and the flags in a TCP header.
const (
	protoTCP = 6
	protoUDP = 17

	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpPSH = 0x08
	tcpACK = 0x10
	tcpCWR = 0x80
)

// finish returns the packets that a frame stands for, each a frame of its own that
// lacks nothing: segmented, and with its checksum. ip is where the IP packet begins
// in it. They share no memory with the frame.
func finish(frame []byte, ip int) [][]byte {
	if f, size, ok := unsegmented(frame, ip); ok {
		return segment(frame, f, size)
	}
	frame = slices.Clone(frame)
	if frame[0]&virtioNeedsSum != 0 {
		start := virtioHeader + int(binary.NativeEndian.Uint16(frame[6:]))
		at := start + int(binary.NativeEndian.Uint16(frame[8:]))
		if at+2 <= len(frame) { // where the sum of the pseudo header is already
			binary.BigEndian.PutUint16(frame[at:], ^fold(sum(frame[start:])))
		}
	}
	clear(frame[:virtioHeader])
	return [][]byte{frame}
}

// unsegmented says whether a frame stands for several packets, and returns its fields
// and how much each of them is to carry.
func unsegmented(frame []byte, ip int) (f fields, size int, ok bool) {
	size = int(binary.NativeEndian.Uint16(frame[4:]))
	if frame[1]&^virtioECN != virtioTCP4 || size == 0 {
		return f, 0, false
	}
	f, ok = parse(frame, ip)
	return f, size, ok && f.proto == protoTCP && len(frame)-f.payload > size
}

// onWire returns what a frame comes to on a wire: how many IP packets finish makes of
// it, and their bytes.
func onWire(frame []byte, ip int) (packets, bytes int) {
	packets, bytes = 1, len(frame)-ip
	if f, size, ok := unsegmented(frame, ip); ok {
		packets = (len(frame) - f.payload + size - 1) / size
		bytes += (packets - 1) * (f.payload - ip)
	}
	return packets, bytes
}

// segment does what a network card does for TCP: it cuts the payload into pieces of
// at most size bytes, each below headers of its own.
func segment(frame []byte, f fields, size int) [][]byte {
	headers, payload := frame[:f.payload], frame[f.payload:]
	pieces := (len(payload) + size - 1) / size
	memory := make([]byte, 0, pieces*len(headers)+len(payload))
	var all [][]byte
	for i := range pieces {
		piece := payload[i*size : min((i+1)*size, len(payload))]
		begin := len(memory)
		memory = append(append(memory, headers...), piece...)
		one := memory[begin:len(memory):len(memory)]
		clear(one[:virtioHeader])
		header, tcp := one[f.ip:f.transport], one[f.transport:]
		binary.BigEndian.PutUint16(header[2:], uint16(len(one)-f.ip))
		binary.BigEndian.PutUint16(header[4:], binary.BigEndian.Uint16(header[4:])+uint16(i))
		binary.BigEndian.PutUint16(header[10:], 0)
		binary.BigEndian.PutUint16(header[10:], ^fold(sum(header)))
		binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(tcp[4:])+uint32(i*size))
		if i > 0 {
			tcp[13] &^= tcpCWR
		}
		if i < pieces-1 {
			tcp[13] &^= tcpFIN | tcpPSH
		}
		f.sum(one)
		all = append(all, one)
	}
	return all
}

// fields are where in a frame things are.
type fields struct {
	ip        int
	proto     byte
	transport int // the header of TCP or UDP
	payload   int // what an application sent
}

// parse finds the fields of a whole TCP or UDP packet over IPv4.
func parse(frame []byte, ip int) (f fields, ok bool) {
	packet := frame[ip:]
	if len(packet) < 20 || packet[0]>>4 != 4 || binary.BigEndian.Uint16(packet[6:])&0x3fff != 0 { // a fragment
		return f, false
	}
	f.ip, f.proto, f.transport = ip, packet[9], ip+int(packet[0]&0xf)*4
	switch f.proto {
	case protoTCP:
		if len(frame) < f.transport+20 {
			return f, false
		}
		f.payload = f.transport + int(frame[f.transport+12]>>4)*4
	case protoUDP:
		f.payload = f.transport + 8
	default:
		return f, false
	}
	return f, f.payload <= len(frame)
}

// sum makes the checksum of the frame right.
func (f fields) sum(frame []byte) {
	at := f.sumAt()
	length := len(frame) - f.transport
	pseudo := sum(frame[f.ip+12:f.ip+20]) + uint64(f.proto) + uint64(length)
	binary.BigEndian.PutUint16(frame[at:], 0)
	made := ^fold(pseudo + sum(frame[f.transport:]))
	if made == 0 && f.proto == protoUDP {
		made = 0xffff // 0 says that there is none
	}
	binary.BigEndian.PutUint16(frame[at:], made)
}

// adjust makes the checksum of the frame as right as it was before the byte at a place
// changed.
func (f fields) adjust(frame []byte, at int, was byte) {
	place := f.sumAt()
	old := binary.BigEndian.Uint16(frame[place:])
	if f.proto == protoUDP && old == 0 {
		return // there is none
	}
	shift := 8 * (1 - (at-f.transport)%2) // of the byte in its word
	made := ^fold(uint64(^old) + uint64(^(uint16(was) << shift)) + uint64(frame[at])<<shift)
	if made == 0 && f.proto == protoUDP {
		made = 0xffff
	}
	binary.BigEndian.PutUint16(frame[place:], made)
}

// sumAt is where the checksum is.
func (f fields) sumAt() int {
	if f.proto == protoUDP {
		return f.transport + 6
	}
	return f.transport + 16
}

// sum adds up b as the Internet's checksum does; fold makes 16 bits of it.
func sum(b []byte) (s uint64) {
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
