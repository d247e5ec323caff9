package histories_test

import (
	"encoding/json"
	"testing"

	"github.com/hacheck/hacheck/histories"
)

func TestOpsReadWellInAListing(t *testing.T) {
	for _, test := range []struct {
		op   histories.Op
		want string
	}{
		{histories.Op{Process: 3, Type: histories.OK, F: "read", Value: json.RawMessage(`["k1",3]`)}, `3 ok read ["k1",3]`},
		{histories.Op{Process: histories.Nemesis, Type: histories.Info, F: "kill", Error: "gone"}, "nemesis info kill (gone)"},
		{histories.Op{Process: histories.Observer, Type: histories.Event, F: "exited"}, "observer event exited"},
		{histories.Op{F: "read"}, "0 Type(0) read"},
	} {
		if got := test.op.String(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
