package hacheck

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A floor is where a folder stands, with all folders below it that have no floor
// of their own. A package imports from lower floors, and a folder's subfolders
// import from it: nothing else of this module. Test files may import what they
// like.
type floor struct {
	folder string
	height int
	why    string
}

// outside is the floor of the systems themselves, which must not know that they
// are being tested: they import each other, below one folder, and what is outside of
// another system, as its clients do.
const outside = -1

var floors = []floor{
	{"histories", 0, "what happened: knows nothing of clients, nodes, workloads or checkers"},
	{"histories/edn", 0, "a notation: knows nothing of histories"},
	{"histories/foreign", 1, "the files of other tools: becomes and comes of histories, and knows no workload"},
	{"generator", 1, "what to do next: knows a history's words, no clock and no cluster"},
	{"checker", 1, "needs only a history, so that a recorded file gets the verdict the run got"},
	{"checker/linear", 0, "decides histories in normal form: numbers, of which it does not know what they stand for"},
	{"cluster/clock", 0, "programs with clocks of their own: knows nothing of nodes, and can be used without them"},
	{"cluster", 1, "nodes and what is between them: does not know what runs there, or why it is broken"},
	{"cluster/disk", 0, "a file system that can lose its power: knows nothing of nodes"},
	{"internal/store", 1, "the run's directory: names and atomic writes"},
	{"internal/spelling", 0, "what may have been meant by a name: knows no names"},
	{"internal/stats", 0, "chances and distributions: numbers, of which it does not know what they measure"},
	{"internal/gate", 2, "what is run next, and what came of it all: performs nothing, and knows no system and no queue"},
	{"internal/matrix", 3, "the file that says what a gate runs: makes a plan of it"},
	{"internal/campaign", 3, "a queue of jobs and what became of them, on machines that fail: knows no run"},
	{"nemesis", 2, "faults as operations: breaks a lab, and knows neither system nor workload"},
	{"workloads", 2, "what a workload is"},
	{"workloads/appends", 3, "one workload; it knows no other, and no system"},
	{"workloads/counter", 3, "one workload; it knows no other, and no system"},
	{"workloads/election", 3, "one workload; it knows no other, and no system"},
	{"workloads/kv", 3, "one workload; it knows no other, and no system"},
	{"workloads/lease", 3, "one workload; it knows no other, and no system"},
	{"workloads/lock", 3, "one workload; it knows no other, and no system"},
	{"workloads/member", 3, "one workload; it knows no other, and no system"},
	{"workloads/queue", 3, "one workload; it knows no other, and no system"},
	{"workloads/recorded", 3, "objects of which others record histories; it knows no workload of ours, and no system"},
	{"workloads/register", 3, "one workload; it knows no other, and no system"},
	{"workloads/session", 3, "one workload; it knows no other, and no system"},
	{"workloads/set", 3, "one workload; it knows no other, and no system"},
	{"workloads/uniqueids", 3, "one workload; it knows no other, and no system"},
	{"workloads/vm", 3, "one workload; it knows no other, and no system"},
	{"workloads/watch", 3, "one workload; it knows no other, and no system"},
	{"systems/raftkv", 4, "how one system is started, and its clients made a workload's"},
	{"systems/raftkv/server", outside, "the system under test"},
	{"systems/raftkv/client", outside, "its client, as its users have it"},
	{"systems/vmsched", 5, "how one system is started, and its clients made a workload's; on the nodes of another one"},
	{"systems/vmsched/server", outside, "the system under test"},
	{"systems/vmsched/client", outside, "its client, as its users have it"},
	{"internal/runner", 5, "one run, from set-up to verdict"},
	{"report", 5, "what people read: it is shown a result, and decides nothing"},
	{"report/document", 6, "what the page of a run shows: works it out, and draws nothing"},
	{"report/trace", 6, "a run as another tool shows it"},
	{"report/page", 7, "the page of a run: draws, and works out nothing"},
	{"report/serve", 8, "pages of a store: knows directories of runs, and no workload"},
	{"internal/browser", 0, "a real browser, for tests and pictures: knows no page"},
	{"internal/bundle", 9, "a program for go generate"},
	{"internal/screenshots", 9, "a program for make screenshots"},
	{"internal/gotest", 6, "a program for make test"},
	{"internal/protogen", 6, "a program for go generate"},
	{"internal/scaling", 6, "a program for make scaling"},
	{"cmd", 9, "flags, tables, exit statuses: the only one to know everybody"},
}

// An owner is a folder, with those below it, that may import a module of others,
// so that replacing one is work in one place.
type owner struct {
	module  string
	folders []string
	tests   bool // any test may import it; else tests are as bound as all others
	why     string
}

