package main

import (
	"testing"

	"github.com/hacheck/hacheck/cluster"
)

func TestDiagnosisSaysWhatIsMissingAndWhatHelps(t *testing.T) {
	got := diagnosis([]cluster.Finding{
		{Mechanism: "namespaces", Needed: true, Detail: "operation not permitted", Remedy: "sudo sysctl -w user.max_user_namespaces=15000"},
		{Mechanism: "TUN devices", Detail: "permission denied"},
		{Mechanism: "packet sockets", Works: true, Detail: "two nodes up in 4ms"},
	}, false)
	want := `namespaces        NO   operation not permitted
                       what helps: sudo sysctl -w user.max_user_namespaces=15000
TUN devices       no   permission denied
packet sockets    yes  two nodes up in 4ms

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
