package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/internal/store"
)

// doctor prints what this machine can do. That the lab cannot run here is a
// failure of hacheck, as it is of run: 255. There is no verdict that could be
// unknown.
func (p *program) doctor(c *cli.Context) error {
	if err := p.leftover(c, 0); err != nil {
		return err
	}
	if runtime.GOOS != "linux" {
		return errNeedsLinux
	}
	findings := append(cluster.Doctor(c.Context), hypervisors()...)
	able := true
	for _, f := range findings {
		able = able && (f.Works || !f.Needed)
	}
	if c.Bool("json") {
		if err := store.EncodeJSON(p.stdout, examined{able, findings}); err != nil {
			return err
		}
	} else if _, err := io.WriteString(p.stdout, diagnosis(findings, able)); err != nil {
		return err
	}
	if !able {
		return exitStatus(exitFailed)
	}
	return nil
}

// hypervisors says which of those that systems can run guests with are here.
func hypervisors() (findings []cluster.Finding) {
	for _, s := range systems {
		for _, h := range s.hypervisors {
			f := cluster.Finding{Mechanism: "hypervisor " + h.name, Works: true, Detail: "runs the guests of " + s.name}
			if err := s.lacks(h.name); err != nil {
				f.Works, f.Detail = false, err.Error()
			}
			findings = append(findings, f)
		}
	}
	return findings
}

// examined is what doctor --json prints.
type examined struct {
	Able     bool              `json:"able"` // the lab can run here
	Findings []cluster.Finding `json:"findings"`
}

// diagnosis is the findings as a table, with what would help below.
func diagnosis(findings []cluster.Finding, able bool) string {
	var b strings.Builder
	for _, f := range findings {
		state := "yes"
		switch {
		case !f.Works && f.Needed:
			state = "NO"
		case !f.Works:
			state = "no"
		}
		fmt.Fprintf(&b, "%-18s  %-3s  %s\n", f.Mechanism, state, f.Detail)
		if !f.Works && f.Remedy != "" {
			fmt.Fprintf(&b, "%-18s       what helps: %s\n", "", f.Remedy)
		}
	}
	if able {
		b.WriteString("\nThe lab can run here.\n")
	} else {
		b.WriteString("\nThe lab cannot run here: it takes what says NO.\n")
	}
	return b.String()
}
