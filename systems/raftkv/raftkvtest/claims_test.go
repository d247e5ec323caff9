package raftkvtest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hacheck/hacheck/systems/raftkv/client"
	"github.com/hacheck/hacheck/systems/raftkv/server/bug"
)

// TestLockIsHeldByOne of several who want it at the same moment.
func TestLockIsHeldByOne(t *testing.T) {
	shows(t, bug.LockTwice, func(t *testing.T, c *Cluster) bool {
		var clients []*client.Client
		for i := range 4 {
			clients = append(clients, at(t, c, append(c.names[i:], c.names[:i]...)...))
		}
		twice := false
		for round := range 10 {
			name := fmt.Sprint("l", round)
			locks := make([]*client.Lock, len(clients))
			var all sync.WaitGroup
			for i, kv := range clients {
				all.Go(func() {
					var err error
					locks[i], err = kv.TryAcquire(within(t, 20*time.Second), name, fmt.Sprint("h", i), time.Minute)
					held, refused := errors.AsType[*client.Held](err)
					if err != nil && !(refused && client.IsDefinite(err) && held.Name == name && held.Token > 0 && held.Holder != "") {
						t.Error(err)
					}
				})
			}
			all.Wait()
			holders := 0
			for _, lock := range locks {
				if lock != nil {
					holders++
				}
			}
			if holders == 0 {
				t.Errorf("nobody holds %s", name)
			}
			twice = twice || holders > 1
		}
		return twice
	})
}

// TestHolderThatLostItsLockIsFencedOff: it was paused for longer than its lease lasts,
// and another who waited has the lock.
func TestHolderThatLostItsLockIsFencedOff(t *testing.T) {
	shows(t, bug.LockUnfenced, func(t *testing.T, c *Cluster) bool {
		old, next := at(t, c, c.names...), at(t, c, c.names...)
		first, err := old.TryAcquire(within(t, 20*time.Second), "l", "old", time.Second)
		must(t, err)
		write := func(lock *client.Lock, value string) bool {
			kv := map[*client.Lock]*client.Client{first: old}[lock]
			if kv == nil {
				kv = next
			}
			return txn(t, kv, lock.Fenced(client.Txn{Then: []client.Op{client.OpPut("k", []byte(value))}})).Succeeded
		}
		if !write(first, "old") {
			t.Error("the holder cannot write")
		}
		_, err = next.Acquire(within(t, 500*time.Millisecond), "l", "next", time.Second)
		if held, ok := errors.AsType[*client.Held](err); !ok || held.Token != first.Token || held.Holder != "old" || !client.IsDefinite(err) {
			t.Errorf("while it is held: %v", err)
		}
		begun := time.Now()
		second, err := next.Acquire(within(t, 20*time.Second), "l", "next", time.Minute)
		must(t, err)
		if took := time.Since(begun); took > first.Lease.TTL+first.Lease.Bound {
			t.Errorf("it took %v", took)
		}
		if second.Token <= first.Token {
			t.Errorf("token %d after %d", second.Token, first.Token)
		}
		if !write(second, "next") {
			t.Error("the next holder cannot write")
		}
		_, err = first.Renew(within(t, time.Second))
		wantExpired(t, err)
		late := write(first, "too late")
		if got := string(look(t, c, "k").GetValue()); (got == "too late") != late {
			t.Errorf("it reads %s", got)
		}
		_, err = first.Release(within(t, time.Second)) // which must not take it from the other
		if lost, ok := errors.AsType[*client.Lost](err); !ok || lost.Token != first.Token || !client.IsDefinite(err) {
			t.Errorf("who lost it gave it back: %v", err)
		}
		if look(t, c, second.Key()).GetCreate() != second.Token {
			t.Error("the next holder has lost it")
		}
		_, err = second.Release(within(t, time.Second))
		must(t, err)
		if _, err = old.TryAcquire(within(t, time.Second), "l", "old", time.Second); err != nil {
			t.Errorf("when it was given back: %v", err)
		}
		return late
	})
}

