package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/internal/store"
)

func found[T any](t *testing.T, all []T, is func(v T) bool) T {
	t.Helper()
	i := slices.IndexFunc(all, is)
	if i < 0 {
		t.Fatalf("there is none in %+v", all)
	}
	return all[i]
}

func number64(n int64) *int64 { return &n }

func times(r float64) *float64 { return &r }

func TestTwoRunsSideBySide(t *testing.T) {
	s := serve(t)
	a := s.put("a", noon, func(i *store.Info) {
		i.Bug, i.Nemesis, i.Lab = "stale-read", []string{"kill"}, map[string]string{"network": "TUN devices"}
	})
	s.write(a.File(store.ResultsFile), results)
	other := strings.NewReplacer(`"median_us": 1000`, `"median_us": 2500`, `"took_us": 6046`, `"took_us": 3023`, `"read"`, `"read"`,
		`"verdict": "invalid"`, `"verdict": "valid"`, `"cas"`, `"write"`, `"keys": 5`, `"keys": 7`).Replace(results)
	b := s.put("b", noon.Add(time.Hour), func(i *store.Info) { i.Options.Seed = 1<<64 - 1 })
	s.write(b.File(store.ResultsFile), other)
	begin := `{"index":0,"time":1000000,"process":-1,"type":"invoke","f":"kill","value":{"id":0,"fault":"kill"}}` + "\n"
	s.write(a.History(), begin)

	c := get[Comparison](s, "/api/compare?a="+one+"&b=b/20261124T130000Z")
	if c.A.Path != one || c.B.Outcome != "valid" || len(c.Notes) != 0 {
		t.Errorf("got %+v, %+v, %v", c.A, c.B, c.Notes)
	}
	for want, is := range map[Pair]string{
		{Name: "bug", A: "stale-read", Differs: true}:                               "bug",
		{Name: "system", A: "raftkv", B: "raftkv"}:                                  "system",
		{Name: "nemesis", A: "kill", B: "none", Differs: true}:                      "nemesis",
		{Name: "lab: network", A: "TUN devices", Differs: true}:                     "lab: network",
		{Name: "quorum guard", A: "on", B: "on"}:                                    "quorum guard",
		{Name: "seed", A: "0", B: "18446744073709551615", Differs: true, Own: true}: "seed",
	} {
		if got := found(t, c.Facts, func(p Pair) bool { return p.Name == is }); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	part := found(t, c.Parts, func(v Verdicts) bool { return v.Name == "linearizable" })
	if !part.Differs || part.A.Verdict != "invalid" || part.B.Verdict != "valid" || part.A.Note != "it is not" {
		t.Errorf("got %+v", part)
	}
	if part := found(t, c.Parts, func(v Verdicts) bool { return v.Name == "kill" }); part.Depth != 1 || part.Differs {
		t.Errorf("got %+v", part)
	}
	for _, want := range []Calls{
		{Name: "read", A: &Latency{60, 0, 0, 1000, 9000}, B: &Latency{60, 0, 0, 2500, 9000}, Median: times(2.5), P99: times(1)},
		{Name: "cas", A: &Latency{0, 20, 0, -1, -1}},
		{Name: "write", B: &Latency{0, 20, 0, -1, -1}},
	} {
		if got := found(t, c.Functions, func(f Calls) bool { return f.Name == want.Name }); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for _, want := range []Measure{
		{Group: "recovery", Name: "heal of everything to an answer", Unit: "µs", A: number64(6046), B: number64(3023), Ratio: times(0.5)},
		{Group: "availability", Name: "longest time without an answer", Unit: "µs", A: number64(1000), B: number64(1000), Ratio: times(1)},
		{Group: "availability", Name: "answered while a fault held", Unit: "‰", A: number64(998), B: number64(998), Ratio: times(1)},
		{Group: "availability, by fault, kill", Name: "fault to answer: median", Unit: "µs", A: number64(3344), B: number64(3344), Ratio: times(1)},
	} {
		if got := found(t, c.Measures, func(m Measure) bool { return m.Group == want.Group && m.Name == want.Name }); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if got := found(t, c.Counts, func(m Measure) bool { return m.Name == "keys" }); *got.A != 5 || *got.B != 7 || *got.Ratio != 1.4 {
		t.Errorf("got %+v", got)
	}
	if len(c.Anomalies) != 2 || c.Anomalies[0].Name != "stale read" || *c.Anomalies[0].A != 2 || *c.Anomalies[0].B != 0 {
		t.Errorf("got %+v", c.Anomalies)
	}
	if len(c.PastA.Spans) != 1 || c.PastA.Spans[0].Failed == "" || c.PastA.Note != "" {
		t.Errorf("got %+v", c.PastA)
	}
	if len(c.PastB.Spans) != 0 || !strings.Contains(c.PastB.Note, "cannot be read") || strings.Contains(c.PastB.Note, s.root) {
		t.Errorf("got %+v", c.PastB)
	}

	// A history is read again when it has changed, and only then.
	known := s.pasts.known[0]
	get[Comparison](s, "/api/compare?a="+one+"&b="+one)
	if s.pasts.known[0] != known || len(s.pasts.known) != 1 {
		t.Error("it was read again")
	}
	s.write(a.History(), begin+strings.Replace(strings.Replace(begin, `"index":0,"time":1000000`, `"index":1,"time":2000000`, 1), "invoke", "info", 1))
	if c := get[Comparison](s, "/api/compare?a="+one+"&b="+one); c.PastA.Spans[0].Failed != "" {
		t.Errorf("got %+v", c.PastA)
	}
}

func TestAComparisonOfWhatIsNotThere(t *testing.T) {
	s := serve(t)
	r := s.put("a", noon, nil)
	for query, want := range map[string]int{
		"": 400, "?a=" + one: 400, "?a=" + one + "&b=b/1": 404, "?a=../x&b=" + one: 404, "?a=" + one + "&b=" + one: 200,
	} {
		if w := s.ask("GET", "/api/compare"+query); w.Code != want {
			t.Errorf("%s: %d, want %d", query, w.Code, want)
		}
	}
	s.write(r.File(store.ResultsFile), results[:100])
	c := get[Comparison](s, "/api/compare?a="+one+"&b="+one)
	if len(c.Notes) != 2 || !strings.Contains(c.Notes[0], store.ResultsFile) || strings.Contains(c.Notes[0], s.root) {
		t.Errorf("got %q", c.Notes)
	}
	if c.Parts == nil || c.Functions == nil || c.Measures == nil || c.Counts == nil || c.Anomalies == nil {
		t.Errorf("a page would meet null: %+v", c)
	}
}

// TestNoListIsNull sees to it that pages meet lists where types say so.
func TestNoListIsNull(t *testing.T) {
	s := serve(t)
	s.put("a", noon, nil)
	for _, path := range []string{"/api/runs", "/api/runs?q=nothing", "/api/run/" + one, "/api/compare?a=" + one + "&b=" + one} {
		var v any
		if err := json.Unmarshal(s.ask("GET", path).Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if where := null(v, path); where != "" {
			t.Error(where)
		}
	}
	if b, _ := json.Marshal(Live{}); !strings.Contains(string(b), `"oks":null`) {
		t.Fatalf("the zero one is no longer what this is about: %s", b)
	}
	p := progress{width: firstColumn}
	l, _ := p.since(told{})
	b, _ := json.Marshal(l)
	if strings.Contains(string(b), "null") {
		t.Errorf("%s", b)
	}
}

// null says where in v there is a null that types do not tell of: only numbers and parts
// that one of two runs lacks are.
func null(v any, path string) string {
	switch v := v.(type) {
	case nil:
		return path
	case map[string]any:
		for name, value := range v {
			if value == nil && slices.Contains([]string{"a", "b", "ratio", "median", "p99"}, name) {
				continue
			}
			if where := null(value, path+"."+name); where != "" {
				return where
			}
		}
	case []any:
		for i, value := range v {
			if where := null(value, fmt.Sprintf("%s[%d]", path, i)); where != "" {
				return where
			}
		}
	}
	return ""
}

// generate makes n runs, as they are in a store after a long time.
func generate(b *testing.B, s *shelf, n int) {
	long := strings.Replace(results, "it is not", strings.Repeat("it is not, ", 1000), 1)
	old := time.Now().Add(-time.Hour)
	for i := range n {
		r := s.put(fmt.Sprintf("raftkv-register-%d", i%20), noon.Add(time.Duration(i)*time.Minute), func(info *store.Info) {
			info.Options.Seed = uint64(i) * 7919
			info.Nemesis = []string{"partition", "kill"}[:i%3%2+1]
		})
		s.write(r.File(store.ResultsFile), long)
		for _, path := range []string{r.File(store.InfoFile), r.File(store.ResultsFile), r.Dir} {
			if err := os.Chtimes(path, old, old); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkTable asks for pages of a table of ten thousand runs: one after a look at the
// store, and others between two looks.
func BenchmarkTable(b *testing.B) {
	s := serve(b)
	generate(b, s, 10_000)
	get[Runs](s, "/api/runs")
	ask := func(b *testing.B, query string) {
		for b.Loop() {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/api/runs"+query, nil))
			if w.Code != http.StatusOK {
				b.Fatal(w.Code)
			}
		}
	}
	b.Run("looked", func(b *testing.B) { ask(b, "") })
	s.stale = time.Hour
	for name, query := range map[string]string{"first": "", "sorted": "?sort=seed&offset=5000", "searched": "?q=partition+7919", "filtered": "?verdict=invalid&nemesis=partition"} {
		b.Run(name, func(b *testing.B) { ask(b, query) })
	}
}
