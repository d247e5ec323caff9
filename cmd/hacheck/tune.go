package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A tune is something by which a system can be made to perform otherwise than it ships, and
// is to be as right as before. So what is slower by it is a regression, and no bug.
type tune struct {
	name, about string
	// bounds says which values it takes.
	bounds string
	// parse reads one into what it is for, and returns how that is spelled.
	parse func(t *tuning, text string) (string, error)
}

// A tuning is what a system is tuned to. What is zero is as it ships.
type tuning struct {
	timeouts float64
	delay    time.Duration
}

// factor is a tune that is a number.
func factor(name, about string, least, most float64, of func(*tuning) *float64) tune {
	bounds := fmt.Sprintf("a factor from %v to %v", least, most)
	return tune{name, about, bounds, func(t *tuning, text string) (string, error) {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= least && n <= most) { // NaN is in no range
			return "", fmt.Errorf("want %s", bounds)
		}
		*of(t) = n
		return strconv.FormatFloat(n, 'g', -1, 64), nil
	}}
}

// span is a tune that is a time.
func span(name, about string, least, most time.Duration, of func(*tuning) *time.Duration) tune {
	bounds := fmt.Sprintf("a time from %v to %v", least, most)
	return tune{name, about, bounds, func(t *tuning, text string) (string, error) {
		d, err := time.ParseDuration(text)
		if err != nil || d < least || d > most {
			return "", fmt.Errorf("want %s", bounds)
		}
		*of(t) = d
		return d.String(), nil
	}}
}

func timeouts(t *tuning) *float64    { return &t.timeouts }
func delay(t *tuning) *time.Duration { return &t.delay }

func tuneNames(of []tune) (names []string) {
	for _, t := range of {
		names = append(names, t.name)
	}
	return names
}

// A setting is a tune as it is asked for: NAME=VALUE.
type setting struct{ name, value string }

func (s setting) String() string { return s.name + "=" + s.value }

var errNoSetting = errors.New("want NAME=VALUE, separated by commas, as in timeouts=2 (hacheck list)")

// settings takes apart what is asked for: settings, separated by commas.
func settings(text string) (all []setting, err error) {
	if text == "" {
		return nil, nil
	}
	for word := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(word), "=")
		if !ok || name == "" || value == "" {
			return nil, errNoSetting
		}
		if slices.ContainsFunc(all, func(s setting) bool { return s.name == name }) {
			return nil, fmt.Errorf("%s stands twice", name)
		}
		all = append(all, setting{name, value})
	}
	return all, nil
}

// tuned returns what settings tune a system to, and how they are spelled: in the order of its
// table, so that what is the same reads the same.
func (s system) tuned(text string) (t tuning, spelled string, err error) {
	all, err := settings(text)
	if err != nil {
		return t, "", err
	}
	for _, asked := range all {
		if !slices.Contains(tuneNames(s.tunes), asked.name) {
			return t, "", s.untunable(asked.name)
		}
	}
	var words []string
	for _, known := range s.tunes {
		for _, asked := range all {
			if asked.name != known.name {
				continue
			}
			value, err := known.parse(&t, asked.value)
			if err != nil {
				return t, "", fmt.Errorf("%v: %w", asked, err)
			}
			words = append(words, setting{asked.name, value}.String())
		}
	}
	return t, strings.Join(words, ","), nil
}

// untunable says that a system has no such tune, and what may have been meant.
func (s system) untunable(name string) error {
	for _, other := range systems {
		if slices.Contains(tuneNames(other.tunes), name) {
			return fmt.Errorf("%s has no tune %q: it is one of %s; there is %s", s.name, name, other.name, enumerate(tuneNames(s.tunes)))
		}
	}
	return fmt.Errorf("%s has no tune %q; %s", s.name, name, suggest(name, tuneNames(s.tunes), ""))
}

// noTune is how to ask for none.
const noTune = "none"

// tuneList is settings, separated by commas. Given twice, the lists add up. Which there are is a
// matter of the system.
func tuneList(tune *string) *value {
	return &value{
		now: func() string { return *tune },
		set: func(given string) error {
			if given == noTune {
				return nil
			}
			if given == "" {
				return errNoSetting
			}
			all := given
			if *tune != "" {
				all = *tune + "," + given
			}
			if _, err := settings(all); err != nil {
				return err
			}
			*tune = all
			return nil
		},
	}
}
