package server

import (
	"sync"

	"github.com/hashicorp/raft"
)

// AppendEntriesPipeline opens a pipeline to a member.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.Transport.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	return newPipeline(p), nil
}

// A pipeline carries entries to a member before those before them are answered. It ends
// with the first answer that is no success.
//
// Raft listens no longer from there on, but may send once more before it sees so. For
// what it sends then nobody would take the answer, and the one after that would wait for
// a place for ever: the member is sent nothing more by this leader, whose heartbeats go on
// and keep everybody from electing another, and which does not come to its own end
// either. It takes a member that dies, or whose log is short, and a moment; see
// hashicorp/raft issue 612.
type pipeline struct {
	raft.AppendPipeline
	answers chan raft.AppendFuture
	over    chan struct{} // closed if nobody listens any more
	end     func()        // closes it, however often it is called
	passing sync.WaitGroup
}

func newPipeline(p raft.AppendPipeline) *pipeline {
	out := &pipeline{AppendPipeline: p, answers: make(chan raft.AppendFuture), over: make(chan struct{})}
	out.end = sync.OnceFunc(func() { close(out.over) })
	out.passing.Go(out.pass)
	return out
}

// Consumer is where answers arrive.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

// Close ends the pipeline.
func (p *pipeline) Close() error {
	p.end()
	err := p.AppendPipeline.Close()
	p.passing.Wait()
	return err
}

// pass passes answers on, up to the first that is no success.
func (p *pipeline) pass() {
	from := p.AppendPipeline.Consumer()
	for {
		var answer raft.AppendFuture
		select {
		case answer = <-from:
		case <-p.over:
			return
		}
		failed := answer.Error() != nil || !answer.Response().Success
		select {
		case p.answers <- answer:
		case <-p.over:
			return
		}
		if failed {
			_ = p.AppendPipeline.Close() // what is wrong has been passed on
			return
		}
	}
}
