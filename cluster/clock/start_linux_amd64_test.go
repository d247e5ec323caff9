package clock

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The test binary is also a program of Go's whose clocks are set.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "play" {
		play(os.Args[2])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func play(part string) {
	begun := time.Now()
	switch part {
	case "tell": // realtime and the monotonic clock, for every line
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println(time.Now().UnixNano(), time.Since(begun).Nanoseconds())
		}
	case "watch": // until there is no more input, and say how often time went back
		var ended atomic.Bool
		var back, reads, last atomic.Int64
		var watching sync.WaitGroup
		for range 4 {
			watching.Go(func() {
				for !ended.Load() {
					before := last.Load() // by whomever
					now := int64(time.Since(begun))
					if now < before {
						back.Add(1)
					}
					for before < now && !last.CompareAndSwap(before, now) {
						before = last.Load()
					}
					reads.Add(1)
				}
			})
		}
		_, _ = io.Copy(io.Discard, os.Stdin)
		ended.Store(true)
		watching.Wait()
		fmt.Println(back.Load(), reads.Load())
	case "read": // how long reading takes, in nanoseconds
		const reads = 2_000_000
		for range reads {
			_ = time.Now()
		}
		fmt.Println(float64(time.Since(begun).Nanoseconds()) / reads)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newClock(t testing.TB) *Clock {
	t.Helper()
	c, err := New()
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c
}

// eventually waits for something that real processes bring about.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come about that %s", what)
		}
		<-tick.C
	}
}

// A program is one that tells the time, for every line that it gets.
type program struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// start starts cmd with the clock, or without one.
func start(t testing.TB, c *Clock, cmd *exec.Cmd) *program {
	t.Helper()
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = t.Output()
	if c == nil {
		must(t, cmd.Start())
	} else {
		must(t, c.Start(cmd))
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &program{cmd, in, bufio.NewReader(out)}
}

// ask returns the numbers that the program answers with.
func (p *program) ask(t testing.TB) []int64 {
	t.Helper()
	_, err := fmt.Fprintln(p.in, "what is the time?")
	must(t, err)
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%s: no answer: %v", p.cmd.Path, err)
	}
	var numbers []int64
	for _, word := range strings.Fields(line) {
		n, err := strconv.ParseInt(word, 10, 64)
		must(t, err)
		numbers = append(numbers, n)
	}
	return numbers
}

// A moment is what a program's clocks showed, and when that was: in between.
type moment struct {
	before, after   time.Time
	real, monotonic int64
}

func (p *program) moment(t testing.TB) moment {
	t.Helper()
	before := time.Now()
	told := p.ask(t)
	if len(told) != 2 {
		t.Fatalf("%s told %d", p.cmd.Path, told)
	}
	return moment{before, time.Now(), told[0], told[1]}
}

// off says whether realtime is off by an offset.
func (m moment) off(offset time.Duration) bool {
	const coarse = 15 * time.Millisecond // what some programs round to, or read coarsely
	got := time.Unix(0, m.real).Add(-offset)
	return got.After(m.before.Add(-coarse)) && got.Before(m.after.Add(coarse))
}

// rate returns the bounds of the rate of the monotonic clock since an earlier moment.
func (m moment) rate(since moment) (least, most float64) {
	d := float64(m.monotonic - since.monotonic)
	return d / float64(m.after.Sub(since.before)), d / float64(m.before.Sub(since.after))
}

