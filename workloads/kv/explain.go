package kv

import (
	"fmt"
	"strings"

	"github.com/hacheck/hacheck/checker"
	"github.com/hacheck/hacheck/histories"
)

// did says what c did, for whom, and when: "process 3 put a=17 at n2 (revision 8, 1ms
// to 2ms)".
func did(c *call) string {
	if c.Type != histories.OK {
		return checker.Did(*c, what(c))
	}
	return checker.Did(*c, what(c), fmt.Sprintf("revision %d", c.Out.Revision))
}

// what says what c did, in few words.
func what(c *call) string {
	switch c.F {
	case Put:
		return "put " + c.In.Key + "=" + c.In.Value
	case Delete:
		if c.Type == histories.OK && !c.Out.Deleted {
			return "found no " + c.In.Key + " to delete"
		}
		return "deleted " + c.In.Key
	case Transact:
		return "ran a transaction" + outcome(c)
	}
	read := "read"
	if c.In.Serializable {
		read = "read (serializable)"
	}
	if c.F == Range {
		read += " all of " + c.In.Prefix + "*"
	} else {
		read += " " + c.In.Key
	}
	if c.In.At > 0 {
		read += fmt.Sprintf(" as of revision %d", c.In.At)
	}
	return read
}

// outcome says what a transaction did.
func outcome(c *call) string {
	actions := func(as []Action) string {
		var s []string
		for _, a := range as {
			if a.F == Put {
				s = append(s, "put "+a.Key+"="+a.Value)
			} else {
				s = append(s, a.F+" "+a.Key)
			}
		}
		return strings.Join(s, ", ")
	}
	if c.Type == histories.OK {
		which := " whose conditions held"
		if !c.Out.Succeeded {
			which = " whose conditions failed"
		}
		return which + ": " + actions(c.In.branch(c.Out.Succeeded))
	}
	if len(c.In.Else) == 0 {
		return ": " + actions(c.In.Then)
	}
	return ": " + actions(c.In.Then) + ", or else " + actions(c.In.Else)
}

// shown returns what was seen of a key: "a=17 (created 5, modified 8, version 2)".
func shown(kv KV) string {
	return fmt.Sprintf("%s=%s (created %d, modified %d, version %d)", kv.Key, kv.Value, kv.Create, kv.Mod, kv.Version)
}

// condition returns a comparison as people write it.
func condition(c Compare) string {
	switch {
	case c.By == Value:
		return c.Key + "=" + c.Value
	case c.Mod == 0:
		return "no " + c.Key
	}
	return fmt.Sprintf("mod revision %d of %s", c.Mod, c.Key)
}
