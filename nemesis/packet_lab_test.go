//go:build linux

package nemesis

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// playEcho is what nodes do that send back whatever comes to port 7.
func playEcho() {
	listener, err := net.Listen("tcp4", ":7")
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

func TestPacketFaultsActOnRealConnections(t *testing.T) {
	if !inLab(t) {
		return
	}
	lab, env := newLab(t, "echo")
	var addr string
	for _, n := range lab.Nodes() {
		if n.Name == "n2" {
			addr = net.JoinHostPort(n.Addr.String(), "7")
		}
	}
	// One connection, and another one once that is broken; some kilobytes each time.
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	data, got := bytes.Repeat([]byte("0123456789abcdef"), 256), make([]byte, 4096)
	broken := 0
	round := func() (intact bool) {
		var err error
		if conn == nil {
			if conn, err = net.DialTimeout("tcp4", addr, 5*time.Second); err != nil {
				conn = nil
				return false
			}
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err = conn.Write(data); err == nil {
			_, err = io.ReadFull(conn, got)
		}
		if err != nil {
			broken++
			conn.Close()
			conn = nil
			return false
		}
		return bytes.Equal(got, data)
	}
	eventually(t, "n2 answers", round)
	for _, v := range Packet().Variants {
		b := breaker(t, Packet(), env, "packet:"+v.Name+":n2")
		m := b.Draw(rand.New(rand.NewPCG(1, 2))).(*Mangling)
		m.Clients, m.Direction = true, ""
		broken = 0
		h, err := b.Begin(t.Context(), encode(m))
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		impairment := h.(*heldMangling).impairment
		damaged := 0
		eventually(t, v.Name+" acts on what is sent and on what comes back", func() bool {
			if !round() && conn != nil {
				damaged++
			}
			seen := impairment.Seen()
			if v.Name == packetReset {
				return broken > 0 && len(seen) > 0
			}
			return seen[cluster.Link{From: cluster.Tester, To: "n2"}.String()] > 0 && seen[cluster.Link{From: "n2", To: cluster.Tester}.String()] > 0 &&
				(v.Name != packetCorruptSilent || damaged > 0)
		})
		if (damaged > 0) != (v.Name == packetCorruptSilent) {
			t.Errorf("%s damaged %d answers", v.Name, damaged)
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted == 0 {
			t.Errorf("%s: acted %d, %v", v.Name, acted, err)
		}
		t.Logf("%s: %s: %s", v.Name, encode(m), encode(evidence))
		broken = 0
		for range 20 {
			if begun := time.Now(); !round() || time.Since(begun) > 5*time.Second {
				err = errors.Join(err, fmt.Errorf("after %s: %d broken, it took %v", v.Name, broken, time.Since(begun)))
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
	allRun(t, env, "packet")
}