// programs returns those that this machine has, and skips those that it has not.
func programs(t *testing.T, each func(t *testing.T, cmd func() *exec.Cmd)) {
	dir := t.TempDir()
	source := func(t *testing.T, name, text string) string {
		name = filepath.Join(dir, name)
		must(t, os.WriteFile(name, []byte(text), 0o644))
		return name
	}
	t.Run("Go", func(t *testing.T) {
		each(t, func() *exec.Cmd { return exec.Command("/proc/self/exe", "play", "tell") })
	})
	for name, flags := range map[string]string{"static C": "-static", "dynamic C": "-O2"} {
		t.Run(name, func(t *testing.T) {
			exe := compile(t, tellC, flags)
			each(t, func() *exec.Cmd { return exec.Command(exe) })
		})
	}
	t.Run("JVM", func(t *testing.T) {
		if _, err := exec.LookPath("javac"); err != nil {
			t.Skip("there is no javac")
		}
		out, err := exec.Command("javac", "-d", dir, source(t, "Tell.java", tellJava)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		each(t, func() *exec.Cmd { return exec.Command("java", "-Xshare:auto", "-Xint", "-cp", dir, "Tell") })
	})
	t.Run("CPython", func(t *testing.T) {
		python, err := binaryOf("python3")
		if err != nil {
			t.Skip(err)
		}
		each(t, func() *exec.Cmd { return exec.Command(python, "-S", "-c", tellPython) })
	})
}

// binaryOf returns the first program of a name that is no script: what a script
// execs has lost its clocks.
func binaryOf(name string) (string, error) {
	for _, dir := range filepath.SplitList(os.Getenv("PATH") + ":/usr/bin") {
		path := filepath.Join(dir, name)
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		magic := make([]byte, 4)
		_, err = io.ReadFull(f, magic)
		f.Close()
		if err == nil && string(magic) == "\x7fELF" {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no %s", name)
}

// compile compiles a program of C.
func compile(t *testing.T, text string, flags ...string) string {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("there is no gcc")
	}
	dir := t.TempDir()
	source, exe := filepath.Join(dir, "x.c"), filepath.Join(dir, "x")
	must(t, os.WriteFile(source, []byte(text), 0o644))
	if out, err := exec.Command(gcc, append(flags, "-o", exe, source, "-pthread")...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return exe
}

const tellC = `
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
	char line[100];
	if (argc > 1 && fork() > 0) /* tell it as a fork of what was started */
		pause();
	while (fgets(line, sizeof line, stdin)) {
		struct timespec r, m;
		clock_gettime(CLOCK_REALTIME, &r);
		clock_gettime(CLOCK_MONOTONIC, &m);
		printf("%lld %lld\n", r.tv_sec * 1000000000LL + r.tv_nsec, m.tv_sec * 1000000000LL + m.tv_nsec);
		fflush(stdout);
	}
}`

const tellJava = `
import java.util.Scanner;
class Tell {
	public static void main(String[] args) {
		for (Scanner in = new Scanner(System.in); in.hasNextLine(); in.nextLine())
			System.out.println(System.currentTimeMillis() * 1000000 + " " + System.nanoTime());
	}
}`

const tellPython = `
import sys, time
for line in sys.stdin:
	print(time.time_ns(), time.monotonic_ns(), flush=True)
`

// TestProgramsReadTheClockThatTheyWereStartedWith: each language's runtime asks in a
// way of its own.
func TestProgramsReadTheClockThatTheyWereStartedWith(t *testing.T) {
	programs(t, func(t *testing.T, cmd func() *exec.Cmd) {
		c := newClock(t)
		p := start(t, c, cmd())
		check := func(w Warp) {
			t.Helper()
			must(t, c.Set(w))
			first := p.moment(t)
			if w.Drift == 0 && !first.off(w.Offset) {
				t.Errorf("%+v: realtime is off by %v", w, time.Unix(0, first.real).Sub(first.before))
			}
			<-time.After(50 * time.Millisecond) // so that there is time to gain
			second := p.moment(t)
			if least, most := second.rate(first); least > 1+w.MonotonicDrift+.001 || most < 1+w.MonotonicDrift-.001 {
				t.Errorf("%+v: the monotonic clock runs at %.4f to %.4f", w, least, most)
			}
			if w.Drift != 0 {
				d := float64(second.real - first.real)
				if least, most := d/float64(second.after.Sub(first.before)), d/float64(second.before.Sub(first.after)); least > 1+w.Drift+.05 || most < 1+w.Drift-.05 {
					t.Errorf("%+v: realtime runs at %.4f to %.4f", w, least, most)
				}
			}
		}
		check(Warp{})
		check(Warp{Offset: time.Hour})
		check(Warp{Offset: -2 * time.Hour})
		check(Warp{Drift: 1})
		check(Warp{MonotonicDrift: -.5})
		check(Warp{MonotonicDrift: 1})
		check(Warp{Offset: time.Minute, MonotonicDrift: .25})
		check(Warp{})
		if reaches, err := c.Reaches(procDir(p.cmd)); !reaches || err != nil {
			t.Errorf("it has the page: %t, %v", reaches, err)
		}

		// Another, later, has the same offset from the start; and one without has none.
		must(t, c.Set(Warp{Offset: -time.Hour}))
		if m := start(t, c, cmd()).moment(t); !m.off(-time.Hour) {
			t.Errorf("what was started after the clock was set shows %v", time.Unix(0, m.real))
		}
		if m := start(t, nil, cmd()).moment(t); !m.off(0) {
			t.Errorf("what was started without the clock shows %v", time.Unix(0, m.real))
		}
	})
}

// TestEveryClockOfTheVDSO compares it with what the kernel says to a system call.
func TestEveryClockOfTheVDSO(t *testing.T) {
	exe := compile(t, `
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long long ns(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }
int main() {
	char line[100];
	while (fgets(line, sizeof line, stdin)) {
		for (int id = 0; id <= 12; id++) { /* 10 and 12 there are none */
			struct timespec truly = {-1, 0}, shown = {-1, 0};
			long a = syscall(SYS_clock_gettime, id, &truly);
			long b = clock_gettime(id, &shown);
			if (!a != !b) printf("%lld ", 1LL << 62); /* else both are refused */
			else printf("%lld ", ns(shown) - ns(truly));
		}
		struct timespec now;
		struct timeval tv;
		struct timezone tz = {7, 7};
		time_t s;
		syscall(SYS_clock_gettime, 0, &now);
		gettimeofday(&tv, &tz);
		printf("%lld %d ", tv.tv_sec * 1000000000LL + tv.tv_usec * 1000LL - ns(now), tz.tz_minuteswest);
		gettimeofday(&tv, 0);
		printf("%lld ", tv.tv_sec * 1000000000LL + tv.tv_usec * 1000LL - ns(now));
		time_t r = time(&s);
		printf("%lld %lld\n", (long long)(r - now.tv_sec), (long long)(s - now.tv_sec));
		fflush(stdout);
	}
}`)
	c := newClock(t)
	p := start(t, c, exec.Command(exe))
	near := func(got, want int64) bool { return got > want-5e7 && got < want+5e7 }
	// Coarse clocks, and time, which is one, are set with their next tick.
	eventuallyAll := func(what string, complaints func(told []int64) []string) {
		t.Helper()
		var last []string
		defer func() {
			for _, complaint := range last {
				t.Errorf("%s: %s", what, complaint)
			}
		}()
		eventually(t, what, func() bool {
			told := p.ask(t)
			if len(told) != 18 {
				t.Fatalf("told %d", told)
			}
			last = complaints(told)
			return len(last) == 0
		})
	}
	for _, offset := range []time.Duration{0, time.Hour, -time.Hour} {
		must(t, c.Set(Warp{Offset: offset}))
		eventuallyAll(fmt.Sprintf("clocks are off by %v", offset), func(told []int64) (wrong []string) {
			complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
			for id, off := range told[:13] {
				want := int64(0)
				switch id {
				case unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_TAI:
					want = int64(offset)
				}
				if !near(off, want) {
					complain("clock %d is off by %v", id, time.Duration(off))
				}
			}
			if !near(told[13], int64(offset)) || told[14] == 7 || !near(told[15], int64(offset)) {
				complain("gettimeofday is off by %v, in a zone of %d minutes, and without asking for a zone by %v",
					time.Duration(told[13]), told[14], time.Duration(told[15]))
			}
			for _, s := range told[16:] {
				if s < int64(offset/1e9)-1 || s > int64(offset/1e9)+1 {
					complain("time is off by %d seconds", s)
				}
			}
			return wrong
		})
	}
	// What the monotonic clocks have gained they keep.
	must(t, c.Set(Warp{MonotonicDrift: 50}))
	eventually(t, "a second has been gained", func() bool { return p.ask(t)[unix.CLOCK_MONOTONIC] > 1e9 })
	must(t, c.Set(Warp{}))
	gained := p.ask(t)[unix.CLOCK_MONOTONIC]
	eventuallyAll("what was gained is kept", func(told []int64) (wrong []string) {
		for _, id := range []int{unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_BOOTTIME} {
			if gained < 1e9 || !near(told[id], gained) {
				wrong = append(wrong, fmt.Sprintf("clock %d is off by %v, not %v", id, time.Duration(told[id]), time.Duration(gained)))
			}
		}
		if !near(told[unix.CLOCK_REALTIME], 0) || !near(told[unix.CLOCK_PROCESS_CPUTIME_ID], 0) {
			wrong = append(wrong, fmt.Sprintf("realtime is off by %v, and CPU time by %v", told[unix.CLOCK_REALTIME], told[unix.CLOCK_PROCESS_CPUTIME_ID]))
		}
		return wrong
	})
}

// TestMonotonicTimeNeverGoesBack: not even between threads, whatever the clock is set
// to and however often.
func TestMonotonicTimeNeverGoesBack(t *testing.T) {
	for name, cmd := range map[string]func(t *testing.T) *exec.Cmd{
		"Go": func(*testing.T) *exec.Cmd { return exec.Command("/proc/self/exe", "play", "watch") },
		"every clock": func(t *testing.T) *exec.Cmd {
			return exec.Command(compile(t, `
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
static atomic_llong last[4], back, reads;
static atomic_int ended;
static const int ids[4] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_MONOTONIC_COARSE};
static void *watch(void *arg) {
	while (!ended) for (int i = 0; i < 4; i++) {
		long long before = last[i];
		struct timespec t;
		clock_gettime(ids[i], &t);
		long long now = t.tv_sec * 1000000000LL + t.tv_nsec;
		if (now < before) back++;
		while (before < now && !atomic_compare_exchange_weak(&last[i], &before, now));
		reads++;
	}
	return 0;
}
int main() {
	pthread_t threads[4];
	char c;
	for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, watch, 0);
	while (read(0, &c, 1) > 0);
	ended = 1;
	for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
	printf("%lld %lld\n", (long long)back, (long long)reads);
}`, "-O2"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock(t)
			p := start(t, c, cmd(t))
			r := rand.New(rand.NewPCG(3, 4))
			for range 300 {
				must(t, c.Set(Warp{
					Offset: time.Duration(r.Int64N(int64(time.Hour))), Drift: r.Float64()*10 - .9,
					MonotonicDrift: math.Pow(2, r.Float64()*10-6) - 1,
				}))
			}
			must(t, p.in.(io.Closer).Close())
			var back, reads int64
			_, err := fmt.Fscan(p.out, &back, &reads)
			must(t, err)
			if back != 0 || reads < 100_000 {
				t.Errorf("time went back %d times, in %d readings", back, reads)
			}
			t.Logf("%d readings", reads)
		})
	}
}

// TestHooksComputeWhatWeDo: with slots that Set would not have made, too.
func TestHooksComputeWhatWeDo(t *testing.T) {
	c := newClock(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := c.begin(exec.Command("/proc/self/exe", "play", "tell"))
	must(t, err)
	defer p.giveUp(nil)
	page := (*page)(unsafe.Pointer(&c.mem[0]))
	r := rand.New(rand.NewPCG(5, 6))
	draw := func(since int64) column {
		return column{since, r.Int64N(1<<58) - 1<<57, fixed(MinDrift + math.Pow(2, r.Float64()*16-10))}
	}
	for range 500 {
		n := r.Uint64N(1 << 40)
		at := r.IntN(30) // how far back the slot is that counts
		now, err := read(unix.CLOCK_REALTIME)
		must(t, err)
		var want column
		for back := range len(page.ring) {
			since := now - r.Int64N(1<<50)
			if back < at {
				since = now + int64(time.Hour) // to come
			}
			drawn := draw(since)
			if back == at {
				want = drawn
			}
			page.ring[(n-uint64(back))%32].columns[0] = drawn
		}
		page.published.Store(n)
		before, err := read(unix.CLOCK_REALTIME)
		must(t, err)
		var ts [16]byte
		must(t, p.call(p.code+hookEntries["clock_gettime"], unix.CLOCK_REALTIME, ts[:]))
		after, err := read(unix.CLOCK_REALTIME)
		must(t, err)
		parts := (*[2]int64)(unsafe.Pointer(&ts))
		if parts[1] < 0 || parts[1] >= 1e9 {
			t.Fatalf("%+v: a second of %d nanoseconds", want, parts[1])
		}
		got := parts[0]*1e9 + parts[1]
		if least, most := before+want.at(before), after+want.at(after); got < least || got > most {
			t.Fatalf("%+v, %d slots back: got %d, want from %d to %d", want, at, got, least, most)
		}
	}
}

func TestReadAsksAProcessForItsClocks(t *testing.T) {
	c := newClock(t)
	read := func(realtime, monotonic time.Duration) {
		t.Helper()
		o, err := c.Read(exec.Command("/proc/self/exe"))
		must(t, err)
		if (o.Realtime-realtime).Abs() > o.Within || (o.Monotonic-monotonic).Abs() > o.Within || o.Within > time.Second {
			t.Errorf("got %+v; want %v and %v", o, realtime, monotonic)
		}
	}
	read(0, 0)
	must(t, c.Set(Warp{Offset: time.Hour}))
	read(time.Hour, 0)
	must(t, c.Set(Warp{MonotonicDrift: 10}))
	eventually(t, "a second has been gained", func() bool {
		o, err := c.Read(exec.Command("/proc/self/exe"))
		must(t, err)
		return o.Monotonic > time.Second
	})
	must(t, c.Set(Warp{}))
	one, err := c.Read(exec.Command("/proc/self/exe"))
	must(t, err)
	read(0, one.Monotonic)
}

// TestStartedProgramsAreAsOthers: they can be stopped, have their own session, and
// the files that they were given and no more.
func TestStartedProgramsAreAsOthers(t *testing.T) {
	c := newClock(t)
	given, err := os.Open("/dev/null")
	must(t, err)
	defer given.Close()
	list := func(c *Clock) string {
		cmd := exec.Command("/bin/sh", "-c", "for f in 3 4 5 6 7 8 9; do test -e /dev/fd/$f && echo $f; done; true")
		cmd.ExtraFiles = []*os.File{given, given}
		var out bytes.Buffer
		cmd.Stdout = &out
		if c == nil {
			must(t, cmd.Start())
		} else {
			must(t, c.Start(cmd))
		}
		must(t, cmd.Wait())
		if len(cmd.ExtraFiles) != 2 {
			t.Errorf("the command was left with %d extra files", len(cmd.ExtraFiles))
		}
		return out.String()
	}
	if with, without := list(c), list(nil); with != without {
		t.Errorf("with a clock it has the files\n%sand without\n%s", with, without)
	}

	cmd := exec.Command("/proc/self/exe", "play", "tell")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p := start(t, c, cmd)
	pid := cmd.Process.Pid
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("its session is %d (%v), not its own", sid, err)
	}
	p.ask(t)
	if got := status(t, pid, "TracerPid"); got != "0" {
		t.Errorf("process %s traces it", got)
	}
	must(t, unix.Kill(pid, unix.SIGSTOP))
	eventually(t, "it has stopped", func() bool { return strings.HasPrefix(status(t, pid, "State"), "T") })
	must(t, unix.Kill(pid, unix.SIGCONT))
	p.ask(t)
	must(t, unix.Kill(pid, unix.SIGTERM))
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it was asked to end, and did with %v", err)
	}
	if _, err := c.Reaches(procDir(cmd)); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("does the clock reach what has ended: %v", err)
	}
}

func procDir(cmd *exec.Cmd) string { return fmt.Sprintf("/proc/%d", cmd.Process.Pid) }

// status returns a field of a process's status.
func status(t testing.TB, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); name == field {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("process %d has no %s", pid, field)
	return ""
}

func TestSignalsThatComeMeanwhileArePassedOn(t *testing.T) {
	c := newClock(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", "play", "tell")
	p, err := c.begin(cmd)
	must(t, err)
	defer p.giveUp(nil)
	must(t, unix.Kill(p.pid, unix.SIGSTOP))
	if _, err := p.offsets(); err != nil {
		t.Fatal(err)
	}
	must(t, p.letGo())
	eventually(t, "it has stopped", func() bool { return strings.HasPrefix(status(t, p.pid, "State"), "T (stopped)") })
}

func TestForksKeepTheClockAndExecLosesIt(t *testing.T) {
	c := newClock(t)
	must(t, c.Set(Warp{Offset: time.Hour}))
	t.Run("fork", func(t *testing.T) {
		cmd := exec.Command(compile(t, tellC), "fork")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		p := start(t, c, cmd)
		defer func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }()
		if m := p.moment(t); !m.off(time.Hour) {
			t.Errorf("the fork of what was started shows %v", time.Unix(0, m.real))
		}
	})
	t.Run("exec", func(t *testing.T) {
		self, err := os.Executable()
		must(t, err)
		p := start(t, c, exec.Command("/bin/sh", "-c", `exec "$0" play tell`, self))
		if m := p.moment(t); !m.off(0) {
			t.Errorf("what was executed by what was started shows %v: then Reaches is wrong to say that it has no clock", time.Unix(0, m.real))
		}
		if reaches, err := c.Reaches(procDir(p.cmd)); reaches || err != nil {
			t.Errorf("it has the page: %t, %v", reaches, err)
		}
	})
}

// TestWhatCannotHaveAClockIsNotStarted: and nothing is left of it.
func TestWhatCannotHaveAClockIsNotStarted(t *testing.T) {
	c := newClock(t)
	// A program of 32 bits: it exits with 42.
	elf32 := []byte("\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00" + // ident
		"\x02\x00\x03\x00\x01\x00\x00\x00\x54\x80\x04\x08\x34\x00\x00\x00" + // type, machine, version, entry, phoff
		"\x00\x00\x00\x00\x00\x00\x00\x00\x34\x00\x20\x00\x01\x00\x00\x00\x00\x00\x00\x00" +
		"\x01\x00\x00\x00\x00\x00\x00\x00\x00\x80\x04\x08\x00\x80\x04\x08" + // one segment, all of it
		"\x60\x00\x00\x00\x60\x00\x00\x00\x05\x00\x00\x00\x00\x10\x00\x00" +
		"\xb8\x01\x00\x00\x00\xbb\x2a\x00\x00\x00\xcd\x80")
	exe := filepath.Join(t.TempDir(), "elf32")
	must(t, os.WriteFile(exe, elf32, 0o755))
	closed, err := New()
	must(t, err)
	must(t, closed.Close())
	for _, test := range []struct {
		c    *Clock
		path string
		want string
	}{
		{c, exe, "no 64-bit program"},
		{c, "/no/such/program", "no such file"},
		{closed, "/bin/true", "closed"},
	} {
		if test.path == exe {
			if err := exec.Command(exe).Run(); err == nil || err.Error() != "exit status 42" {
				t.Logf("skipped: this machine does not run programs of 32 bits: %v", err)
				continue
			}
		}
		cmd := exec.Command(test.path)
		err := test.c.Start(cmd)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.path, err)
		}
		if cmd.Process != nil && unix.Kill(cmd.Process.Pid, 0) != unix.ESRCH {
			t.Errorf("%s: process %d is left", test.path, cmd.Process.Pid)
		}
	}
	if _, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %v", err)
	}
}

