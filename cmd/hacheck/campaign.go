package main

import (
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
		before := ""
		if told := filepath.Join(r.dir(), outcomeFile); exists(told) {
			before = "; what one came to before is in " + told
		}
		return usage("%s: where is the server? No campaign called %s goes on in %s; name one with --nats%s", who, r.name, quote(r.store), before)
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
	replicas     int // of what the users' servers keep; 0: as they have it
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
		&cli.GenericFlag{Category: whereItRuns, Name: "replicas", Usage: "with --nats: `N` servers of a cluster keep the queue and what became of jobs", DefaultText: "1", Value: number(&o.replicas, campaign.MaxReplicas)},
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
	if o.access.URL == "" && o.replicas > 0 {
		return usage("%s: --replicas is of a cluster of yours, which --nats names; the server within this program is one", who)
	}
	if o.json && slices.Contains(o.formats, "github") {
		return usage("%s: --json and --format github both want standard output; take one of them", who)
	}
	l := &campaigning{campaignOptions: o, program: p, began: time.Now(), dir: &store.Run{Dir: o.dir()}}
	var err error
	if l.plan, l.text, err = p.readPlan(who, o.file); err != nil {
		return err
	}
	for _, cell := range l.plan.Cells { // else each worker would refuse its jobs
		if arg := ofMachine(cell.Arguments); arg != "" {
			return usage("%s: %s:%d: workers take no %s, which is of the files of one machine: leave it out, or use hacheck gate", who, o.file, cell.Line, arg)
		}
	}
	if runtime.GOOS != "linux" && o.jobs > 0 {
		return usage("%s: %v; --jobs 0 leaves all runs to others", who, errNeedsLinux)
	}
	if o.budget > 0 {
		l.plan.Budget = o.budget
	}
	l.plan.Policy.Regression.Off = true // see ofFleet
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

// ofFleet is why a campaign does not compare.
const ofFleet = "nothing was compared: machines of a campaign differ, and so does what they measure"

// perform leads until all is done.
func (l *campaigning) perform(parent context.Context) error {
	const who = "campaign run"
	p := l.program
	ctx, stop := urged(parent, l.plan.Budget)
	defer stop()
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
	if err := l.join(ctx.interrupted); err != nil { // that its time is up already is told later
		if ctx.interrupted.Err() != nil {
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
	l.leading = &leading{gate: gate.New(l.plan, gate.Options{Draw: draw, Build: version()}), campaign: l.campaign, server: l.access.Server}
	if l.jobs > 0 {
		l.leading.perform = func(ctx context.Context) error {
			return p.work(ctx, l.campaign, workerName("leader"), l.jobs, 0, l.dir.File(runsDir), l.leading)
		}
	}
	told, done := p.watch(l.leading.standing, l.plan.Budget)
	l.tell = func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }
	l.leading.tell = l.tell
	early, failed := l.leading.run(ctx)
	if failed == nil && ctx.interrupted.Err() == nil {
		failed = l.dismiss(ctx.interrupted)
	}
	done()
	return l.conclude(ctx, l.leading.end(ctx, early), failed)
}

// dismiss sends workers home. Where the server ends with this process it waits a while until they have
// heard of it: later there is nobody to tell them, and they would wait for it.
func (l *campaigning) dismiss(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := l.campaign.Finish(ctx); err != nil {
		return err
	}
	if l.access.Server == nil {
		return nil
	}
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		s, err := l.campaign.Status(ctx)
		if err != nil || len(s.Workers) == 0 {
			return nil // whoever is left has been told, or cannot be
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			l.tell("these workers may not have heard that it is over: %s", checker.Count(len(s.Workers), "worker"))
			return nil
		}
	}
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
	options := campaign.Options{Name: l.name, Lease: l.lease, Replicas: l.replicas, Log: l.program.errorLog()}
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
	now := assignment{Plan: string(l.text), Hacheck: version()}
	text, err := now.encode()
	if err != nil {
		return err
	}
	asked, began, err := l.campaign.Begin(ctx, text)
	if err != nil {
		return err
	}
	l.began = began
	const instead = "give it another --name, or forget it with --anew"
	switch was, err := readAssignment(asked); {
	case err != nil:
		return usage("campaign run: campaign %s was not begun by a hacheck such as this one (%v): %s", l.name, err, instead)
	case was.Plan != now.Plan:
		return usage("campaign run: campaign %s began with another file than %s: %s", l.name, quote(l.file), instead)
	case was.Hacheck != now.Hacheck:
		return usage("campaign run: campaign %s began with hacheck %s, and this is %s: go on with that one, %s", l.name, was.Hacheck, now.Hacheck, instead)
	}
	return nil
}

func (p *program) errorLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// workerName is one that no other worker has: in containers hosts have the same name, and processes the
// same number.
func workerName(as string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%s-%d-%s", as, host, os.Getpid(), strings.ToLower(rand.Text()[:4]))
}

// noted is told of what is performed in this process.
type noted interface {
	begun(id string)
	ended(id string)
}

// work performs jobs of a campaign, so many at once, until ctx ends, the campaign is finished, or so many
// came to no verdict (0: never). What it keeps meanwhile is below root.
func (p *program) work(ctx context.Context, c *campaign.Campaign, name string, jobs, barren int, root string, note noted) error {
	home, leave, err := enterHome(root, name)
	if err != nil {
		return fmt.Errorf("a directory for the runs of %s: %w", name, err)
	}
	performer := &performer{program: p, base: home, root: filepath.Join(home, "jobs"), worker: name}
	err = leaving(ctx, func(ctx context.Context, noted func(error) error) error {
		return c.Work(ctx, campaign.WorkOptions{
			Name: name, Jobs: jobs, MaxBarren: barren,
			Perform: func(ctx context.Context, j gate.Job) (gate.Outcome, string, error) {
				note.begun(j.ID)
				defer note.ended(j.ID)
				if why := p.unfit(j); why != nil {
					return gate.Outcome{Job: j, Class: gate.Refused, Began: time.Now().UTC(), Worker: name, Words: why.Error()}, "", nil
				}
				o, dir, err := performer.perform(ctx, j)
				if dir == "" || err != nil {
					return o, "", noted(err)
				}
				kept, err := performer.onlyLast(&o, dir, filepath.Join(home, "kept"))
				return o, kept, err
			},
			Release: func(dir string) { _ = os.RemoveAll(dir) },
		})
	})
	return errors.Join(err, leave())
}

// homeLock is held, in the directory of a worker, by the worker.
const homeLock = ".lock"

// enterHome makes a directory of this worker's own, below root, and removes those of workers that
// were killed. leave removes it.
func enterHome(root, name string) (home string, leave func() error, err error) {
	if err := os.MkdirAll(root, 0o777); err != nil {
		return "", nil, err
	}
	// It is locked before it has its name: nobody takes it for that of one who was killed.
	fresh, err := os.MkdirTemp(root, ".worker-*")
	if err != nil {
		return "", nil, err
	}
	release, err := store.Exclusive(filepath.Join(fresh, homeLock))
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(fresh))
	}
	home = filepath.Join(root, store.FileName(name))
	if err := os.Rename(fresh, home); err != nil {
		return "", nil, errors.Join(err, release(), os.RemoveAll(fresh))
	}
	left, err := filepath.Glob(filepath.Join(root, "[^.]*", homeLock))
	if err != nil {
		return "", nil, errors.Join(err, release(), os.RemoveAll(home))
	}
	for _, lock := range left {
		if dead, err := store.Exclusive(lock); err == nil { // it is of nobody
			_ = errors.Join(os.RemoveAll(filepath.Dir(lock)), dead())
		}
	}
	return home, func() error { return errors.Join(os.RemoveAll(home), release()) }, nil
}

