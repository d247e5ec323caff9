package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/internal/gate"
	"github.com/hacheck/hacheck/internal/matrix"
	"github.com/hacheck/hacheck/nemesis"
)

// ofPlans are the options of a run that a plan may not give: the gate gives them, or they change
// nothing of what is judged.
var ofPlans = []string{"workload", "system", "nemesis", "seed", "store", "replay", "quiet", "json"}

// knownTo is what a plan may choose from.
func (p *program) knownTo() matrix.Known {
	k := matrix.Known{
		Faults: namesOfFaults(), Nemesis: checkNemesis,
		Metric: gate.MetricOf, Metrics: gate.PromiseNames(), Measures: measures,
		Content: contentOf, Check: p.checkArguments,
	}
	for _, s := range systems {
		k.Systems = append(k.Systems, matrix.System{Name: s.name, Workloads: s.offers})
	}
	for _, f := range newOptions().flags() {
		if name := f.Names()[0]; !slices.Contains(ofPlans, name) {
			_, bare := f.(*cli.BoolFlag)
			k.Options = append(k.Options, matrix.Option{Name: name, Bare: bare, File: name == "schedule"})
		}
	}
	return k
}

// contentOf returns a digest of what is in a file.
func contentOf(file string) (string, error) {
	if err := regular(file); err != nil {
		return "", err
	}
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// namesOfFaults are those of the families.
func namesOfFaults() (names []string) {
	for _, f := range faults {
		names = append(names, f.Name)
	}
	return names
}

// checkNemesis says what is wrong with faults as --nemesis takes them.
func checkNemesis(given string) error { return nemesisList(new([]nemesis.Spec)).set(given) }

// checkArguments says what is wrong with the arguments of a run. It begins nothing, and writes
// nothing.
func (p *program) checkArguments(args []string) error {
	if len(args) == 0 || args[0] != "run" {
		return usage("no run: it begins with %q", args)
	}
	o := newOptions()
	app := &cli.App{
		Name: "hacheck", Flags: o.flags(), HideHelp: true, Writer: io.Discard, ErrWriter: io.Discard,
		OnUsageError: explainUsage, ExitErrHandler: func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage("unexpected argument %q", c.Args().First())
			}
			return o.check()
		},
	}
	err := app.Run(append([]string{"hacheck"}, args[1:]...))
	if err != nil {
		return usage("%s", strings.TrimPrefix(err.Error(), "run: "))
	}
	return nil
}

// measures says whether runs of a cell can have such a metric: where nothing breaks there is nothing
// to recover from.
func measures(metric string, c gate.Cell) bool {
	kind, of, _ := strings.Cut(metric, ".")
	breaks := c.Nemesis != "none" || slices.Contains(c.Arguments, "--schedule")
	workload := findWorkload(c.Workload)
	if m, ok := gate.MetricOf(metric); ok && m.Faulty && !breaks {
		return false
	}
	switch kind {
	case "failover", "downtime":
		return workload.name == "vm"
	case "latency":
		function := of
		if at := strings.LastIndexByte(of, '.'); at >= 0 && !slices.Contains(workload.functions, of) {
			function = of[:at]
		}
		return slices.Contains(workload.functions, function)
	}
	if slices.Contains(namesOfFaults(), of) {
		return breaksWith(c, of)
	}
	return true
}

// breaksWith says whether faults of a family are among those of a cell. A schedule may have any.
func breaksWith(c gate.Cell, family string) bool {
	if slices.Contains(c.Arguments, "--schedule") {
		return true
	}
	for asked := range strings.SplitSeq(c.Nemesis, ",") {
		if name, _, _ := strings.Cut(asked, ":"); name == family || name == nemesis.All {
			return true
		}
	}
	return false
}
