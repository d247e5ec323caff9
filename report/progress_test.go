package report

import (
	"strings"
	"testing"
	"time"
)

func at(seconds float64, phase string) Snapshot {
	return Snapshot{Phase: phase, Elapsed: time.Duration(seconds * float64(time.Second))}
}

func TestALogGetsALineNowAndThen(t *testing.T) {
	var b strings.Builder
	p := NewProgress(&b, nil)
	p.Show(at(0, "starting"))
	for s := 1.0; s < 12; s++ {
		p.Show(at(s, "main"))
	}
	p.Show(at(12, "heal"))
	p.Done()
	want := "0.0s  starting\n1.0s  main\n6.0s  main\n11.0s  main\n12.0s  heal\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestATerminalHasOneLineThatChanges(t *testing.T) {
	var b strings.Builder
	columns := 80
	p := NewProgress(&b, func() int { return columns })
	s := at(12.04, "main")
	s.Limit, s.OK, s.Fail, s.Info, s.Rate = 20*time.Second, 1200, 34, 5, 103.4
	s.Faults = []string{"partition ring"}
	p.Show(s)
	columns = 20
	p.Show(s)
	p.Done()
	p.Done()
	want := "\r\x1b[K12.0s of 20s  main  103 op/s  ok 1200, fail 34, info 5  partition ring" +
		"\r\x1b[K12.0s of 20s  main…" +
		"\r\x1b[K"
	if b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
}

func TestALogDoesNotTearTheLine(t *testing.T) {
	var b strings.Builder
	p := NewProgress(&b, func() int { return 80 })
	p.Write([]byte("before\n"))
	p.Show(at(1, "main"))
	p.Write([]byte("meanwhile\n"))
	p.Done()
	p.Write([]byte("after\n"))
	want := "before\n\r\x1b[K1.0s  main\r\x1b[Kmeanwhile\n1.0s  main\r\x1b[Kafter\n"
	if b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
}
