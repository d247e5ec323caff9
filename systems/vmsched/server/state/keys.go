package state

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Where records are in the store: each below one folder, as JSON.
const (
	root    = "vmsched/"
	vms     = root + "vms/"    // by ID: [VM]
	tokens  = root + "tokens/" // by token: the ID
	hosts   = root + "hosts/"  // by name: [Host]
	alive   = root + "alive/"  // by name of the host: [Alive]; leased
	guests  = root + "guests/" // the same: [Guests]; leased
	counter = root + "counter" // of machines, for their IDs
)

// Root is what all keys of the control plane begin with.
const Root = root

// Election is the name of the election by which schedulers choose one to lead.
const Election = "vmsched"

// VMKey, TokenKey, HostKey, AliveKey and GuestsKey are where the records are.
func VMKey(id string) string       { return vms + id }
func TokenKey(token string) string { return tokens + token }
func HostKey(name string) string   { return hosts + name }
func AliveKey(name string) string  { return alive + name }
func GuestsKey(name string) string { return guests + name }

// CounterKey is where the number of machines is that there ever were.
const CounterKey = counter

// Of says what kind of record a key is of, and whose.
func Of(key string) (kind Kind, name string) {
	for _, k := range []Kind{KindVM, KindToken, KindHost, KindAlive, KindGuests} {
		if name, ok := strings.CutPrefix(key, string(k)); ok {
			return k, name
		}
	}
	return "", ""
}

// A Kind is a kind of record.
type Kind string

// The kinds.
const (
	KindVM     Kind = vms
	KindToken  Kind = tokens
	KindHost   Kind = hosts
	KindAlive  Kind = alive
	KindGuests Kind = guests
)

// Encode returns a record as it is stored.
func Encode[T VM | Host | Alive | Guests](record T) []byte {
	b, err := json.Marshal(record)
	if err != nil {
		panic("state: " + err.Error()) // records are made to be encoded
	}
	return b
}

// Decode reads a record as it is stored.
func Decode[T VM | Host | Alive | Guests](b []byte) (record T, err error) {
	if err := json.Unmarshal(b, &record); err != nil {
		return record, fmt.Errorf("a record is %q: %w", b, err)
	}
	return record, nil
}
