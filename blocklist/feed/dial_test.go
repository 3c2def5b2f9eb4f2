package feed

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestWhereAnAddressLeads(t *testing.T) {
	for want, addresses := range map[place]string{
		public: "1.1.1.1 193.49.48.249 100.63.255.255 100.128.0.0 172.32.0.1 2606:4700::1111 2001:67c:2e8::1 64:ff9b::101:101 2002:101:101::1",
		private: "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.100.100.200 198.18.0.1 192.0.0.8 fd00::1 fc00::1 fec0::1 " +
			"64:ff9b::a00:1 64:ff9b:1::1 ::ffff:10.0.0.1 ::a00:1 2002:a00:1::1",
		local: "127.0.0.1 127.8.9.10 0.0.0.0 0.1.2.3 169.254.169.254 224.0.0.251 239.1.1.1 255.255.255.255 240.0.0.1 ::1 :: fe80::1 fe80::1%eth0 ff02::fb " +
			"::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::1 2002:a9fe:a9fe::1",
	} {
		for address := range strings.FieldsSeq(addresses) {
			if got := placeOf(netip.MustParseAddr(address)); got != want {
				t.Errorf("%s: %d, want %d", address, got, want)
			}
		}
	}
}

func TestHowFarARequestMayGo(t *testing.T) {
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for configured, want := range map[string]place{
		"https://lists.example/a":  private, // a mirror in the school may have a name
		"http://1.1.1.1/a":         private,
		"http://10.0.0.1/a":        private,
		"http://127.0.0.1:8080/a":  local,
		"http://[::1]:8080/a":      local,
		"http://LOCALHOST/a":       local,
		"http://169.254.1.1/a":     local,
		"http://localhost.example": private,
	} {
		if got := reach(parse(configured)); got != want {
			t.Errorf("%s: %d, want %d", configured, got, want)
		}
	}
	for _, tt := range []struct {
		what, configured, to string
		want                 place
	}{
		{"to https", "http://lists.example/a", "https://Lists.Example/a", private},
		{"to another host", "https://lists.example/a", "https://cdn.example/a", public},
		{"from this machine to itself", "http://127.0.0.1:80/a", "http://127.0.0.1:80/b", private},
		{"from this machine to the school's network", "http://127.0.0.1/a", "http://10.0.0.1/a", public},
		{"within the school's network", "http://10.0.0.1/a", "http://10.0.0.2/a", public},
	} {
		if got := reachOfRedirect(parse(tt.configured), parse(tt.to)); got != tt.want {
			t.Errorf("redirected %s: %d, want %d", tt.what, got, tt.want)
		}
	}
}

func TestTheAddressThatIsConnectedToIsTheOneThatIsChecked(t *testing.T) {
	for _, tt := range []struct {
		furthest place
		address  string
		ok       bool
	}{
		{public, "1.1.1.1:443", true},
		{public, "10.0.0.1:443", false},
		{public, "[::ffff:10.0.0.1]:443", false},
		{public, "127.0.0.1:443", false},
		{private, "10.0.0.1:443", true},
		{private, "127.0.0.1:443", false},
		{private, "[fe80::1%eth0]:443", false},
		{local, "127.0.0.1:443", true},
		{local, "not an address", false},
	} {
		if err := dialer(tt.furthest, nil).ControlContext(t.Context(), "tcp", tt.address, nil); (err == nil) != tt.ok {
			t.Errorf("to %s where %d may be reached: %v", tt.address, tt.furthest, err)
		}
	}
}

// answering returns a resolver whose server has one address for every name; "": none.
func answering(t *testing.T, address string) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA && address != "" {
			m.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   net.ParseIP(address),
			}}
		}
		_ = w.WriteMsg(m)
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	var d net.Dialer
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

func TestANameThatResolvesToThisMachineIsNotAsked(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }))
	defer server.Close()
	f := direct()
	f.resolver = answering(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	_, err := f.fetch(t.Context(), fetchRequest{URL: "http://lists.example:" + port + "/"}, &bytes.Buffer{})
	if want := "dial tcp 127.0.0.1:" + port + ": an address of this machine"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestLocalhostMayBeAsked(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(good)) }))
	defer server.Close()
	f := direct()
	f.resolver = answering(t, "127.0.0.1")
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	var got bytes.Buffer
	if _, err := f.fetch(t.Context(), fetchRequest{URL: "http://localhost:" + port + "/"}, &got); err != nil || got.String() != good {
		t.Errorf("%q, %v", got.String(), err)
	}
}
