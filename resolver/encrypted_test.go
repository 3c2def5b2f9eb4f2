package resolver_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/quic-go/quic-go"

	"schoolgate/policy"
	"schoolgate/resolver"
)

// serverName is the name that the test certificates are for.
const serverName = "dns.school.example"

// newCertificate makes a certificate that signs itself, and the pool of a client that trusts it.
func newCertificate(t testing.TB, names ...string) (*tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// encryptedServer is a server with all three encrypted listeners, and what its clients need.
type encryptedServer struct {
	*server
	certificate   atomic.Pointer[tls.Certificate]
	client        *tls.Config
	dot, doh, doq string
	sizes         sync.Map // of responses, as they came: octets by *dns.Msg
}

func startEncrypted(t testing.TB, change func(*resolver.Config), upstreams ...*upstream) *encryptedServer {
	t.Helper()
	s := new(encryptedServer)
	cert, pool := newCertificate(t, serverName)
	s.certificate.Store(cert)
	s.client = &tls.Config{RootCAs: pool, ServerName: serverName}
	any := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	s.server = start(t, func(c *resolver.Config) {
		c.DoT, c.DoH, c.DoQ, c.Certificate = any, any, any, s.certificate.Load
		if change != nil {
			change(c)
		}
	}, upstreams...)
	dot, doh, doq := s.EncryptedAddrs()
	s.dot, s.doh, s.doq = dot[0].String(), doh[0].String(), doq[0].String()
	return s
}

// tlsClient is the client's side of TLS with an ALPN.
func (s *encryptedServer) tlsClient(alpn ...string) *tls.Config {
	c := s.client.Clone()
	c.NextProtos = alpn
	return c
}

// httpClient speaks one version of HTTP.
func (s *encryptedServer) httpClient(t testing.TB, h2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	transport := &http.Transport{TLSClientConfig: s.tlsClient(), Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unpack(t testing.TB, data []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(data); err != nil {
		t.Fatalf("%v in %x", err, data)
	}
	return m
}

func (s *encryptedServer) overTLS(t testing.TB, q *dns.Msg) *dns.Msg {
	t.Helper()
	conn, err := (&dns.Client{Net: "tcp-tls", TLSConfig: s.tlsClient("dot"), Timeout: 10 * time.Second}).Dial(s.dot)
	if err != nil {
		t.Fatalf("over TLS: %v", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := conn.WriteMsg(q); err != nil {
		t.Fatalf("over TLS: %v", err)
	}
	data, err := conn.ReadMsgHeader(nil)
	if err != nil {
		t.Fatalf("over TLS: %v", err)
	}
	return s.unpacked(t, data)
}

func (s *encryptedServer) unpacked(t testing.TB, data []byte) *dns.Msg {
	t.Helper()
	m := unpack(t, data)
	s.sizes.Store(m, len(data))
	return m
}

func (s *encryptedServer) overHTTPS(t testing.TB, q *dns.Msg, method string, h2 bool) (*dns.Msg, http.Header) {
	t.Helper()
	url, body := "https://"+s.doh+"/dns-query", io.Reader(nil)
	if method == http.MethodGet {
		url += "?dns=" + base64.RawURLEncoding.EncodeToString(pack(t, q))
	} else {
		body = bytes.NewReader(pack(t, q))
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/dns-message")
	}
	// What a client writes of others changes nothing: 127.0.0.9 is staff's.
	req.Header.Set("X-Forwarded-For", "127.0.0.9")
	req.Header.Set("Forwarded", "for=127.0.0.9")
	resp, err := s.httpClient(t, h2).Do(req)
	if err != nil {
		t.Fatalf("over HTTPS: %v", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/dns-message" {
		t.Fatalf("over HTTPS: %s, %v: %s", resp.Status, resp.Header, data)
	}
	if want := map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"}[h2]; resp.Proto != want {
		t.Fatalf("the answer came over %s, want %s", resp.Proto, want)
	}
	return s.unpacked(t, data), resp.Header
}

// dialQUIC opens a connection of DNS over QUIC.
func (s *encryptedServer) dialQUIC(t testing.TB) *quic.Conn {
	t.Helper()
	conn, err := quic.DialAddr(t.Context(), s.doq, s.tlsClient("doq"), &quic.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	return conn
}

// askQUIC sends bytes on a stream of their own and returns all that comes back.
func askQUIC(t testing.TB, conn *quic.Conn, wire []byte) ([]byte, error) {
	t.Helper()
	stream, err := conn.OpenStreamSync(t.Context())
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write(wire); err != nil {
		return nil, err
	}
	if err := stream.Close(); err != nil {
		return nil, err
	}
	_ = stream.SetReadDeadline(time.Now().Add(10 * time.Second))
	return io.ReadAll(stream)
}

func framed(msg []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
}

func (s *encryptedServer) overQUIC(t testing.TB, q *dns.Msg) *dns.Msg {
	t.Helper()
	q = q.Copy()
	q.Id = 0
	data, err := askQUIC(t, s.dialQUIC(t), framed(pack(t, q)))
	if err != nil {
		t.Fatalf("over QUIC: %v", err)
	}
	if len(data) < 2 || int(binary.BigEndian.Uint16(data)) != len(data)-2 {
		t.Fatalf("over QUIC: %x is not one message behind its length", data)
	}
	return s.unpacked(t, data[2:])
}

// everyWay asks over each encrypted transport.
func (s *encryptedServer) everyWay(t *testing.T, q *dns.Msg, check func(t *testing.T, way string, r *dns.Msg)) {
	t.Helper()
	check(t, "dot", s.overTLS(t, q))
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, h2 := range []bool{true, false} {
			r, _ := s.overHTTPS(t, q, method, h2)
			check(t, "doh", r)
		}
	}
	check(t, "doq", s.overQUIC(t, q))
}

func TestEveryEncryptedTransportGivesTheAnswerOfPlainDNS(t *testing.T) {
	up := startUpstream(t, records("www.example. 300 IN A 192.0.2.1", "www.porn.example. 300 IN A 192.0.2.66"))
	s := startEncrypted(t, nil, up)
	for _, question := range []struct {
		name  string
		typ   uint16
		rcode int
		ede   int
	}{
		{"www.example", dns.TypeA, dns.RcodeSuccess, -1},
		{"none.example", dns.TypeA, dns.RcodeNameError, -1},
		{"www.porn.example", dns.TypeAAAA, dns.RcodeNameError, 15},
		{"printer.internal", dns.TypeA, dns.RcodeSuccess, -1},
		{"www.example", dns.TypeAXFR, dns.RcodeRefused, 21},
	} {
		q := ask(question.name, question.typ)
		plain := s.exchange(t, q, "udp", "")
		s.everyWay(t, q, func(t *testing.T, way string, r *dns.Msg) {
			t.Helper()
			if r.Rcode != question.rcode || ede(r) != question.ede || len(r.Answer) != len(plain.Answer) || len(r.Ns) != len(plain.Ns) {
				t.Errorf("%s over %s:\n%v\nover UDP:\n%v", question.name, way, r, plain)
			}
		})
	}
	ways := map[string]int{}
	for _, e := range s.record.taken() {
		if e.Client.Addr != netip.MustParseAddr("127.0.0.1") || e.Verdict.Action != policy.Block {
			t.Errorf("recorded: %v by %v", e.Verdict.Action, e.Client.Addr)
		}
		ways[e.Transport]++
	}
	if fmt.Sprint(ways) != "map[doh:4 doq:1 dot:1 udp:1]" {
		t.Errorf("breaches by transport: %v", ways)
	}
	for series, want := range map[string]float64{"dot": 1, "doh": 4, "doq": 1} {
		if n := s.counter(t, "schoolgate_queries_total", "transport", series, "group", "pupils", "outcome", "blocked"); n != want {
			t.Errorf("blocked over %s: %v, want %v", series, n, want)
		}
	}
	if refused := s.Stats().Refused; refused != nil {
		t.Errorf("refused: %v", refused)
	}
}

// counter reads one series.
func (s *server) counter(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := map[string]string{}
			for _, l := range m.GetLabel() {
				has[l.GetName()] = l.GetValue()
			}
			same := true
			for i := 0; i < len(labels); i += 2 {
				same = same && has[labels[i]] == labels[i+1]
			}
			if same {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s with %v", name, labels)
	return 0
}

func TestWhoMayNotAskIsRefusedOverEncryptedTransportsToo(t *testing.T) {
	s := startEncrypted(t, func(c *resolver.Config) {
		spec := schoolSpec(t)
		spec.Access = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
		c.Settings.Policy = compile(t, spec)
	})
	s.everyWay(t, ask("www.example", dns.TypeA), func(t *testing.T, way string, r *dns.Msg) {
		t.Helper()
		if r.Rcode != dns.RcodeRefused || ede(r) != 18 {
			t.Errorf("over %s:\n%v", way, r)
		}
	})
}

func TestTheCertificateOfTheMomentIsShownAndOldVersionsOfTLSAreNotTaken(t *testing.T) {
	s := startEncrypted(t, nil)
	config := s.tlsClient("dot")
	config.MaxVersion = tls.VersionTLS11
	config.MinVersion = tls.VersionTLS10
	if conn, err := tls.Dial("tcp", s.dot, config); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was taken")
	}
	if conn, err := tls.Dial("tcp", s.dot, s.tlsClient("imap")); err == nil {
		conn.Close()
		t.Error("another ALPN was taken")
	}
	handshake := func(version uint16, cache tls.ClientSessionCache) tls.ConnectionState {
		config := s.tlsClient("dot")
		config.MaxVersion, config.ClientSessionCache = version, cache
		client := &dns.Client{Net: "tcp-tls", TLSConfig: config, Timeout: 10 * time.Second}
		conn, err := client.Dial(s.dot)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// The tickets of TLS 1.3 come with the first answer.
		if _, _, err := client.ExchangeWithConn(ask("printer.internal", dns.TypeA), conn); err != nil {
			t.Fatal(err)
		}
		return conn.Conn.(*tls.Conn).ConnectionState()
	}
	if state := handshake(tls.VersionTLS12, nil); state.Version != tls.VersionTLS12 {
		t.Errorf("version %x", state.Version)
	}
	cache := tls.NewLRUClientSessionCache(1)
	if state := handshake(0, cache); state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "dot" || state.DidResume {
		t.Errorf("first handshake: %x, %q", state.Version, state.NegotiatedProtocol)
	}
	if state := handshake(0, cache); !state.DidResume {
		t.Error("the session was not resumed")
	}

	before := s.certificate.Load()
	next, pool := newCertificate(t, "new.school.example")
	s.certificate.Store(next)
	s.client = &tls.Config{RootCAs: pool, ServerName: "new.school.example"}
	s.everyWay(t, ask("printer.internal", dns.TypeA), func(t *testing.T, way string, r *dns.Msg) {
		t.Helper()
		if len(r.Answer) != 1 {
			t.Errorf("over %s with the new certificate:\n%v", way, r)
		}
	})
	s.certificate.Store(nil)
	if conn, err := tls.Dial("tcp", s.dot, s.tlsClient("dot")); err == nil {
		conn.Close()
		t.Error("a handshake without a certificate")
	}
	if before == next {
		t.Error("the certificate did not change")
	}
}

func TestOneConnectionOfTLSIsAnsweredOutOfOrder(t *testing.T) {
	slow := make(chan struct{})
	up := startUpstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		if q.Question[0].Name == "slow.example." {
			<-slow
		}
		records("slow.example. 300 IN A 192.0.2.1", "fast.example. 300 IN A 192.0.2.2")(w, q)
	})
	s := startEncrypted(t, nil, up)
	conn, err := (&dns.Client{Net: "tcp-tls", TLSConfig: s.tlsClient("dot")}).Dial(s.dot)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	for _, name := range []string{"slow.example", "fast.example"} {
		if err := conn.WriteMsg(ask(name, dns.TypeA)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"fast.example.", "slow.example."} {
		r, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		if r.Question[0].Name != want {
			t.Errorf("%s came, want %s", r.Question[0].Name, want)
		}
		if want == "fast.example." {
			close(slow)
		}
	}
}

func TestEveryReasonOfARefusalIsThereFromTheStart(t *testing.T) {
	s := start(t, nil)
	n, err := testutil.GatherAndCount(s.registry, "schoolgate_refused_connections_total")
	if err != nil || n != 4*7 {
		t.Errorf("%d series, %v", n, err)
	}
	if problems, err := testutil.GatherAndLint(s.registry, "schoolgate_refused_connections_total"); err != nil || problems != nil {
		t.Errorf("%v %v", problems, err)
	}
}

func TestAnEncryptedPortThatIsTakenIsSaid(t *testing.T) {
	s := startEncrypted(t, nil)
	for way, addr := range map[string]string{"dot": s.dot, "doh": s.doh, "doq": s.doq} {
		taken := []netip.AddrPort{netip.MustParseAddrPort(addr)}
		c := resolver.Config{
			Recorder: s.record, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler), Settings: s.settings,
			Certificate: s.certificate.Load,
		}
		switch way {
		case "dot":
			c.DoT = taken
		case "doh":
			c.DoH = taken
		case "doq":
			c.DoQ = taken
		}
		if _, err := resolver.New(c); err == nil || !strings.HasPrefix(err.Error(), "listen on "+addr+" for "+way+": ") {
			t.Errorf("%s: %v", way, err)
		}
	}
}
