package nemesis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/hacheck/hacheck/generator"
	"github.com/hacheck/hacheck/histories"
)

// An Entry is one instance of a fault in a schedule that was written, or recorded.
type Entry struct {
	// At is the time since the run began at which it begins.
	At time.Duration
	// On ties it to an event instead: it begins at each that is seen after At, unless
	// it is still in force.
	On Anchor
	// Spec is the fault. One of a history may hold a target in place of a variant: what
	// its words mean is a matter of the faults, and [New] knows them.
	Spec Spec
	// For is how long it holds; 0 is about the interval, or, during an event, as long
	// as that.
	For time.Duration
	// Detail says exactly what is done. If it is missing it is drawn.
	Detail json.RawMessage
}

// ReadTimetable reads a schedule: a YAML list whose items have some of
//
//	at: 5s                       # since the run began
//	fault: kill                  # NAME[:VARIANT], as --nemesis takes it
//	target: leader               # a role, or a node
//	for: 2s                      # until it is healed
//	on: leader-change +0..50ms   # begin then, instead of at a time
//	during: member-change        # the same, and be healed when it is over
//	detail: {...}                # exactly what is done, as a history has it
//
// An error names the lines, and what to do.
func ReadTimetable(faults []Fault, r io.Reader, name string) ([]Entry, error) {
	list, err := readYAML(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, plain(err))
	}
	if list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		return nil, fmt.Errorf(`%s:%d: this is no list of faults; the least is "- {at: 5s, fault: %s}"`, name, max(list.Line, 1), faults[0].Name)
	}
	var entries []Entry
	var errs []error
	for _, item := range list.Content {
		e, err := readEntry(faults, item)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%w", name, err))
		}
		entries = append(entries, e)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return entries, nil
}

// plain takes away what an error of YAML or JSON says of their libraries.
func plain(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field == "" {
			return fmt.Errorf("it is a %s; write a mapping, as a history has it", e.Value)
		}
		return fmt.Errorf("%s is a %s, which it cannot be", e.Field, e.Value)
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	return errors.New(strings.TrimPrefix(strings.TrimPrefix(text, "go-yaml load error in "), "constructor at "))
}

// readYAML returns what the one document in r is.
func readYAML(r io.Reader) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(r)
	if err != nil {
		return nil, err
	}
	var document, more yaml.Node
	if err := loader.Load(&document); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := loader.Load(&more); err == nil {
		return nil, fmt.Errorf("line %d: another document begins; a schedule is one list", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	if document.Kind == yaml.DocumentNode && len(document.Content) > 0 {
		return document.Content[0], nil
	}
	return &document, nil
}

// fields are those of an item, in the order in which they are written.
var fields = []string{"at", "on", "during", "fault", "target", "for", "detail"}

// readEntry reads one item. Errors begin with the number of the line.
func readEntry(faults []Fault, item *yaml.Node) (e Entry, err error) {
	if item.Kind == yaml.AliasNode {
		return e, fmt.Errorf("%d: *%s is an alias; write the fault out", item.Line, item.Value)
	}
	if item.Kind != yaml.MappingNode {
		return e, fmt.Errorf(`%d: this is no fault; write "at: 5s" and "fault: %s"`, item.Line, faults[0].Name)
	}
	given := map[string]int{} // lines
	var target *yaml.Node
	for i := 0; i < len(item.Content); i += 2 {
		key, value := item.Content[i], item.Content[i+1]
		switch {
		case !slices.Contains(fields, key.Value):
			return e, fmt.Errorf("%d: unknown field %q; there are %s", key.Line, key.Value, strings.Join(fields, ", "))
		case given[key.Value] != 0:
			return e, fmt.Errorf("%d: %s stands twice; strike one out, or begin another item with a dash", key.Line, key.Value)
		case key.Value != "detail" && value.Kind != yaml.ScalarNode:
			return e, fmt.Errorf("%d: %s is a word, not a list or a mapping", value.Line, key.Value)
		}
		given[key.Value] = key.Line
		if key.Value == "target" {
			target = value // its fault may come later
			continue
		}
		if err := e.set(faults, key.Value, value); err != nil {
			return e, fmt.Errorf("%d: %s: %w", value.Line, key.Value, err)
		}
	}
	switch {
	case e.Spec.Fault == "":
		return e, fmt.Errorf("%d: which fault? Add a field such as \"fault: %s\"", item.Line, faults[0].Name)
	case given["on"] != 0 && given["during"] != 0:
		return e, fmt.Errorf("%d: either on or during; strike one out", given["during"])
	case given["at"]+given["on"]+given["during"] == 0:
		return e, fmt.Errorf(`%d: when? Add a field such as "at: 5s" or "on: %s"`, item.Line, LeaderChange)
	case target != nil && e.Spec.Target != "":
		return e, fmt.Errorf("%d: the fault has a target already, %s; strike one out", target.Line, e.Spec.Target)
	case target != nil:
		switch f := find(faults, e.Spec.Fault); {
		case len(f.Targets) == 0:
			return e, fmt.Errorf("%d: %s is not aimed at nodes; strike the target out", target.Line, f.Name)
		case !f.isTarget(target.Value):
			return e, fmt.Errorf("%d: %w", target.Line, &UnknownError{What: "target of " + f.Name, Name: target.Value, Known: f.targets()})
		}
		e.Spec.Target = target.Value
	}
	return e, nil
}

// set sets the field that is called name.
func (e *Entry) set(faults []Fault, name string, value *yaml.Node) (err error) {
	switch name {
	case "at":
		e.At, err = parseTime(value.Value)
	case "for":
		if e.For, err = parseTime(value.Value); err == nil && e.For == 0 {
			err = errors.New("it would be healed at once; leave it out for about the interval")
		}
	case "on", "during":
		e.On, err = ParseAnchor(name + " " + value.Value)
	case "fault":
		e.Spec, err = oneFault(faults, value.Value)
	case "detail":
		var detail any
		if err = value.Load(&detail); err == nil {
			e.Detail, err = json.Marshal(detail)
		}
		if err != nil {
			err = plain(err)
		}
	}
	return err
}

func parseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no time such as 500ms, 5s or 1m30s", text)
	}
	return d, nil
}

