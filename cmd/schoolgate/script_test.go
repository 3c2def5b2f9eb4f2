package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	agekeys "filippo.io/age"
	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/policy/breach"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"schoolgate": main})
}

var update = flag.Bool("update", false, "write what the commands print into the scripts")

// TestScripts runs the program as a user would: each script in testdata/script is a session at a
// shell. Beside schoolgate itself they can use
//
//	exits CODE COMMAND…          run a command that ends with that exit code
//	ready DATADIR                wait until the schoolgate on that data directory is ready
//	unhealthy DATADIR            wait until it says that something is wrong
//	signal HUP|TERM DATADIR      send a signal to the schoolgate on that data directory
//	dig DATADIR CLIENT NAME      ask it for an address, from a loopback address; prints what came back
//	answers DATADIR NAME CODE    wait until it answers with that response code
//	limited DATADIR CLIENT NAME  ask it, from a loopback address, until that is over the rate limit
//	tamper DATABASE STATEMENT    change a record behind the back of schoolgate
//	acted DATADIR KIND N         wait until the record of that data directory has N acts of a kind
//	agekey FILE                  make a pair of age keys: the secret one in the file, the public one in AGEKEY
//	grab VARIABLE REGEXP         keep what the first group matches in the output of the last command
//
// and the address of a receiver that takes alerts, in HOOK, with its secret in HOOKSECRET, and that of a
// server for the files of the directory www, in LISTS. In a file of a script that is a configuration,
// `expand FILE` has variables replaced.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			receiver, key := newReceiver()
			env.Defer(receiver.Close)
			env.Setenv("HOOK", receiver.URL)
			env.Setenv("HOOKSECRET", key)
			env.Setenv("XDG_STATE_HOME", env.WorkDir+"/state")
			lists := newListServer(filepath.Join(env.WorkDir, "www"))
			env.Defer(lists.Close)
			env.Setenv("LISTS", lists.URL)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "ready": ready, "unhealthy": unhealthy, "signal": sendSignal, "dig": dig, "answers": answers,
			"expand": expand, "limited": limited, "grab": grab, "tamper": tamper,
			"acted": acted, "agekey": agekey,
		},
	})
}

// newReceiver is a system that takes every alert whose signature is right.
func newReceiver() (server *httptest.Server, secret string) {
	r := &demoReceiver{key: []byte(demoKey), taken: func(string, demoAlert) {}}
	return httptest.NewServer(http.Handler(r)), demoSecret()
}

// newListServer serves the files of a directory, without a word on when they changed: within a second
// that would be wrong.
func newListServer(dir string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(filepath.Join(dir, filepath.Base(r.URL.Path)))
		if err != nil {
			http.Error(w, "no such list", http.StatusNotFound)
			return
		}
		_, _ = w.Write(text)
	}))
}

// expand replaces the variables in a file by what they are in the environment.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARGUMENT…]")
	}
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("got %v, want exit code %s", err, args[0])
	}
}

func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready DATADIR")
	}
	await(ts, args[0], func(_ context.Context, s daemon.Status) bool { return s.Ready })
}

func unhealthy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unhealthy DATADIR")
	}
	await(ts, args[0], func(_ context.Context, s daemon.Status) bool { return !s.Healthy })
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM}
	if neg || len(args) != 2 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal HUP|TERM DATADIR")
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(filepath.Join(args[1], "lock"))))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, signals[args[0]]))
}

func answers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: answers DATADIR NAME CODE")
	}
	await(ts, args[0], func(ctx context.Context, s daemon.Status) bool {
		r, err := exchange(ctx, s.Listen.DNS[0].String(), "127.0.0.1", args[1])
		return err == nil && dns.RcodeToString[r.Rcode] == args[2]
	})
}

func dig(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: dig DATADIR CLIENT NAME")
	}
	await(ts, args[0], func(ctx context.Context, s daemon.Status) bool {
		r, err := exchange(ctx, s.Listen.DNS[0].String(), args[1], args[2])
		ts.Check(err)
		answer := dns.RcodeToString[r.Rcode]
		for _, rr := range r.Answer {
			answer += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
		}
		fmt.Fprintln(ts.Stdout(), answer)
		return true
	})
}

func limited(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: limited DATADIR CLIENT NAME")
	}
	await(ts, args[0], func(ctx context.Context, s daemon.Status) bool {
		r, err := exchange(ctx, s.Listen.DNS[0].String(), args[1], args[2])
		ts.Check(err)
		return r.Truncated
	})
}

func tamper(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tamper DATABASE STATEMENT")
	}
	db, err := sql.Open("sqlite", "file:"+ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	changed, err := db.ExecContext(context.Background(), args[1])
	ts.Check(err)
	if n, err := changed.RowsAffected(); err != nil || n == 0 {
		ts.Fatalf("nothing was changed: %v", err)
	}
}

func agekey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: agekey FILE")
	}
	key, err := agekeys.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(key.String()+"\n"), 0o600))
	ts.Setenv("AGEKEY", key.Recipient().String())
}

func acted(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[len(args)-1])
	if neg || len(args) != 3 || err != nil {
		ts.Fatalf("usage: acted DATADIR KIND N")
	}
	await(ts, args[0], func(ctx context.Context, _ daemon.Status) bool {
		r, err := breach.OpenReader(filepath.Join(ts.MkAbs(args[0]), "breach.db"))
		ts.Check(err)
		defer r.Close()
		n := 0
		ts.Check(r.Acts(ctx, breach.ActFilter{What: args[1]}, func(breach.RecordedAct) error { n++; return nil }))
		return n >= want
	})
}

func grab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: grab VARIABLE REGEXP")
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	m := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// await waits until the schoolgate on a data directory is as it should be.
func await(ts *testscript.TestScript, dataDir string, happened func(context.Context, daemon.Status) bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		client, err := daemon.Dial(ctx, ts.MkAbs(dataDir))
		if err != nil {
			continue
		}
		if s, err := client.Status(ctx); err == nil && happened(ctx, s) {
			return
		}
	}
	ts.Fatalf("waited in vain for the schoolgate on %s", dataDir)
}

func exchange(ctx context.Context, server, from, name string) (*dns.Msg, error) {
	client := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}, Timeout: 5 * time.Second}
	r, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), server)
	return r, err
}
