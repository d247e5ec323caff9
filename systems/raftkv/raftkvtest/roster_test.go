package raftkvtest

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hacheck/hacheck/cluster"
	"github.com/hacheck/hacheck/systems/raftkv"
	"github.com/hacheck/hacheck/systems/raftkv/server/api"
)

// TestNobodyJoinsBeforeItIsWiped: whoever wiped it later would wipe a member.
func TestNobodyJoinsBeforeItIsWiped(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		name := others(c, leader(t, c))[0]
		wipe := make(chan error)
		c.roster = raftkv.NewRoster(c.all, "", c.address, c.begin, func(name string) error {
			if err := <-wipe; err != nil {
				return err
			}
			return c.clear(name)
		})
		c.roster.Founded()
		left := make(chan error)
		leave := func() { go func() { left <- c.Leave(within(t, 20*time.Second), name) }() }

		leave()
		wipe <- errors.New("its disk is full")
		if err := <-left; err == nil || !strings.Contains(err.Error(), name+" has left: its disk is full") {
			t.Errorf("it was not wiped, and so it left: %v", err)
		}
		if err := c.Start(name); err == nil {
			t.Error("what has left was started")
		}
		joined := make(chan error, 1)
		go func() { joined <- c.Join(within(t, time.Second), name) }()
		wipe <- errors.New("its disk is full")
		if err := <-joined; err == nil {
			t.Error("it was not wiped, and joined")
		}

		leave()
		synctest.Wait()
		go func() { joined <- c.Join(within(t, 20*time.Second), name) }()
		time.Sleep(time.Second)
		select {
		case err := <-joined:
			t.Errorf("it was about to be wiped, and joined: %v", err)
		default:
		}
		wipe <- nil
		must(t, <-left)
		must(t, <-joined)
		m, err := c.all.Members(within(t, time.Second))
		if err != nil || len(m.Voters) != 5 {
			t.Errorf("the members are %+v, %v", m, err)
		}
		must(t, c.Ready(t.Context()))
	})
}

// TestNodeJoinsThoughACallForWhatItWasCameLate, after that was removed.
func TestNodeJoinsThoughACallForWhatItWasCameLate(t *testing.T) {
	with(t, "", func(t *testing.T, c *Cluster) {
		name := others(c, leader(t, c))[0]
		leave := func() { must(t, c.Leave(within(t, 20*time.Second), name)) }
		leave()
		must(t, c.Cut(isolate(c, name)...))
		err := c.Join(within(t, time.Second), name)
		wantEnd(t, err, api.Reason_REASON_NOT_DONE, name+" joins", "has not caught up")
		leave()
		must(t, c.Heal(isolate(c, name)...))
		must(t, c.all.Learn(within(t, time.Second), name+"#2", c.address(name, 2))) // the call that is late
		must(t, c.Join(within(t, 20*time.Second), name))
		m, err := c.all.Members(within(t, time.Second))
		if err != nil || len(m.Voters) != 5 || len(m.Learners) != 0 {
			t.Errorf("the members are %+v, %v", m, err)
		}
	})
}

// TestNodeJoinsThoughSomebodyElseGaveUpHavingItLeave: who had it leave before and wants it
// back does not hear of that.
func TestNodeJoinsThoughSomebodyElseGaveUpHavingItLeave(t *testing.T) {
	for why, links := range map[string]func(c *Cluster, node string) []cluster.Link{
		"nobody agrees":      isolate,
		"no answer comes":    func(_ *Cluster, node string) []cluster.Link { return []cluster.Link{{From: node, To: cluster.Tester}} },
		"it is not heard of": func(_ *Cluster, node string) []cluster.Link { return []cluster.Link{{From: cluster.Tester, To: node}} },
	} {
		t.Run(why, func(t *testing.T) {
			with(t, "", func(t *testing.T, c *Cluster) {
				name := others(c, leader(t, c))[0]
				must(t, c.Leave(within(t, 20*time.Second), name))
				must(t, c.Join(within(t, 20*time.Second), name)) // by the other, who now has it leave
				for _, node := range c.names {
					must(t, c.Cut(links(c, node)...))
				}
				if err := c.Leave(within(t, time.Second), name); err == nil {
					t.Error("it left")
				}
				for _, node := range c.names {
					must(t, c.Heal(links(c, node)...))
				}
				if err := c.Join(within(t, 20*time.Second), name); err != nil {
					t.Error(err)
				}
				m, err := c.all.Members(within(t, time.Second))
				if err != nil || len(m.Voters) != 5 || len(m.Learners) != 0 {
					t.Errorf("the members are %+v, %v", m, err)
				}
				must(t, c.Ready(within(t, 20*time.Second)))
			})
		})
	}
}
