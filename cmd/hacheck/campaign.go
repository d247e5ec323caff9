package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/internal/campaign"
	"github.com/hacheck/hacheck/internal/gate"
	"github.com/hacheck/hacheck/internal/matrix"
	"github.com/hacheck/hacheck/internal/store"
	"github.com/hacheck/hacheck/report"
)

// What a campaign keeps in its store, below store/campaign/NAME, beside what a gate does.
const (
	campaignsDir = "campaign"
	serverFile   = "server.json" // how to reach its server, and to be let in
	outcomeFile  = "campaign.json"
)

const (
	defaultCampaign       = "campaign"
	defaultCampaignListen = "127.0.0.1:7601"
)

// reaching says where the server of a campaign is.
type reaching struct {
	name, store string
	access      campaign.Access
	tokenFile   string
}

func newReaching() *reaching { return &reaching{name: defaultCampaign, store: newOptions().store} }

// What the options of a campaign are for, as its help groups them.
const (
	whatIsRun   = "1. What is run"
	whereItRuns = "2. Where"
	asServed    = "3. A NATS server of your own"
	whatIsTold  = "4. What is told and kept"
)

func (r *reaching) flags() []cli.Flag {
	flag := func(category, name, usage, what string, to *string) cli.Flag {
		return &cli.GenericFlag{Category: category, Name: name, Usage: usage, Value: text(to, what)}
	}
	return []cli.Flag{
		flag(whatIsRun, "name", "the campaign is called `NAME`", "the name of a campaign", &r.name),
		flag(whatIsTold, "store", "keep what is to be kept in `DIR`/campaign", "a directory", &r.store),
		flag(asServed, "nats", "the server is at `URL`, as in nats://host:4222 or tls://host:4222", "the URL of a server", &r.access.URL),
		flag(asServed, "nats-token-file", "the token that it asks for is in `FILE`", "a file", &r.tokenFile),
		flag(asServed, "nats-creds", "the credentials that it asks for are in `FILE`, as nsc writes it", "a file", &r.access.Creds),
		flag(asServed, "nats-ca", "whoever has signed its certificate is in `FILE`", "a file", &r.access.CA),
		flag(asServed, "nats-cert", "our certificate is in `FILE`", "a file", &r.access.Cert),
		flag(asServed, "nats-key", "and its key in `FILE`", "a file", &r.access.Key),
	}
}

// dir is where the campaign keeps what it keeps.
func (r *reaching) dir() string {
	return filepath.Join(r.store, campaignsDir, store.FileName(r.name))
}

// served is what server.json says of the server that a campaign has within its own process.
type served struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// complete finds out where the server is, if nobody has said so: it may be that of a campaign that
// goes on in the same store.
func (r *reaching) complete(who string) error {
	if r.tokenFile != "" {
		token, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return usage("%s: --nats-token-file: %v", who, err)
		}
		r.access.Token = strings.TrimSpace(string(token))
	}
	if r.access.URL != "" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(r.dir(), serverFile))
	if errors.Is(err, fs.ErrNotExist) {
		return usage("%s: where is the server? No campaign called %s goes on in %s; name one with --nats", who, r.name, quote(r.store))
	}
	var s served
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return usage("%s: %s: %v", who, filepath.Join(r.dir(), serverFile), err)
	}
	r.access.URL, r.access.Token = s.URL, s.Token
	return nil
}

// campaignOptions are what campaign run is asked for.
type campaignOptions struct {
	reaching
	file, listen string
	budget       time.Duration
	jobs         int
	lease        time.Duration
	formats      []string
	anew, json   bool
}

func newCampaignOptions() *campaignOptions {
	return &campaignOptions{
		reaching: *newReaching(), file: defaultPlan, listen: defaultCampaignListen, jobs: runtime.NumCPU(), lease: campaign.DefaultLease,
	}
}