var owners = []owner{
	{module: "github.com/anishathalye/porcupine", folders: []string{"checker"}, why: "behind Linearizable, which types and bounds it"},
	{module: "github.com/bufbuild/protocompile", folders: []string{"internal/protogen"}, why: "compiles .proto files without protoc"},
	{module: "github.com/chromedp", folders: []string{"internal/browser"}, why: "a real browser"},
	{module: "github.com/cockroachdb/datadriven", tests: true, why: "tests that are text files"},
	{module: "github.com/evanw/esbuild", folders: []string{"internal/bundle"}, why: "makes what browsers load, without Node"},
	{module: "github.com/hanwen/go-fuse/v2", folders: []string{"cluster/disk"}, why: "the kernel's side of a file system in a process"},
	{module: "github.com/hashicorp/go-hclog", folders: []string{"systems/raftkv/server", "systems/raftkv/raftkvtest"}, why: "raft logs to it"},
	{module: "github.com/hashicorp/go-immutable-radix/v2", folders: []string{"systems/raftkv/server/mvcc"}, why: "ordered keys, of which a snapshot is a pointer"},
	{module: "github.com/hashicorp/raft", folders: []string{"systems/raftkv/server", "systems/raftkv/raftkvtest"}, why: "the consensus under test; no part of the tester"},
	{module: "github.com/joshdk/go-junit", tests: true, why: "reads what CI systems read"},
	{module: "github.com/klauspost/compress", folders: []string{"histories/foreign"}, why: "zstd, which the standard library does not have"},
	{module: "github.com/nats-io/jwt/v2", tests: true, why: "users of a NATS server, with files of credentials"},
	{module: "github.com/nats-io/nats-server/v2", folders: []string{"internal/campaign"}, why: "the queue of a campaign, within this program"},
	{module: "github.com/nats-io/nats.go", folders: []string{"internal/campaign"}, why: "how that queue is spoken to, wherever it is"},
	{module: "github.com/nats-io/nkeys", folders: []string{"internal/campaign"}, why: "whether a file of credentials is one"},
	{module: "github.com/rogpeppe/go-internal", tests: true, why: "testscript: the command, tested as a shell sees it"},
	{module: "github.com/santhosh-tekuri/jsonschema/v6", tests: true, why: "judges by their schemas the files that we write for others"},
	{module: "github.com/urfave/cli/v2", folders: []string{"cmd"}, why: "flags are for people, and people are met in cmd"},
	{module: "github.com/vishvananda/netlink", folders: []string{"cluster"}, why: "links and addresses of the lab"},
	{module: "go.etcd.io/bbolt", folders: []string{"cluster"}, why: "what the lab's disks are tested with"},
	{module: "go.yaml.in/yaml/v4", folders: []string{"nemesis", "internal/matrix"}, tests: true, why: "schedules and plans that people write; tests read the files for CI systems"},
	{module: "golang.org/x/sync", folders: []string{"internal/runner", "systems/raftkv", "systems/vmsched"}, why: "errgroup: goroutines that somebody waits for"},
	{module: "golang.org/x/sys", folders: []string{"cluster"}, why: "namespaces, TUN devices, ioctls"},
	{module: "golang.org/x/term", folders: []string{"cmd"}, why: "is this a terminal, and how wide"},
	{module: "google.golang.org/grpc", folders: []string{"systems/raftkv", "systems/vmsched"}, why: "how our systems are spoken to"},
	{module: "google.golang.org/protobuf", folders: []string{"systems/raftkv", "systems/vmsched", "internal/protogen"}, why: "what our systems say and store"},
}

// A ban is something of the standard library that only some folders may use.
type ban struct {
	what   string   // an import path, or one with a name of it: "os.Exit"
	except []string // folders
	why    string
}

var bans = []ban{
	{"flag", []string{"internal/gotest", "internal/protogen"}, "flags are the command's, which has urfave/cli for them"},
	{"log", nil, "log/slog, as a field; log.Fatal is an exit below main"},
	{"math/rand", nil, "math/rand/v2, seeded and handed in"},
	{"os.Args", []string{"cmd", "internal/protogen", "cluster"}, "arguments are read in cmd; the lab runs this program again, and knows by them what it is there for"},
	{"os.Environ", []string{"cluster"}, "the environment is handed on to children, and read by none of us but cmd"},
	{"os.Exit", []string{"cmd", "internal/bundle", "internal/gotest", "internal/protogen", "internal/scaling", "internal/screenshots"}, "who exits cleans nothing up, and cannot be tested"},
	{"os.Getenv", []string{"cmd", "cluster/clustertest"}, "the environment is read in cmd, and by tests that run themselves again"},
	{"os.LookupEnv", []string{"cmd"}, "the environment is read in cmd"},
	{"testing", nil, "not part of a program: what helps tests returns errors"},
}

