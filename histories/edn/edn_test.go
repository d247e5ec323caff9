package edn_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hacheck/hacheck/histories/edn"
)

// forms returns all forms of a text as JSON, a line each.
func forms(r *edn.Reader) (string, error) {
	var out []byte
	for {
		t, err := r.Next()
		if err != nil || t.Kind == edn.EOF {
			return string(out), err
		}
		if out, err = r.AppendJSON(out, t); err != nil {
			return string(out), err
		}
		out = append(out, '\n')
	}
}

func TestFormsAsJSON(t *testing.T) {
	for text, want := range map[string]string{
		"":                 "",
		" \n, ; nothing\n": "",
		"nil true false":   "null\ntrue\nfalse\n",
		"12 -3 +4 0 -0 7N 123456789012345678901234567890N":             "12\n-3\n4\n0\n-0\n7\n123456789012345678901234567890\n",
		"1.5 -0.25e+3 1E9 3.14M 10M":                                   "1.5\n-0.25e+3\n1E9\n3.14\n10\n",
		"1/3 -22/7 0xFF 0x1f 36rZZ ##Inf":                              "\"1/3\"\n\"-22/7\"\n\"0xFF\"\n\"0x1f\"\n\"36rZZ\"\n\"##Inf\"\n",
		`"a\"b\\ \u00e9 é\n" "line` + "\n" + `feed"`:                   `"a\"b\\ \u00e9 é\n"` + "\n" + `"line\u000afeed"` + "\n",
		`\a \newline \u0041 \( \" \é \,`:                               "\"a\"\n\"\\u000a\"\n\"A\"\n\"(\"\n\"\\\"\"\n\"é\"\n\",\"\n",
		":timed-out :a/b foo clojure.core$fn__12":                      "\"timed-out\"\n\"a/b\"\n\"foo\"\n\"clojure.core$fn__12\"\n",
		"[1 2,3] (1 [2 ()]) #{1 2} []":                                 "[1,2,3]\n[1,[2,[]]]\n[1,2]\n[]\n",
		`{:a 1, "b" 2 3 nil [4] {}}`:                                   `{"a":1,"b":2,"3":null,"[4]":{}}` + "\n",
		`#inst "2020-01-01" #jepsen.independent/tuple [3 nil] #a #b c`: "\"2020-01-01\"\n[3,null]\n\"c\"\n",
		"[1 #_2 3 #_ #_ 4 5 #_[6 {7 8}]]":                              "[1,3]\n",
		"^{:line 3} [^:x 1]":                                           "[1]\n",
		"[#object[java.lang.Object 0x1a2b \"java.lang.Object@1\"]]":    `[["java.lang.Object","0x1a2b","java.lang.Object@1"]]` + "\n",
	} {
		got, err := forms(edn.NewBytes([]byte(text), edn.EDN))
		if err != nil || got != want {
			t.Errorf("%s\ngot  %s (%v)\nwant %s", text, got, err, want)
		}
		// It is the same however the text arrives.
		if got, err := forms(edn.NewReader(iotest.OneByteReader(strings.NewReader(text)), edn.EDN)); err != nil || got != want {
			t.Errorf("%s, byte by byte\ngot  %s (%v)\nwant %s", text, got, err, want)
		}
		for _, line := range strings.Split(strings.TrimSuffix(want, "\n"), "\n") {
			if line != "" && !json.Valid([]byte(line)) {
				t.Errorf("%s is no JSON", line)
			}
		}
	}
}

func TestWhatIsWrongIsSaidWithItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"[1\n 2}":                       `line 2: column 3: want ']', got "}"`,
		"\n ]":                          `line 2: column 2: "]" closes nothing`,
		"{:a 1 :b}":                     "line 1: column 9: a key without a value",
		`"a\qb"`:                        "line 1: column 1: \\q is no escape",
		`"a\u00g0"`:                     "line 1: column 1: want four hexadecimal digits after \\u",
		"\"one\ntwo\\q\"":               "line 1: column 1: \\q is no escape",
		"12ab ":                         `line 1: column 1: "12ab" is no number`,
		"017 ":                          `line 1: column 1: "017" is no number`,
		"1. ":                           `line 1: column 1: "1." is no number`,
		`\foo `:                         `line 1: column 1: \foo is no character`,
		": a":                           "line 1: column 1: a colon without a name",
		"[#foo]":                        `line 1: column 6: want what is tagged, got "]"`,
		"[#_]":                          `line 1: column 4: want what is discarded, got "]"`,
		`# "a"`:                         "line 1: column 1: want a tag or a set after '#', got ' '",
		strings.Repeat("#_", 5000):      "line 1: column 2001: nested more than 1000 deep",
		strings.Repeat("^", 5000):       "line 1: column 1001: nested more than 1000 deep",
		strings.Repeat("[", 1001) + " ": "line 1: column 1001: nested more than 1000 deep",
	} {
		_, err := forms(edn.NewBytes([]byte(text), edn.EDN))
		if e, ok := errors.AsType[*edn.Error](err); !ok || err.Error() != want || e.Truncated {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestJSONIsTakenByTheLetter(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":[1,-2.5e+3,true,false,null,"é\u00e9\/"],"b":{}} [] 0`: `{"a":[1,-2.5e+3,true,false,null,"é\u00e9\/"],"b":{}}` + "\n[]\n0\n",
		" \t\r\n": "",
	} {
		got, err := forms(edn.NewBytes([]byte(text), edn.JSON))
		if err != nil || got != want {
			t.Errorf("%s\ngot  %s (%v)\nwant %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		`[1 2] `, `[1,,2] `, `[,1] `, `[1,] `, `{"a" 1} `, `{"a":1 "b":2} `, `{"a",1} `, `{"a"::1} `, `{a:1} `, `{1:2} `, `{"a":} `,
		`1,2 `, `nil `, `:a `, `(1) `, `#{1} `, `\a `, `^1 2 `, `; c `, `+1 `, `01 `, `1N `, `1/2 `, "\"a\tb\" ", `[1]: `, `'a' `,
	} {
		if got, err := forms(edn.NewBytes([]byte(text), edn.JSON)); err == nil {
			t.Errorf("%s was taken for %s", text, got)
		}
	}
}

// Wherever a text is cut, what was cut off could have made it right: so a file that a
// crash has cut is told from one that is wrong.
func TestWhatIsCutIsTruncated(t *testing.T) {
	const text = `#a.B{:type :ok, :f "x\u00e9\n" :v [1/2 3N #{\newline} #_(0) -1.5e3 ^{:m 1} ##Inf]}`
	for cut := 1; cut < len(text); cut++ {
		_, err := forms(edn.NewBytes([]byte(text[:cut]), edn.EDN))
		if e, ok := errors.AsType[*edn.Error](err); !ok || !e.Truncated {
			t.Errorf("%s: got %v", text[:cut], err)
		}
	}
}

func TestTroubleOfTheSourceIsNoneOfTheText(t *testing.T) {
	broken := errors.New("disk on fire")
	_, err := forms(edn.NewReader(io.MultiReader(strings.NewReader("[1\n"), iotest.ErrReader(broken)), edn.EDN))
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestLongTokens(t *testing.T) {
	long := strings.Repeat("x", 300_000)
	got, err := forms(edn.NewReader(strings.NewReader(`["`+long+`" :`+long+` 1]`), edn.EDN))
	if want := `["` + long + `","` + long + `",1]` + "\n"; err != nil || got != want {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestJSONIsWrittenAsEDN(t *testing.T) {
	for _, test := range []struct {
		json, want string
		heads      int
	}{
		{`[["append","x",1],["r","y",[1,2]],["r",3,null]]`, `[[:append "x" 1] [:r "y" [1 2]] [:r 3 nil]]`, 2},
		{`[["r","x",[["r"]]],["two words",1]]`, `[[:r "x" [["r"]]] ["two words" 1]]`, 2},
		{`{"node":"n1","two words":{"x-y?":true},"1":0.5}`, `{:node "n1", "two words" {:x-y? true}, "1" 0.5}`, 0},
		{`"a\/b\\\"\n"`, `"a/b\\\"\n"`, 0},
		{`12345678901234567890`, `12345678901234567890N`, 0},
		{`[]`, `[]`, 2},
	} {
		got, err := edn.Append(nil, []byte(test.json), test.heads)
		if err != nil || string(got) != test.want {
			t.Errorf("%s\ngot  %s (%v)\nwant %s", test.json, got, err, test.want)
		}
	}
	for _, text := range []string{``, `1 2`, `[1`, `:a`} {
		if got, err := edn.Append(nil, []byte(text), 0); err == nil {
			t.Errorf("%q was written as %s", text, got)
		}
	}
}

// FuzzEDN: whatever is read is JSON, and the same when that is written and read again.
func FuzzEDN(f *testing.F) {
	f.Add([]byte(`#a.B{:type :ok, :f "x\u00e9\n" :v [1/2 3N #{\newline} #_(0) -1.5e3 ^{:m 1} ##Inf 0x1F]} ; c`))
	f.Add([]byte(`{:index 0, :process :nemesis, :value [[:r "x" nil] [:append 3 1]], :error [:timeout {:ms 5}]}`))
	f.Add([]byte("[1 2,3] (1 [2 ()]) #{\\( \\u0041} \"line\nfeed\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := edn.NewBytes(data, edn.EDN)
		for {
			token, err := r.Next()
			if err != nil || token.Kind == edn.EOF {
				break
			}
			first, err := r.AppendJSON(nil, token)
			if err != nil {
				break
			}
			if !json.Valid(first) {
				t.Fatalf("%q is read as %q, which is no JSON", data, first)
			}
			for heads := range 3 {
				roundTrip(t, first, heads)
			}
		}
		if _, err := forms(edn.NewReader(iotest.HalfReader(bytes.NewReader(data)), edn.EDN)); err != nil {
			if _, ok := errors.AsType[*edn.Error](err); !ok {
				t.Fatal(err)
			}
		}
	})
}

// slashes takes away the escapes that EDN does not have.
var slashes = strings.NewReplacer(`\\`, `\\`, `\/`, `/`)

// roundTrip writes JSON as EDN and reads it again.
func roundTrip(t *testing.T, value []byte, heads int) {
	t.Helper()
	text, err := edn.Append(nil, value, heads)
	if err != nil {
		t.Fatalf("%s cannot be written: %v", value, err)
	}
	r := edn.NewBytes(text, edn.EDN)
	token, err := r.Next()
	if err != nil {
		t.Fatalf("%s is written as %s: %v", value, text, err)
	}
	again, err := r.AppendJSON(nil, token)
	if want := slashes.Replace(string(value)); err != nil || string(again) != want {
		t.Fatalf("%s is written as %s, and read as %s (%v)", value, text, again, err)
	}
}

// FuzzJSON: what is taken for JSON is what encoding/json takes.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+3,true,false,null,"é\u00e9\n"],"b":{}}`, `[]`, `-`, `01`, `1.`, `"\ud800"`, `{"a" 1}`, `[1,]`, "\"\x00\"", `tru`, ` 0 `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) > 1000 {
			return
		}
		r := edn.NewBytes(data, edn.JSON)
		token, err := r.Next()
		var got []byte
		if err == nil && token.Kind != edn.EOF {
			got, err = r.AppendJSON(nil, token)
		}
		valid := err == nil && token.Kind != edn.EOF
		if valid {
			token, err = r.Next()
			valid = err == nil && token.Kind == edn.EOF
		}
		if valid != json.Valid(data) {
			t.Fatalf("%q: got %s (%v)", data, got, err)
		}
		if valid {
			roundTrip(t, got, 0)
		}
	})
}
