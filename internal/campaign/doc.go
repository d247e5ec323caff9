// Package campaign hands out jobs to workers on any number of machines, and keeps what became
// of each, on NATS JetStream: a server within this program, or one of the user's.
//
// [Serve] starts a server, [Open] makes or finds a campaign by its name. Who leads it puts jobs
// with [Campaign.Put] and follows [Campaign.Outcomes]; who performs them calls [Campaign.Work].
//
// Every part of it may be killed at any moment, the server too. A job is in the queue until
// its outcome is kept; its worker tells that it is still at it, and who falls silent has lost
// it to another. An outcome is written once: who comes second finds it there, and drops its
// own. So each job is done at least once, and counts exactly once.
//
// This is what a campaign called NAME has on its server:
//
//	stream  hacheck_NAME_jobs          each job that was put, for good, in the order of putting
//	stream  hacheck_NAME_queue         each job without an outcome; its consumers are "first", for those
//	                                   that confirm a suspicion, and "work", for all others
//	bucket  hacheck_NAME_outcomes      what became of each, written once
//	bucket  hacheck_NAME_meta          what it was asked for, when it was finished, who has begun which job
//	bucket  hacheck_NAME_workers       who is at work; forgotten after a lease without a word
//	objects hacheck_NAME_kept          directories of runs, as tar.gz
//
// A campaign that is removed and made again is another one. It has an identity, drawn when its queue is made
// and part of that one's configuration; all subjects, keys and consumers begin or end with it. Whoever was away
// meanwhile does what it does to names that nobody looks at any more, and is told that its campaign is gone.
//
// A job is recorded before it is queued, and both streams hold one message per job and turn
// a second one away. So to put a job again is to find out whether it is there: whoever was
// killed between the two does it again, or has [Campaign.Restore] do it, and the job is
// queued once. The window in which JetStream recognises a message by its ID is not relied on:
// it is two minutes long, and a lead may be away for a night. The one case in which a job is
// queued though it is done is that it is finished in the moment between the look for its
// outcome and the putting. Its next worker finds the outcome, and only strikes it off.
//
// A job has as many tries as workers have begun it, not as the server has delivered it: what it delivers
// again because it was killed is nobody's fault. Each worker notes that it begins before it does, and
// takes the note back if it is sent home. Who finds the tries used up sets the job aside, but not as
// long as one of those who have begun is heard of, and still at it.
//
// On servers of the user's, the account needs JetStream, and permission to subscribe to _INBOX.>
// and to publish to
//
//	hacheck.NAME.>
//	$KV.hacheck_NAME_outcomes.>  $KV.hacheck_NAME_meta.>  $KV.hacheck_NAME_workers.>
//	$O.hacheck_NAME_kept.>
//	$JS.API.>  $JS.ACK.>
package campaign
