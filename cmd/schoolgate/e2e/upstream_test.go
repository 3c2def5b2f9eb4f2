//go:build e2e

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// certificate is one for dns.test.example, with the file that a system would trust it by.
func certificate(t *testing.T) (cert tls.Certificate, trusted string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"dns.test.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	trusted = filepath.Join(t.TempDir(), "roots.pem")
	write(t, trusted, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, trusted
}

// localAddress answers each question for an address with 127.0.0.1, and says in text by what it was asked.
func localAddress(by string, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	var text string
	switch q.Question[0].Qtype {
	case dns.TypeA:
		text = " 60 IN A 127.0.0.1"
	case dns.TypeTXT:
		text = " 60 IN TXT " + by
	default:
		return m
	}
	rr, _ := dns.NewRR(q.Question[0].Name + text)
	m.Answer = []dns.RR{rr}
	return m
}

// serveDNS runs a DNS server until the test ends.
func serveDNS(t *testing.T, s *dns.Server, by string) {
	t.Helper()
	s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(localAddress(by, q)) })
	done := make(chan struct{})
	go func() { defer close(done); _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown(); <-done })
}

// forwardTo changes the configuration's upstreams.
func (s *site) forwardTo(t *testing.T, upstreams string) {
	t.Helper()
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := regexp.MustCompile(`(?m)^upstreams: .*$`).ReplaceAllLiteralString(string(text), "upstreams: {"+upstreams+"}")
	write(t, s.config, changed)
}

func TestQuestionsGoOverEncryptedUpstreamsByTheSystemsRoots(t *testing.T) {
	cert, trusted := certificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}}

	overTLS, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	serveDNS(t, &dns.Server{Listener: overTLS}, "tls")
	_, port, _ := net.SplitHostPort(overTLS.Addr().String())

	overHTTPS := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q := new(dns.Msg)
		if q.Unpack(body) != nil {
			http.Error(w, "no query", http.StatusBadRequest)
			return
		}
		packed, _ := localAddress("https", q).Pack()
		w.Header().Set("Content-Type", "application/dns-message")
		_, _ = w.Write(packed)
	}))
	overHTTPS.EnableHTTP2, overHTTPS.TLS = true, config.Clone()
	overHTTPS.StartTLS()
	t.Cleanup(overHTTPS.Close)

	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveDNS(t, &dns.Server{PacketConn: socket}, "bootstrap")

	for want, server := range map[string]string{
		"tls":   "tls://dns.test.example:" + port,
		"https": "https://" + overHTTPS.Listener.Addr().String() + "/dns-query#dns.test.example",
	} {
		t.Run(want, func(t *testing.T) {
			s := newSite(t, `
categories: {gaming: {severity: low, lists: [{url: "http://lists.test.example/games.txt"}]}}
groups: {pupils: {block: [gaming]}}
default_group: pupils
`)
			s.forwardTo(t, fmt.Sprintf("bootstrap: [%q], servers: [%q]", socket.LocalAddr(), server))
			s.env = []string{"SSL_CERT_FILE=" + trusted}
			s.start(t)
			if r := s.dig(t, pupil, "who.example", "TXT", "+short"); strings.TrimSpace(string(r)) != `"`+want+`"` {
				t.Errorf("got %s", r)
			}
			// The hosts of lists are looked up by the same servers.
			// The hosts of lists are looked up by the same servers: nobody else knows this one. (A name may not
			// lead to this machine, so that the list is not fetched.)
			waitFor(t, "the list to be asked for", func() bool {
				return strings.Contains(s.list(t, "http://lists.test.example/games.txt").Problem, "dial tcp 127.0.0.1:80: an address of this machine")
			})
		})
	}
}

func TestAnUpstreamThatNoRootVouchesForIsAskedNothing(t *testing.T) {
	cert, _ := certificate(t)
	overTLS, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	serveDNS(t, &dns.Server{Listener: overTLS}, "tls")
	s := newSite(t, "\ngroups: {pupils: {}}\ndefault_group: pupils\n")
	s.forwardTo(t, fmt.Sprintf("servers: [\"tls://%s#dns.test.example\"]", overTLS.Addr()))
	s.start(t)
	if r := s.dig(t, pupil, "who.example", "TXT"); !strings.Contains(string(r), "status: SERVFAIL") {
		t.Errorf("got %s", r)
	}
}
