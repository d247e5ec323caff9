package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/hacheck/hacheck/checker"
)

// patience is how long a run that was told to end has for it.
const patience = 10 * time.Second

// child performs a run as a process of its own: this program again, with these
// arguments. One that came to no verdict is a *failedRun, and one that did not take
// what it was asked for a *refusedRun. The run ends with this process, however that
// does.
func (p *program) child(ctx context.Context, args []string) (result checker.Result, err error) {
	runtime.LockOSThread() // for dieTogether
	defer runtime.UnlockOSThread()
	var stdout, stderr bytes.Buffer
	// A path might be that of another build by now.
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append(args, "--quiet", "--json")...)
	cmd.Args[0] = p.args[0]
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = patience
	dieTogether(cmd)
	err = cmd.Run()
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	switch said := strings.TrimSpace(stderr.String()); {
	case err != nil && !failed:
		return result, fmt.Errorf("run %s: %w", quoteAll(args), err)
	case failed && exit.ExitCode() == exitUsage:
		return result, &refusedRun{args, said}
	case failed && exit.ExitCode() != exitInvalid && exit.ExitCode() != exitUnknown:
		return result, &failedRun{said}
	}
	if err := json.Unmarshal(stdout.Bytes(), &result); err != nil {
		return result, fmt.Errorf("read the verdict of %s: %w", quoteAll(args), err)
	}
	return result, nil
}

// A failedRun is a run that came to no verdict.
type failedRun struct{ words string }

func (f *failedRun) Error() string { return "a run failed: " + f.words }

// gist returns what is said first in the words of a run that failed or was refused,
// without the program's name.
func gist(words string) string {
	lines := strings.Split(words, "\n")
	for _, l := range lines {
		if said, ok := strings.CutPrefix(l, "hacheck: "); ok { // else it is a line of a log
			return said
		}
	}
	return lines[0]
}

// A refusedRun is a run that did not begin, since what it was asked for makes no sense, or
// not on this machine.
type refusedRun struct {
	args  []string
	words string
}

func (r *refusedRun) Error() string { return fmt.Sprintf("run %s: %s", quoteAll(r.args), r.words) }
