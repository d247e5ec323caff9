//go:build linux

package cluster

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// playSync is a program for a node: it writes what is to be durable n times, and says
// how long that took.
func playSync(args []string) int {
	n, err := strconv.Atoi(args[1])
	if err == nil {
		err = syncs(args[0], n)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func syncs(how string, n int) error {
	if how == "wal" {
		f, err := os.Create("wal")
		if err != nil {
			return err
		}
		defer f.Close()
		b := make([]byte, 512)
		begun := time.Now()
		for range n {
			if _, err := f.Write(b); err != nil {
				return err
			}
			if err := unix.Fdatasync(int(f.Fd())); err != nil {
				return err
			}
		}
		fmt.Println("took", time.Since(begun).Nanoseconds())
		return nil
	}
	db, err := bbolt.Open("bench.db", 0o644, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	begun := time.Now()
	for i := range n {
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), make([]byte, 100))
		})
		if err != nil {
			return err
		}
	}
	fmt.Println("took", time.Since(begun).Nanoseconds())
	return nil
}

// BenchmarkSync is the rate of writes that are bound by syncs, on the disks that can
// lose their power and on the machine's own, side by side.
func BenchmarkSync(b *testing.B) {
	if !benchInside(b) {
		return
	}
	for _, how := range []string{"wal", "bbolt"} {
		for _, c := range []struct {
			name    string
			options Options
		}{{"own", Options{Nodes: 1}}, {"FUSE", Options{Nodes: 1, Disks: true}}, {"XFS", Options{Nodes: 1, Disks: true, XFS: true}}} {
			b.Run(how+"/"+c.name, func(b *testing.B) {
				c.options.Dir = b.TempDir()
				l, err := NewLocal(c.options)
				skipRefused(b, err)
				must(b, err)
				defer func() { must(b, l.Close()) }()
				must(b, l.Start("n1", Command{Args: []string{"play", "sync", how, strconv.Itoa(b.N)}}))
				<-l.Exited("n1")
				for _, line := range l.Log("n1", 3) {
					if took, ok := strings.CutPrefix(line, "took "); ok {
						ns, err := strconv.ParseFloat(took, 64)
						must(b, err)
						b.ReportMetric(ns/float64(b.N), "ns/op")
						b.ReportMetric(float64(b.N)/ns*1e9, "syncs/s")
						return
					}
				}
				b.Fatal(l.Log("n1", 5))
			})
		}
	}
}

// BenchmarkPowerOff is how long a node is without power.
func BenchmarkPowerOff(b *testing.B) {
	if !benchInside(b) {
		return
	}
	l, err := NewLocal(Options{Nodes: 1, Dir: b.TempDir(), Disks: true})
	skipRefused(b, err)
	must(b, err)
	defer func() { must(b, l.Close()) }()
	must(b, os.WriteFile(filepath.Join(l.dirOf("n1"), "f"), make([]byte, 1<<20), 0o644))
	for b.Loop() {
		_, err := l.Disks().PowerOff("n1", PowerLoss{Mode: LoseAll})
		must(b, err)
	}
}
