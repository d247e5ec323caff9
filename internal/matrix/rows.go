package matrix

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/hacheck/hacheck/internal/gate"
)

const (
	none = "none" // the nemesis that breaks nothing
	all  = "all"  // all workloads of a system; as a nemesis, faults of all families
)

// A row is one of the matrix, of which the cells are all pairs of its workloads and nemeses.
type row struct {
	line      int
	system    string // "": that which has the workload
	workloads []string
	nemeses   []string
	runs      int
	seeds     []uint64
	weight    float64
	label     string
	options   options
	promises  map[promised]*bound // with those of all rows
	own       map[promised]*bound
	sound     bool // nothing is wrong with it
}

// options are those of hacheck run that were given, by name.
type options map[string]option

// An option is what was given for one.
type option struct {
	given   bool
	value   string // "": it takes none
	content string // of the file that the value names: a digest; "": it names none
	line    int
}

// ownOptions are those that a plan cannot have, and why.
var ownOptions = map[string]string{
	"seed":     "each run has its own; write \"seeds: [1, 2]\" in a row of the matrix",
	"store":    "the gate keeps what failed in its own directory",
	"json":     "the gate reads what its runs come to itself",
	"quiet":    "runs of a gate show no progress anyway",
	"replay":   "the gate repeats what failed itself; see reruns",
	"system":   "write it in a row of the matrix",
	"workload": "write \"workloads: [NAME]\" in a row of the matrix",
	"nemesis":  "write \"nemeses: [NAME]\" in a row of the matrix",
}

// options reads those that runs are given. A node of nil has none.
func (r *reader) options(n *yaml.Node) options {
	given := options{}
	if n == nil {
		return given
	}
	r.each(n, "options", "a mapping such as {time-limit: 10s}", func(key, value *yaml.Node) {
		name := key.Value
		at := slices.IndexFunc(r.known.Options, func(o Option) bool { return o.Name == name })
		switch {
		case ownOptions[name] != "":
			r.fault(key.Line, "options: %s is not for a plan to say: %s", name, ownOptions[name])
			return
		case at < 0 && strings.HasPrefix(name, "-"):
			r.fault(key.Line, "options: %q has dashes; write it without them", cut(name))
			return
		case at < 0:
			r.fault(key.Line, "options: hacheck run has no option %q; %s", cut(name), suggest(name, r.optionNames()))
			return
		}
		o := option{given: true, line: value.Line}
		switch known := r.known.Options[at]; {
		case known.Bare:
			o.given = r.choice(value, "options: "+name, "true", "false") == "true"
		default:
			text, ok := r.scalar(value, "options: "+name, "write what --"+name+" takes")
			switch {
			case !ok:
				return
			case !quoted(value) && value.ShortTag() == "!!bool":
				r.fault(value.Line, "options: %s takes a value, and not %s; write what --%[1]s takes", name, text)
				return
			case text == "":
				r.fault(value.Line, "options: %s has an empty value; write what --%[1]s takes", name)
				return
			case known.File && !filepath.IsAbs(text):
				text = filepath.Join(filepath.Dir(r.name), text)
			}
			if o.value = text; known.File {
				content, err := r.known.Content(text)
				if err != nil {
					r.fault(value.Line, "options: %s: %s: %s; write its path from where this file is", name, cut(text), oneLine(err))
					return
				}
				o.content = content
			}
		}
		given[name] = o
	})
	return given
}

// optionNames are those that a plan may have.
func (r *reader) optionNames() (names []string) {
	for _, o := range r.known.Options {
		if ownOptions[o.Name] == "" {
			names = append(names, o.Name)
		}
	}
	return names
}

// arguments returns the options as a command line has them, sorted: the order in a file says
// nothing, and a cell is the same when it changes.
func (o options) arguments() (arguments []string) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		switch option := o[name]; {
		case !option.given:
		case option.value == "":
			arguments = append(arguments, "--"+name)
		default:
			arguments = append(arguments, "--"+name, option.value)
		}
	}
	return arguments
}