// TestLargeEnvironments: what tells where the vDSO is lies behind them.
func TestLargeEnvironments(t *testing.T) {
	c := newClock(t)
	must(t, c.Set(Warp{Offset: time.Hour}))
	for _, size := range []int{0, 1 << 10, 1 << 16, 1 << 18, 1 << 20} {
		cmd := exec.Command("/proc/self/exe", "play", "tell")
		cmd.Env = os.Environ()
		for i := 0; i < size; i += 1 << 10 {
			cmd.Env = append(cmd.Env, fmt.Sprintf("LARGE_%d=%s", i, strings.Repeat("x", 1<<10)))
		}
		if m := start(t, c, cmd).moment(t); !m.off(time.Hour) {
			t.Errorf("an environment of %d bytes: it shows %v", size, time.Unix(0, m.real))
		}
	}
}

// TestHookBytesAreTheirSource assembles it.
func TestHookBytesAreTheirSource(t *testing.T) {
	for _, tool := range []string{"as", "objcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("there is no %s", tool)
		}
	}
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "hook.o"), filepath.Join(dir, "hook.bin")
	for _, cmd := range [][]string{
		{"as", "--64", "-o", object, filepath.Join("hook", "amd64.S")},
		{"objcopy", "-O", "binary", "-j", ".text", object, binary},
	} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	want, err := os.ReadFile(binary)
	must(t, err)
	if hookCode == string(want) {
		return
	}
	var b strings.Builder
	for i, c := range want {
		switch {
		case i%16 == 0 && i > 0:
			b.WriteString("\" +\n\t\"")
		case i == 0:
			b.WriteString("\n\t\"")
		}
		fmt.Fprintf(&b, `\x%02x`, c)
	}
	t.Errorf("hookCode is not what the source assembles to. That is:\nconst hookCode = \"\" +%s\"", &b)
}

