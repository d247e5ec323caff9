package campaign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hacheck/hacheck/internal/gate"
)

// A source is messages of a stream.
type source struct {
	stream, subjects string
	stop             bool // at the end of what is there; else it waits for more
}

// idle is how long the end of a stream is believed without asking again. A message that is lost
// between the server and us shows by the gap before the next one; that it was the last one
// shows by nothing.
const idle = 20 * time.Second

// follow returns the messages of a source in their order, each once, however often the
// server goes away and comes back. It ends with an error, that of ctx too, or where the source
// stops.
//
// It keeps no state at the server that matters: its consumer is made again, behind the last
// message that was seen, whenever there is a doubt. Then it also looks whether the campaign is still this one.
func (c *Campaign) follow(ctx context.Context, s source) iter.Seq2[jetstream.Msg, error] {
	return func(yield func(jetstream.Msg, error) bool) {
		var last uint64
		left := false
		for ended := false; !ended && !left; {
			err := c.link.try(ctx, patience, func(during context.Context) error {
				if err := c.current(during); err != nil {
					return err
				}
				made, err := c.link.js.CreateConsumer(during, s.stream, jetstream.ConsumerConfig{
					DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: last + 1,
					FilterSubject: s.subjects, AckPolicy: jetstream.AckNonePolicy,
					InactiveThreshold: 5 * time.Minute, MemoryStorage: true, Replicas: 1,
				})
				if errors.Is(err, jetstream.ErrStreamNotFound) {
					return final{problem(ErrNoCampaign, "%s has been removed", s.stream)}
				}
				if err != nil {
					return err
				}
				defer func() { // it forgets it by itself if it cannot be told
					ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
					defer cancel()
					_ = c.link.js.DeleteConsumer(ctx, s.stream, made.CachedInfo().Name)
				}()
				if s.stop && made.CachedInfo().NumPending == 0 {
					ended = true
					return nil
				}
				return c.read(ctx, made, s.stop, &last, &ended, func(m jetstream.Msg) bool {
					left = !yield(m, nil)
					return !left
				})
			})
			if err != nil {
				if !left {
					yield(nil, err)
				}
				return
			}
		}
	}
}

// read reads from a consumer until there is a doubt, which is no error: the connection was lost, a
// message is missing, nothing has come for a while.
func (c *Campaign) read(ctx context.Context, made jetstream.Consumer, stop bool, last *uint64, ended *bool, take func(jetstream.Msg) bool) error {
	during, end, err := c.link.session(ctx)
	if err != nil {
		return err
	}
	defer end()
	messages, err := made.Messages(jetstream.PullMaxMessages(256), jetstream.PullExpiry(time.Minute), jetstream.PullHeartbeat(5*time.Second))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for number := uint64(1); ; number++ {
		limited, cancel := context.WithTimeout(during, idle)
		m, err := messages.Next(jetstream.NextContext(limited))
		cancel()
		if err != nil {
			return nil
		}
		about, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("%s: %w", m.Subject(), err)
		}
		if about.Sequence.Consumer != number {
			return nil
		}
		*last = about.Sequence.Stream
		if !take(m) {
			return nil
		}
		if stop && about.NumPending == 0 {
			*ended = true
			return nil
		}
	}
}

// removed says that a message of a bucket is not a value, but that there is none any more.
func removed(m jetstream.Msg) bool {
	return m.Headers().Get("KV-Operation") != "" || m.Headers().Get(jetstream.MarkerReasonHeader) != ""
}

// Outcomes returns what became of jobs: what is there, and then what comes, each once, while
// the server goes away and comes back, until ctx ends, whose error is the last. It does not know
// when there are no more: who has put the jobs does.
func (c *Campaign) Outcomes(ctx context.Context) iter.Seq2[gate.Outcome, error] {
	return c.all(ctx, false)
}

// done are those that are there.
func (c *Campaign) done(ctx context.Context) ([]gate.Outcome, error) {
	var found []gate.Outcome
	for o, err := range c.all(ctx, true) {
		if err != nil {
			return nil, err
		}
		found = append(found, o)
	}
	return found, nil
}

func (c *Campaign) all(ctx context.Context, stop bool) iter.Seq2[gate.Outcome, error] {
	return func(yield func(gate.Outcome, error) bool) {
		stream, subjects := c.ofBucket("outcomes", ">")
		for m, err := range c.follow(ctx, source{stream: stream, subjects: subjects, stop: stop}) {
			if err != nil {
				yield(gate.Outcome{}, fmt.Errorf("outcomes of campaign %s: %w", c.name, err))
				return
			}
			if removed(m) {
				continue // by hand
			}
			var o gate.Outcome
			if err := json.Unmarshal(m.Data(), &o); err != nil {
				yield(gate.Outcome{}, fmt.Errorf("outcomes of campaign %s: %s: %w", c.name, m.Subject(), err))
				return
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// mostOutcome is how many bytes an outcome has at most. A message has a megabyte where nobody has
// set it otherwise.
const mostOutcome = 900_000

// mostBytes is how many a message has at most.
func (c *Campaign) mostBytes() int {
	if most := c.link.conn.MaxPayload(); most > 0 {
		return int(min(mostOutcome, most/10*9))
	}
	return mostOutcome
}

// encode writes an outcome in most bytes. What does not fit is cut, the longest texts first, and
// says so; its class, its findings' kinds and its command stay.
func encode(o gate.Outcome, most int) ([]byte, error) {
	text, err := json.Marshal(o)
	if err != nil || len(text) <= most {
		return text, err
	}
	o.Attempts = slices.Clone(o.Attempts)
	for limit := most / 2; limit >= 64; limit /= 2 {
		o.Words = cut(o.Words, limit)
		for i := range o.Attempts {
			a := &o.Attempts[i]
			a.Words, a.Witness = cut(a.Words, limit), cut(a.Witness, limit)
			a.Findings = slices.Clone(a.Findings)
			for j := range a.Findings {
				a.Findings[j].Note = cut(a.Findings[j].Note, limit)
			}
		}
		if text, err = json.Marshal(o); err != nil || len(text) <= most {
			return text, err
		}
	}
	// No text is long any more: there are many. What was measured is the first to go, for half
	// of a distribution is another one; then attempts, of which the last one says what it is.
	lost := ""
	for i := range o.Attempts {
		o.Attempts[i].Measures = nil
		lost = "what was measured is left out: it is too large; "
	}
	for {
		short := o
		short.Words = lost + o.Words
		if text, err = json.Marshal(short); err != nil || len(text) <= most {
			return text, err
		}
		switch n := len(o.Attempts); {
		case n > 1:
			o.Attempts = o.Attempts[n/2:]
			lost = "what was measured and earlier attempts are left out: they are too large; "
		case n == 1 && len(o.Attempts[0].Findings) > 1:
			o.Attempts[0].Findings = o.Attempts[0].Findings[:len(o.Attempts[0].Findings)/2]
		default:
			return nil, fmt.Errorf("outcome of job %s: it has %d bytes, and the server takes %d", o.Job.ID, len(text), most)
		}
	}
}

const cutMark = "\n… (cut: too long for a campaign)"

// cut cuts a text to limit bytes, between characters.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	text = strings.TrimSuffix(text, cutMark)
	at := max(0, min(limit-len(cutMark), len(text)))
	for at > 0 && !utf8.RuneStart(text[at]) {
		at--
	}
	return text[:at] + cutMark
}