// files returns digests of the content of those that the options name, by their names.
func (o options) files() map[string]string {
	var files map[string]string
	for _, option := range o {
		if option.given && option.content != "" {
			if files == nil {
				files = map[string]string{}
			}
			files[option.value] = option.content
		}
	}
	return files
}

// named returns the line of the first option that words are about; otherwise that of whose
// it is.
func (o options) named(words string, otherwise int) int {
	for _, word := range strings.FieldsFunc(words, func(c rune) bool { return c != '-' && (c < 'a' || c > 'z') }) {
		if option, ok := o[strings.TrimPrefix(word, "--")]; ok && strings.HasPrefix(word, "--") {
			return option.line
		}
	}
	return otherwise
}

// labels are what may stand behind the names of cells, which are names in files.
var labels = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,39}$`)

// row reads one. What is not said in it is ofAll.
func (r *reader) row(n *yaml.Node, ofAll row) row {
	const example = "{workloads: [register], nemeses: [none, partition]}"
	before := len(r.faults)
	isRow := n.Kind == yaml.MappingNode && r.plain(n)
	read := row{line: n.Line, runs: 1, weight: 1}
	keys := r.mapping(n, "a row", example, rowKeys...)
	if n := keys["system"]; n != nil {
		read.system = r.system(n)
	}
	if n := keys["workloads"]; n != nil {
		read.workloads = r.workloads(n, read.system, keys["system"] != nil)
	} else if isRow {
		r.fault(read.line, `under which workloads? Add "workloads: [register]" to the row`)
	}
	if keys["system"] != nil && read.system == "" {
		read.workloads = nil // they are of nobody
	}
	if n := keys["nemeses"]; n != nil {
		read.nemeses = r.nemeses(n)
	} else if isRow {
		r.fault(read.line, `what breaks? Add "nemeses: [none, partition]" to the row`)
	}
	if n := keys["seeds"]; n != nil {
		read.seeds = r.seeds(n)
		read.runs = max(len(read.seeds), 1)
	}
	if n := keys["runs"]; n != nil {
		read.runs = r.count(n, "runs", 1, maxRuns)
		if len(read.seeds) > read.runs && read.runs > 0 {
			r.fault(n.Line, "runs: %d, but there are %d seeds; strike seeds out, or write \"runs: %[2]d\"", read.runs, len(read.seeds))
		}
		if n := len(read.seeds); n > 0 { // each seed has as many
			read.runs = (read.runs + n - 1) / n * n
		}
	}
	if n := keys["weight"]; n != nil {
		read.weight = r.weight(n)
	}
	if n := keys["label"]; n != nil {
		text, ok := r.scalar(n, "label", "write a word such as small")
		switch {
		case ok && n.ShortTag() != "!!str":
			r.fault(n.Line, "label: %s is no word; write it in quotes", cut(text))
		case ok && !labels.MatchString(text):
			r.fault(n.Line, "label: %q is no label; it has small letters, digits, dots, dashes and underscores, at most 40, and begins with a letter or a digit", cut(text))
		}
		read.label = text
	}
	read.options = maps.Clone(ofAll.options)
	maps.Copy(read.options, r.options(keys["options"]))
	read.own = r.promises(keys["promises"])
	read.promises = r.override(ofAll.promises, read.own)
	read.sound = ofAll.sound && isRow && len(r.faults) == before
	return read
}

// weight reads one.
func (r *reader) weight(n *yaml.Node) float64 {
	text, ok := r.scalar(n, "weight", "write a number such as 2")
	if !ok {
		return 1
	}
	w, err := strconv.ParseFloat(text, 64)
	switch {
	case quoted(n) && err == nil:
		r.fault(n.Line, "weight: %q is a text; write it without quotes", cut(text))
	case err != nil || !number.MatchString(text) || w <= 0 || w > maxWeight:
		r.fault(n.Line, "weight: %q is no number above 0 and up to %d", cut(text), maxWeight)
	default:
		return w
	}
	return 1
}

// seeds reads those of runs.
func (r *reader) seeds(n *yaml.Node) (seeds []uint64) {
	seen := map[uint64]bool{}
	for _, n := range r.items(n, "seeds", "[1, 2]") {
		text, ok := r.scalar(n, "seeds", "write whole numbers")
		if !ok {
			continue
		}
		seed, err := strconv.ParseUint(text, 10, 64)
		switch {
		case quoted(n) && err == nil:
			r.fault(n.Line, "seeds: %q is a text; write it without quotes", cut(text))
		case err != nil || !whole.MatchString(text):
			r.fault(n.Line, "seeds: %q is no whole number from 0 to 18446744073709551615", cut(text))
		case seen[seed]:
			r.fault(n.Line, "seeds: %d stands twice, and would run the same again; strike one out", seed)
		default:
			seen[seed] = true
			seeds = append(seeds, seed)
		}
	}
	return seeds
}

// system reads the name of one.
func (r *reader) system(n *yaml.Node) string {
	known := make([]string, len(r.known.Systems))
	for i, s := range r.known.Systems {
		known[i] = s.Name
	}
	text, ok := r.scalar(n, "system", "write one of "+strings.Join(known, ", "))
	if ok && !slices.Contains(known, text) {
		r.fault(n.Line, "system: there is no system %q; %s", cut(text), suggest(text, known))
		return ""
	}
	return text
}

// offering returns the first system that has the workload; "" if none does.
func (r *reader) offering(workload string) string {
	for _, s := range r.known.Systems {
		if slices.Contains(s.Workloads, workload) {
			return s.Name
		}
	}
	return ""
}

// workloadsOf returns the workloads of a system, or those of all if it is "".
func (r *reader) workloadsOf(system string) (names []string) {
	for _, s := range r.known.Systems {
		if system != "" && s.Name != system {
			continue
		}
		for _, w := range s.Workloads {
			if !slices.Contains(names, w) {
				names = append(names, w)
			}
		}
	}
	return names
}

// workloads reads names of workloads of a system; "" is that which has them, unless one was
// named that there is not.
func (r *reader) workloads(n *yaml.Node, system string, named bool) (names []string) {
	if n.Kind == yaml.ScalarNode && n.Value == all && r.plain(n) {
		if !named {
			r.fault(n.Line, `workloads: all of which system? Add "system: %s" to the row`, r.known.Systems[0].Name)
			return nil
		}
		if system == "" {
			return nil // told
		}
		return r.workloadsOf(system)
	}
	known := r.workloadsOf(system)
	for _, n := range r.items(n, "workloads", "[register, append], or all") {
		text, ok := r.scalar(n, "workloads", "write the name of one, such as register")
		switch {
		case !ok:
		case text == all:
			r.fault(n.Line, `workloads: all stands alone: "workloads: all"`)
		case slices.Contains(names, text):
			r.fault(n.Line, "workloads: %s stands twice in the row; strike one out", text)
		case slices.Contains(known, text):
			names = append(names, text)
		case system != "" && r.offering(text) != "":
			r.fault(n.Line, "workloads: %s has no clients for %s; %s has", system, text, r.offering(text))
		default:
			r.fault(n.Line, "workloads: there is no workload %q; %s", cut(text), suggest(text, known))
		}
	}
	return names
}

// sameFaults returns faults in an order that is the same whatever theirs was, unless one
// goes on with the targets of the one before it.
func (r *reader) sameFaults(nemesis string) string {
	specs := strings.Split(nemesis, ",")
	for _, spec := range specs {
		if family, _, _ := strings.Cut(spec, ":"); !slices.Contains(r.known.Faults, family) {
			return nemesis
		}
	}
	slices.Sort(specs)
	return strings.Join(specs, ",")
}

// nemeses reads what breaks, each item as --nemesis takes it.
func (r *reader) nemeses(n *yaml.Node) (nemeses []string) {
	seen := map[string]bool{}
	for _, n := range r.items(n, "nemeses", `[none, partition, "partition,kill"]`) {
		if n.Kind == yaml.SequenceNode && r.plain(n) {
			r.fault(n.Line, `nemeses: this is a list; faults that are to hold together are written as "partition,kill", with quotes`)
			continue
		}
		text, ok := r.scalar(n, "nemeses", "write faults as --nemesis takes them, or none")
		if !ok {
			continue
		}
		specs := strings.Split(text, ",")
		for i, s := range specs {
			specs[i] = strings.TrimSpace(s)
		}
		text = strings.Join(specs, ",")
		if text != none {
			if err := r.known.Nemesis(text); err != nil {
				r.fault(n.Line, "nemeses: %s", oneLine(err))
				continue
			}
		}
		if same := r.sameFaults(text); seen[same] {
			r.fault(n.Line, `nemeses: %s stands twice in the row; strike one out, or, if it is to hold together with another one, write both in quotes, as in "partition,kill"`, cut(text))
		} else {
			seen[same] = true
			nemeses = append(nemeses, text)
		}
	}
	return nemeses
}

// oneLine returns what an error says on one line, for others stand beside it.
func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }

// cells reads the matrix.
func (r *reader) cells(n *yaml.Node, ofAll row) (cells []gate.Cell) {
	before := len(r.faults)
	lines := map[string]int{} // of cells, whatever the order of their faults
	runs := 0
	for _, n := range r.items(n, "matrix", "- {workloads: [register], nemeses: [none, partition]}") {
		row := r.row(n, ofAll)
		runs += row.runs * len(row.workloads) * len(row.nemeses)
		switch {
		case len(cells)+len(row.workloads)*len(row.nemeses) > maxCells:
			r.fault(n.Line, "with this row there are more than %d cells; strike some out, or make several plans of it", maxCells)
			return nil
		case runs > maxRuns:
			r.fault(n.Line, "with this row there are more than %d runs; make runs less, or make several plans of it", maxRuns)
			return nil
		}
		ofRow := r.cellsOf(row)
		for _, c := range ofRow {
			for what, b := range ofAll.promises { // whether it holds here, or the row has another
				b.made = b.made || r.applies(what, c, row.options)
			}
			same := strings.Join([]string{c.System, c.Workload, r.sameFaults(c.Nemesis), row.label}, "/")
			if line := lines[same]; line != 0 && row.sound {
				r.fault(n.Line, "%s is in the row on line %d, too; strike it out of one, or give one row a label", c.Name, line)
			} else if row.sound { // the name of another may be wrong
				lines[same] = n.Line
			}
		}
		cells = append(cells, ofRow...)
	}
	if len(r.faults) == before {
		r.idle(ofAll.promises, "no cell of the matrix can break it")
	}
	return cells
}

// cellsOf makes those of a row, and has them checked if all of it could be read.
func (r *reader) cellsOf(row row) (cells []gate.Cell) {
	told := map[string]bool{}
	for _, workload := range row.workloads {
		for _, nemesis := range row.nemeses {
			c := r.cell(row, workload, nemesis)
			cells = append(cells, c)
			if !row.sound {
				continue
			}
			if err := r.known.Check(slices.Clone(c.Arguments)); err != nil {
				if words := oneLine(err); !told[words] { // of one cell: it is the same with the others
					told[words] = true
					r.fault(row.options.named(words, row.line), "%s: %s", c.Name, words)
				}
			}
		}
	}
	if row.sound {
		r.idle(row.own, "no cell of the row can break it")
	}
	return cells
}

// cell makes one.
func (r *reader) cell(row row, workload, nemesis string) gate.Cell {
	system := row.system
	if system == "" {
		system = r.offering(workload)
	}
	name := strings.Join([]string{system, workload, nemesis}, "/")
	if row.label != "" {
		name += "/" + row.label
	}
	c := gate.Cell{
		Name: name, System: system, Workload: workload, Nemesis: nemesis,
		Arguments: slices.Concat([]string{"run", "--system", system, "--workload", workload, "--nemesis", nemesis}, row.options.arguments()),
		Files:     row.options.files(),
		Seeds:     slices.Clone(row.seeds), Runs: row.runs, Weight: row.weight, Line: row.line,
	}
	c.Promises = r.promise(row.promises, c, row.options)
	return c
}
