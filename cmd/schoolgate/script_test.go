package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"schoolgate/cmd/schoolgate/daemon"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"schoolgate": main})
}

var update = flag.Bool("update", false, "write what the commands print into the scripts")

// TestScripts runs the program as a user would: each script in testdata/script is a session at a
// shell. Beside schoolgate itself they can use
//
//	ready DATADIR              wait until the schoolgate on that data directory is ready
//	dig DATADIR CLIENT NAME    ask it for an address, from a loopback address; prints what came back
//	env HOOK                   where a receiver takes alerts, with the key of HOOKSECRET
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
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": ready, "dig": dig},
	})
}

// newReceiver is a system that takes every alert whose signature is right.
func newReceiver() (server *httptest.Server, secret string) {
	r := &demoReceiver{key: []byte(demoKey), taken: func(string, demoAlert) {}}
	return httptest.NewServer(http.Handler(r)), demoSecret()
}

func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready DATADIR")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		client, err := daemon.Dial(ctx, ts.MkAbs(args[0]))
		if err == nil {
			if s, err := client.Status(ctx); err == nil && s.Ready {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("waited in vain for the schoolgate on %s", args[0])
}

func dig(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: dig DATADIR CLIENT NAME")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client, err := daemon.Dial(ctx, ts.MkAbs(args[0]))
	ts.Check(err)
	s, err := client.Status(ctx)
	ts.Check(err)
	r, err := exchange(ctx, s.Listen.DNS[0].String(), args[1], args[2])
	ts.Check(err)
	answer := dns.RcodeToString[r.Rcode]
	for _, rr := range r.Answer {
		answer += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	fmt.Fprintln(ts.Stdout(), answer)
}

func exchange(ctx context.Context, server, from, name string) (*dns.Msg, error) {
	client := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}, Timeout: 5 * time.Second}
	r, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), server)
	return r, err
}
