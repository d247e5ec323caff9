// Package uniqueids is the workload of identifiers that a system hands out: none
// may be handed out twice.
package uniqueids

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/hacheck/hacheck/histories"
	"github.com/hacheck/hacheck/workloads"
)

// Generate is the workload's one function. Its op carries nothing, and is completed
// by the identifier: by a text, by a list of its bytes if it is none, or by any
// JSON but null if it is another tool's. The text "7" and the number 7 are two.
const Generate = "generate"

// IDs is what a system under test offers to this workload, as one client sees it.
// Its calls come one at a time and return soon after ctx has ended. What an error
// means is what [workloads.Client] says.
type IDs interface {
	// Generate returns an identifier that nobody was ever given.
	Generate(ctx context.Context) (Result, error)
	// Close ends the connection.
	Close() error
}

// A Result is what a system handed out.
type Result struct {
	// ID is the identifier, as it is: any bytes.
	ID string
	workloads.Said
}

// perform performs an op by a call of an IDs.
func perform(ctx context.Context, ids IDs, op histories.Op) (workloads.Reply, error) {
	if _, err := parseInput(op.F, op.Value); err != nil {
		return workloads.Unreadable(op, err)
	}
	r, err := ids.Generate(ctx)
	reply := r.Reply()
	switch {
	case err != nil:
	case utf8.ValidString(r.ID):
		reply.Value, err = json.Marshal(r.ID)
	default: // as a text JSON would make the same of many: its bytes, as numbers
		var numbers []int
		for _, b := range []byte(r.ID) {
			numbers = append(numbers, int(b))
		}
		reply.Value, err = json.Marshal(numbers)
	}
	return reply, err
}

func parseInput(f string, _ json.RawMessage) (struct{}, error) {
	if f != Generate {
		return struct{}{}, errors.New("is no function of this workload")
	}
	return struct{}{}, nil
}

// parseOutput returns the identifier of an ok completion, spelt in one way.
func parseOutput(_ string, value json.RawMessage) (string, error) {
	if len(value) == 0 {
		return "", errors.New("is no identifier")
	}
	d := json.NewDecoder(strings.NewReader(string(value)))
	d.UseNumber() // which keeps all digits
	var id any
	if err := d.Decode(&id); err != nil {
		return "", err
	}
	if id == nil {
		return "", errors.New("is no identifier")
	}
	b, err := json.Marshal(id)
	if bytes.ContainsRune(b, utf8.RuneError) {
		return string(value), nil // halves of characters, of which it makes the same
	}
	return string(b), err
}
