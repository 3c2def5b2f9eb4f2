package resolver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/resolver"
)

// authority issues certificates that its roots lead to.
type authority struct {
	roots *x509.CertPool
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{roots: x509.NewCertPool()}
	der := a.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.key = der.PrivateKey.(*ecdsa.PrivateKey)
	var err error
	if a.cert, err = x509.ParseCertificate(der.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(a.cert)
	return a
}

// issue signs a certificate; the first one signs itself.
func (a *authority) issue(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// config is of a server with a certificate for a name, and for 127.0.0.1 where there is none.
func (a *authority) config(t testing.TB, name string, protocols ...string) *tls.Config {
	t.Helper()
	template := &x509.Certificate{DNSNames: []string{name}}
	if name == "" {
		template = &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	}
	return &tls.Config{Certificates: []tls.Certificate{a.issue(t, template)}, NextProtos: protocols, MinVersion: tls.VersionTLS12}
}

// expired is config with a certificate of the past.
func (a *authority) expired(t testing.TB, name string, protocols ...string) *tls.Config {
	t.Helper()
	c := a.config(t, name, protocols...)
	c.Certificates[0] = a.issue(t, &x509.Certificate{DNSNames: []string{name}, NotAfter: time.Now().Add(-time.Minute)})
	return c
}

// streamServer accepts connections over TCP, or TLS, and has each handled; n counts them from 1.
type streamServer struct {
	addr  string
	mu    sync.Mutex
	conns []net.Conn
}

func startStreams(t testing.TB, config *tls.Config, handle func(n int, conn net.Conn)) *streamServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &streamServer{addr: l.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			n := len(s.conns)
			s.mu.Unlock()
			if config != nil {
				conn = tls.Server(conn, config)
			}
			running.Go(func() {
				defer conn.Close()
				handle(n, conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		running.Wait()
	})
	return s
}

func (s *streamServer) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// receive reads a query with its length before it; nil when the connection is at its end.
func receive(conn io.Reader) *dns.Msg {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return nil
	}
	q := new(dns.Msg)
	if q.Unpack(buf) != nil {
		return nil
	}
	return q
}

// framed is a message with its length before it.
func framedMsg(m *dns.Msg) []byte {
	packed, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return framed(packed)
}

// answerTo is the answer that is given to every name: one address.
func answerTo(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	rr, _ := dns.NewRR(q.Question[0].Name + " 300 IN A 192.0.2.1")
	m.Answer = []dns.RR{rr}
	if o := q.IsEdns0(); o != nil {
		m.SetEdns0(1232, o.Do())
	}
	return m
}

func send(conn io.Writer, m *dns.Msg) { _, _ = conn.Write(framedMsg(m)) }

// serveStream answers every question on a connection.
func serveStream(conn net.Conn) {
	for q := receive(conn); q != nil; q = receive(conn) {
		send(conn, answerTo(q))
	}
}

// to has the resolver ask the servers of these texts, in order, with certificates checked by the roots.
func to(t testing.TB, roots *x509.CertPool, servers ...string) func(*resolver.Config) {
	t.Helper()
	return func(c *resolver.Config) {
		c.Settings.Upstreams.Servers = parseUpstreams(t, servers...)
		resolver.SetRoots(c, roots)
	}
}

func parseUpstreams(t testing.TB, texts ...string) (servers []resolver.Upstream) {
	t.Helper()
	for _, text := range texts {
		u, err := resolver.ParseUpstream(text)
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, u)
	}
	return servers
}

// askAll asks for so many names at one time, over TCP, and returns how many were answered.
func (s *server) askAll(t testing.TB, prefix string, questions int) (answered int) {
	t.Helper()
	results := make([]*dns.Msg, questions)
	var asking sync.WaitGroup
	for i := range questions {
		asking.Go(func() {
			results[i] = s.exchange(t, ask(fmt.Sprintf("%s%d.example", prefix, i), dns.TypeA), "udp", "")
		})
	}
	asking.Wait()
	for _, r := range results {
		if r != nil && len(r.Answer) == 1 {
			answered++
		}
	}
	return answered
}

// isFailure reports whether the answer is SERVFAIL with the extended error of an upstream's failure.
func isFailure(r *dns.Msg) bool { return r.Rcode == dns.RcodeServerFailure && ede(r) == 22 }

// checkEncryptedQuery checks that a query as it came over an encrypted transport tells as little as it can.
func checkEncryptedQuery(t testing.TB, packed []byte) {
	t.Helper()
	q := new(dns.Msg)
	if err := q.Unpack(packed); err != nil {
		t.Fatal(err)
	}
	if len(packed)%128 != 0 {
		t.Errorf("a query of %d octets is not padded to a multiple of 128", len(packed))
	}
	o := q.IsEdns0()
	if o == nil || !q.RecursionDesired || len(q.Question) != 1 {
		t.Fatalf("query %v", q)
	}
	codes := []byte{}
	for _, option := range o.Option {
		codes = binary.BigEndian.AppendUint16(codes, option.Option())
	}
	if !bytes.Equal(codes, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, 65353), dns.EDNS0PADDING)) {
		t.Errorf("options %v, want the marker and padding", o.Option)
	}
}

// contextOf is done at the end of the test.
func contextOf(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return ctx
}
