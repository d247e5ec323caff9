package campaign

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hacheck/hacheck/internal/gate"
)

func TestAServerThatCannotServeSaysWhy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	held := t.TempDir()
	serve(t, ServerOptions{Dir: held})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    ServerOptions
		want error
		says string
	}{
		"no directory":       {ServerOptions{}, ErrOptions, "directory"},
		"no token":           {ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"}, ErrOptions, "token"},
		"no address":         {ServerOptions{Dir: t.TempDir(), Listen: "somewhere", Token: "x"}, ErrOptions, "HOST:PORT"},
		"no port":            {ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:x", Token: "x"}, ErrOptions, "port"},
		"an address of none": {ServerOptions{Dir: t.TempDir(), Listen: "192.0.2.1:0", Token: "x"}, ErrOptions, "192.0.2.1"},
		"taken":              {ServerOptions{Dir: t.TempDir(), Listen: l.Addr().String(), Token: "x"}, ErrTaken, l.Addr().String()},
		"locked":             {ServerOptions{Dir: held}, ErrLocked, held},
		"not a directory":    {ServerOptions{Dir: file}, ErrWritable, file},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			s, err := Serve(c.o)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	s, err := Serve(ServerOptions{Dir: t.TempDir(), Listen: l.Addr().String(), Token: "x"})
	if err == nil {
		s.Close()
		t.Error("it listens where another one does")
	}
}

func TestTheDirectoryIsFreeWhenItsServerIsGone(t *testing.T) {
	dir := t.TempDir()
	serve(t, ServerOptions{Dir: dir}).Close()
	serve(t, ServerOptions{Dir: dir}).Close()
	p := part{Role: "server", Dir: dir, Listen: address(t), Token: "x"}
	other := start(t, p)
	other.says(t, "up")
	if s, err := Serve(ServerOptions{Dir: dir}); !errors.Is(err, ErrLocked) {
		if err == nil {
			s.Close()
		}
		t.Errorf("another process has it: %v", err)
	}
	other.kill()
	serve(t, ServerOptions{Dir: dir})
}

func TestWhoHasNoAccessIsToldWhy(t *testing.T) {
	s := serve(t, ServerOptions{Listen: "127.0.0.1:0", Token: "secret"})
	host := strings.TrimPrefix(s.URL(), "nats://")
	open(t, Access{URL: "nats://secret@" + host}, Options{})
	open(t, Access{URL: host, Token: "secret"}, Options{})
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	file := filepath.Join(t.TempDir(), "file")
	for name, c := range map[string]struct {
		a    Access
		want error
		says string
	}{
		"wrong token":       {Access{URL: s.URL(), Token: "wrongsecret"}, ErrCredentials, host},
		"wrong token in it": {Access{URL: "nats://wrongsecret@" + host}, ErrCredentials, host},
		"no token":          {Access{URL: s.URL()}, ErrCredentials, host},
		"nobody":            {Access{URL: "nats://wrongsecret@" + address(t)}, ErrUnreachable, "127.0.0.1"},
		"silence":           {Access{URL: "nats://" + silent.Addr().String()}, ErrUnreachable, "127.0.0.1"},
		"no address":        {Access{}, ErrOptions, "address"},
		"no such host":      {Access{URL: "nats://nowhere.invalid:4222"}, ErrUnreachable, "nowhere.invalid"},
		"no file":           {Access{URL: s.URL(), Creds: file}, ErrOptions, file},
		"no key":            {Access{URL: s.URL(), Cert: file}, ErrOptions, "key"},
		"no TLS":            {Access{URL: "tls://" + host, Token: "secret"}, ErrCertificate, host},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, err := Open(t.Context(), c.a, Options{Name: "a"})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "wrongsecret") {
				t.Errorf("it tells the token: %v", err)
			}
			if took := time.Since(began); took > 7*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// theirs starts a server as a user might have it, by its configuration file.
func theirs(t *testing.T, config string) string {
	t.Helper()
	s, err := foreign(t.TempDir(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.ClientURL()
}

// foreign is a server of a configuration, which keeps what it has in a directory.
func foreign(dir, config string) (*server.Server, error) {
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		return nil, err
	}
	opts.NoSigs, opts.NoLog, opts.StoreDir = true, true, dir
	if opts.Port == 0 {
		opts.Host, opts.Port = "127.0.0.1", server.RANDOM_PORT
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	go s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("their server does not start")
	}
	return s, nil
}

func TestAServerOfTheUsers(t *testing.T) {
	t.Parallel()
	url := theirs(t, `
		jetstream {}
		accounts {
			tests { jetstream: enabled, users: [
				{user: "all", password: "x"}
				{user: "campaigns", password: "x", permissions: {
					publish: ["hacheck.b.>", "$KV.hacheck_b_outcomes.>", "$KV.hacheck_b_meta.>", "$KV.hacheck_b_workers.>", "$O.hacheck_b_kept.>", "$JS.API.>", "$JS.ACK.>"], subscribe: "_INBOX.>" }}
				{user: "nothing", password: "x", permissions: { publish: "x", subscribe: "_INBOX.>" }}
			]}
			other { users: [ {user: "off", password: "x"} ] }
		}`)
	as := func(user string) Access { return Access{URL: strings.Replace(url, "nats://", "nats://"+user+":x@", 1)} }
	for user, want := range map[string]error{"off": ErrJetStream, "nothing": ErrPermission, "stranger": ErrCredentials} {
		if _, err := Open(t.Context(), as(user), Options{Name: "b"}); !errors.Is(err, want) {
			t.Errorf("%s: %v", user, err)
		}
	}
	for user, name := range map[string]string{"all": "a", "campaigns": "b"} { // what the package says is enough is
		c := open(t, as(user), Options{Name: name, Log: logged(t)})
		if err := c.Put(t.Context(), some(3)); err != nil {
			t.Fatal(err)
		}
		dir := directory(t, map[string]string{"run.json": "{}"})
		stop := work(t, c, WorkOptions{Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
			return gate.Outcome{Class: gate.Valid, Attempts: []gate.Attempt{{}}}, dir, nil
		}})
		for _, o := range collect(t, c, 3) {
			if err := c.Fetch(t.Context(), o.Last().Dir, filepath.Join(t.TempDir(), "f")); err != nil {
				t.Errorf("%s: %v", user, err)
			}
		}
		stop()
		if _, err := c.Status(t.Context()); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	off := theirs(t, "")
	if _, err := Open(t.Context(), Access{URL: off}, Options{Name: "a"}); !errors.Is(err, ErrJetStream) {
		t.Errorf("without JetStream: %v", err)
	}
}

// certificates are a CA, and one for a server and for a client by it, as files.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	make := func(n int64, ca bool, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		if parent == nil {
			parent, by = c, own
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &own.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return der, own
	}
	der, by := make(1, true, nil, nil)
	parent, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	ca = write("ca.pem", "CERTIFICATE", der)
	der, own := make(2, false, parent, by)
	cert = write("cert.pem", "CERTIFICATE", der)
	text, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	key = write("key.pem", "PRIVATE KEY", text)
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Fatal(err)
	}
	return ca, cert, key
}

func TestTLS(t *testing.T) {
	ca, cert, key := certificates(t)
	otherCA, otherCert, otherKey := certificates(t)
	url := theirs(t, `jetstream {}
		tls { ca_file: "`+ca+`", cert_file: "`+cert+`", key_file: "`+key+`", verify: true }`)
	c := open(t, Access{URL: url, CA: ca, Cert: cert, Key: key}, Options{})
	if err := c.Put(t.Context(), some(1)); err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]Access{
		"wrong CA":          {URL: url, CA: otherCA, Cert: cert, Key: key},
		"no CA":             {URL: url, Cert: cert, Key: key},
		"wrong certificate": {URL: url, CA: ca, Cert: otherCert, Key: otherKey},
		"no certificate":    {URL: url, CA: ca},
	} {
		if _, err := Open(t.Context(), a, Options{Name: "a"}); !errors.Is(err, ErrCertificate) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEverythingIsThereAfterARestart(t *testing.T) {
	o := ServerOptions{Dir: t.TempDir(), Listen: address(t), Token: "secret"}
	first := serve(t, o)
	c := open(t, Access{URL: "nats://" + o.Listen, Token: o.Token}, Options{Log: logged(t)})
	if _, _, err := c.Begin(t.Context(), []byte("plan")); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(t.Context(), some(20)); err != nil {
		t.Fatal(err)
	}
	goOn, away, begun := make(chan bool), make(chan bool), make(chan bool, 20)
	dir := directory(t, map[string]string{"run.json": "{}"})
	work(t, c, WorkOptions{Jobs: 3, Perform: func(_ context.Context, j gate.Job) (gate.Outcome, string, error) {
		if j.Seed >= 5 { // it comes to its end while the server is away
			begun <- true
			<-away
		}
		if j.Seed >= 8 {
			<-goOn
		}
		return gate.Outcome{Class: gate.Valid, Attempts: []gate.Attempt{{}}}, dir, nil
	}})
	collect(t, c, 5)
	for range 3 {
		<-begun
	}
	followed := collecting(t, c, 20)
	first.Close()
	close(away)
	for range 3 { // while nobody serves, they are kept here, and no more jobs come
		select {
		case <-begun:
			t.Error("a job came from nowhere")
		case <-time.After(100 * time.Millisecond):
		}
	}
	serve(t, o)
	close(goOn)
	outcomes := <-followed
	if len(outcomes) != 20 {
		t.Fatalf("%d outcomes", len(outcomes))
	}
	s, err := c.Status(t.Context())
	if err != nil || s.Put != 20 || s.Done[gate.Valid] != 20 || string(s.Asked) != "plan" {
		t.Errorf("%v, put %d, done %v, asked for %q", err, s.Put, s.Done, s.Asked)
	}
	for id, o := range outcomes {
		if err := c.Fetch(t.Context(), o.Last().Dir, filepath.Join(t.TempDir(), "f")); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// fill puts until the server is full, and returns what it took, and the error.
func fill(t *testing.T, c *Campaign) (took int, err error) {
	t.Helper()
	long := strings.Repeat("x", 100_000)
	for n := range 200 {
		if err := c.Put(t.Context(), []gate.Job{{ID: "long-" + string(rune('a'+n/26)) + string(rune('a'+n%26)), Arguments: []string{long}}}); err != nil {
			return took, err
		}
		took++
	}
	t.Fatal("it is never full")
	return 0, nil
}

func TestAServerThatIsFull(t *testing.T) {
	t.Parallel()
	o := ServerOptions{Dir: t.TempDir(), MaxStore: 2 << 20}
	s := serve(t, o)
	c := open(t, Access{Server: s}, Options{})
	if err := c.Put(t.Context(), some(1)); err != nil {
		t.Fatal(err)
	}
	begun, goOn := make(chan bool), make(chan bool)
	release := work(t, c, WorkOptions{Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
		begun <- true
		<-goOn
		return gate.Outcome{Class: gate.Valid, Attempts: []gate.Attempt{{Witness: strings.Repeat("w", 500_000)}}}, "", nil
	}})
	<-begun
	took, err := fill(t, c)
	if !errors.Is(err, ErrFull) || took == 0 {
		t.Fatalf("after %d: %v", took, err)
	}
	// A worker waits with its outcome until there is room, or it is sent home.
	close(goOn)
	release()
	s.Close()
	o.MaxStore = 0
	c = open(t, Access{Server: serve(t, o)}, Options{})
	jobs, err := c.Jobs(t.Context())
	if err != nil || len(jobs) < took+1 {
		t.Fatalf("of %d jobs %d are there, %v", took+1, len(jobs), err)
	}
	if _, _, err := c.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	work(t, c, WorkOptions{Jobs: 2, Perform: perform})
	collect(t, c, len(jobs))
}

func BenchmarkJob(b *testing.B) {
	for name, slack := range map[string]bool{"synced": false, "unsynced": true} {
		b.Run(name, func(b *testing.B) {
			s, err := Serve(ServerOptions{Dir: b.TempDir(), Listen: "127.0.0.1:0", Token: "x", slack: slack})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			c, err := Open(b.Context(), Access{URL: s.URL(), Token: "x"}, Options{Name: "b"})
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			b.ResetTimer()
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- c.Work(ctx, WorkOptions{Name: "w", Jobs: 1, Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
					return gate.Outcome{Class: gate.Valid}, "", nil
				}})
			}()
			if err := c.Put(b.Context(), some(b.N)); err != nil {
				b.Fatal(err)
			}
			n := 0
			for _, err := range c.Outcomes(b.Context()) {
				if err != nil {
					b.Fatal(err)
				}
				if n++; n == b.N {
					break
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "ms/job")
			stop()
			<-ended
		})
	}
}
