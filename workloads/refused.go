package workloads

import (
	"encoding/json"
	"strconv"
)

// Refused returns s as an op's meta, with why the system refused the operation, in a
// word that the workload knows: {"refused":"fenced","term":2}.
func (s Said) Refused(why string) json.RawMessage {
	refused := []byte(`{"refused":` + strconv.Quote(why))
	if said := s.Meta(); said != nil {
		return append(append(refused, ','), said[1:]...)
	}
	return append(refused, '}')
}

// RefusedAs returns the word of [Said.Refused] in an op's meta, "" if there is none.
func RefusedAs(meta json.RawMessage) string {
	var said struct {
		Refused string `json:"refused"`
	}
	if len(meta) == 0 || json.Unmarshal(meta, &said) != nil {
		return ""
	}
	return said.Refused
}
