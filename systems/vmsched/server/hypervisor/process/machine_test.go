package process

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor"
)

func counted(to int) *machine {
	m := newMachine()
	for range to {
		m.tick()
	}
	return m
}

func TestMemoryFollowsFromTheCount(t *testing.T) {
	t.Parallel()
	for _, count := range []int{0, 1, 2, 255, 256, 257, 700} {
		m := counted(count)
		if !m.whole() || m.Count != uint64(count) {
			t.Errorf("at %d it is not whole", count)
		}
		m.Count++
		if m.whole() {
			t.Errorf("at %d it is whole with pages of the count before", count+1)
		}
	}
	m := counted(700)
	m.memory[len(m.memory)-1]++
	if m.whole() {
		t.Error("it is whole with another last byte")
	}
}

// migrate sends a machine to another over a pipe, on which bytes may be changed. Until it is
// stopped the machine counts with all that passes.
func migrate(t *testing.T, from, to *machine, vm string, change func([]byte)) (source, target error) {
	t.Helper()
	ours, relayed := net.Pipe()
	out, its := net.Pipe()
	var running sync.Mutex
	stopped := false
	var busy sync.WaitGroup
	busy.Go(func() {
		defer out.Close()
		defer relayed.Close()
		_, _ = io.Copy(writer(func(b []byte) (int, error) {
			running.Lock()
			defer running.Unlock()
			if !stopped {
				from.tick()
			}
			change(b)
			return out.Write(b)
		}), relayed)
	})
	busy.Go(func() { _, _ = io.Copy(relayed, out) })
	busy.Go(func() {
		in := newTalk(its)
		if target = to.receive(t.Context(), in.in, "vm1"); target != nil {
			_ = in.say(answer{Error: target.Error()})
		} else {
			_ = in.say(answer{})
		}
		its.Close()
	})
	source = from.send(t.Context(), ours, vm, func() error {
		running.Lock()
		defer running.Unlock()
		stopped = true
		return nil
	})
	ours.Close()
	busy.Wait()
	return source, target
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestTransfer(t *testing.T) {
	t.Parallel()
	from, to := counted(700), newMachine()
	from.Acked, from.Flight = 5, &write{Seq: 6, Data: []byte("six")}
	if source, target := migrate(t, from, to, "vm1", func([]byte) {}); source != nil || target != nil {
		t.Fatalf("%v, %v", source, target)
	}
	if !to.whole() || !bytes.Equal(to.memory, from.memory) || to.Count != from.Count || to.Acked != 5 ||
		to.Flight.Seq != 6 || string(to.Flight.Data) != "six" {
		t.Errorf("sent was %+v, and came %+v", from.state, to.state)
	}
	if from.Count == 700 {
		t.Error("it did not run meanwhile")
	}
}

func TestTransferOfDamage(t *testing.T) {
	t.Parallel()
	passed := 0
	source, target := migrate(t, counted(3), newMachine(), "vm1", func(b []byte) {
		// In a page that is sent once.
		if at := 450*(pageSize+4) + 2000; passed <= at && at < passed+len(b) {
			b[at-passed] ^= 1
		}
		passed += len(b)
	})
	if target == nil || !strings.Contains(target.Error(), "sum") || source == nil || !strings.Contains(source.Error(), "sum") {
		t.Errorf("%v, %v", source, target)
	}
}

func TestTransferOfAnother(t *testing.T) {
	t.Parallel()
	to := newMachine()
	if source, target := migrate(t, counted(3), to, "vm2", func([]byte) {}); !errors.Is(target, errOther) || source == nil {
		t.Errorf("%v, %v", source, target)
	}
	if to.Count != 0 {
		t.Errorf("came %+v", to.state)
	}
}

func TestReceiveOfGarbage(t *testing.T) {
	t.Parallel()
	hello := `{"vm":"vm1","pages":512}` + "\n"
	number := func(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
	for _, sent := range []string{
		"", "\n", hello, hello + number(noPage+1), hello + number(1) + "short", hello + number(noPage),
		hello + number(noPage) + "{}", hello + number(noPage) + "x\n", hello + number(noPage) + "{}\n",
	} {
		m := counted(1)
		if err := m.receive(context.Background(), newTalk(stream(sent)).in, "vm1"); err == nil || m.Count != 1 {
			t.Errorf("%q: %v, %+v", sent, err, m.state)
		}
	}
}

// stream returns a connection on which s comes, and then its end.
func stream(s string) net.Conn {
	a, b := net.Pipe()
	go func() { _, _ = io.WriteString(b, s); b.Close() }()
	return a
}

func TestFlight(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before state
		last   uint64 // that the volume has
		acked  uint64
		next   uint64
		same   bool // the write that is next is the one that was on the way
	}{
		"of a new one":               {state{}, 0, 0, 1, false},
		"of one that boots again":    {state{}, 7, 7, 8, false},
		"nothing on the way":         {state{Acked: 7}, 7, 7, 8, false},
		"it has not come":            {state{Acked: 7, Flight: &write{Seq: 8}}, 7, 7, 8, true},
		"it has come":                {state{Acked: 7, Flight: &write{Seq: 8}}, 8, 8, 9, false},
		"an acknowledged one is not": {state{Acked: 7, Flight: &write{Seq: 8}}, 5, 5, 6, false},
	} {
		m := &machine{state: c.before}
		m.opened(c.last)
		w := m.next(c.last)
		if m.Acked != c.acked || w.Seq != c.next || (w.Data == nil) != c.same {
			t.Errorf("%s: %+v, and %+v is next", name, m.state, w)
		}
		m.acked(w.Seq)
		if m.Acked != max(c.acked, w.Seq) || m.Flight != nil {
			t.Errorf("%s: %+v, and %+v was acknowledged", name, m.state, w)
		}
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	p := place{Host: "n4", VM: "vm1", Epoch: 3, PID: 7, State: running}
	if err := p.check(); err != nil || p.String() != "@vmsched/n4/vm1/3/7/running" {
		t.Errorf("%v, %v", p, err)
	}
	if want := (hypervisor.Spec{VM: "vm1", Host: "n4", Epoch: 3}); p.spec() != want {
		t.Errorf("%v", p.spec())
	}
	for _, name := range []string{
		"", "@", "@vmsched", "@vmsched/n4/vm1/3/7", "@vmsched/n4/vm1/3/7/running/", "vmsched/n4/vm1/3/7/running",
		"@vmsched/n4/vm1/-3/7/running", "@vmsched/n4/vm1/3/0/running", "@vmsched/n4/vm1/3/x/running", "@vmsched/n 4/vm1/3/7/running",
	} {
		if p, ok := parsePlace(name); ok {
			t.Errorf("%q is %v", name, p)
		}
	}
}