func (o *campaignOptions) flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.GenericFlag{Category: whatIsRun, Name: "file", Aliases: []string{"f"}, Usage: "what to run: the YAML `FILE` that gate takes, too", Value: text(&o.file, "a file")},
		&cli.GenericFlag{Category: whatIsRun, Name: "budget", Usage: "end after `TIME`", DefaultText: "that of the file", Value: duration(&o.budget, minBudget)},
		&cli.BoolFlag{Category: whatIsRun, Name: "anew", Usage: "forget what a campaign of this name has done", Destination: &o.anew, DisableDefaultText: true},
		&cli.GenericFlag{Category: whereItRuns, Name: "jobs", Usage: "`N` runs at a time on this machine; 0: others run them all", Value: countFrom0(&o.jobs, maxJobs)},
		&cli.GenericFlag{Category: whereItRuns, Name: "listen", Usage: "workers find the queue at `HOST:PORT`; port 0 takes any that is free", Value: text(&o.listen, "an address such as "+defaultCampaignListen)},
		&cli.GenericFlag{Category: whereItRuns, Name: "lease", Usage: "whoever is silent for `TIME` loses its jobs to others", Value: duration(&o.lease, time.Second)},
		&cli.GenericFlag{Category: whatIsTold, Name: "format", Usage: "tell the outcome as `NAMES`: " + enumerate(formats), DefaultText: "junit,markdown", Value: several(&o.formats, "format", func() []string { return formats }, "")},
		&cli.BoolFlag{Category: whatIsTold, Name: "json", Usage: "print campaign.json instead of text", Destination: &o.json, DisableDefaultText: true},
	}, o.reaching.flags()...)
}

// A campaigning is a campaign as it goes on, seen from the process that leads it.
type campaigning struct {
	*campaignOptions
	program  *program
	plan     gate.Plan
	text     []byte
	dir      *store.Run
	campaign *campaign.Campaign
	leading  *leading
	began    time.Time
	tell     func(format string, args ...any)
}

// campaignRun leads a campaign: it puts jobs into the queue, and tells what became of them.
func (p *program) campaignRun(c *cli.Context, o *campaignOptions) error {
	const who = "campaign run"
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	if o.access.URL != "" && c.IsSet("listen") {
		return usage("%s: --listen is of the server within this program; with --nats there is none", who)
	}
	if o.json && slices.Contains(o.formats, "github") {
		return usage("%s: --json and --format github both want standard output; take one of them", who)
	}
	l := &campaigning{campaignOptions: o, program: p, began: time.Now(), dir: &store.Run{Dir: o.dir()}}
	var err error
	if l.plan, l.text, err = p.readPlan(who, o.file, o.store); err != nil {
		return err
	}
	for _, cell := range l.plan.Cells {
		if slices.Contains(cell.Arguments, "--schedule") {
			return usage("%s: %s:%d: a schedule is a file of this machine, and workers do not have it", who, o.file, cell.Line)
		}
	}
	if runtime.GOOS != "linux" && o.jobs > 0 {
		return usage("%s: %v; --jobs 0 leaves all runs to others", who, errNeedsLinux)
	}
	if o.budget > 0 {
		l.plan.Budget = o.budget
	}
	// Machines of a fleet differ, and so does what they measure.
	l.plan.Policy.Regression.Off = true
	if err := store.Writable(l.dir.Dir); err != nil {
		return usage("%s: --store %s: nothing can be kept there: %v", who, quote(o.store), err)
	}
	release, err := store.Exclusive(l.dir.File(holdFile))
	if errors.Is(err, store.ErrHeld) {
		return usage("%s: campaign %s goes on in %s already; another one takes another --name", who, o.name, quote(o.store))
	}
	if err != nil {
		return err
	}
	defer func() { _ = release() }()
	return l.perform(c.Context)
}

// perform leads until all is done.
func (l *campaigning) perform(parent context.Context) error {
	const who = "campaign run"
	p := l.program
	interrupted, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(interrupted, stop)() // the second one is the system's affair
	signal.Ignore(syscall.SIGPIPE)               // as in runInside
	ctx := interrupted
	if l.plan.Budget > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(interrupted, l.plan.Budget, errBudget)
		defer cancel()
	}
	if l.access.URL == "" {
		token, err := l.token()
		if err != nil {
			return err
		}
		server, err := campaign.Serve(campaign.ServerOptions{Dir: l.dir.File(engineDir), Listen: l.listen, Token: token, Log: p.errorLog()})
		if err != nil {
			return usageOf(who, err)
		}
		defer server.Close()
		l.access = campaign.Access{Server: server}
	} else if err := l.complete(who); err != nil {
		return err
	}
	if err := l.join(ctx); err != nil {
		if interrupted.Err() != nil {
			return errInterrupted
		}
		return usageOf(who, err)
	}
	defer l.campaign.Close()
	if server := l.access.Server; server != nil { // there is something to join
		if err := l.tellServer(server); err != nil {
			return err
		}
		defer os.Remove(l.dir.File(serverFile))
	}
	l.leading = &leading{gate: gate.New(l.plan, gate.Options{Draw: draw, Build: version()}), campaign: l.campaign}
	told, done := p.watch(l.leading.standing, l.plan.Budget)
	l.tell = func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }
	l.leading.tell = l.tell
	failed := l.work(ctx)
	early := ended(ctx, failed)
	if early {
		failed = nil
	}
	if failed == nil && interrupted.Err() == nil { // workers go home
		finishing, cancel := context.WithTimeout(interrupted, patience)
		if err := l.campaign.Finish(finishing); err != nil {
			failed = err
		}
		cancel()
	}
	done()
	r := l.leading.end(interrupted.Err() != nil, early)
	return l.conclude(interrupted, r, failed)
}

