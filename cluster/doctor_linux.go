package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Doctor tries every mechanism of the local lab and says what it found.
func Doctor(ctx context.Context) []Finding {
	namespaces := Finding{
		Mechanism: "namespaces", Needed: true,
		Detail: "PID, mount and network namespaces as root",
	}
	if os.Geteuid() != 0 {
		namespaces.Detail = "user, PID, mount and network namespaces as an ordinary user"
	}
	var inner bytes.Buffer
	begun := time.Now()
	if _, err := enter(ctx, &inner, []string{roleDoctor}); err != nil {
		return []Finding{refusedFinding(namespaces, err)}
	}
	namespaces.Works = true
	namespaces.Detail += fmt.Sprintf("; all was tried in %v", time.Since(begun).Round(time.Millisecond))
	findings := []Finding{namespaces}
	var more []Finding
	if err := json.Unmarshal(inner.Bytes(), &more); err != nil {
		return append(findings, Finding{Mechanism: "lab", Needed: true, Detail: fmt.Sprintf("it ended without a word: %v", err)})
	}
	return append(findings, more...)
}

// refusedFinding is a finding of what does not work.
func refusedFinding(f Finding, err error) Finding {
	f.Works, f.Detail = false, err.Error()
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		f.Detail, f.Remedy = refused.Err.Error(), refused.Remedy
	}
	return f
}

// examine tries what can be tried only inside and writes the findings.
func examine(w io.Writer) int {
	var findings []Finding
	if self, err := os.Readlink("/proc/self"); err == nil && self == fmt.Sprint(os.Getpid()) {
		findings = append(findings, Finding{Mechanism: "own /proc", Works: true, Detail: "shows the lab's processes alone"})
	} else {
		findings = append(findings, Finding{Mechanism: "own /proc", Detail: "refused; processes are found in the other all the same"})
	}
	network := Finding{Mechanism: "network", Needed: true, Detail: "it takes one of the two above"}
	for _, ports := range []Ports{TunDevices, PacketSockets} {
		f := Finding{Mechanism: ports.String()}
		if detail, err := tryNetwork(ports); err != nil {
			f = refusedFinding(f, err)
		} else {
			f.Works, f.Detail = true, detail
			if !network.Works {
				network.Works, network.Detail = true, "built on "+ports.String()
			}
		}
		findings = append(findings, f)
	}
	findings = append(findings, network, tried("clocks", tryClocks), tried("resources", tryResources))
	findings = append(findings,
		tried("disks", func() (string, error) { return tryDisks(false) }),
		tried("XFS disks", func() (string, error) { return tryDisks(true) }))
	if err := json.NewEncoder(w).Encode(findings); err != nil {
		return exitFailed
	}
	return 0
}

// tried is the finding of a mechanism that a lab can do without.
func tried(mechanism string, try func() (detail string, err error)) Finding {
	f := Finding{Mechanism: mechanism}
	detail, err := try()
	if err != nil {
		return refusedFinding(f, err)
	}
	f.Works, f.Detail = true, detail
	return f
}

// tryNetwork brings up a lab of two nodes, sends bytes back and forth between
// them, cuts that off, and heals it.
func tryNetwork(ports Ports) (detail string, err error) {
	begun := time.Now()
	l, err := NewLocal(Options{Nodes: 2, Ports: ports})
	if err != nil {
		return "", err
	}
	up := time.Since(begun)
	defer func() { err = errors.Join(err, l.Close()) }()
	echo, err := l.echo("n1", "n2")
	if err != nil {
		return "", err
	}
	defer echo.close()
	const rounds = 100
	begun = time.Now()
	for range rounds {
		if err := echo.round(time.Second); err != nil {
			return "", fmt.Errorf("send from n1 to n2: %w", err)
		}
	}
	trip := time.Since(begun) / rounds
	link := Link{From: "n1", To: "n2"}
	if err := l.net.Cut(link); err != nil {
		return "", err
	}
	if err := echo.round(50 * time.Millisecond); err == nil {
		return "", errors.New("a packet went over a link that was cut")
	}
	if err := l.net.Heal(link); err != nil {
		return "", err
	}
	if err := echo.answer(time.Second); err != nil {
		return "", fmt.Errorf("receive after heal: %w", err)
	}
	if l.net.Dropped(link)[0] == 0 {
		return "", errors.New("a link was cut, and dropped nothing")
	}
	return fmt.Sprintf("two nodes up in %v, round trip %v; cut and healed",
		up.Round(100*time.Microsecond), trip.Round(time.Microsecond)), nil
}

// An echo is a TCP connection from one node to another which sends everything
// back.
type echo struct {
	listener net.Listener
	conn     net.Conn
	accepted chan net.Conn // the other end, once; then closed
	done     chan struct{}
}

func (l *Local) echo(from, to string) (*echo, error) {
	a, err := l.find(from)
	if err != nil {
		return nil, err
	}
	b, err := l.find(to)
	if err != nil {
		return nil, err
	}
	e := &echo{accepted: make(chan net.Conn, 1), done: make(chan struct{})}
	addr := net.JoinHostPort(l.nodes[b].Addr.String(), "8")
	if err := l.spaces[b].do(func() (err error) {
		e.listener, err = net.Listen("tcp4", addr)
		return err
	}); err != nil {
		return nil, err
	}
	go func() {
		defer close(e.done)
		defer close(e.accepted)
		c, err := e.listener.Accept()
		if err != nil {
			return
		}
		e.accepted <- c
		_, _ = io.Copy(c, c)
	}()
	if err := l.spaces[a].do(func() (err error) {
		e.conn, err = net.DialTimeout("tcp4", addr, time.Second)
		return err
	}); err != nil {
		e.listener.Close()
		<-e.done
		return nil, err
	}
	return e, nil
}

// round sends a byte and awaits it back.
func (e *echo) round(limit time.Duration) error {
	if _, err := e.conn.Write([]byte{1}); err != nil {
		return err
	}
	return e.answer(limit)
}

// answer awaits a byte.
func (e *echo) answer(limit time.Duration) error {
	if err := e.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err := e.conn.Read(make([]byte, 1))
	return err
}

// close closes both ends: over a link that is cut one would not hear of the other.
func (e *echo) close() {
	e.listener.Close()
	if c := <-e.accepted; c != nil {
		c.Close()
	}
	e.conn.Close()
	<-e.done
}
