package campaign

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// measured is a process that starts the server of a gate and does one job, or, without a directory,
// does nothing; and says how long that took, and how much memory it had.
func (p part) measured(ctx context.Context) error {
	began := time.Now()
	if p.Dir != "" {
		s, err := Serve(ServerOptions{Dir: p.Dir})
		if err != nil {
			return err
		}
		defer s.Close()
		c, err := Open(ctx, Access{Server: s}, Options{Name: "a"})
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.Put(ctx, some(1)); err != nil {
			return err
		}
	}
	took := time.Since(began)
	if p.Dir != "" && took > 10*time.Second { // it is a hundredth of that on a machine that does nothing else
		return fmt.Errorf("it takes %v to start", took)
	}
	peak, err := peak()
	if err != nil {
		return err
	}
	fmt.Println(took.Microseconds(), peak)
	return nil
}

// peak is the most memory that this process has had, in KiB; 0 where the system does not say.
func peak() (int, error) {
	text, err := os.ReadFile("/proc/self/status")
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0, fmt.Errorf("/proc/self/status has no VmHWM")
	}
	return strconv.Atoi(fields[0])
}

// BenchmarkProcess tells what the server costs a process: the time until the first job is put, and
// resident memory at its peak.
func BenchmarkProcess(b *testing.B) {
	for _, name := range []string{"bare", "server"} {
		b.Run(name, func(b *testing.B) {
			var took, rss int
			for range b.N {
				p := part{Role: "measured"}
				if name == "server" {
					p.Dir = b.TempDir()
				}
				var us, kib int
				line := <-start(b, p).lines
				if n, err := fmt.Sscan(line, &us, &kib); n != 2 {
					b.Fatalf("it says %q: %v", line, err)
				}
				took += us
				rss = max(rss, kib)
			}
			b.ReportMetric(float64(took)/float64(b.N)/1000, "ms/start")
			b.ReportMetric(float64(rss)/1024, "MiB-peak")
		})
	}
}