// A source is a file of Go.
type source struct{ name, text string }

func TestFloors(t *testing.T) {
	files := sources(t)
	if len(files) < 50 {
		t.Fatalf("found only %d files", len(files))
	}
	for _, v := range violations(files) {
		t.Error(v)
	}
	for _, f := range floors { // a table of what once was says nothing
		if !slices.ContainsFunc(files, func(s source) bool { return below(f.folder, path.Dir(s.name)) }) {
			t.Errorf("%s has a floor, but is not there", f.folder)
		}
	}
}

// The test would pass as well if it saw nothing, so it is shown each violation.
func TestFloorsFindWhatTheyForbid(t *testing.T) {
	const doc = "// Package x is one.\n"
	for want, files := range map[string][]source{
		"histories/x.go: imports generator, which is no floor below its own (histories, 0: ": {
			{"histories/x.go", doc + `package histories; import "github.com/hacheck/hacheck/generator"`}},
		"generator/x.go: imports checker, which is no floor below": {
			{"generator/x.go", doc + `package generator; import "github.com/hacheck/hacheck/checker"`}},
		"checker/x.go: imports checker/checkertest, which is no floor below": {
			{"checker/x.go", doc + `package checker; import "github.com/hacheck/hacheck/checker/checkertest"`}},
		"workloads/register/x.go: imports systems/raftkv, which is no floor below": {
			{"workloads/register/x.go", doc + `package register; import _ "github.com/hacheck/hacheck/systems/raftkv"`}},
		"systems/raftkv/server/x.go: imports histories, but must not know of it": {
			{"systems/raftkv/server/x.go", doc + `package server; import "github.com/hacheck/hacheck/histories"`}},
		"util/x.go: util has no floor": {
			{"util/x.go", doc + `package util`}},
		"cluster/x.go: imports github.com/hashicorp/raft, which systems/raftkv/server, systems/raftkv/raftkvtest own": {
			{"cluster/x.go", doc + `package cluster; import "github.com/hashicorp/raft"`}},
		"report/x_test.go: imports go.etcd.io/bbolt, which cluster own: ": {
			{"report/x.go", doc + `package report`}, {"report/x_test.go", `package report; import "go.etcd.io/bbolt"`}},
		"checker/x.go: imports github.com/cockroachdb/datadriven, which tests own": {
			{"checker/x.go", doc + `package checker; import "github.com/cockroachdb/datadriven"`}},
		"checker/x.go: imports example.org/graph/v2, which nobody owns": {
			{"checker/x.go", doc + `package checker; import "example.org/graph/v2"`}},
		"report/x.go: uses os.Exit": {
			{"report/x.go", doc + `package report; import "os"; func f() { os.Exit(1) }`}},
		"report/y.go: uses os.Getenv": {
			{"report/y.go", doc + `package report; import sys "os"; var f = sys.Getenv`}},
		"checker/checkertest/x.go: uses testing": {
			{"checker/checkertest/x.go", doc + `package checkertest; import "testing"; var _ testing.TB`}},
		"report/x.go: has an init function": {
			{"report/x.go", doc + `package report; func init() {}`}},
		"report: has 0 doc comments": {
			{"report/x.go", `package report`}, {"report/x_test.go", doc + `package report`}},
		"report: has 2 doc comments": {
			{"report/x.go", doc + `package report`}, {"report/y.go", doc + `package report`}},
		"report/x.go: report/x.go:1:8: ": {
			{"report/x.go", `package`}},
	} {
		got := violations(files)
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("got  %q\nwant %s", got, want)
		}
	}
	fine := []source{
		{"cmd/hacheck/x.go", doc + `package main; import ("os"; "github.com/urfave/cli/v2"; "github.com/hacheck/hacheck/report"); func f() { os.Exit(len(os.Args)) }`},
		{"checker/checkertest/x.go", doc + `package checkertest; import "github.com/hacheck/hacheck/checker"`},
		{"histories/x.go", doc + `package histories; func f(os interface{ Exit() }) { os.Exit() }; type t struct{}; func (t) init() {}`},
		{"histories/x_test.go", `package histories; import ("testing"; "github.com/cockroachdb/datadriven"; "github.com/hacheck/hacheck/report"); func init() {}`},
		{"systems/raftkv/client/x.go", doc + `package client; import "github.com/hacheck/hacheck/systems/raftkv/server/api"`},
		{"x.go", doc + `package hacheck`},
	}
	for _, v := range violations(fine) {
		t.Errorf("accuses the innocent: %s", v)
	}
}