// tokenFile has the token of the server of a campaign, as --nats-token-file takes it.
const tokenFile = "token"

// token is that of the server within this process: the one that workers know from before, or a new
// one.
func (l *campaigning) token() (string, error) {
	if text, err := os.ReadFile(l.dir.File(tokenFile)); err == nil {
		if token := strings.TrimSpace(string(text)); token != "" {
			return token, nil
		}
	}
	token := rand.Text()
	return token, os.WriteFile(l.dir.File(tokenFile), []byte(token+"\n"), 0o600)
}

// tellServer says where the server is, to those who read the store and to those who read this.
func (l *campaigning) tellServer(s *campaign.Server) error {
	token, err := l.token()
	if err != nil {
		return err
	}
	text, err := json.Marshal(served{URL: s.URL(), Token: token})
	if err != nil {
		return err
	}
	// It is there whole or not at all, and with the token in it.
	fresh := l.dir.File(serverFile + ".new")
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(fresh, l.dir.File(serverFile)); err != nil {
		return err
	}
	fmt.Fprintf(l.program.stderr, "workers join with: %s campaign worker%s\n", l.program.invocation(), l.joining(s))
	return nil
}

// joining is how a worker is told where the server is.
func (l *campaigning) joining(s *campaign.Server) string {
	words := l.named()
	if host, _, err := net.SplitHostPort(l.listen); err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback()) {
		if l.store != newOptions().store {
			words += " --store " + quote(l.store)
		}
		return words
	}
	return words + " --nats " + s.URL() + " --nats-token-file " + quote(l.dir.File(tokenFile)) + " (a copy of that file)"
}

// named is how the campaign is named on the command line, if it has to be.
func (r *reaching) named() string {
	if r.name == defaultCampaign {
		return ""
	}
	return " --name " + quote(r.name)
}

// join finds the campaign, or makes it.
func (l *campaigning) join(ctx context.Context) (err error) {
	options := campaign.Options{Name: l.name, Lease: l.lease, Log: l.program.errorLog()}
	if l.campaign, err = campaign.Open(ctx, l.access, options); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			l.campaign.Close()
		}
	}()
	if l.anew {
		if err := l.campaign.Remove(ctx); err != nil {
			return err
		}
		l.campaign.Close()
		if l.campaign, err = campaign.Open(ctx, l.access, options); err != nil {
			return err
		}
	}
	asked, began, err := l.campaign.Begin(ctx, l.text)
	if err != nil {
		return err
	}
	if !bytes.Equal(asked, l.text) {
		return usage("campaign run: campaign %s began with another file than %s: give it another --name, or forget it with --anew", l.name, quote(l.file))
	}
	l.began = began
	return nil
}

func (p *program) errorLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// work leads, and performs jobs beside that, if it is to.
func (l *campaigning) work(ctx context.Context) error {
	working, end := heed(ctx, l.access.Server)
	defer end(nil)
	var worker sync.WaitGroup
	if l.jobs > 0 {
		worker.Go(func() {
			if err := l.program.work(working, l.campaign, workerName("leader"), l.jobs, l.dir.File(runsDir), l.leading); err != nil {
				end(err)
			}
		})
	}
	err := l.leading.lead(working)
	if err != nil && ctx.Err() == nil && working.Err() != nil {
		err = context.Cause(working)
	}
	end(nil)
	worker.Wait()
	if err != nil && l.jobs > 0 && (l.access.Server == nil || l.access.Server.Err() == nil) {
		if lost := l.leading.late(); lost != nil {
			l.tell("what came last was not taken: %v", lost)
		}
	}
	return err
}

// workerName is one that no other worker has.
func workerName(as string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%s-%d", as, host, os.Getpid())
}

// noted is told of what is performed in this process.
type noted interface {
	begun(id string)
	ended(id string)
}

