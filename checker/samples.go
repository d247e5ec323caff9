package checker

import (
	"slices"
	"time"
)

// MaxSamples is how many values a result keeps of what was measured under one name.
const MaxSamples = 10_000

// Sample adds to r what was measured value by value, ascending: as "NAME_us" how long it took
// where its end was seen, and as "NAME_least_us" how long it took at least where it was not.
// Of more than [MaxSamples] it keeps some, see [Thin], and says in the count "NAME_samples_of"
// how many there were.
func (r *Result) Sample(name string, took, least []time.Duration) {
	if r.Counts == nil {
		r.Counts = map[string]int64{}
	}
	if n := len(took) + len(least); n > MaxSamples {
		r.Counts[name+"_samples_of"] = int64(n)
	}
	keptTook, keptLeast := Thin(microseconds(took), microseconds(least), MaxSamples)
	for as, values := range map[string][]int64{name + "_us": keptTook, name + "_least_us": keptLeast} {
		if len(values) == 0 {
			continue
		}
		if r.Samples == nil {
			r.Samples = map[string][]int64{}
		}
		r.Samples[as] = values
	}
}

// microseconds returns times in microseconds, rounded down, ascending.
func microseconds(times []time.Duration) []int64 {
	us := make([]int64, len(times))
	for i, t := range times {
		us[i] = t.Microseconds()
	}
	slices.Sort(us)
	return us
}

// Thin returns no more than so many values of two ascending lists together, which is two at
// least. Each keeps its part of the whole, and of each they are chosen evenly by rank, the
// first and the last among them. So quantiles stay where they were, and so does the greatest.
func Thin[T any](took, least []T, most int) (keptTook, keptLeast []T) {
	n := len(took) + len(least)
	if n <= most {
		return took, least
	}
	room := int(float64(most)*float64(len(least))/float64(n) + 0.5)
	switch {
	case len(least) > 0 && room == 0:
		room = 1
	case len(took) > 0 && room == most:
		room = most - 1
	}
	return evenly(took, most-room), evenly(least, room)
}

// evenly returns so many of values; of one alone it is the last.
func evenly[T any](values []T, keep int) []T {
	if keep >= len(values) {
		return values
	}
	kept := make([]T, keep)
	for i := range kept {
		kept[i] = values[len(values)-1]
		if i < keep-1 {
			kept[i] = values[int(float64(i)*float64(len(values)-1)/float64(keep-1))]
		}
	}
	return kept
}
