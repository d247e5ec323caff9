package api

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An Error is the error of a call: what is known of its operation, and why it ended so.
// On the way between processes it is a [Failure] in the details of a gRPC status.
type Error struct {
	// Definite says that the operation did not take place and never will on account of
	// this call.
	Definite bool
	Reason   Reason
	Err      error
}

// Definite returns the error of an operation that did not and will not take place.
func Definite(r Reason, format string, args ...any) *Error {
	return &Error{Definite: true, Reason: r, Err: fmt.Errorf(format, args...)}
}

// Indeterminate returns the error of one that may have taken place, or may yet.
func Indeterminate(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Err: fmt.Errorf(format, args...)}
}

func (e *Error) Error() string {
	if e.Definite {
		return "not done: " + e.Err.Error()
	}
	return "outcome unknown: " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// GRPCStatus makes the error into the status that gRPC sends. Its code is for people and
// tools: only the details say what is definite.
func (e *Error) GRPCStatus() *status.Status {
	code := codes.Unknown
	switch {
	case !e.Definite:
	case e.Reason == Reason_REASON_INVALID:
		code = codes.InvalidArgument
	case e.Reason == Reason_REASON_NOT_FOUND:
		code = codes.NotFound
	case e.Reason == Reason_REASON_UNAVAILABLE:
		code = codes.Unavailable
	default:
		code = codes.FailedPrecondition
	}
	s := status.New(code, e.Err.Error())
	detailed, err := s.WithDetails(&Failure{Definite: e.Definite, Reason: e.Reason})
	if err != nil {
		return s // cannot be; and without details it is indeterminate, which is safe
	}
	return detailed
}

// Understand returns what err, the error of a call, says of its operation. One that
// nobody classified is indeterminate, whatever it sounds like.
func Understand(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	s, ok := status.FromError(err)
	if !ok {
		return &Error{Err: err}
	}
	for _, d := range s.Details() {
		if f, ok := d.(*Failure); ok {
			return &Error{Definite: f.Definite, Reason: f.Reason, Err: errors.New(s.Message())}
		}
	}
	return &Error{Err: fmt.Errorf("%v: %s", s.Code(), s.Message())}
}

// Text returns the reason as people read it.
func (r Reason) Text() string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(r.String(), "REASON_"), "_", " "))
}
