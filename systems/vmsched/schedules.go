package vmsched

import "embed"

// Schedules are schedules of faults that make bugs show, as --schedule takes them: what it
// takes has to come at one step of a migration, or of several faults in one order.
//
//go:embed schedules/*.yaml
var Schedules embed.FS