// unfit says why a job is none that a worker performs, if so: whoever has access to a queue can put
// anything there. What a plan may have it takes.
func (p *program) unfit(j gate.Job) error {
	if arg := ofMachine(j.Arguments); arg != "" {
		return fmt.Errorf("a worker takes no %s", arg)
	}
	for _, n := range []struct {
		what      string
		asks, top int
	}{{"retries", j.Retries, matrix.MaxRetries}, {"reruns", j.Reruns, matrix.MaxReruns}} {
		if n.asks < 0 || n.asks > n.top {
			return fmt.Errorf("a worker takes no job with %d %s (0 to %d)", n.asks, n.what, n.top)
		}
	}
	return p.checkArguments(j.Arguments)
}

// ofMachine returns the first of the arguments of a run that has to do with the files of a machine;
// empty: none has.
func ofMachine(args []string) string {
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && slices.Contains([]string{"store", "schedule", "replay", "pcap"}, name) {
			return arg
		}
	}
	return ""
}

// conclude keeps what a campaign came to, and prints it.
func (l *campaigning) conclude(u urge, r gate.Report, failed error) error {
	p := l.program
	r.Began, r.Took, r.Budget = l.began.UTC(), time.Since(l.began).Seconds(), l.plan.Budget.Seconds()
	r.Command = withoutSecrets(quoteAll(append([]string{"hacheck"}, p.args[1:]...)))
	r.Hacheck, r.Plan, r.Dir, r.Jobs = version(), l.file, l.dir.Dir, l.jobs
	r.Comparison = ofFleet
	l.leading.fails(&r, failed)
	if failed == nil && u.interrupted.Err() == nil {
		l.fetch(u.interrupted, &r)
	}
	lost := writeReports(l.dir, outcomeFile, l.formats, r)
	goOn := ""
	switch {
	case r.Interrupted:
		goOn = "interrupted; the same command goes on with it"
	case failed != nil:
		goOn = "it could not go on; when what is wrong is mended, the same command goes on with it"
	}
	if goOn != "" && l.anew {
		goOn += ", without --anew"
	}
	return p.conclude("campaign run", r, lost, l.json, slices.Contains(l.formats, "github"), goOn)
}

