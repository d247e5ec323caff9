package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
)

// The least that somebody may give a check.
const (
	minCheckTime   = 100 * time.Millisecond
	minCheckMemory = 16 << 20
)

// checkers are who may judge linearizability.
var checkers = []string{"auto", "porcupine"}

// defaultBudget is what suits the machine.
func defaultBudget() checker.Budget {
	return checker.Budget{Time: checker.DefaultTime, Memory: checkMemory()}
}

// budgetFlags are the flags that say how hard to judge.
func budgetFlags(category string, b *checker.Budget) []cli.Flag {
	who := &value{
		now: func() string {
			if b.Porcupine {
				return checkers[1]
			}
			return checkers[0]
		},
		set: func(given string) error {
			var name string
			err := choice(&name, "checker", checkers).set(given)
			b.Porcupine = name == checkers[1]
			return err
		},
	}
	memory := &cli.GenericFlag{Category: category, Name: "check-memory", Usage: "give up on what takes more than `SIZE` to judge", Value: size(&b.Memory, minCheckMemory)}
	memory.DefaultText = "half of what there is"
	return []cli.Flag{
		&cli.GenericFlag{Category: category, Name: "check-time", Usage: "give up on what takes longer than `TIME` to judge", Value: duration(&b.Time, minCheckTime)},
		memory,
		&cli.GenericFlag{Category: category, Name: "checker", Usage: "`WHO` judges linearizability: auto, or porcupine alone, for comparison", Value: who},
		&cli.BoolFlag{Category: category, Name: "all-violations", Usage: "judge every key, also when the verdict is settled", Destination: &b.All, DisableDefaultText: true},
	}
}

// checkMemory is half of the memory that the machine has, or lets us have.
func checkMemory() uint64 {
	has := uint64(math.MaxUint64)
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		if _, rest, ok := bytes.Cut(info, []byte("MemTotal:")); ok {
			if fields := strings.Fields(string(rest)); len(fields) > 0 {
				if n, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
					has = n << 10
				}
			}
		}
	}
	if limit, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseUint(strings.TrimSpace(string(limit)), 10, 64); err == nil { // or it says max
			has = min(has, n)
		}
	}
	if has == math.MaxUint64 {
		return checker.DefaultMemory
	}
	return max(has/2, minCheckMemory)
}

// sizes are the units of memory, the largest first.
var sizes = []struct {
	name  string
	bytes uint64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// size is a number of bytes with its unit.
func size(n *uint64, least uint64) *value {
	spell := func(n uint64) string {
		for _, u := range sizes {
			if n >= u.bytes {
				return strconv.FormatFloat(math.Round(float64(n)/float64(u.bytes)*10)/10, 'g', -1, 64) + u.name
			}
		}
		return strconv.FormatUint(n, 10)
	}
	return &value{
		now: func() string { return spell(*n) },
		set: func(given string) error {
			for _, u := range sizes {
				number, ok := strings.CutSuffix(given, u.name)
				if !ok {
					continue
				}
				parsed, err := strconv.ParseFloat(number, 64)
				if err != nil || !(parsed >= 0 && parsed*float64(u.bytes) < 1<<50) { // NaN is in no range
					break
				}
				if parsed*float64(u.bytes) < float64(least) {
					return fmt.Errorf("want at least %s", spell(least))
				}
				*n = uint64(parsed * float64(u.bytes))
				return nil
			}
			return fmt.Errorf("want a size with its unit, such as 512MiB or 4GiB")
		},
	}
}
