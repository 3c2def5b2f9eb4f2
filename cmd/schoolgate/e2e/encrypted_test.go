//go:build e2e

package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// certifiedName is the name of the certificate of the encrypted listeners.
const certifiedName = "dns.school.example"

// encryptedSite is a school with every encrypted listener and a certificate of its own authority.
type encryptedSite struct {
	*site
	dot, doh, doq int
	*authority
}

func newEncryptedSite(t *testing.T) *encryptedSite {
	t.Helper()
	s := &encryptedSite{dot: freePort(t), doh: freePort(t), doq: freePort(t)}
	s.site = newSite(t, `categories:
  gaming: {severity: low, lists: [{path: gaming.txt}]}
groups:
  pupils: {clients: [127.20.0.0/16], block: [gaming]}
  staff: {clients: [127.1.0.0/16]}
default_group: pupils
`)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.config, strings.Replace(string(text), "listen: {", fmt.Sprintf(
		`listen: {dot: ["127.0.0.1:%d"], doh: ["127.0.0.1:%d"], doq: ["127.0.0.1:%d"], tls: {certificate: dns.pem, key: dns.key}, `, s.dot, s.doh, s.doq), 1))
	write(t, filepath.Join(s.dir, "etc", "gaming.txt"), "games.example\n")
	s.authority = newAuthority(t, filepath.Join(s.dir, "ca.pem"))
	s.renew(t, certifiedName)
	return s
}

// authority certifies a school's resolver.
type authority struct {
	file string // with its own certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, file string) *authority {
	t.Helper()
	a := &authority{file: file, key: newKey(t), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the school's authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	writePEM(t, file, "CERTIFICATE", a.sign(t, a.cert, a.key))
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, path, kind string, data []byte) {
	t.Helper()
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})))
}

// certify writes a new key and a certificate for it, as base.pem and base.key, for names and an address.
func (a *authority) certify(t *testing.T, dir, base string, names []string, addr net.IP) {
	t.Helper()
	key := newKey(t)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, base+".pem"), "CERTIFICATE", a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{addr},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}, key))
	writePEM(t, filepath.Join(dir, base+".key"), "PRIVATE KEY", pkcs8)
}

// renew gives the site a new certificate.
func (s *encryptedSite) renew(t *testing.T, name string) {
	t.Helper()
	s.certify(t, filepath.Join(s.dir, "etc"), "dns", []string{name}, net.IPv4(127, 0, 0, 1))
}

// kdig asks over one transport, and checks the certificate against the site's authority and a name.
func (s *encryptedSite) kdig(t *testing.T, transport, certified, from, name string, options ...string) (string, error) {
	t.Helper()
	port := map[string]int{"+tls": s.dot, "+https": s.doh, "+quic": s.doq}[transport]
	args := []string{
		"@127.0.0.1", "-p", fmt.Sprint(port), "-b", from, "+tls-ca=" + s.file, "+tls-hostname=" + certified, transport,
		"+timeout=5", "+retry=0", "-q", name, "-t", "A",
	}
	out, err := exec.Command("kdig", append(args, options...)...).CombinedOutput()
	return string(out), err
}

func TestRealClientsGetTheSameAnswersOverEveryEncryptedTransport(t *testing.T) {
	s := newEncryptedSite(t)
	s.start(t)
	for _, l := range []string{
		fmt.Sprintf("DNS over TLS   127.0.0.1:%d", s.dot), fmt.Sprintf("DNS over HTTPS https://127.0.0.1:%d/dns-query", s.doh), fmt.Sprintf("DNS over QUIC  127.0.0.1:%d", s.doq),
	} {
		if !strings.Contains(s.said.String(), l) || !strings.Contains(s.command(t, "status"), l) {
			t.Errorf("serve or status does not say %q:\n%s", l, s.said)
		}
	}
	for _, transport := range []string{"+tls", "+https", "+https-get", "+quic"} {
		options := []string{}
		if transport == "+https-get" {
			transport, options = "+https", []string{"+https-get"}
		}
		for name, c := range map[string]struct{ from, want string }{
			"www.example.org":   {pupil, `status: NOERROR[\s\S]*192\.0\.2\.1`},
			"www.games.example": {pupil, `status: NXDOMAIN[\s\S]*EDE: 15 \(Blocked\)`},
			"for.games.example": {teacher, `status: NOERROR[\s\S]*192\.0\.2\.1`},
		} {
			out, err := s.kdig(t, transport, certifiedName, c.from, name, options...)
			if err != nil || !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("%s over %s %v from %s: %v\n%s", name, transport, options, c.from, err, out)
			}
		}
		if out, err := s.kdig(t, transport, "other.school.example", pupil, "www.example.org", options...); err == nil && strings.Contains(out, "NOERROR") {
			t.Errorf("%s with a certificate for another name:\n%s", transport, out)
		}
		padded, err := s.kdig(t, transport, certifiedName, pupil, "www.example.org", append(options, "+padding=128")...)
		if err != nil || !strings.Contains(padded, "Received 468 B") {
			t.Errorf("%s padded: %v\n%s", transport, err, padded)
		}
	}
	var transports []string
	for _, b := range s.breachLines(t) {
		transports = append(transports, regexp.MustCompile(`"transport":"(\w+)"`).FindStringSubmatch(b)[1])
	}
	if len(transports) != 1 || transports[0] != "dot" { // the same name of the same client, so one breach: of the first
		t.Errorf("breaches over %v", transports)
	}
	for _, transport := range []string{"dot", "doh", "doq"} {
		if n := s.metric(t, fmt.Sprintf(`schoolgate_queries_total{group="pupils",outcome="blocked",transport="%s"}`, transport)); n == 0 {
			t.Errorf("no blocked query over %s is counted", transport)
		}
	}
	if out, err := s.kdig(t, "+tls", certifiedName, pupil, "www.example.org", "+keepopen", "+tcp", "www.games.example", "A"); err != nil {
		t.Errorf("two questions over one connection: %v\n%s", err, out)
	}
}