// work performs jobs of a campaign, so many at once, until ctx ends or the campaign is finished. What
// it keeps meanwhile is below root.
func (p *program) work(ctx context.Context, c *campaign.Campaign, name string, jobs int, root string, note noted) error {
	home := filepath.Join(root, store.FileName(name))
	performer := &performer{program: p, base: home, root: home, worker: name}
	err := c.Work(ctx, campaign.WorkOptions{
		Name: name, Jobs: jobs,
		Perform: func(ctx context.Context, j gate.Job) (gate.Outcome, string, error) {
			note.begun(j.ID)
			defer note.ended(j.ID)
			if why := p.unfit(j, root); why != nil {
				return gate.Outcome{Job: j, Class: gate.Refused, Began: time.Now().UTC(), Worker: name, Words: why.Error()}, "", nil
			}
			return performer.perform(ctx, j)
		},
		Release: func(dir string) { _ = os.RemoveAll(dir) },
	})
	return errors.Join(err, os.RemoveAll(performer.root))
}

// unfit says why a job is none that a worker performs, if so: whoever has access to a queue can put
// anything there.
func (p *program) unfit(j gate.Job, root string) error {
	for _, arg := range j.Arguments {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && slices.Contains([]string{"store", "schedule", "replay", "pcap"}, name) {
			return fmt.Errorf("a worker takes no %s", arg)
		}
	}
	return p.checkArguments(j.Arguments, root)
}

// conclude keeps what a campaign came to, and prints it.
func (l *campaigning) conclude(ctx context.Context, r gate.Report, failed error) error {
	p := l.program
	r.Began, r.Took, r.Budget = l.began.UTC(), time.Since(l.began).Seconds(), l.plan.Budget.Seconds()
	r.Command = withoutSecrets(quoteAll(append([]string{"hacheck"}, p.args[1:]...)))
	r.Hacheck, r.Plan, r.Dir, r.Jobs = version(), l.file, l.dir.Dir, l.jobs
	if failed != nil {
		r.Trouble = append(r.Trouble, failed.Error())
		if r.Status != exitInvalid {
			r.Status = exitFailed
		}
	}
	if failed == nil && ctx.Err() == nil {
		l.fetch(ctx, &r)
	}
	lost := writeReports(l.dir, outcomeFile, l.formats, r)
	for _, err := range lost {
		r.Trouble = append(r.Trouble, err.Error())
	}
	if err := p.showReport(r, l.json, slices.Contains(l.formats, "github")); err != nil {
		return err
	}
	if r.Interrupted {
		fmt.Fprintf(p.stderr, "hacheck: campaign: interrupted; the same command goes on with it\n")
	}
	if len(lost) > 0 && r.Status == exitValid {
		return fmt.Errorf("campaign: what it came to could not be kept: %w", errors.Join(lost...))
	}
	if r.Status != exitValid {
		return exitStatus(r.Status)
	}
	return nil
}

// fetch brings a run of each signature into the directory of the campaign.
func (l *campaigning) fetch(parent context.Context, r *gate.Report) {
	for i := range r.Groups {
		group := &r.Groups[i]
		if group.Dir == "" {
			continue
		}
		to := l.dir.File(filepath.Join(runsDir, store.FileName(group.Dir)))
		if exists(to) {
			group.Dir = to
			continue
		}
		ctx, cancel := context.WithTimeout(parent, time.Minute)
		err := l.fetchInto(ctx, group.Dir, to)
		cancel()
		if err != nil {
			r.Trouble = append(r.Trouble, fmt.Sprintf("%s: the directory of its run: %v", group.Signature, err))
			continue
		}
		group.Dir = to
	}
}

// fetchInto fetches a directory, whole or not at all.
func (l *campaigning) fetchInto(ctx context.Context, name, to string) error {
	part := to + ".part"
	if err := os.RemoveAll(part); err != nil { // of somebody who did not come to the end of it
		return err
	}
	if err := os.MkdirAll(filepath.Dir(part), 0o777); err != nil {
		return err
	}
	if err := l.campaign.Fetch(ctx, name, part); err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	return os.Rename(part, to)
}

// workerOptions are what campaign worker is asked for.
type workerOptions struct {
	reaching
	jobs int
}

func newWorkerOptions() *workerOptions {
	return &workerOptions{reaching: *newReaching(), jobs: runtime.NumCPU()}
}

func (o *workerOptions) flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.GenericFlag{Category: whereItRuns, Name: "jobs", Usage: "`N` runs at a time", Value: number(&o.jobs, maxJobs)},
	}, o.reaching.flags()...)
}

