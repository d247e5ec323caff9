// Command gotest runs go test, and tells what matters: a line for each package,
// what failed with all that it said, and what was skipped, by name and with the
// reason. A test that skips itself without anybody noticing is worse than none.
//
//	gotest [-skips FILE] [--] ARGUMENTS OF GO TEST...
//
// With -skips it fails if a test is skipped that FILE does not name. FILE has a
// test a line, as "cluster.TestName", or "cluster.Test*" for all that begin so;
// what follows # says why it may be skipped.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

func main() {
	skips := flag.String("skips", "", "`FILE` that names the tests which may be skipped")
	flag.Parse()
	ok, err := run(*skips, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

// run runs go test, and says whether all went well.
func run(skips string, args []string) (ok bool, err error) {
	r := report{out: os.Stdout, said: map[string]*strings.Builder{}}
	if skips != "" {
		text, err := os.ReadFile(skips)
		if err != nil {
			return false, err
		}
		r.strict, r.may = true, parseSkips(string(text))
	}
	test := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	test.Stderr = os.Stderr
	events, err := test.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := test.Start(); err != nil {
		return false, err
	}
	if err := r.read(events); err != nil {
		return false, errors.Join(err, test.Wait())
	}
	if err := test.Wait(); err != nil {
		if _, failed := errors.AsType[*exec.ExitError](err); !failed {
			return false, err
		}
		r.broken = true // also where no test failed, as when nothing compiles
	}
	return r.close(), nil
}

// parseSkips returns the tests that a file of skips names.
func parseSkips(text string) []string {
	var tests []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			tests = append(tests, line)
		}
	}
	return tests
}

// An event is one of go test -json; see go doc test2json.
type event struct {
	Action, Package, Test, Output string
}

// A report is what is known of the tests so far.
type report struct {
	out    io.Writer
	strict bool     // a test that may does not name must not be skipped
	may    []string // be skipped

	said                    map[string]*strings.Builder // by tests that have not ended
	passed, failed, skipped int
	wrong                   []string // skipped, but may not
	broken                  bool
}

func (r *report) read(events io.Reader) error {
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(r.out, lines.Text()) // go test itself has something to say
			continue
		}
		r.take(e)
	}
	return lines.Err()
}

func (r *report) take(e event) {
	if e.Test == "" {
		// The package's own lines, but for the bare PASS before each "ok".
		if e.Output != "" && e.Output != "PASS\n" && !strings.HasPrefix(e.Output, "?") {
			fmt.Fprint(r.out, e.Output)
		}
		return
	}
	name := path.Base(e.Package) + "." + e.Test
	said := r.said[name]
	if said == nil {
		said = &strings.Builder{}
		r.said[name] = said
	}
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			said.WriteString(e.Output)
		}
		return
	case "pass":
		r.passed++
	case "fail":
		r.failed++
		fmt.Fprint(r.out, said)
	case "skip":
		r.skipped++
		fmt.Fprintf(r.out, "%s: %s", path.Base(e.Package), said)
		if r.strict && !r.allowed(name) {
			r.wrong = append(r.wrong, name)
		}
	default:
		return
	}
	delete(r.said, name)
}

// allowed says whether a test may be skipped. A star in a name stands for anything
// but a slash.
func (r *report) allowed(name string) bool {
	return slices.ContainsFunc(r.may, func(test string) bool {
		matches, err := path.Match(test, name)
		return matches || err != nil && test == name
	})
}

// close says how many tests there were, and whether all went well.
func (r *report) close() bool {
	for name, said := range r.said { // a panic or a deadline ends tests without a word
		fmt.Fprintf(r.out, "%s did not end:\n%s", name, said)
	}
	for _, name := range r.wrong {
		fmt.Fprintf(r.out, "FAIL: %s was skipped, and must run here\n", name)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed+len(r.wrong), r.skipped)
	return r.failed == 0 && len(r.wrong) == 0 && len(r.said) == 0 && !r.broken
}
