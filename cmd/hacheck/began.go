package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/hacheck/hacheck/internal/gate"
)

// beganFile has what a gate began with, beside its plan.
const beganFile = "began.json"

// A premises is what a gate began with beside the text of its plan, and has to have to the end: its
// runs are judged together. How long it may take, what it writes and whether the baseline learns
// of it may be another when it goes on.
type premises struct {
	Hacheck string `json:"hacheck"`
	// Build is the digest of the program: there are many builds of one version.
	Build   string       `json:"build"`
	Machine gate.Machine `json:"machine"`
	// Baseline is the digest of what is compared with.
	Baseline string `json:"baseline"`
	// Cells are the digests of what cells ask for, by name: some name files, whose
	// content the plan does not have.
	Cells map[string]string `json:"cells"`
}

// premises are those of a gate that would begin now.
func (g *gating) premises() (b premises, err error) {
	b = premises{Hacheck: version(), Machine: g.machine, Cells: map[string]string{}}
	if b.Build, err = digestOf(func(w io.Writer) error {
		program, err := os.Open("/proc/self/exe") // a path might be that of another build by now
		if err != nil {
			return err
		}
		defer program.Close()
		_, err = io.Copy(w, program)
		return err
	}); err != nil {
		return b, err
	}
	if b.Baseline, err = digestOf(g.baseline.Write); err != nil {
		return b, err
	}
	for _, c := range g.plan.Cells {
		b.Cells[c.Name] = c.Digest()
	}
	return b, nil
}

func digestOf(write func(io.Writer) error) (string, error) {
	hash := sha256.New()
	if err := write(hash); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// maxChangedCells is how many cells are named that ask for something else.
const maxChangedCells = 3

// changed says what is another one now, each thing in a few words; nil: nothing that matters.
// baseline and plan name the files.
func (was premises) changed(now premises, baseline, plan string) (words []string) {
	switch {
	case was.Hacheck != now.Hacheck:
		words = append(words, fmt.Sprintf("hacheck was %s, and is %s", was.Hacheck, now.Hacheck))
	case was.Build != now.Build:
		words = append(words, fmt.Sprintf("hacheck %s was built anew", now.Hacheck))
	}
	if was.Machine != now.Machine {
		words = append(words, fmt.Sprintf("the machine was %s, and is %s (see --jobs)", was.Machine, now.Machine))
	}
	if was.Baseline != now.Baseline {
		words = append(words, fmt.Sprintf("the baseline %s has another content (see --baseline)", quote(baseline)))
	}
	var cells []string
	for name, digest := range now.Cells {
		if was.Cells[name] != digest {
			cells = append(cells, name)
		}
	}
	slices.Sort(cells)
	if n := len(cells); n > 0 {
		if n > maxChangedCells {
			cells = append(cells[:maxChangedCells], fmt.Sprintf("%d more", n-maxChangedCells))
		}
		words = append(words, fmt.Sprintf("%s asks for something else in %s, as a schedule that it names has changed", quote(plan), enumerate(cells)))
	}
	return words
}

// begin notes in the directory of the gate what it begins with. The plan comes last: where it is,
// all of it is.
func (g *gating) begin() error {
	now, err := g.premises()
	if err != nil {
		return err
	}
	if err := g.run.WriteJSON(beganFile, now); err != nil {
		return err
	}
	return g.run.Write(planFile, func(w io.Writer) error { _, err := w.Write(g.text); return err })
}

// goesOn says why the gate in the directory is not the one that was asked for, if so.
func (g *gating) goesOn() error {
	const instead = "have it as it was, or begin anew, without --resume"
	before, err := os.ReadFile(g.run.File(planFile))
	if err != nil {
		return usage("gate: --resume: %v; begin anew, without --resume", err)
	}
	if string(before) != string(g.text) {
		return usage("gate: --resume: %s is another one than when %s began: %s", quote(g.file), g.run.Dir, instead)
	}
	text, err := os.ReadFile(g.run.File(beganFile))
	var was premises
	if err == nil {
		err = json.Unmarshal(text, &was)
	}
	if err != nil {
		return usage("gate: --resume: %s does not tell what it began with (%v); begin anew, without --resume", g.run.Dir, err)
	}
	now, err := g.premises()
	if err != nil {
		return err
	}
	if changed := was.changed(now, g.gateOptions.baseline, g.file); len(changed) > 0 {
		return usage("gate: --resume: it is no longer as when %s began: %s: %s", g.run.Dir, strings.Join(changed, "; "), instead)
	}
	return nil
}

// An assignment is what a campaign was asked for, as its server has it. Its machines differ, and nothing
// is compared: what it has to have to the end are its plan, and who reads it.
type assignment struct {
	Plan    string `json:"plan"`
	Hacheck string `json:"hacheck"`
}

// encode and readAssignment are of what [campaign.Campaign.Begin] has.
func (a assignment) encode() ([]byte, error) { return json.Marshal(a) }

func readAssignment(text []byte) (a assignment, err error) {
	if len(text) == 0 {
		return a, errors.New("nobody has said so yet")
	}
	err = json.Unmarshal(text, &a)
	return a, err
}
