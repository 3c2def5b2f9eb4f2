package daemon

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/config"
)

// nameserver answers over UDP and TCP on loopback by a function, and remembers what it was asked.
type nameserver struct {
	addr  string
	mu    sync.Mutex
	asked []string
}

func newNameserver(t *testing.T, answer func(network string, q, r *dns.Msg)) *nameserver {
	t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	for range 10 { // a port that is free for UDP may be another test's for TCP
		var err error
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			break
		}
		udp.Close()
	}
	if tcp == nil {
		t.Fatal("no port is free for both")
	}
	n := &nameserver{addr: udp.LocalAddr().String()}
	for network, server := range map[string]*dns.Server{"udp": {PacketConn: udp}, "tcp": {Listener: tcp}} {
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			n.mu.Lock()
			n.asked = append(n.asked, network+" "+q.Question[0].Name)
			n.mu.Unlock()
			r := new(dns.Msg).SetReply(q)
			answer(network, q, r)
			_ = w.WriteMsg(r)
		})
		started, done := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(done); _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown(); <-done })
	}
	return n
}

// address answers questions for IPv4 addresses with one, and others with nothing.
func address(a string) func(string, *dns.Msg, *dns.Msg) {
	return func(_ string, q, r *dns.Msg) {
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A " + a)
			r.Answer = append(r.Answer, rr)
		}
	}
}

// lookUp asks for the IPv4 address of a host as the Loader would, with these upstreams; the zone
// school.internal has a server of its own, which says 10.0.0.1.
func lookUp(t *testing.T, host string, upstreams ...string) string {
	t.Helper()
	zone := newNameserver(t, address("10.0.0.1"))
	cfg, err := config.Parse(fmt.Appendf(nil, `version: 1
upstreams: {servers: ["%s"]}
zones: [{names: [school.internal], servers: ["udp://%s"]}]
groups: {pupils: {}}
default_group: pupils
`, strings.Join(upstreams, `", "`), zone.addr), "/etc/x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	addrs, err := lookups(func() *config.Config { return cfg }).LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(addrs)
}

func TestHostsOfListsAreLookedUpByTheUpstreams(t *testing.T) {
	t.Parallel()
	good := newNameserver(t, address("192.0.2.7"))
	failing := newNameserver(t, func(_ string, _, r *dns.Msg) { r.Rcode = dns.RcodeServerFailure })
	cutting := newNameserver(t, func(network string, q, r *dns.Msg) {
		if r.Truncated = network == "udp"; !r.Truncated {
			address("192.0.2.8")(network, q, r)
		}
	})
	mistaken := newNameserver(t, func(network string, q, r *dns.Msg) {
		address("192.0.2.66")(network, q, r)
		r.Question[0].Name = "other.example."
	})
	for _, c := range []struct {
		name, host string
		upstreams  []string
		want       string
	}{
		{"over UDP", "lists.example.", []string{"udp://" + good.addr}, "[192.0.2.7]"},
		{"over TCP", "lists.example.", []string{"tcp://" + good.addr}, "[192.0.2.7]"},
		{"the next where one fails", "lists.example.", []string{"udp://" + failing.addr, "udp://" + good.addr}, "[192.0.2.7]"},
		{"over TCP where an answer is cut", "lists.example.", []string{"udp://" + cutting.addr}, "[192.0.2.8]"},
		{"an answer to another question is none", "lists.example.", []string{"tcp://" + mistaken.addr, "udp://" + good.addr}, "[192.0.2.7]"},
		{"the next where an encrypted one cannot be trusted", "lists.example.", []string{"tls://" + good.addr, "tls://" + good.addr + "#dns.example", "udp://" + good.addr}, "[192.0.2.7]"},
		{"the school's own names by its own servers", "mirror.school.internal.", []string{"udp://" + good.addr}, "[10.0.0.1]"},
	} {
		if diff := cmp.Diff(c.want, lookUp(t, c.host, c.upstreams...)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestTheSystemsServersAreAskedLast(t *testing.T) {
	t.Parallel()
	system := newNameserver(t, address("192.0.2.9"))
	gone, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	cfg, err := config.Parse(fmt.Appendf(nil, "version: 1\nupstreams: {servers: [\"udp://%s\"]}\ngroups: {pupils: {}}\ndefault_group: pupils\n", gone.LocalAddr()), "/etc/x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := lookups(func() *config.Config { return cfg })
	dial := r.Dial
	r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, system.addr) }
	addrs, err := r.LookupNetIP(t.Context(), "ip4", "lists.example.")
	if got := fmt.Sprint(addrs, err); got != "[192.0.2.9] <nil>" {
		t.Errorf("got %s", got)
	}
}