// sources returns the Go files of the module. It reads the tree itself: what go
// list says is answered from the test cache after other packages have changed,
// and leaves out files of other operating systems.
func sources(t *testing.T) []source {
	t.Helper()
	var files []source
	root := os.DirFS(".")
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (d.Name()[0] == '.' || slices.Contains([]string{"testdata", "store", "bin"}, d.Name())) && name != "internal/store" {
			return fs.SkipDir
		}
		if d.IsDir() && name != "." {
			if _, err := fs.Stat(root, name+"/go.mod"); err == nil { // a module of its own
				return fs.SkipDir
			}
		}
		if d.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		files = append(files, source{name, string(text)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

const module = "github.com/hacheck/hacheck"

// violations returns what is wrong with files, in words.
func violations(files []source) []string {
	var found []string
	docs := map[string]int{}
	for _, s := range files {
		file, err := parser.ParseFile(token.NewFileSet(), s.name, s.text, parser.ParseComments)
		if err != nil {
			found = append(found, fmt.Sprintf("%s: %v", s.name, err))
			continue
		}
		test := strings.HasSuffix(s.name, "_test.go")
		if folder := path.Dir(s.name); !test {
			docs[folder] += 0
			if file.Doc != nil {
				docs[folder]++
			}
		}
		for _, complaint := range complaints(path.Dir(s.name), file, test) {
			found = append(found, s.name+": "+complaint)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(docs)) {
		if docs[folder] != 1 {
			found = append(found, fmt.Sprintf("%s: has %d doc comments, where a package has one", folder, docs[folder]))
		}
	}
	return found
}

// complaints returns what is wrong with one file.
func complaints(folder string, file *ast.File, test bool) []string {
	var found []string
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if _, ok := floorOf(folder); !ok && folder != "." {
		complain("%s has no floor: give it one, in imports_test.go", folder)
		return found
	}
	for _, spec := range file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		ours, isOurs := strings.CutPrefix(name, module+"/")
		switch {
		case isOurs && !test:
			if complaint := climbs(folder, ours); complaint != "" {
				complain("%s", complaint)
			}
		case !isOurs && strings.Contains(strings.Split(name, "/")[0], "."):
			if complaint := owned(folder, name, test); complaint != "" {
				complain("%s", complaint)
			}
		}
	}
	if test {
		return found
	}
	used := uses(file)
	for _, b := range bans {
		if used[b.what] && !slices.ContainsFunc(b.except, func(f string) bool { return below(f, folder) }) {
			complain("uses %s: %s", b.what, b.why)
		}
	}
	for _, d := range file.Decls {
		if ast.IsGenerated(file) {
			break // protoc-gen-go knows no better
		}
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			complain("has an init function: what there is to choose from is a table in cmd")
		}
	}
	return found
}

// climbs says what is wrong with an import of ours, if anything.
func climbs(from, to string) string {
	mine, _ := floorOf(from)
	its, ok := floorOf(to)
	switch {
	case !ok:
		return fmt.Sprintf("imports %s, which has no floor", to)
	case mine.height == outside:
		if its.height != outside {
			return fmt.Sprintf("imports %s, but must not know of it (%s: %s)", to, mine.folder, mine.why)
		}
		return ""
	case its.height < mine.height || from != to && below(to, from):
		return ""
	}
	return fmt.Sprintf("imports %s, which is no floor below its own (%s, %d: %s)", to, mine.folder, mine.height, mine.why)
}

// owned says what is wrong with an import of others, if anything.
func owned(folder, name string, test bool) string {
	for _, o := range owners {
		if !below(o.module, name) {
			continue
		}
		if test && o.tests || slices.ContainsFunc(o.folders, func(f string) bool { return below(f, folder) }) {
			return ""
		}
		who := strings.Join(o.folders, ", ")
		if o.tests {
			who = "tests"
		}
		return fmt.Sprintf("imports %s, which %s own: %s", o.module, who, o.why)
	}
	return fmt.Sprintf("imports %s, which nobody owns: give it an owner, in imports_test.go", name)
}

// uses returns the packages that file imports, and what it names of them.
func uses(file *ast.File) map[string]bool {
	used := map[string]bool{}
	imported := map[string]string{} // by the name it has in the file
	for _, spec := range file.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		used[name] = true
		as := path.Base(name)
		if spec.Name != nil {
			as = spec.Name.Name
		}
		imported[as] = name
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && imported[x.Name] != "" {
				used[imported[x.Name]+"."+s.Sel.Name] = true
			}
		}
		return true
	})
	return used
}

// floorOf returns the floor of a folder: that of the nearest folder above it, or
// itself, that has one.
func floorOf(folder string) (found floor, ok bool) {
	for _, f := range floors {
		if below(f.folder, folder) && len(f.folder) >= len(found.folder) {
			found, ok = f, true
		}
	}
	return found, ok
}

// below says that a slash-separated name is folder, or something in it.
func below(folder, name string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}