// oneFault reads a spec that is of one fault.
func oneFault(faults []Fault, text string) (Spec, error) {
	specs, err := Parse(faults, text)
	switch {
	case err != nil:
		return Spec{}, err
	case len(specs) > 1 || specs[0].Fault == All:
		return Spec{}, fmt.Errorf("%q is more than one fault; give each an item of its own", text)
	}
	return specs[0], nil
}

// WriteTimetable writes entries as ReadTimetable reads them.
func WriteTimetable(w io.Writer, entries []Entry) error {
	var b bytes.Buffer
	for _, e := range entries {
		sign := "-"
		field := func(name, value string) {
			fmt.Fprintf(&b, "%s %s: %s\n", sign, name, value)
			sign = " "
		}
		if e.At > 0 || e.On.Event == "" {
			field("at", e.At.String())
		}
		if e.On.Event != "" {
			field(e.On.how(), e.On.where())
		}
		target := e.Spec.Target
		e.Spec.Target = ""
		field("fault", e.Spec.String())
		if target != "" {
			field("target", target)
		}
		if e.For > 0 {
			field("for", e.For.String())
		}
		if e.Detail != nil {
			detail, err := flow(e.Detail)
			if err != nil {
				return fmt.Errorf("detail of %v: %w", e.Spec, err)
			}
			field("detail", detail)
		}
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write schedule: %w", err)
	}
	return nil
}

// flow returns JSON as YAML in one line. All that differs is that YAML wants
// a space behind a colon, to be sure.
func flow(detail json.RawMessage) (string, error) {
	var indented bytes.Buffer
	if err := json.Indent(&indented, detail, "", ""); err != nil {
		return "", err
	}
	lines := strings.Split(indented.String(), "\n") // JSON has no line feed within strings
	var b strings.Builder
	for i, line := range lines {
		b.WriteString(line)
		if strings.HasSuffix(line, ",") && i < len(lines)-1 {
			b.WriteByte(' ')
		}
	}
	return b.String(), nil
}

// Recorded returns the schedule that a history shows: what was invoked, when, and
// how long it held. What was aimed at a role is so again. Faults that could not
// begin, and did nothing, are left out.
func Recorded(h *histories.History) ([]Entry, error) {
	spans, err := h.Faults()
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for i, op := range h.All() {
		var f histories.Fault
		if op.Process != histories.Nemesis || op.Type != histories.Invoke || op.F == histories.Heal ||
			json.Unmarshal(op.Value, &f) != nil || f.Name == "" {
			continue
		}
		span := spans[0] // they are in the order of these ops
		spans = spans[1:]
		if span.Failed != "" && span.Acted == 0 {
			continue
		}
		words := strings.SplitN(f.Name, ":", 3)
		words = append(words, "", "")
		e := Entry{At: op.Time, Spec: Spec{Fault: words[0], Variant: words[1], Target: words[2]}, Detail: f.Detail}
		if span.Fault.ID != f.ID {
			return nil, fmt.Errorf("op %d begins fault %d where %d is due", i, f.ID, span.ID)
		}
		e.For = max(min(span.To, h.Duration())-span.From, 1)
		entries = append(entries, e)
	}
	return entries, nil
}

// An appointment is the pace of an Entry. One that cannot begin is tried again as
// long as it would hold.
type appointment struct {
	entry    Entry
	asked    asked
	interval time.Duration
	cluster  *watch

	kept    bool          // it has come, and will not again
	set     bool          // it is to begin at due, or has begun
	due     time.Duration // when it begins
	hold    time.Duration
	last    time.Duration // when it is no use any more to try
	failed  int           // in a row
	running bool
	counted int  // of its event
	taken   bool // the event that goes on was seen to begin
}

// forever is how long holds what is healed for another reason.
const forever = time.Duration(1) << 61

