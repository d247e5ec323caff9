// Etcd puts load on a cluster of etcd, as the benchmark of systems/raftkv does on raftkv:
// clients that do one thing after the other, each with a key and a connection of its own.
// It is a module of its own, since nothing else here needs etcd.
//
//	etcd put|get CLIENTS DURATION ENDPOINT...
//
// It prints how many operations were answered in the time.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func main() {
	n, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		os.Exit(1)
	}
	fmt.Println(n)
}

func run(args []string) (done int64, err error) {
	if len(args) < 4 || args[0] != "put" && args[0] != "get" {
		return 0, errors.New("want put or get, the number of clients, a duration, and endpoints")
	}
	clients, err := strconv.Atoi(args[1])
	if err != nil {
		return 0, err
	}
	span, err := time.ParseDuration(args[2])
	if err != nil {
		return 0, err
	}
	endpoints := args[3:]
	var all []*clientv3.Client
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.Close())
		}
	}()
	for i := range clients {
		// Each begins with another node, as clients of a cluster do.
		at := i % len(endpoints)
		c, err := clientv3.New(clientv3.Config{Endpoints: append(append([]string{}, endpoints[at:]...), endpoints[:at]...), DialTimeout: 5 * time.Second})
		if err != nil {
			return 0, err
		}
		all = append(all, c)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_, err = c.Put(ctx, key(i), "0") // which also connects it
		cancel()
		if err != nil {
			return 0, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), span)
	defer cancel()
	var working sync.WaitGroup
	var failed atomic.Pointer[error]
	var answered atomic.Int64
	for i, c := range all {
		working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				var err error
				if args[0] == "put" {
					_, err = c.Put(ctx, key(i), strconv.Itoa(n))
				} else {
					_, err = c.Get(ctx, key(i)) // which is linearizable
				}
				switch {
				case err == nil:
					answered.Add(1)
				case ctx.Err() == nil:
					failed.Store(&err)
					return
				}
			}
		})
	}
	working.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return answered.Load(), nil
}

func key(i int) string { return "k" + strconv.Itoa(i) }