// BenchmarkStart starts a small program and waits for its end.
func BenchmarkStart(b *testing.B) {
	c := newClock(b)
	for name, start := range map[string]func(cmd *exec.Cmd) error{"plain": (*exec.Cmd).Start, "hooked": c.Start} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				cmd := exec.Command("/bin/true")
				must(b, start(cmd))
				must(b, cmd.Wait())
			}
		})
	}
}

// BenchmarkNow is time.Now in a program of Go's: two readings each.
func BenchmarkNow(b *testing.B) {
	c := newClock(b)
	must(b, c.Set(Warp{Offset: time.Hour, MonotonicDrift: .5}))
	for _, name := range []string{"plain", "hooked"} {
		b.Run(name, func(b *testing.B) {
			var sum float64
			for b.Loop() {
				cmd := exec.Command("/proc/self/exe", "play", "read")
				var out bytes.Buffer
				cmd.Stdout = &out
				if name == "plain" {
					must(b, cmd.Start())
				} else {
					must(b, c.Start(cmd))
				}
				must(b, cmd.Wait())
				ns, err := strconv.ParseFloat(strings.TrimSpace(out.String()), 64)
				must(b, err)
				if name == "hooked" {
					ns /= 1.5 // its own measure of time
				}
				sum += ns
			}
			b.ReportMetric(sum/float64(b.N), "ns/read")
		})
	}
}