// fetch brings a run of each signature into the directory of the campaign.
func (l *campaigning) fetch(parent context.Context, r *gate.Report) {
	for i := range r.Groups {
		group := &r.Groups[i]
		if group.Dir == "" {
			continue
		}
		to := l.dir.File(filepath.Join(runsDir, store.FileName(strings.TrimSuffix(group.Dir, ".tar.gz"))))
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
	jobs, barren int
}

func newWorkerOptions() *workerOptions {
	return &workerOptions{reaching: *newReaching(), jobs: runtime.NumCPU(), barren: campaign.DefaultMaxBarren}
}

func (o *workerOptions) flags() []cli.Flag {
	return append([]cli.Flag{
		&cli.GenericFlag{Category: whereItRuns, Name: "jobs", Usage: "`N` runs at a time", Value: number(&o.jobs, maxJobs)},
		&cli.GenericFlag{Category: whereItRuns, Name: "max-barren", Usage: "leave after `N` jobs in a row, of more than one cell, that came to no verdict on this machine; 0: never", Value: countFrom0(&o.barren, maxJobs)},
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
	ctx, stop := signal.NotifyContext(c.Context, endings()...)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // as in runInside
	joined, err := campaign.Open(ctx, o.access, campaign.Options{Name: o.name, Existing: true, Log: p.errorLog()})
	if err != nil {
		return usageOf(who, err)
	}
	defer joined.Close()
	if err := sameVersion(ctx, joined); err != nil {
		return err
	}
	name := workerName("worker")
	fmt.Fprintf(p.stderr, "%s works for campaign %s, %s at a time; Ctrl-C ends it\n", name, o.name, checker.Count(o.jobs, "run"))
	if err := p.work(ctx, joined, name, o.jobs, o.barren, filepath.Join(o.dir(), runsDir), tellsJobs{p.stderr}); err != nil {
		return usageOf(who, err)
	}
	return nil
}

// sameVersion refuses to work for a campaign that another version of hacheck leads: its verdicts might be
// others.
func sameVersion(ctx context.Context, c *campaign.Campaign) error {
	text, _, err := c.Asked(ctx)
	if err != nil {
		return err
	}
	if was, err := readAssignment(text); err == nil && was.Hacheck != version() {
		return usage("campaign worker: the campaign began with hacheck %s, and this is %s: have the same on all machines", was.Hacheck, version())
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
	asked, err := readAssignment(s.Asked)
	if err != nil {
		return fmt.Errorf("%s: what campaign %s was asked for: %w", who, o.name, err)
	}
	plan, err := matrix.Read(strings.NewReader(asked.Plan), "the campaign's file", p.knownTo())
	if err != nil {
		return fmt.Errorf("%s: what it was asked for: %w", who, err)
	}
	plan.Policy.Regression.Off = true
	g := gate.New(plan, gate.Options{Draw: draw})
	g.Restore(jobs, s.Outcomes)
	r := g.Report()
	r.Comparison = ofFleet
	if s.Strange > 0 {
		r.Trouble = append(r.Trouble, fmt.Sprintf("somebody else has written into the queue: %s that are no jobs were left out", checker.Count(s.Strange, "message")))
	}
	r.Began, r.Plan, r.Took = s.Began, "hacheck.yaml", time.Since(s.Began).Seconds()
	if !s.Finished.IsZero() {
		r.Took = s.Finished.Sub(s.Began).Seconds()
	}
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
	if s.Finished.IsZero() {
		fmt.Fprintln(w, "what it has come to so far:")
	}
	fmt.Fprintln(w)
}
