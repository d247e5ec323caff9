package hacheck

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// The files for CI systems, which are there to be copied.
const (
	githubFile = "docs/ci/github.yml"
	gitlabFile = "docs/ci/gitlab.yml"

	baselineFile = "hacheck.baseline.json"
)

// actionlint returns what it says of a workflow, and whether it finds nothing wrong. It finds no
// other programs to ask.
func actionlint(t *testing.T, file string) (said string, fine bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=tools/actionlint/go.mod", "actionlint", "-no-color", "-shellcheck=", "-pyflakes=", file)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func TestActionlintPassesOurWorkflows(t *testing.T) {
	for _, file := range []string{githubFile, ".github/workflows/ci.yml"} {
		if said, fine := actionlint(t, file); !fine {
			t.Errorf("%s: %s", file, said)
		}
	}
	text := read(t, githubFile)
	for was, is := range map[string]string{"steps.gate.outputs": "steps.gates.outputs", "runs-on: ubuntu-24.04": "runs-on: ubuntu-14.04", "        run: go install": "        runs: go install", "if-no-files-found:": "if-nothing:"} {
		broken := filepath.Join(t.TempDir(), "broken.yml")
		if err := os.WriteFile(broken, []byte(strings.ReplaceAll(text, was, is)), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, fine := actionlint(t, broken); fine || !strings.Contains(said, "broken.yml:") || !strings.Contains(text, was) {
			t.Errorf("%s instead of %s passes: %s", is, was, said)
		}
	}
}

// A step is one of a job of GitHub Actions.
type step struct {
	Name, ID, If, Uses, Run string
	With                    map[string]string
}

// githubSteps returns the steps of the gate's job, by name, and their names in order.
func githubSteps(t *testing.T) (steps map[string]step, names []string) {
	t.Helper()
	var file struct {
		Jobs map[string]struct{ Steps []step }
	}
	if err := yaml.Unmarshal([]byte(read(t, githubFile)), &file); err != nil {
		t.Fatal(err)
	}
	steps = map[string]step{}
	for _, s := range file.Jobs["gate"].Steps {
		if s.Name != "" {
			steps[s.Name] = s
			names = append(names, s.Name)
		}
	}
	return steps, names
}

// gitlabJob is a job in a pipeline of GitLab, all of it.
type gitlabJob struct {
	Extends string
	Rules   []struct {
		When         string
		AllowFailure bool `yaml:"allow_failure"`
	}
	Stage, Image, Timeout string
	Variables             map[string]string
	Cache                 []struct {
		Key   string
		Paths []string
		When  string
	}
	BeforeScript []string `yaml:"before_script"`
	Script       []string
	Artifacts    struct {
		When, Name string
		ExpireIn   string `yaml:"expire_in"`
		Paths      []string
		Reports    struct{ JUnit string }
	}
}

func gitlabGate(t *testing.T) gitlabJob {
	t.Helper()
	var jobs map[string]gitlabJob
	d := yaml.NewDecoder(strings.NewReader(read(t, gitlabFile)))
	d.KnownFields(true)
	if err := d.Decode(&jobs); err != nil {
		t.Fatalf("%s: %v", gitlabFile, err)
	}
	if more := jobs["baseline"]; len(jobs) != 2 || more.Extends != "gate" || len(more.Rules) != 1 || more.Rules[0].When != "manual" || !more.Rules[0].AllowFailure || more.Variables["UPDATE"] != "--update-baseline" {
		t.Fatalf("%s has jobs %+v", gitlabFile, jobs)
	}
	return jobs["gate"]
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFilesForCISystemsKeepWhatWasFound(t *testing.T) {
	steps, names := githubSteps(t)
	at := slices.Index(names, "Gate")
	for i, name := range names {
		if i > at && !strings.HasPrefix(strings.TrimSpace(steps[name].If), "always()") {
			t.Errorf("%s is not done when the gate fails", name)
		}
		if i <= at && steps[name].If != "" {
			t.Errorf("%s is done only %s", name, steps[name].If)
		}
	}
	if len(names)-at != 5 { // summary, memory, runs, alerts
		t.Errorf("got steps %q", names)
	}
	// Who could not look closes no alert.
	if alerts := steps["Alerts"]; !strings.Contains(alerts.If, "whole == 'true'") || alerts.With["sarif_file"] != "store/gate/latest/gate.sarif" {
		t.Errorf("got alerts %+v", alerts)
	}
	if restored, saved := steps["Restore what the gate remembers"].With, steps["Save what the gate remembers"].With; restored["path"] != saved["path"] || restored["key"] != saved["key"] || !strings.HasPrefix(saved["key"], restored["restore-keys"]) {
		t.Errorf("saves %v, and restores %v", saved, restored)
	}
	if kept := strings.Fields(steps["Keep the runs"].With["path"]); !slices.Equal(kept, []string{"store/gate/latest/", "!store/gate/latest/runs/**/latest/**", baselineFile}) {
		t.Errorf("keeps %q", kept)
	}
	job := gitlabGate(t)
	a := job.Artifacts
	if a.When != "always" || a.Reports.JUnit != "store/gate/latest/junit.xml" || !slices.Equal(a.Paths, []string{"store/gate/", baselineFile}) || job.Cache[0].When != "always" {
		t.Errorf("got %+v", job)
	}
}

// Each script is one for a shell.
func TestScriptsForCISystemsAreScripts(t *testing.T) {
	var scripts []string
	steps, _ := githubSteps(t)
	for _, s := range steps {
		if s.Run != "" {
			scripts = append(scripts, s.Run)
		}
	}
	job := gitlabGate(t)
	scripts = append(scripts, slices.Concat(job.BeforeScript, job.Script)...)
	if len(scripts) != 7 {
		t.Errorf("found %d scripts", len(scripts))
	}
	for _, s := range scripts {
		cmd := exec.CommandContext(t.Context(), "sh", "-n")
		cmd.Stdin = strings.NewReader(s)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s in\n%s", err, out, s)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-n")
	cmd.Stdin = strings.NewReader("if true; then")
	if cmd.Run() == nil {
		t.Error("what is no script passes")
	}
}

// The gate's step ends as the gate does, and says whether it has looked at all cells; the summary is
// added to those of others.
func TestScriptsForCISystemsEndAsTheGateDoes(t *testing.T) {
	steps, _ := githubSteps(t)
	for _, end := range []struct {
		status int
		cell   string // what became of one
		whole  bool
	}{{0, "passed", true}, {0, "not run", false}, {1, "invalid", true}, {1, "refused", false}, {2, "unknown", false}, {254, "", false}, {255, "failed", false}} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o700); err != nil {
			t.Fatal(err)
		}
		fake := "#!/bin/sh\nexit 254\n" // and nothing is written
		if end.cell != "" {
			fake = fmt.Sprintf(`#!/bin/sh
mkdir -p store/gate/2026
ln -sfn 2026 store/gate/latest
echo "$@" >store/gate/latest/summary.md
echo '{"cells": [{"status": "passed"}, {
  "status": "%s"}]}' >store/gate/latest/gate.json
exit %d
`, end.cell, end.status)
		}
		if err := os.WriteFile(filepath.Join(dir, "bin", "hacheck"), []byte(fake), 0o700); err != nil {
			t.Fatal(err)
		}
		run := func(script, update string) int {
			cmd := exec.CommandContext(t.Context(), "sh", "-e", "-c", script)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":/usr/bin:/bin", "GOPATH=" + dir, "GITHUB_OUTPUT=output", "GITHUB_STEP_SUMMARY=summary", "UPDATE=" + update}
			if out, err := cmd.CombinedOutput(); cmd.ProcessState == nil {
				t.Fatalf("%v: %s", err, out)
			}
			return cmd.ProcessState.ExitCode()
		}
		if got := run(steps["Summary"].Run, ""); got != 0 || read(t, filepath.Join(dir, "summary")) == "" {
			t.Errorf("without a gate the summary ends with %d", got)
		}
		if got := run(steps["Gate"].Run, ""); got != end.status {
			t.Errorf("a gate that ends with %d makes a step that ends with %d", end.status, got)
		}
		if got, want := read(t, filepath.Join(dir, "output")), fmt.Sprintf("whole=%t\n", end.whole); got != want {
			t.Errorf("a gate with a cell that is %q: got output %q, want %q", end.cell, got, want)
		}
		const asked = "gate --format junit,markdown,sarif,github\n"
		if got := run(steps["Summary"].Run, ""); end.cell != "" && (got != 0 || !strings.HasSuffix(read(t, filepath.Join(dir, "summary")), ".\n"+asked)) {
			t.Errorf("got summary %q, want %q", read(t, filepath.Join(dir, "summary")), asked)
		}
		if got := run(strings.Join(gitlabGate(t).Script, "\n"), "--update-baseline"); got != end.status {
			t.Errorf("a gate that ends with %d makes a job of GitLab that ends with %d", end.status, got)
		}
		if end.cell != "" {
			if got, want := read(t, filepath.Join(dir, "store/gate/latest/summary.md")), "gate --format junit,markdown,sarif --update-baseline\n"; got != want {
				t.Errorf("the job of GitLab asks for %q, want %q", got, want)
			}
		}
	}
}
