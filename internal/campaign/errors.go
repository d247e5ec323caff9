package campaign

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What can be wrong with a server, or with how it is spoken to. It is for the user to mend;
// nothing has been done, and nothing is lost.
var (
	ErrUnreachable = errors.New("nobody answers there")
	ErrCredentials = errors.New("the server does not let us in")
	ErrCertificate = errors.New("the certificates do not agree")
	ErrJetStream   = errors.New("JetStream is off there")
	ErrPermission  = errors.New("this account may not do that")
)

// What can be wrong with the directory and the address of our own server.
var (
	ErrTaken    = errors.New("the address is taken")
	ErrLocked   = errors.New("another server has the directory")
	ErrWritable = errors.New("the directory cannot be written")
	ErrFull     = errors.New("the disk of the server is full")
	// ErrBroken is a server that has stopped keeping what it is given.
	ErrBroken = errors.New("the server can no longer keep anything")
)

// What can be wrong with what is asked for.
var (
	ErrNoCampaign = errors.New("there is no such campaign")
	ErrName       = errors.New("not a name")
	// ErrDiffers is a job that was put before under the same ID, and was another one.
	ErrDiffers = errors.New("another job has this ID")
	// ErrNotKept is a directory that is not there.
	ErrNotKept = errors.New("not kept")
	// ErrReplicas are more of them than there are servers.
	ErrReplicas = errors.New("there are not enough servers")
	// ErrBarren is a machine on which no job comes to a verdict.
	ErrBarren = errors.New("nothing comes to a verdict on this machine")
	// ErrOptions are options that do not go together, or a file of them that cannot be read.
	ErrOptions = errors.New("wrong options")
)

// problem is an error of two: the kind, to be asked for with errors.Is, and where and why.
func problem(kind error, format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), kind)
}

// full says that an error is of a disk without room.
func full(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, ErrFull) {
		return true
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case 10002, 10023, 10028, 10047: // resources of account, server, memory, storage
		return true
	case 10077: // whatever its store says
		return strings.Contains(api.Description, "no space left") || strings.Contains(api.Description, "maximum bytes")
	}
	return false
}

// replicas says that there is no room for that many of them.
func replicas(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == 10074 || api.ErrorCode == 10005) // it is alone; no suitable peers
}

// present says that a stream of one message per subject has turned away a second one.
func present(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == 10077 && strings.Contains(api.Description, "maximum messages per subject")
}

// ofConnecting makes an error of a first connection one that says what is to be done.
func ofConnecting(server string, err error) error {
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		alert     tls.AlertError
	)
	text := err.Error()
	switch {
	case errors.As(err, &authority), errors.As(err, &verify), errors.As(err, &hostname), errors.As(err, &invalid),
		errors.As(err, &alert), strings.Contains(text, "tls: "), strings.Contains(text, "tls error"), strings.Contains(text, "x509: "):
		return problem(ErrCertificate, "%s: %v (is the CA that of the server, and does it want a certificate of ours?)", server, err)
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return problem(ErrCertificate, "%s: %v (one side wants TLS, and the other does not)", server, err)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked),
		errors.Is(err, nats.ErrAccountAuthExpired), errors.Is(err, nats.ErrNkeysNotSupported), strings.Contains(strings.ToLower(text), "authorization violation"):
		return problem(ErrCredentials, "%s: %v (give its token, or a file of credentials)", server, err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission):
		return problem(ErrOptions, "%v", err)
	}
	return problem(ErrUnreachable, "%s: %v (is the server running, and the address right?)", server, err)
}

// shown is an address without what is secret of it.
func shown(address string) string {
	var all []string
	for a := range strings.SplitSeq(address, ",") {
		a = strings.TrimSpace(a)
		if u, err := url.Parse(a); err == nil && u.Host != "" {
			u.User, u.RawQuery = nil, ""
			a = u.String()
		} else if _, host, ok := strings.Cut(a, "@"); ok {
			a = host
		}
		all = append(all, a)
	}
	return strings.Join(all, ",")
}
