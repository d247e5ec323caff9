package vm

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/checker/checkertest"
)

// TestEvents runs the files of testdata/events: histories in the shorthand of [expand], with
// what the part that is named says of them. Rewrite them with -rewrite, and read the diff.
func TestEvents(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "events"), func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			text, err := expand(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			h, err := checkertest.Parse(text)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			r, err := Checker(checker.Budget{}).Check(t.Context(), h)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			for _, p := range r.Parts {
				if p.Name != strings.ReplaceAll(d.Cmd, "-", " ") {
					continue
				}
				text := checkertest.Format(p)
				if p.Table != nil {
					text += p.Table.Title + "\n"
					for _, row := range p.Table.Rows {
						text += "  " + strings.Join(row, " | ") + "\n"
					}
				}
				for _, name := range slices.Sorted(maps.Keys(p.Samples)) {
					text += fmt.Sprintf("%s %d\n", name, p.Samples[name])
				}
				return text
			}
			d.Fatalf(t, "no part is named %q", d.Cmd)
			return ""
		})
	})
}

// expand writes out the shorthand of histories:
//
//	[time] boot vm1 n4 1 [pid=7 count=3 acked=2]     a sign of epoch 1; so are the other kinds
//	[time] took vm1 1 [seq=5]                        and refused
//	[time] fenced n4
//	[time] missed 3
//	[time] @5 vm1 running n4/1 1 [desired=stopped phase=ready target=n5 group=g size=1 reason=x]
//	[time] @5 vm1 pending - 0
//	[time] @5 host n4 2 [vm1=1]                      of capacity 2, with reservations
//	[time] @5 closed n4 2 [vm1=1]                    the same, which is cordoned
//	[time] @5 host n4 2 labels=disk:ssd              with a label, as a machine may be for one
//	[time] @5 alive n4/1                             and ended
//	[time] @5 vm1 running n4/1 1 more                another of that transaction follows
//	[time] settle ask
//	[time] settle ok; vm1 running n4 1 [...]; host n4 2 [reserved=1 vm1=1]   a snapshot; so are fail, and rest
//	[time] settle lost                               somebody asked, and met an error
//
// All other lines are those of [checkertest.Parse]. Unless they say otherwise the PID of a
// guest goes by its host and epoch, machines have size 1 and are wanted to run, and hosts in a
// snapshot are alive and have guests as they say.
func expand(text string) (string, error) {
	var out []string
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		at, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if at == "" || at[0] < '0' || at[0] > '9' || !strings.HasSuffix(at, "s") {
			at, rest = "", strings.TrimSpace(line)
		}
		op, err := expandOp(strings.Fields(rest), rest)
		if err != nil {
			return "", fmt.Errorf("line %d: %s: %w", n+1, line, err)
		}
		out = append(out, strings.TrimSpace(at+" "+op))
	}
	return strings.Join(out, "\n"), nil
}

func expandOp(f []string, line string) (string, error) {
	if len(f) == 0 {
		return "", nil
	}
	event := func(name string, value map[string]any) (string, error) {
		b, err := json.Marshal(value)
		return "-2 event " + name + " " + string(b), err
	}
	switch f[0] {
	case Boot, Resumed, Beat, Paused, Continued:
		s := map[string]any{"vm": f[1], "host": f[2], "epoch": number(f[3])}
		s["pid"] = number(strings.TrimLeft(f[2], "n") + f[3])
		return event(f[0], with(s, f[4:]))
	case Took, Refused:
		return event(f[0], with(map[string]any{"vm": f[1], "host": "n8", "epoch": number(f[2])}, f[3:]))
	case Fenced:
		return event(f[0], map[string]any{"host": f[1]})
	case Missed:
		return event(f[0], map[string]any{"lost": number(f[1])})
	case Settle, Rest:
		switch words := strings.Fields(strings.ReplaceAll(line, ";", " ; ")); words[1] {
		case "ask":
			return "9 invoke " + f[0] + " null", nil
		case "lost":
			return "8 invoke " + f[0] + " null\n8 info " + f[0] + " null error=timeout", nil
		case "fail":
			s, err := snapshot(line)
			return `9 fail ` + f[0] + ` null error=not-yet meta={"snapshot":` + s + `}`, err
		default:
			s, err := snapshot(line)
			return "9 ok " + f[0] + " " + s, err
		}
	}
	revision, isRecord := strings.CutPrefix(f[0], "@")
	if !isRecord {
		return line, nil
	}
	c := map[string]any{"revision": number(revision)}
	if last := len(f) - 1; f[last] == "more" {
		c["more"], f = true, f[:last]
	}
	switch f[1] {
	case "alive", "ended":
		host, incarnation, _ := strings.Cut(f[2], "/")
		c[f[1]] = map[string]any{"host": host, "incarnation": number(incarnation)}
	case "host", "closed":
		h := map[string]any{"host": f[2], "capacity": number(f[3]), "cordoned": f[1] == "closed"}
		f = f[4:]
		if len(f) > 0 && strings.HasPrefix(f[0], "labels=") {
			h, f = with(h, f[:1]), f[1:]
		}
		h["reservations"] = with(map[string]any{}, f)
		c["host"] = h
	default:
		c["vm"] = machineOf(f[1:])
	}
	return event(Record, c)
}

// machineOf reads a machine: its name, state, place, epoch, and what else there is.
func machineOf(f []string) map[string]any {
	v := map[string]any{"vm": f[0], "state": f[1], "epoch": number(f[3]), "desired": "running", "size": 1}
	if host, incarnation, _ := strings.Cut(f[2], "/"); host != "-" {
		v["host"] = host
		if incarnation != "" {
			v["incarnation"] = number(incarnation)
		}
	}
	return with(v, f[4:])
}

func snapshot(line string) (string, error) {
	var vms, hosts []map[string]any
	for _, part := range strings.Split(line, ";")[1:] {
		f := strings.Fields(part)
		if f[0] != "host" {
			vms = append(vms, machineOf(f))
			continue
		}
		h := map[string]any{"host": f[1], "capacity": number(f[2]), "alive": true}
		guests := map[string]any{}
		for _, field := range f[3:] {
			name, value, _ := strings.Cut(field, "=")
			if strings.HasPrefix(name, "vm") {
				guests[name] = number(value)
			} else {
				h = with(h, []string{field})
			}
		}
		h["guests"] = guests
		hosts = append(hosts, h)
	}
	b, err := json.Marshal(map[string]any{"revision": 99, "vms": vms, "hosts": hosts})
	return string(b), err
}

func with(m map[string]any, fields []string) map[string]any {
	for _, field := range fields {
		name, value, _ := strings.Cut(field, "=")
		if m[name] = number(value); name == "labels" {
			label, is, _ := strings.Cut(value, ":")
			m[name] = map[string]string{label: is}
		}
	}
	return m
}

// number reads a number, or else what it is.
func number(s string) any {
	switch n, err := strconv.ParseUint(s, 10, 64); {
	case s == "true" || s == "false":
		return s == "true"
	case err == nil:
		return n
	}
	return s
}
