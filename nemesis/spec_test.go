package nemesis

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Some faults, for tests of how they are asked for.
func someFaults() []Fault {
	return []Fault{
		{Name: "kill", Targets: anyNodes},
		{Name: "disk", Targets: fewNodes, Needs: []Need{NeedDisks}, Variants: []Variant{
			{Name: "power"}, {Name: "xfs", Needs: []Need{NeedXFS}},
		}},
		{Name: "partition", Variants: []Variant{{Name: "ring"}, {Name: "leader"}}},
		{Name: "leader", Variants: []Variant{{Name: "transfer"}}},
	}
}

func TestSpecsAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"kill":                             "kill",
		"kill:leader":                      "kill//leader",
		"kill:n3":                          "kill//n3",
		"kill, disk":                       "kill disk",
		"disk:power":                       "disk/power",
		"disk:power:leader":                "disk/power/leader",
		"disk:power,leader":                "disk/power/leader",
		"disk:power,n12":                   "disk/power/n12",
		"disk:any":                         "disk//any",
		"disk:power,leader,leader":         "disk/power/leader leader", // it has its target
		"leader,disk:power":                "leader disk/power",
		"kill,leader":                      "kill leader", // there was no variant
		"partition:leader":                 "partition/leader",
		"partition:ring,leader":            "partition/ring leader", // not aimed at nodes
		"disk:power,minority,disk:power":   "disk/power/minority disk/power",
		"disk:power,disk:power,minority":   "disk/power disk/power/minority",
		"disk:power,all":                   "disk/power all",
		"all":                              "all",
		"kill:all,all":                     "kill//all all",
		"disk:power,one,kill:one,disk:xfs": "disk/power/one kill//one disk/xfs",
	} {
		specs, err := Parse(someFaults(), text)
		var got []string
		for _, s := range specs {
			got = append(got, strings.TrimRight(fmt.Sprintf("%s/%s/%s", s.Fault, s.Variant, s.Target), "/"))
		}
		if joined := strings.Join(got, " "); err != nil || joined != want {
			t.Errorf("%s: got %s, %v; want %s", text, joined, err, want)
		}
		// What it prints as is read as the same.
		for _, s := range specs {
			if again, err := Parse(someFaults(), s.String()); err != nil || len(again) != 1 || again[0] != s {
				t.Errorf("%v: got %v, %v", s, again, err)
			}
		}
	}
}

func TestSpecsThatMeanNothingAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    `a name is missing before or after a comma`,
		"kill,":                               `a name is missing before or after a comma`,
		"maim":                                `no such nemesis: "maim"`,
		"n3":                                  `no such nemesis: "n3"`,
		"kill:n":                              `no such variant or target of kill: "kill:n"; there are kill, kill:one, kill:minority`,
		"kill:n3:n4":                          `no such variant or target of kill: "kill:n3:n4"`,
		"kill:any":                            `no such variant or target of kill: "kill:any"`,
		"disk:power:power":                    `no such variant or target of disk: "disk:power:power"; there are disk, disk:power, disk:xfs`,
		"partition:n3":                        `no such variant or target of partition: "partition:n3"`,
		"all:leader":                          `"all:leader": all has no variants and targets`,
		"kill,kill":                           "kill stands twice",
		"disk:power,leader,disk:power:leader": "disk:power:leader stands twice",
	} {
		if specs, err := Parse(someFaults(), text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, %v; want %s", text, specs, err, want)
		}
	}
}

func TestNeedsAreThoseOfWhatIsAskedFor(t *testing.T) {
	for text, want := range map[string][]Need{
		"kill":                          nil,
		"all":                           nil,
		"disk":                          {NeedDisks},
		"disk:power,one":                {NeedDisks},
		"disk:xfs":                      {NeedXFS},
		"disk,disk:xfs,kill,disk:power": {NeedDisks, NeedXFS},
	} {
		specs, err := Parse(someFaults(), text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Needs(someFaults(), specs); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
}
