package cluster

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// A pcapWriter captures packets for tcpdump, Wireshark and their like: the
// format of libpcap with nanoseconds, link type RAW (an IP packet begins each
// record). A nil pcapWriter captures nothing.
type pcapWriter struct {
	mu  sync.Mutex
	w   *bufio.Writer
	err error
}

// newPcap returns a writer to w, or nil if w is nil.
func newPcap(w io.Writer) *pcapWriter {
	if w == nil {
		return nil
	}
	p := &pcapWriter{w: bufio.NewWriterSize(w, 1<<20)}
	header := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d) // nanoseconds
	header = binary.LittleEndian.AppendUint16(header, 2)        // version 2.4
	header = binary.LittleEndian.AppendUint16(header, 4)
	header = append(header, make([]byte, 8)...) // time zone and accuracy, always 0
	header = binary.LittleEndian.AppendUint32(header, 1<<18)
	header = binary.LittleEndian.AppendUint32(header, 101) // LINKTYPE_RAW
	_, p.err = p.w.Write(header)
	return p
}

// packet captures one packet, now.
func (p *pcapWriter) packet(packet []byte) {
	if p == nil {
		return
	}
	now := time.Now()
	var header [16]byte
	binary.LittleEndian.PutUint32(header[0:], uint32(now.Unix()))
	binary.LittleEndian.PutUint32(header[4:], uint32(now.Nanosecond()))
	binary.LittleEndian.PutUint32(header[8:], uint32(len(packet)))
	binary.LittleEndian.PutUint32(header[12:], uint32(len(packet)))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	if _, p.err = p.w.Write(header[:]); p.err == nil {
		_, p.err = p.w.Write(packet)
	}
}

// flush writes what is buffered, and returns the first error of all.
func (p *pcapWriter) flush() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = p.w.Flush()
	}
	return p.err
}
