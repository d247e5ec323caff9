package raftkv

import _ "embed"

// TornVoteSchedule is a schedule of faults that makes the bug of that name show, as
// --schedule takes it: what it takes is too much to be drawn.
//
//go:embed schedules/torn-vote.yaml
var TornVoteSchedule []byte
