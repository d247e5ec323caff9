package campaign

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/hacheck/hacheck/internal/gate"
)

// pair makes a pair of keys.
func pair(t *testing.T, make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	keys, err := make()
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return keys, public
}

// signed is a claim as it is written.
func signed(t *testing.T, c jwt.Claims, by nkeys.KeyPair) string {
	t.Helper()
	text, err := c.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// credentials are a file of a user of an account, as nsc writes it.
func credentials(t *testing.T, account nkeys.KeyPair, change func(*jwt.UserClaims)) string {
	t.Helper()
	keys, public := pair(t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public)
	if change != nil {
		change(claims)
	}
	seed, err := keys.Seed()
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.FormatUserConfig(signed(t, claims, account), seed)
	if err != nil {
		t.Fatal(err)
	}
	return written(t, string(text))
}

func written(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAFileOfCredentials(t *testing.T) {
	t.Parallel()
	operator, operatorKey := pair(t, nkeys.CreateOperator)
	system, systemKey := pair(t, nkeys.CreateAccount)
	tests, testsKey := pair(t, nkeys.CreateAccount)
	off, offKey := pair(t, nkeys.CreateAccount)
	stranger, _ := pair(t, nkeys.CreateAccount)
	may := jwt.NewAccountClaims(testsKey)
	may.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	revoked, revokedKey := pair(t, nkeys.CreateUser)
	may.RevokeAt(revokedKey, time.Now().Add(time.Hour))
	url := theirs(t, fmt.Sprintf(`
		jetstream {}
		operator: %q
		system_account: %s
		resolver: MEMORY
		resolver_preload: { %s: %q, %s: %q, %s: %q }`,
		signed(t, jwt.NewOperatorClaims(operatorKey), operator), systemKey,
		systemKey, signed(t, jwt.NewAccountClaims(systemKey), operator), testsKey, signed(t, may, operator), offKey, signed(t, jwt.NewAccountClaims(offKey), operator)))
	good := credentials(t, tests, nil)
	c := open(t, Access{URL: url, Creds: good}, Options{})
	if err := c.Put(t.Context(), append(some(3), suspicions(1)...)); err != nil {
		t.Fatal(err)
	}
	work(t, open(t, Access{URL: url, Creds: credentials(t, tests, nil)}, Options{Existing: true}), WorkOptions{Perform: perform})
	collect(t, c, 4)
	seed, err := revoked.Seed()
	if err != nil {
		t.Fatal(err)
	}
	taken, err := jwt.FormatUserConfig(signed(t, jwt.NewUserClaims(revokedKey), tests), seed)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file string
		want error
	}{
		"of no account of the server": {credentials(t, stranger, nil), ErrCredentials},
		"of an account by itself":     {credentials(t, system, nil), ErrJetStream},
		"of one without JetStream":    {credentials(t, off, nil), ErrJetStream},
		"expired":                     {credentials(t, tests, func(u *jwt.UserClaims) { u.Expires = time.Now().Add(-time.Hour).Unix() }), ErrCredentials},
		"revoked":                     {written(t, string(taken)), ErrCredentials},
		"not allowed to":              {credentials(t, tests, func(u *jwt.UserClaims) { u.Pub.Allow.Add("x") }), ErrPermission},
		"not such a file":             {written(t, "secret"), ErrOptions},
		"half of one":                 {written(t, strings.SplitAfter(read(t, good), "END NATS USER JWT")[0]), ErrOptions},
		"none":                        {"", ErrCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), Access{URL: url, Creds: test.file}, Options{Name: "a"})
			if !errors.Is(err, test.want) {
				t.Errorf("%v", err)
			}
			if errors.Is(test.want, ErrOptions) && !strings.Contains(fmt.Sprint(err), test.file) {
				t.Errorf("which file? %v", err)
			}
		})
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAClusterOfThreeLosesOne kills a server of three for good, in the middle of a campaign.
func TestAClusterOfThreeLosesOne(t *testing.T) {
	t.Parallel()
	var servers, routes, urls []string
	for range 3 {
		servers = append(servers, address(t))
		routes = append(routes, address(t))
	}
	for i := range servers {
		urls = append(urls, "nats://"+servers[i])
	}
	running := make([]*process, 3)
	for i := range running {
		running[i] = start(t, part{Role: "theirs", Dir: t.TempDir(), Config: fmt.Sprintf(`
			server_name: n%d
			listen: %q
			jetstream {}
			cluster { name: three, listen: %q, routes: [ "nats://%s", "nats://%s", "nats://%s" ] }`, i, servers[i], routes[i], routes[0], routes[1], routes[2])})
	}
	for _, r := range running {
		r.says(t, "up")
	}
	access := Access{URL: strings.Join(urls, ",")}
	var c *Campaign
	for deadline := time.Now().Add(30 * time.Second); ; { // until they have agreed on who leads them
		var err error
		if c, err = Open(t.Context(), access, Options{Name: "a", Lease: 2 * time.Second, Replicas: 3, Log: logged(t)}); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	t.Cleanup(c.Close)
	for _, stream := range []string{c.stream("jobs"), c.stream("queue"), "KV_" + c.stream("outcomes"), "KV_" + c.stream("meta"), "OBJ_" + c.stream("kept")} {
		s, err := c.link.js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().Config.Replicas; n != 3 {
			t.Errorf("%s has %d replicas", stream, n)
		}
	}
	if _, err := Open(t.Context(), access, Options{Name: "a", Replicas: 1}); !errors.Is(err, ErrOptions) {
		t.Errorf("with one replica: %v", err)
	}
	if _, err := Open(t.Context(), access, Options{Name: "five", Replicas: 5}); !errors.Is(err, ErrReplicas) {
		t.Errorf("with five replicas: %v", err)
	}
	const n = 50
	jobs := append(some(n-5), suspicions(5)...)
	if err := c.Put(t.Context(), jobs); err != nil {
		t.Fatal(err)
	}
	killed := make(chan bool)
	release := sync.OnceFunc(func() { close(killed) })
	defer release()
	var performed atomic.Int32 // some of them twice, whose lease was lost with the server
	for i := range 2 {
		worker := open(t, access, Options{Existing: true, Log: logged(t)})
		work(t, worker, WorkOptions{Name: fmt.Sprint("w", i), Jobs: 2, Perform: func(ctx context.Context, j gate.Job) (gate.Outcome, string, error) {
			if performed.Add(1) > 15 {
				<-killed
			}
			return perform(ctx, j)
		}})
	}
	collect(t, c, 10)
	leader := func() int { // of what is written most
		s, err := c.link.js.Stream(t.Context(), c.stream("queue"))
		if err != nil {
			t.Fatal(err)
		}
		var i int
		if _, err := fmt.Sscanf(s.CachedInfo().Cluster.Leader, "n%d", &i); err != nil {
			t.Fatal(err)
		}
		return i
	}()
	running[leader].kill()
	release()
	outcomes := collect(t, c, n)
	for _, j := range jobs {
		if o := outcomes[j.ID]; o.Class != gate.Valid || o.Last().Words != proof(j.Seed) {
			t.Errorf("%s is %q: %s", j.ID, o.Class, o.Words)
		}
	}
	if s, err := c.Status(t.Context()); err != nil || s.Put != n || s.Done[gate.Valid] != n {
		t.Errorf("put %d, done %v, %v", s.Put, s.Done, err)
	}
}

// TestAServerOfTheUsersThatIsFull has another campaign fill it, and go.
func TestAServerOfTheUsersThatIsFull(t *testing.T) {
	access := Access{URL: theirs(t, `jetstream { max_file_store: 3MB }`)}
	large := open(t, access, Options{Name: "large"})
	c := open(t, access, Options{})
	if err := c.Put(t.Context(), some(2)); err != nil {
		t.Fatal(err)
	}
	begun, goOn := make(chan bool, 2), make(chan bool)
	work(t, c, WorkOptions{Jobs: 2, Perform: func(context.Context, gate.Job) (gate.Outcome, string, error) {
		begun <- true
		<-goOn
		return gate.Outcome{Class: gate.Invalid, Attempts: []gate.Attempt{{Class: gate.Invalid, Witness: strings.Repeat("w", 400_000)}}}, "", nil
	}})
	for range 2 {
		<-begun
	}
	if took, err := fill(t, large); !errors.Is(err, ErrFull) || took == 0 || !strings.Contains(err.Error(), "make room") {
		t.Fatalf("after %d: %v", took, err)
	}
	late := gate.Job{ID: "late", Arguments: []string{strings.Repeat("x", 400_000)}}
	if err := c.Put(t.Context(), []gate.Job{late}); !errors.Is(err, ErrFull) {
		t.Fatalf("%v", err)
	}
	close(goOn)
	if s, err := c.Status(t.Context()); err != nil || len(s.Outcomes) != 0 { // it can be looked at
		t.Errorf("%d outcomes, %v", len(s.Outcomes), err)
	}
	if err := large.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, o := range collect(t, c, 2) { // those that have waited
		if o.Class != gate.Invalid || len(o.Last().Witness) != 400_000 || o.Deliveries != 0 {
			t.Errorf("%s is %q, delivered %d times", id, o.Class, o.Deliveries)
		}
	}
	if err := c.Put(t.Context(), []gate.Job{late}); err != nil {
		t.Fatal(err)
	}
	collect(t, c, 3)
}