func (m *making) appointment(e Entry) (*appointment, error) {
	s, err := oneFault(m.faults, e.Spec.String())
	if err != nil {
		return nil, err
	}
	switch err := e.On.check(); {
	case err != nil:
		return nil, fmt.Errorf("fault %v %v: %w", s, e.On, err)
	case isStep(e.On.Event) && !m.env.Steps:
		return nil, fmt.Errorf("fault %v %v: %s tells no steps", s, e.On, m.env.system())
	case e.On.Event != "" && !isStep(e.On.Event) && m.env.Observed == nil:
		return nil, fmt.Errorf("fault %v %v: the system does not show its state", s, e.On)
	}
	a := &appointment{entry: e, interval: m.interval, cluster: &m.crew.seen.watch}
	if a.asked, err = m.asked(s); err != nil || e.Detail == nil {
		return a, err
	}
	if err := m.checkDetail(s, e.Detail); err != nil {
		return nil, fmt.Errorf("fault %v: detail: %w", s, err)
	}
	return a, nil
}

// checkDetail says what is wrong with a detail that somebody may have written: it must
// be like those that are drawn, and be aimed at what there is.
func (m *making) checkDetail(s Spec, detail json.RawMessage) error {
	env := m.env
	env.decks = map[Spec][]string{} // and another breaker, since both remember what was drawn
	b, err := newBreaker(m.faults, env, s)
	if err != nil {
		return err
	}
	drawn := reflect.ValueOf(b.Draw(rand.New(rand.NewPCG(0, 0))))
	if drawn.Kind() == reflect.Pointer {
		drawn = drawn.Elem()
	}
	like := reflect.New(drawn.Type())
	d := json.NewDecoder(bytes.NewReader(detail))
	d.DisallowUnknownFields()
	if err := d.Decode(like.Interface()); err != nil {
		return plain(err)
	}
	if c, ok := like.Interface().(interface{ check() error }); ok {
		if err := c.check(); err != nil {
			return err
		}
	}
	if drawn.Kind() != reflect.Struct {
		return nil
	}
	if a := like.Elem().FieldByName("Aim"); a.IsValid() && a.Type() == reflect.TypeFor[Aim]() {
		return m.checkAim(s, a.Interface().(Aim))
	}
	return nil
}

// checkAim says what is wrong with the aim of a detail.
func (m *making) checkAim(s Spec, a Aim) error {
	f := find(m.faults, s.Fault)
	env, err := m.env.part(f.Part)
	switch {
	case err != nil:
		return err
	case !f.isTarget(a.Target):
		return &UnknownError{What: "target of " + f.Name, Name: a.Target, Known: f.targets()}
	case s.Target != "" && s.Target != a.Target:
		return fmt.Errorf("it is aimed at %s, and the fault at %s", a.Target, s.Target)
	}
	for _, node := range append(slices.Clone(a.Order), a.Target) {
		if err := env.checkAim(Spec{Target: node}); err != nil {
			return err
		}
	}
	return nil
}

// make makes it at a time.
func (a *appointment) make(c generator.Context, due time.Duration) {
	a.set, a.due, a.failed = true, due, 0
	switch {
	case a.entry.For > 0:
		a.hold = a.entry.For
	case a.entry.On.During:
		a.hold = forever
	default:
		a.hold = about(c.Rand, a.interval)
	}
	a.last = due + a.hold
}

func (a *appointment) next(c generator.Context) (*instance, generator.Step) {
	switch wait := a.entry.At - c.Now; {
	case a.kept:
		return nil, generator.Step{Done: true}
	case a.set:
	case a.entry.On.Event == "":
		a.make(c, a.entry.At)
	case wait > 0:
		return nil, generator.Step{Wait: wait}
	default:
		a.seen(c) // it may go on already
		if !a.set {
			return nil, generator.Step{}
		}
	}
	if wait := a.due - c.Now; wait > 0 {
		return nil, generator.Step{Wait: wait}
	}
	a.running = true
	if a.entry.Detail == nil {
		return a.asked.draw(c.Rand), generator.Step{}
	}
	return &instance{family: a.asked.spec.Fault, name: a.asked.spec.String(), detail: a.entry.Detail}, generator.Step{}
}

// seen makes, or cancels, an appointment that is tied to an event.
func (a *appointment) seen(c generator.Context) {
	on := a.entry.On
	if on.Event == "" {
		return
	}
	n := a.cluster.happened[on.Event]
	happened := n > a.counted
	a.counted = n
	if on.During {
		goesOn := a.cluster.goesOn(on.Event)
		if !goesOn && !a.running {
			a.set = false
		}
		happened = goesOn && !a.taken
		a.taken = goesOn && (a.taken || c.Now >= a.entry.At)
	}
	if happened && !a.set && c.Now >= a.entry.At {
		a.make(c, c.Now+on.later(c.Rand))
	}
}

func (a *appointment) began(generator.Context) time.Duration { return a.hold }

func (a *appointment) over() bool {
	return a.entry.On.During && !a.cluster.goesOn(a.entry.On.Event)
}

func (a *appointment) ended(c generator.Context, begun bool) {
	a.running = false
	if !begun && !a.over() {
		a.failed++
		a.due = c.Now + soon(a.interval, a.interval, a.failed)
		if a.due < a.last {
			return
		}
	}
	a.set = false
	a.kept = a.entry.On.Event == ""
}