// breachLines are the breaches of the record.
func (s *encryptedSite) breachLines(t *testing.T) []string {
	t.Helper()
	var lines []string
	waitFor(t, "a breach in the record", func() bool {
		lines = strings.Fields(strings.TrimSpace(s.command(t, "breaches", "export")))
		return len(lines) > 0
	})
	return lines
}

func TestCurlAsksOverHTTP2AndHTTP1(t *testing.T) {
	s := newEncryptedSite(t)
	s.start(t)
	url := fmt.Sprintf("https://127.0.0.1:%d/dns-query", s.doh)
	curl := func(options ...string) (head string, body []byte, err error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "body")
		out, err := exec.Command("curl", append([]string{
			"--silent", "--show-error", "--max-time", "10", "--cacert", s.file, "--interface", pupil, "--dump-header", "-", "--output", file,
		}, options...)...).CombinedOutput()
		body, _ = os.ReadFile(file) // none where curl failed
		return strings.ToLower(string(out)), body, err
	}
	query := question("www.games.example", 1, true)
	posted := filepath.Join(t.TempDir(), "query")
	write(t, posted, string(query))
	encoded := base64.RawURLEncoding.EncodeToString(query)
	for version, status := range map[string]string{"--http2": "http/2 ", "--http1.1": "http/1.1 "} {
		for _, options := range [][]string{
			{version, url + "?dns=" + encoded},
			{version, "--data-binary", "@" + posted, "--header", "content-type: application/dns-message", url},
		} {
			head, body, err := curl(options...)
			if err != nil || !strings.HasPrefix(head, status+"200") || !strings.Contains(head, "content-type: application/dns-message\r\n") ||
				!strings.Contains(head, "cache-control: max-age=30\r\n") || len(body) < 12 || body[3]&0xF != 3 || !bytes.HasPrefix(body, query[:2]) {
				t.Errorf("curl %v: %v\n%s%x", options, err, head, body)
			}
		}
		for want, options := range map[string][]string{
			"400": {url + "?dns=!"}, "404": {strings.TrimSuffix(url, "dns-query")}, "405": {"--request", "DELETE", url},
			"413": {"--data-binary", "@" + program, "--header", "content-type: application/dns-message", url},
			"415": {"--data-binary", "@" + posted, url},
		} {
			// Its error is not looked at: it may be that the rest of a body was not wanted while it was being sent.
			if head, _, _ := curl(append(options, version, "--header", "expect:")...); !strings.HasPrefix(head, status+want) {
				t.Errorf("curl %v: want %s\n%s", options, want, head)
			}
		}
	}
	if out := s.command(t, "status"); !strings.Contains(out, "refused        connections and requests: doh malformed 10\n") {
		t.Errorf("status:\n%s", out)
	}
}

func TestARenewedCertificateServesAfterASignal(t *testing.T) {
	s := newEncryptedSite(t)
	s.start(t)
	s.renew(t, "new.school.example")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the new certificate", func() bool {
		out, err := s.kdig(t, "+tls", "new.school.example", pupil, "www.example.org")
		return err == nil && strings.Contains(out, "NOERROR")
	})
	for _, transport := range []string{"+https", "+quic"} {
		if out, err := s.kdig(t, transport, "new.school.example", pupil, "www.example.org"); err != nil || !strings.Contains(out, "NOERROR") {
			t.Errorf("%s: %v\n%s", transport, err, out)
		}
	}
	write(t, filepath.Join(s.dir, "etc", "dns.key"), "no key")
	out, said, code := s.try(t, "check")
	if code != 1 || !strings.Contains(out, "listen.tls.key: ") || !strings.Contains(out, "holds no private key") {
		t.Errorf("check: exit %d\n%s%s", code, out, said)
	}
	s.stop(t)
	s.start(t) // plain DNS does not depend on it
	if r := s.dig(t, pupil, "www.example.org", "A"); r.outcome(true) != "NOERROR 1" {
		t.Errorf("plain DNS without a key:\n%s", r)
	}
	if status, body := s.get("/healthz"); status != 503 || !strings.Contains(body, "encrypted DNS does not work") {
		t.Errorf("/healthz: %d %s", status, body)
	}
}

func TestDigLearnsWhereTheEncryptedListenersAre(t *testing.T) {
	s := newEncryptedSite(t)
	s.start(t)
	r := s.dig(t, pupil, "_dns.resolver.arpa", "SVCB", "+short")
	for _, want := range []string{
		fmt.Sprintf("1 %s. alpn=\"dot\" port=%d", certifiedName, s.dot), fmt.Sprintf("2 %s. alpn=\"h2\" port=%d", certifiedName, s.doh),
		fmt.Sprintf("3 %s. alpn=\"doq\" port=%d", certifiedName, s.doq),
	} {
		if !strings.Contains(string(r), want) {
			t.Errorf("no %s in\n%s", want, r)
		}
	}
}
