package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
)

// The exit statuses. They are an interface: scripts rest on them.
const (
	exitValid   = 0
	exitInvalid = 1   // an anomaly is proven
	exitUnknown = 2   // it could not be told
	exitUsage   = 254 // what was asked for makes no sense; nothing was done
	exitFailed  = 255 // hacheck itself failed
)

// A program is one invocation of the command.
type program struct {
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// hacheck runs the command and returns its exit status. Go's own for a panic is 2, and
// that must not pass for a verdict.
func hacheck(args []string, stdout, stderr io.Writer) (status int) {
	defer func() {
		if v := recover(); v != nil {
			fmt.Fprintf(stderr, "hacheck: panic: %v\n\n%s", v, debug.Stack())
			status = exitFailed
		}
	}()
	p := &program{args: args, stdin: os.Stdin, stdout: stdout, stderr: stderr}
	err := p.app().RunContext(context.Background(), args)
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	if err == nil {
		return exitValid
	}
	fmt.Fprintf(stderr, "hacheck: %v\n", err)
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[cli.ExitCoder](err); ok {
		return exitUsage // it is cli's, of help that there is not
	}
	return exitFailed
}

// An exitStatus ends the command without a word more.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// verdictStatus returns the error that ends the command after verdict v.
func verdictStatus(v checker.Verdict) error {
	if status := statusOf(v); status != exitValid {
		return exitStatus(status)
	}
	return nil
}

func statusOf(v checker.Verdict) int {
	switch v {
	case checker.Valid:
		return exitValid
	case checker.Invalid:
		return exitInvalid
	}
	return exitUnknown
}

// A usageError says what is wrong with what was asked for, on one line.
type usageError struct{ reason string }

func (e *usageError) Error() string { return e.reason }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// app returns the command line. Of urfave/cli's ways these are mended here: an
// unknown command is no error to it, it prints pages of help after a mistake, and
// it exits by itself.
func (p *program) app() *cli.App {
	bare, run, shrink, prove := newOptions(), newOptions(), newShrinkOptions(), newProveOptions()
	checking := defaultBudget()
	told := &semantics{}
	gating := newGateOptions()
	leading, working, looking, lookingJSON := newCampaignOptions(), newWorkerOptions(), newReaching(), false
	serving := &serving{store: newOptions().store, listen: defaultListen}
	app := &cli.App{
		Name:                  "hacheck",
		Usage:                 "does a distributed system keep its promises when things break?",
		Version:               version(),
		Writer:                p.stdout,
		ErrWriter:             p.stderr,
		Flags:                 append(bare.flags(), cli.HelpFlag), // a command called help keeps it away
		HideHelpCommand:       true,
		OnUsageError:          explainUsage,
		ExitErrHandler:        func(*cli.Context, error) {},
		CustomAppHelpTemplate: appHelp,
		Action:                func(c *cli.Context) error { return p.bare(c, bare) },
		Commands: []*cli.Command{
			{
				Name:      "run",
				Usage:     "run a workload under faults and judge it",
				UsageText: "hacheck [run] --workload register --nemesis partition [options]",
				Description: "Starts the system in a lab on this machine, lets clients work on it while the\n" +
					"nemesis breaks things, heals, reads what is left, and judges the history.\n" +
					"Ctrl-C ends the main phase early; a second one gives up.",
				Flags:  run.flags(),
				Action: func(c *cli.Context) error { return p.run(c, run) },
			},
			{
				Name:      "check",
				Usage:     "judge recorded histories again",
				UsageText: "hacheck check [options] FILE...",
				Description: "A FILE is a history, or the directory of a run of hacheck or Jepsen, such as\n" +
					"store/latest, or - for standard input. Histories are hacheck's JSON lines, Jepsen's\n" +
					"EDN, JSON as Elle takes it, or a log of Jepsen's, each also compressed with zstd or\n" +
					"gzip. One file gets the text that its run printed, several get a line each. The\n" +
					"exit status is that of the worst. Nothing is written unless --artifacts asks for it.",
				Flags:  checkFlags(told, &checking),
				Action: func(c *cli.Context) error { return p.check(c, told, checking) },
			},
			{
				Name:      "convert",
				Usage:     "write a recorded history in the format of another tool",
				UsageText: "hacheck convert [options] FILE",
				Description: "Reads what check does, and writes hacheck's JSON lines (jsonl), Jepsen's EDN (edn)\n" +
					"or JSON as Elle takes it (json). What the other format has no place for is named.",
				Flags:  convertFlags(),
				Action: p.convert,
			},
			{
				Name:      "shrink",
				Usage:     "find the fewest faults that show what a run has shown",
				UsageText: "hacheck shrink [options] DIR",
				Description: "Runs the schedule of the invalid run in DIR again and again, with fewer faults,\n" +
					"shorter ones and less work, for as long as it shows the same anomaly, and prints\n" +
					"the last that did as --schedule takes it; DIR/smallest.yaml has it, too, from the\n" +
					"first on. Ctrl-C ends it with the best so far. Exit status 2 if not even the\n" +
					"whole schedule shows the anomaly again.",
				Flags:  shrink.flags(),
				Action: func(c *cli.Context) error { return p.shrink(c, shrink) },
			},
			{
				Name:      "prove",
				Usage:     "put the tester to the test: find every deliberate bug, and nothing else",
				UsageText: "hacheck prove [options]",
				Description: "Runs, for each deliberate bug, what is said to find it, as often as it takes while\n" +
					"there is time, and runs without a bug, and prints which bug was found by what.\n" +
					"Exit status 1 if a bug was missed, or a run without a bug was invalid; 2 if not all\n" +
					"of it could be done. Ctrl-C ends it with what there is.",
				Flags:  prove.flags(),
				Action: func(c *cli.Context) error { return p.prove(c, prove) },
			},
			{
				Name:      "gate",
				Usage:     "run a matrix, and say whether a system is as good as it was: for CI",
				UsageText: "hacheck gate [-f hacheck.yaml] [options]",
				Description: "Runs what the file names - systems under workloads and nemeses - within its budget:\n" +
					"first what failed last time, then what changed, then what was tested least. A run\n" +
					"that fails is repeated, to tell how often it does; one that nobody can judge is tried\n" +
					"again, and never passed. What was measured is compared with a baseline.\n" +
					"Exit status 1 if a cell fails, 2 if one could not be judged, 255 if hacheck or the\n" +
					"machine failed. Ctrl-C ends it with what there is, and --resume goes on, if the file,\n" +
					"hacheck, the machine, --jobs and the baseline are as they were.",
				Flags:  gating.flags(),
				Action: func(c *cli.Context) error { return p.gate(c, gating) },
			},
			{
				Name:      "campaign",
				Usage:     "run thousands of runs, on as many machines as there are",
				UsageText: "hacheck campaign run|worker|status [options]",
				Description: "run puts jobs into a queue and tells what became of them; worker, on any machine,\n" +
					"takes them and performs them; status says how far it is and what was found. Each may\n" +
					"be killed at any time and started again. hacheck help campaign run has the options.",
				Action: p.campaign,
				Subcommands: []*cli.Command{
					{
						Name:      "run",
						Usage:     "lead a campaign: begin it, or go on with it, and tell what it came to",
						UsageText: "hacheck campaign run [-f hacheck.yaml] [options]",
						Description: "Workers on this machine find it by the store; others need --listen with an address\n" +
							"that they reach, and the token that is told at the beginning. Exit statuses are those\n" +
							"of hacheck gate. Interrupted or killed, the same command goes on, if the file and hacheck\n" +
							"are as they were.",
						Flags:  leading.flags(),
						Action: func(c *cli.Context) error { return p.campaignRun(c, leading) },
					},
					{
						Name:      "worker",
						Usage:     "perform runs of a campaign until it is finished",
						UsageText: "hacheck campaign worker [options]",
						Flags:     working.flags(),
						Action:    func(c *cli.Context) error { return p.campaignWorker(c, working) },
					},
					{
						Name:      "status",
						Usage:     "say how far a campaign is, and what was found",
						UsageText: "hacheck campaign status [options]",
						Flags: append(looking.flags(), &cli.BoolFlag{
							Category: whatIsTold, Name: "json", Usage: "print JSON", Destination: &lookingJSON, DisableDefaultText: true,
						}),
						Action: func(c *cli.Context) error { return p.campaignStatus(c, looking, lookingJSON) },
					},
				},
			},
			{
				Name:      "serve",
				Usage:     "browse, compare and watch runs in a browser",
				UsageText: "hacheck serve [options]",
				Description: "Shows the runs of a store: a table to sort and search, the page of each run, two runs\n" +
					"side by side, and a run that goes on, live. Only this machine can reach it, unless\n" +
					"--listen says otherwise. Ctrl-C ends it.",
				Flags:  serving.flags(),
				Action: func(c *cli.Context) error { return p.serve(c, serving) },
			},
			{
				Name:      "list",
				Usage:     "show the systems, workloads and nemeses there are",
				UsageText: "hacheck list [--json]",
				Flags:     []cli.Flag{jsonFlag("print JSON")},
				Action:    p.list,
			},
			{
				Name:      "doctor",
				Usage:     "try what this machine can do",
				UsageText: "hacheck doctor [--json]",
				Description: "Tries every mechanism that the lab is made of, and says how to turn on what is\n" +
					"refused. Exit status 0 if the lab can run here, 255 if not.",
				Flags:  []cli.Flag{jsonFlag("print JSON")},
				Action: p.doctor,
			},
			{
				Name:      "help",
				Usage:     "show this, or the options of a command",
				UsageText: "hacheck help [COMMAND]",
				Action:    p.help,
			},
			{
				Name:            "node", // how the lab starts a node of the systems that ship; see tables.go
				Usage:           "be a node of a system",
				Hidden:          true,
				SkipFlagParsing: true,
				Action:          p.node,
			},
		},
	}
	for _, c := range app.Commands {
		c.HideHelpCommand = true
		c.OnUsageError = explainUsage
		c.CustomHelpTemplate = commandHelp
		c.Before = misplacedFlags
		for _, sub := range c.Subcommands {
			sub.HideHelpCommand = true
			sub.OnUsageError = explainUsage
			sub.CustomHelpTemplate = commandHelp
		}
	}
	return app
}

// bare is hacheck without a command. Without a flag, too, it is somebody who wants
// to know what this is; that it starts servers would be a surprise. In a script
// it is a mistake, hence the status.
func (p *program) bare(c *cli.Context, o *options) error {
	if a := c.Args().First(); c.Args().Present() {
		if hint := p.hint(c, a); hint != "" && c.NumFlags() > 0 {
			return usage("run: %s", hint)
		}
		return unknownCommand(a)
	}
	if c.NumFlags() == 0 {
		c.App.Writer = p.stderr
		if err := cli.ShowAppHelp(c); err != nil {
			return err
		}
		return exitStatus(exitUsage)
	}
	return p.run(c, o)
}

func (p *program) help(c *cli.Context) error {
	switch c.NArg() {
	case 0:
		return cli.ShowAppHelp(c)
	case 1:
		name := c.Args().First()
		if command := c.App.Command(name); command == nil || command.Hidden {
			return unknownCommand(name)
		}
		// Help of a command begins with that of its parent's context.
		return cli.ShowCommandHelp(c.Lineage()[1], name)
	case 2:
		if parent := c.App.Command(c.Args().First()); parent != nil && len(parent.Subcommands) > 0 {
			name := c.Args().Get(1)
			if !slices.ContainsFunc(parent.Subcommands, func(sub *cli.Command) bool { return sub.HasName(name) }) {
				return unknownSubcommand(parent, name)
			}
			return p.app().RunContext(c.Context, []string{p.args[0], parent.Name, name, "--help"})
		}
	}
	return p.leftover(c, 1)
}

// campaign is the command without one of those below it.
func (p *program) campaign(c *cli.Context) error {
	if !c.Args().Present() {
		return usage("campaign: which of %s? hacheck help campaign shows what each does", enumerate(subcommands(c.Command)))
	}
	return unknownSubcommand(c.Command, c.Args().First())
}

func subcommands(parent *cli.Command) (names []string) {
	for _, sub := range parent.Subcommands {
		names = append(names, sub.Name)
	}
	return names
}

func unknownSubcommand(parent *cli.Command, name string) error {
	return usage("%s: unknown command %q; %s", parent.Name, name, suggest(name, subcommands(parent), ""))
}

// misplacedFlags refuses flags before the command's name: they would be the bare
// command's, and go unheeded.
func misplacedFlags(c *cli.Context) error {
	if before := c.Lineage()[1].LocalFlagNames(); len(before) > 0 {
		name := c.Command.Name
		return usage("%s stands before the command; put it after: hacheck %s %s", dashed(before[0]), name, dashed(before[0]))
	}
	return nil
}

func unknownCommand(name string) error {
	names := []string{"run", "check", "convert", "shrink", "prove", "gate", "campaign", "serve", "list", "doctor", "help"}
	switch {
	case exists(name):
		return usage("unknown command %q; to judge that file: hacheck check %s", name, quote(name))
	case slices.Contains(workloadNames(), name):
		return usage("unknown command %q; to run that workload: hacheck --workload %s", name, name)
	case slices.Contains(checkedNames(), name):
		return usage("unknown command %q; to judge a history of that workload: hacheck check --workload %s FILE", name, name)
	case slices.Contains(nemesisNames(), name):
		return usage("unknown command %q; to run with that nemesis: hacheck --workload %s --nemesis %s", name, workloadNames()[0], name)
	}
	return usage("unknown command %q; %s", name, suggest(name, names, ""))
}

// leftover refuses the arguments from the n-th on. Flags among them are those of
// somebody who did not know that they end at the first argument.
func (p *program) leftover(c *cli.Context, n int) error {
	args := c.Args().Slice()
	name := tail(c.Command.HelpName)
	if len(args) > n {
		if hint := p.hint(c, args[n]); hint != "" {
			return usage("%s: %s", name, hint)
		}
	}
	for i, a := range args {
		if i > 0 && strings.HasPrefix(a, "-") && a != "-" {
			return usage("%s: %s stands after %q, where no option is read; put it before", name, a, args[i-1])
		}
	}
	if len(args) <= n {
		return nil
	}
	return usage("%s: unexpected argument %q; hacheck help %s shows what it takes", name, args[n], name)
}

// hint says what may have been meant by an argument that stands where none does,
// or "".
func (p *program) hint(c *cli.Context, a string) string {
	nemeses, _ := c.Generic("nemesis").(*value)
	switch before := p.args[len(p.args)-c.NArg()-1]; {
	case slices.Contains(workloadNames(), a) && takes(c, "workload"):
		return fmt.Sprintf("unexpected argument %q; did you mean --workload %s?", a, a)
	case slices.Contains(bugNames(), a) && takes(c, "bugs"):
		return fmt.Sprintf("unexpected argument %q; did you mean --bugs %s?", a, a)
	case slices.Contains(nemesisNames(), a) && nemeses != nil && nemeses.String() != "":
		return fmt.Sprintf("unexpected argument %q; did you mean --nemesis %s,%s?", a, nemeses, a)
	case slices.Contains(nemesisNames(), a) && takes(c, "nemesis"):
		return fmt.Sprintf("unexpected argument %q; did you mean --nemesis %s?", a, a)
	case a == c.Args().First() && isSwitch(c, before):
		return fmt.Sprintf("%s takes no value, but got %q", before, a)
	}
	return ""
}

// takes says whether the command has that flag.
func takes(c *cli.Context, name string) bool {
	return slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
}

// isSwitch says whether arg is a flag of the command that takes no value.
func isSwitch(c *cli.Context, arg string) bool {
	return slices.ContainsFunc(c.Command.Flags, func(f cli.Flag) bool {
		_, ok := f.(*cli.BoolFlag)
		return ok && slices.ContainsFunc(f.Names(), func(name string) bool { return dashed(name) == arg })
	})
}

// tail returns the command's name without the program's, or that.
func tail(helpName string) string {
	if _, command, ok := strings.Cut(helpName, " "); ok {
		return command
	}
	return "run"
}

// invalidValue and the prefixes below are what package flag says. It has no typed
// errors, so that their text is all there is to go by; other text is passed on.
var (
	invalidValue   = regexp.MustCompile(`(?s)^invalid value (".*") for flag -(\S+): (.*)$`)
	invalidBoolean = regexp.MustCompile(`(?s)^invalid boolean value (".*") for -(\S+): `)
)

// explainUsage says what is wrong with a flag.
func explainUsage(c *cli.Context, err error, _ bool) error {
	command, text := tail(c.Command.HelpName), err.Error()
	help := "hacheck help " + command
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		name = strings.TrimLeft(name, "-")
		var names []string
		for _, f := range c.Command.VisibleFlags() {
			for _, n := range f.Names() {
				names = append(names, dashed(n))
			}
		}
		return usage("%s: unknown option %s; %s", command, dashed(name), suggest(dashed(name), names, help))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usage("%s: %s needs a value; %s shows which", command, dashed(name), help)
	}
	if m := invalidValue.FindStringSubmatch(text); m != nil {
		return usage("%s: %s %s: %s", command, dashed(m[2]), m[1], m[3])
	}
	if m := invalidBoolean.FindStringSubmatch(text); m != nil {
		return usage("%s: %s takes no value, but got %s", command, dashed(m[2]), m[1])
	}
	return usage("%s: %s; %s shows what it takes", command, text, help)
}

// dashed returns a flag's name as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
