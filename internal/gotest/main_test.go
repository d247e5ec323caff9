package main

import (
	"strings"
	"testing"
)

const events = `{"Action":"start","Package":"example.org/m/lab"}
{"Action":"run","Package":"example.org/m/lab","Test":"TestA"}
{"Action":"output","Package":"example.org/m/lab","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"example.org/m/lab","Test":"TestA","Output":"    a_test.go:5: no TUN\n"}
{"Action":"output","Package":"example.org/m/lab","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"example.org/m/lab","Test":"TestA","Elapsed":0}
{"Action":"run","Package":"example.org/m/lab","Test":"TestB"}
{"Action":"output","Package":"example.org/m/lab","Test":"TestB","Output":"    b_test.go:7: got 1\n"}
{"Action":"output","Package":"example.org/m/lab","Test":"TestB","Output":"--- PASS: TestB (0.00s)\n"}
{"Action":"pass","Package":"example.org/m/lab","Test":"TestB","Elapsed":0}
FAIL	somebody [build failed]
{"Action":"output","Package":"example.org/m/lab","Output":"PASS\n"}
{"Action":"output","Package":"example.org/m/lab","Output":"ok  \texample.org/m/lab\t0.1s\n"}
`

const fails = `{"Action":"output","Package":"example.org/m/lab","Test":"TestC","Output":"    c_test.go:7: got 2\n"}
{"Action":"fail","Package":"example.org/m/lab","Test":"TestC","Elapsed":0}
`

const hangs = `{"Action":"output","Package":"example.org/m/lab","Test":"TestD","Output":"panic: oh\n"}
`

func TestReports(t *testing.T) {
	const skipped = "lab:     a_test.go:5: no TUN\n--- SKIP: TestA (0.00s)\nFAIL\tsomebody [build failed]\nok  \texample.org/m/lab\t0.1s\n"
	for _, test := range []struct {
		name, events string
		strict       bool
		skips        string
		ok           bool
		want         string
	}{
		{"a skip is told", events, false, "", true, skipped + "1 passed, 0 failed, 1 skipped\n"},
		{"a skip that may be", events, true, "# none\nlab.TestA # no TUN in a container\n", true, skipped + "1 passed, 0 failed, 1 skipped\n"},
		{"skips that may be", events, true, "lab.Test*", true, skipped + "1 passed, 0 failed, 1 skipped\n"},
		{"a skip that must not be", events, true, "lab.TestB\nLab.TestA", false, skipped + "FAIL: lab.TestA was skipped, and must run here\n1 passed, 1 failed, 1 skipped\n"},
		{"a failure is told in full", fails, false, "", false, "    c_test.go:7: got 2\n0 passed, 1 failed, 0 skipped\n"},
		{"so is a test that never ended", hangs, false, "", false, "lab.TestD did not end:\npanic: oh\n0 passed, 0 failed, 0 skipped\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			r := report{out: &out, said: map[string]*strings.Builder{}, strict: test.strict, may: parseSkips(test.skips)}
			if err := r.read(strings.NewReader(test.events)); err != nil {
				t.Fatal(err)
			}
			if ok := r.close(); ok != test.ok || out.String() != test.want {
				t.Errorf("got %v\n%swant %v\n%s", ok, out.String(), test.ok, test.want)
			}
		})
	}
}