// campaignWorker performs jobs of a campaign until it is finished.
func (p *program) campaignWorker(c *cli.Context, o *workerOptions) error {
	const who = "campaign worker"
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	if err := o.complete(who); err != nil {
		return err
	}
	if runtime.GOOS != "linux" {
		return errNeedsLinux
	}
	if err := store.Writable(o.dir()); err != nil {
		return usage("%s: --store %s: nothing can be kept there: %v", who, quote(o.store), err)
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // as in runInside
	joined, err := campaign.Open(ctx, o.access, campaign.Options{Name: o.name, Existing: true, Log: p.errorLog()})
	if err != nil {
		return usageOf(who, err)
	}
	defer joined.Close()
	name := workerName("worker")
	fmt.Fprintf(p.stderr, "%s works for campaign %s, %s at a time; Ctrl-C ends it\n", name, o.name, checker.Count(o.jobs, "run"))
	if err := p.work(ctx, joined, name, o.jobs, filepath.Join(o.dir(), runsDir), tellsJobs{p.stderr}); err != nil {
		return usageOf(who, err)
	}
	return nil
}

// tellsJobs tells what is performed, a line each.
type tellsJobs struct{ w io.Writer }

func (t tellsJobs) begun(id string) { fmt.Fprintf(t.w, "%s: begun\n", id) }
func (t tellsJobs) ended(id string) { fmt.Fprintf(t.w, "%s: ended\n", id) }

// campaignStatus tells how far a campaign is, and what it has found.
func (p *program) campaignStatus(c *cli.Context, o *reaching, asJSON bool) error {
	const who = "campaign status"
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	if err := o.complete(who); err != nil {
		return err
	}
	joined, err := campaign.Open(c.Context, o.access, campaign.Options{Name: o.name, Existing: true, Log: p.errorLog()})
	if err != nil {
		return usageOf(who, err)
	}
	defer joined.Close()
	s, err := joined.Status(c.Context)
	if err != nil {
		return usageOf(who, err)
	}
	jobs, err := joined.Jobs(c.Context)
	if err != nil {
		return err
	}
	plan, err := matrix.Read(bytes.NewReader(s.Asked), "the campaign's file", p.knownTo(o.store))
	if err != nil {
		return fmt.Errorf("%s: what it was asked for: %w", who, err)
	}
	plan.Policy.Regression.Off = true
	g := gate.New(plan, gate.Options{Draw: draw})
	g.Restore(jobs, s.Outcomes)
	r := g.Report()
	r.Began, r.Plan = s.Began, "hacheck.yaml"
	if asJSON {
		return store.EncodeJSON(p.stdout, campaignStatus{s.Name, s.Put, s.Waiting, s.Working, s.Done, s.Workers, !s.Finished.IsZero(), r})
	}
	standing(p.stdout, s, r)
	return report.GateText(p.stdout, r, style(p.stdout))
}

// A campaignStatus is what campaign status --json prints. Scripts rest on it: fields are added, not
// renamed.
type campaignStatus struct {
	Name     string             `json:"name"`
	Put      int                `json:"put"`
	Waiting  int                `json:"waiting"`
	Working  int                `json:"working"`
	Done     map[gate.Class]int `json:"done"`
	Workers  []campaign.Worker  `json:"workers"`
	Finished bool               `json:"finished"`
	Report   gate.Report        `json:"report"`
}

// maxSlowest is how many cells are told that take longest.
const maxSlowest = 3

// standing says how far a campaign is, who works for it, and which cells take longest.
func standing(w io.Writer, s campaign.Status, r gate.Report) {
	done := 0
	for _, n := range s.Done {
		done += n
	}
	state := "goes on"
	if !s.Finished.IsZero() {
		state = "is finished"
	}
	fmt.Fprintf(w, "campaign %s %s: %d of %s done, %d waiting, %d in work", s.Name, state, done, checker.Count(s.Put, "job"), s.Waiting, s.Working)
	if n := s.Done[gate.SetAside]; n > 0 {
		fmt.Fprintf(w, ", %d set aside", n)
	}
	fmt.Fprintln(w)
	for _, worker := range s.Workers {
		var at []string
		for _, a := range worker.At {
			at = append(at, a.Job)
		}
		doing := "nothing"
		if len(at) > 0 {
			doing = strings.Join(at, ", ")
		}
		fmt.Fprintf(w, "  %s: %d done, at %s\n", worker.Name, worker.Done, doing)
	}
	type slow struct {
		name string
		mean float64
	}
	var slowest []slow
	for _, c := range r.Cells {
		if n := len(c.Outcomes); n > 0 {
			slowest = append(slowest, slow{c.Name, c.Took / float64(n)})
		}
	}
	slices.SortFunc(slowest, func(a, b slow) int { return int(b.mean*1000) - int(a.mean*1000) })
	for i, c := range slowest[:min(len(slowest), maxSlowest)] {
		if i == 0 {
			fmt.Fprintln(w, "slowest, a job on average:")
		}
		fmt.Fprintf(w, "  %s: %.1f s\n", c.name, c.mean)
	}
	fmt.Fprintln(w)
}
