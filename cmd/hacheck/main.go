// Command hacheck tells whether a distributed system keeps its promises when
// machines die and networks split.
package main

import (
	"os"

	"github.com/hacheck/hacheck/cluster"
)

func main() {
	if handled, status := cluster.Main(); handled {
		os.Exit(status)
	}
	os.Exit(cluster.ExitStatus(hacheck(os.Args, os.Stdout, os.Stderr)))
}
