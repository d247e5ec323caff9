//go:build linux

package nemesis

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hacheck/hacheck/cluster"
)

// playWrite writes to two files, and syncs one; for an error it ends.
func playWrite() {
	synced, err := os.OpenFile("synced", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	loose, err := os.OpenFile("loose", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for range time.Tick(time.Millisecond) {
		_, err := synced.WriteString("synced\n")
		_, loosely := loose.WriteString("loose\n")
		if err := errors.Join(err, loosely, synced.Sync()); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func TestTroubleWithDisksActsOnRealProcesses(t *testing.T) {
	if !inLab(t) {
		return
	}
	lab, err := cluster.NewLocal(cluster.Options{
		Nodes: 3, Dir: t.TempDir(), Disks: true, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if refused, ok := errors.AsType[*cluster.RefusedError](err); ok && os.Getenv("CI") == "" {
		t.Skip(refused)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	}()
	env := NewEnv(lab, player{lab, "write"}).withBooks()
	works := func() {
		for _, node := range lab.Nodes() {
			size := func() int64 {
				info, err := os.Stat(node.Dir + "/synced")
				if err != nil {
					return 0
				}
				return info.Size()
			}
			was := size()
			eventually(t, node.Name+" writes", func() bool { return size() > was })
		}
	}
	for _, node := range env.Nodes {
		if err := env.Start(node); err != nil {
			t.Fatal(err)
		}
	}
	works()
	for _, spec := range []string{"power", "eio", "full", "slow", "bitflip", "truncate", "rollback"} {
		b := breaker(t, Disk(), env, "disk:"+spec+":n2")
		detail := b.Draw(rand.New(rand.NewPCG(1, 1))).(*Trouble)
		h, err := b.Begin(t.Context(), encode(detail))
		if err != nil {
			t.Fatalf("%s: %v", spec, err)
		}
		switch spec {
		case "eio", "full":
			if spec == "full" || detail.Fault.Read == 0 {
				eventually(t, "it ends", func() bool { _, running := lab.Process("n2"); return !running })
				if said := strings.Join(lab.Log("n2", 3), ""); !strings.Contains(said, "input/output error") && !strings.Contains(said, "no space left") {
					t.Errorf("%s: it said %s", spec, said)
				}
			}
		case "slow":
			works()
		}
		acted, evidence, err := h.End(t.Context())
		if err != nil || acted == 0 && (detail.Fault == nil || detail.Fault.Read == 0) {
			t.Errorf("%s: acted %d, %v", spec, acted, err)
		}
		t.Logf("%s: %s", encode(h.Detail()), encode(evidence))
		allRun(t, env, spec)
		works()
	}
}