// TestLockThatMayHaveBeenTakenEndsByItself: nobody knows that it has it.
func TestLockThatMayHaveBeenTakenEndsByItself(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		kv := at(t, c, "n1")
		put(t, kv, "k", "v")
		var err error
		for seed := 0; ; seed++ { // until it is the transaction whose answer is lost
			name := fmt.Sprint("l", seed)
			var all sync.WaitGroup
			all.Go(func() { _, err = kv.TryAcquire(within(t, time.Second), name, "me", 2*time.Second) })
			eventually(t, "it is taken", func() bool { return look(t, c, "lock/"+name) != nil })
			must(t, c.Cut(toTester("n1")...))
			all.Wait()
			must(t, c.Heal(toTester("n1")...))
			if err == nil {
				continue // the answer was faster
			}
			if client.IsDefinite(err) {
				t.Fatalf("got %v", err)
			}
			_, err = at(t, c, "n2").Acquire(within(t, 20*time.Second), name, "next", time.Second)
			must(t, err)
			return
		}
	})
}

// TestLeaderThatWasDeposedIsFencedOff, and observers see the next one, in a later term.
func TestLeaderThatWasDeposedIsFencedOff(t *testing.T) {
	shows(t, bug.ElectionUnfenced, func(t *testing.T, c *Cluster) bool {
		old, next := at(t, c, c.names...), at(t, c, c.names...)
		observe := func() client.Leader {
			l, err := next.Observe(within(t, time.Second), "e")
			must(t, err)
			return l
		}
		if l := observe(); l.Term != 0 || l.Value != "" {
			t.Errorf("before there is one, the leader is %+v", l)
		}
		first, err := old.TryCampaign(within(t, time.Second), "e", "old", time.Second)
		must(t, err)
		if _, err = next.TryCampaign(within(t, time.Second), "e", "next", time.Second); reasonHeld(err) != first.Token {
			t.Errorf("while one leads: %v", err)
		}
		_, err = first.Proclaim(within(t, time.Second), "old, in charge")
		must(t, err)
		if l := observe(); l.Term != first.Token || l.Value != "old, in charge" {
			t.Errorf("the leader is %+v", l)
		}
		second, err := next.Campaign(within(t, 20*time.Second), "e", "next", time.Minute)
		must(t, err)
		if _, err = first.Proclaim(within(t, time.Second), "still here"); !client.IsDefinite(err) {
			t.Errorf("who was deposed proclaims: %v", err)
		}
		late := txn(t, old, first.Fenced(client.Txn{Then: []client.Op{client.OpPut("k", []byte("too late"))}})).Succeeded
		if l := observe(); l.Term != second.Token || l.Term <= first.Token || l.Value != "next" {
			t.Errorf("the leader is %+v", l)
		}
		if _, err = first.Resign(within(t, time.Second)); !client.IsDefinite(err) {
			t.Errorf("who was deposed resigns: %v", err)
		}
		_, err = second.Resign(within(t, time.Second))
		must(t, err)
		if l := observe(); l.Term != 0 {
			t.Errorf("when it has resigned, the leader is %+v", l)
		}
		return late
	})
}

func reasonHeld(err error) (token uint64) {
	if held, ok := errors.AsType[*client.Held](err); ok {
		return held.Token
	}
	return 0
}

// TestSessionSeesNothingOlderThanItHasSeen though one of the nodes that it asks in turn
// is behind.
func TestSessionSeesNothingOlderThanItHasSeen(t *testing.T) {
	shows(t, bug.SessionForgets, func(t *testing.T, c *Cluster) bool {
		lead := leader(t, c)
		behind := others(c, lead)[0]
		kv := at(t, c, c.names...)
		put(t, kv, "k", "0")
		must(t, c.Cut(isolate(c, behind)...))
		session := kv.Session()
		last, older := uint64(0), false
		see := func(revision uint64) {
			older = older || revision < last
			last = max(last, revision)
		}
		for i := range 10 {
			r, err := session.Txn(within(t, 20*time.Second), client.Txn{Then: []client.Op{client.OpPut("k", fmt.Append(nil, i))}})
			must(t, err)
			see(r.Revision)
			for range c.names {
				r, err := session.Range(within(t, 20*time.Second), client.Key("k"), client.RangeOptions{})
				must(t, err)
				see(r.Revision)
				older = older || string(r.KVs[0].Value) != fmt.Sprint(i)
			}
		}
		must(t, c.Heal(isolate(c, behind)...))
		return older
	})
}
