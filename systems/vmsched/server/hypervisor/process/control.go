package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hacheck/hacheck/systems/vmsched/server/hypervisor/watchdog"
)

// A request is what an agent tells a guest, as a line of JSON; an answer follows it. Each
// call has a connection of its own, so that none waits for another, and the end of a
// connection takes back what was asked on it.
type request struct {
	Do    verb             `json:"do"`
	Until watchdog.Instant `json:"until,omitempty"` // permitted: see guest.allow
	Addr  string           `json:"addr,omitempty"`  // to send to
	Epoch uint64           `json:"epoch,omitempty"` // to resume in
}

// A verb is what is asked.
type verb string

const (
	doBegin    verb = "begin" // boot, or receive; by who started it alone
	doPermit   verb = "permit"
	doSend     verb = "send"
	doContinue verb = "continue"
	doResume   verb = "resume"
	doStop     verb = "stop"
	doStatus   verb = "status"
)

// An answer is what a guest says to that.
type answer struct {
	Error  string  `json:"error,omitempty"`
	Addr   string  `json:"addr,omitempty"` // where it waits for a source
	Status *Status `json:"status,omitempty"`
}

// A Status is what a guest's console shows.
type Status struct {
	State string `json:"state"` // waiting, running or standing
	Epoch uint64 `json:"epoch"`
	Count uint64 `json:"count"`
	Acked uint64 `json:"acked"`
	// Sound says that its memory is what counting has made of it; of one that runs or stands.
	Sound bool `json:"sound"`
}

// permitWithin is how long a guest may take to answer that it is permitted more. That it does so
// late does no harm, but who waits for it keeps others waiting.
const permitWithin = 100 * time.Millisecond

// call asks the guest at a place.
func call(ctx context.Context, at place, r request) (answer, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", at.String())
	if err != nil {
		return answer{}, fmt.Errorf("ask %s to %s: %w", at.VM, r.Do, err)
	}
	defer conn.Close()
	a, err := newTalk(conn).ask(ctx, r)
	if err != nil {
		return a, fmt.Errorf("ask %s to %s: %w", at.VM, r.Do, err)
	}
	return a, nil
}

// A talk is a connection on which lines of JSON go to and fro.
type talk struct {
	conn net.Conn
	in   *bufio.Reader
}

func newTalk(conn net.Conn) *talk { return &talk{conn, bufio.NewReader(conn)} }

// ask asks, and returns the answer. It ends with ctx.
func (t *talk) ask(ctx context.Context, r request) (answer, error) {
	defer expire(ctx, t.conn)()
	if err := t.say(r); err != nil {
		return answer{}, because(ctx, err)
	}
	return t.answer(ctx)
}

// answer reads one.
func (t *talk) answer(ctx context.Context) (answer, error) {
	defer expire(ctx, t.conn)()
	var a answer
	if err := t.hear(&a); err != nil {
		return answer{}, because(ctx, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (t *talk) say(what any) error  { return line(t.conn, what) }
func (t *talk) hear(what any) error { return readLine(t.in, what) }

// line writes a value as a line of JSON, and readLine reads one.
func line(out io.Writer, what any) error {
	b, err := json.Marshal(what)
	if err != nil {
		return err
	}
	_, err = out.Write(append(b, '\n'))
	return err
}

func readLine(in *bufio.Reader, what any) error {
	b, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(b, what)
}

// expire has all that is done on conn end with ctx, until the function that it returns is
// called.
func expire(ctx context.Context, conn net.Conn) func() bool {
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

// because prefers why ctx has ended to what that brought about.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
