package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/internal/store"
)

func TestTheTitleTellsOfAHypervisorThatIsNotTheDefault(t *testing.T) {
	for hypervisor, want := range map[string]string{
		"process": "vmsched with bug no-fence under workload vm; 8 nodes, 0.0 s, seed 7",
		"qemu":    "vmsched on qemu with bug no-fence under workload vm; 8 nodes, 0.0 s, seed 7",
	} {
		info := store.Info{System: "vmsched", Bug: "no-fence", Workload: "vm"}
		info.Options.Nodes, info.Options.Seed, info.Options.Hypervisor = 8, 7, hypervisor
		if got := (&judged{run: &store.Run{}, info: info, history: &histories.History{}}).title(); got != want {
			t.Errorf("%s: got %s, want %s", hypervisor, got, want)
		}
	}
}

func TestOfAValidRunNothingIsKeptThatNodesHadOnDisk(t *testing.T) {
	run := &store.Run{Dir: t.TempDir()}
	r := &judged{run: run}
	for _, dir := range []string{"n1/data", "n4/data", "vmsched.images"} {
		if err := os.MkdirAll(filepath.Join(run.Nodes(), dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if got, want := r.files(), run.Dir+" (with what the nodes had on disk)"; got != want {
			t.Errorf("with %s: got %s, want %s", dir, got, want)
		}
		(&trial{run: run}).forgetData()
		if got := r.files(); got != run.Dir {
			t.Errorf("of %s is kept: %s", dir, got)
		}
	}
}

func TestDiagnosisSaysWhatIsMissingAndWhatHelps(t *testing.T) {
	got := diagnosis([]cluster.Finding{
		{Mechanism: "namespaces", Needed: true, Detail: "operation not permitted", Remedy: "sudo sysctl -w user.max_user_namespaces=15000"},
		{Mechanism: "TUN devices", Detail: "permission denied"},
		{Mechanism: "packet sockets", Works: true, Detail: "two nodes up in 4ms"},
	}, false)
	want := `namespaces          NO   operation not permitted
                         what helps: sudo sysctl -w user.max_user_namespaces=15000
TUN devices         no   permission denied
packet sockets      yes  two nodes up in 4ms

The lab cannot run here: it takes what says NO.
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestWhatGoRunBuiltIsCalledAgainByGoRun(t *testing.T) {
	for called, want := range map[string]string{
		"/tmp/go-build123/b001/exe/hacheck": "go run ./cmd/hacheck", "hacheck": "hacheck",
		"./bin/hacheck": "./bin/hacheck", "/opt/my tools/hacheck": "'/opt/my tools/hacheck'",
	} {
		if got := (&program{args: []string{called}}).invocation(); got != want {
			t.Errorf("%s is called again as %s, want %s", called, got, want)
		}
	}
}
