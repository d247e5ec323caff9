package cluster

import (
	"errors"
	"fmt"
	"os"
)

// Check says why there can be no lab here with what o asks for, if so: it makes a
// small one. What this machine refuses is a [RefusedError]. Only [Inside] can it be
// told.
func Check(o Options) (err error) {
	dir, err := tempDir()
	if err != nil {
		return fmt.Errorf("try a lab: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o.Nodes, o.Dir, o.Pcap = 1, dir, nil
	l, err := NewLocal(o)
	if err != nil {
		return err
	}
	return l.Close()
}
