package checker_test

import (
	"encoding/json"
	"testing"

	"github.com/hacheck/hacheck/checker"
)

func TestInvalidOutweighsUnknownOutweighsValid(t *testing.T) {
	for _, v := range []checker.Verdict{checker.Unknown, checker.Valid, checker.Invalid} {
		if got := v.And(v); got != v {
			t.Errorf("%v and %v: got %v", v, v, got)
		}
		if got := v.And(checker.Valid); got != v {
			t.Errorf("%v and valid: got %v", v, got)
		}
		if got := checker.Invalid.And(v); got != checker.Invalid {
			t.Errorf("invalid and %v: got %v", v, got)
		}
	}
	if got := checker.Valid.And(checker.Unknown); got != checker.Unknown {
		t.Errorf("valid and unknown: got %v", got)
	}
}

func TestResultsSurviveJSON(t *testing.T) {
	const want = `{"name":"all","verdict":"invalid","note":"n","anomalies":[{"kind":"stale read","note":"why","ops":[1,4]}],` +
		`"counts":{"ok":3},"parts":[{"name":"stats","verdict":"valid"},{"name":"set","verdict":"unknown"}]}`
	var r checker.Result
	if err := json.Unmarshal([]byte(want), &r); err != nil {
		t.Fatal(err)
	}
	if r.Verdict != checker.Invalid || r.Parts[0].Verdict != checker.Valid {
		t.Errorf("got %+v", r)
	}
	got, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if err := json.Unmarshal([]byte(`{"verdict":"fine"}`), &r); err == nil {
		t.Error("a verdict nobody gives was read without an error")
	}
	if _, err := json.Marshal(checker.Verdict(7)); err == nil {
		t.Error("a verdict that is none was written without an error")
	}
}
