package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/config"
)

// encryptedYAML is the small school with all its encrypted listeners.
var encryptedYAML = edit(`dns: ["127.0.0.1:0"]`, `dns: ["127.0.0.1:0"], dot: ["127.0.0.1:0"], doh: ["127.0.0.1:0"], doq: ["127.0.0.1:0"], tls: {certificate: cert.pem, key: key.pem}`)

// writePair writes a certificate for a name and its key into dir.
func writePair(t *testing.T, dir, name string, notAfter time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shown is the name of the certificate that a client of DNS over TLS sees; "" where there is none.
func (s *school) shown() string {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.Addrs().DoT[0].String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"dot"}})
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
}

func TestARenewedCertificateIsTakenByAReloadAndByItself(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	later := time.Now().Add(90 * 24 * time.Hour)
	writePair(t, s.dir, "one.school.example", later)
	s.configure(encryptedYAML)
	s.start()
	if a := s.Addrs(); len(a.DoT) != 1 || len(a.DoH) != 1 || len(a.DoQ) != 1 || s.shown() != "one.school.example" {
		t.Fatalf("listens on %v and shows %q", a, s.shown())
	}
	q := new(dns.Msg).SetQuestion("games.example.", dns.TypeA)
	client := &dns.Client{Net: "tcp-tls", TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	if r, _, err := client.Exchange(q, s.Addrs().DoT[0].String()); err != nil || r.Rcode != dns.RcodeNameError {
		t.Errorf("over TLS: %v %v", r, err)
	}

	writePair(t, s.dir, "two.school.example", later)
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got := s.shown(); got != "two.school.example" {
		t.Errorf("after a reload: %s", got)
	}
	writePair(t, s.dir, "three.school.example", later)
	s.tls.refresh() // as it does each minute
	if got := s.shown(); got != "three.school.example" {
		t.Errorf("after a minute: %s", got)
	}
	if code, body := s.get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d %s", code, body)
	}
}

func TestABrokenCertificateLeavesTheOneBeforeInUseAndIsSaid(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	later := time.Now().Add(90 * 24 * time.Hour)
	writePair(t, s.dir, "one.school.example", later)
	s.configure(encryptedYAML)
	s.start()
	s.write("cert.pem", "half a certi")
	s.tls.refresh()
	code, body := s.get("/healthz")
	if want := "the certificate of listen.tls has changed and can't be used; the one before serves on: "; code != 503 || !strings.HasPrefix(body, want) {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if got := s.refusal(); len(got) != 1 || !strings.HasSuffix(got[0], `listen.tls.certificate: "cert.pem" holds no certificate (it must be PEM: -----BEGIN …)`) {
		t.Errorf("a reload: %q", got)
	}
	if got := s.shown(); got != "one.school.example" {
		t.Errorf("shown: %s", got)
	}
	writePair(t, s.dir, "two.school.example", later)
	s.tls.refresh()
	if got := s.shown(); got != "two.school.example" {
		t.Errorf("shown once it is whole: %s", got)
	}
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Error(err)
	}
	if code, body := s.get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d %s", code, body)
	}
}

func TestAStartWithoutItsCertificateServesPlainDNS(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(encryptedYAML)
	s.start()
	if got := s.dig("www.example.org"); got != "192.0.2.1" {
		t.Errorf("plain DNS: %s", got)
	}
	if got := s.shown(); got != "" {
		t.Errorf("a certificate: %s", got)
	}
	code, body := s.get("/healthz")
	if want := "there is no certificate, so that encrypted DNS does not work: "; code != 503 || !strings.HasPrefix(body, want) {
		t.Errorf("/healthz: %d %s", code, body)
	}
	writePair(t, s.dir, "one.school.example", time.Now().Add(time.Hour))
	s.tls.refresh()
	if got := s.shown(); got != "one.school.example" {
		t.Errorf("once it is there: %s", got)
	}
}

func TestAnExpiredCertificateIsSaid(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	writePair(t, s.dir, "one.school.example", time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC))
	s.configure(encryptedYAML)
	s.start()
	code, body := s.get("/healthz")
	if want := "the certificate of listen.tls expired on 2026-01-02 03:04: clients refuse it\n"; code != 503 || body != want {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if w := s.Filter().WarningTexts(); len(w) == 0 || !strings.Contains(strings.Join(w, "\n"), "the certificate expired on 2026-01-02 03:04 (renew it: clients refuse it)") {
		t.Errorf("warnings: %q", w)
	}
}

func TestTheFilesOfACertificateAreLookedAtOnceAMinute(t *testing.T) {
	dir := t.TempDir()
	later := time.Now().Add(time.Hour)
	writePair(t, dir, "one.school.example", later)
	synctest.Test(t, func(t *testing.T) {
		c := certificate{log: slog.New(slog.DiscardHandler)}
		c.use(config.KeyPair{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")})
		ctx, cancel := context.WithCancel(t.Context())
		go c.watch(ctx)
		time.Sleep(90 * time.Second)
		writePair(t, dir, "two.school.example", later)
		seen := func() string { return c.inUse.Load().Leaf.DNSNames[0] }
		time.Sleep(29 * time.Second)
		before := seen()
		time.Sleep(2 * time.Second)
		if diff := cmp.Diff([]string{"one.school.example", "two.school.example"}, []string{before, seen()}); diff != "" {
			t.Errorf("just before and just after the minute (-want +got):\n%s", diff)
		}
		cancel()
		synctest.Wait()
	})
}
