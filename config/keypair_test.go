package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// writePair writes a certificate and its key as PEM files into dir.
func writePair(t *testing.T, dir, name string, template x509.Certificate) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	writePEM(t, certificate, "CERTIFICATE", der)
	writePEM(t, key, "PRIVATE KEY", pkcs8)
	return certificate, key
}

func writePEM(t *testing.T, path, kind string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// pairOf is the pair of a configuration with these paths.
func pairOf(t *testing.T, certificate, key string) KeyPair {
	t.Helper()
	text := "version: 1\ngroups: {all: {}}\ndefault_group: all\nlisten:\n  dot: [\":853\"]\n  tls:\n    certificate: " + certificate + "\n    key: " + key + "\n"
	cfg, err := load(&report{file: "f"}, []byte(text), t.TempDir(), fakeMachine())
	if err != nil {
		t.Fatal(err)
	}
	return cfg.TLS
}

func TestWhatIsWrongWithTheFilesOfACertificateIsSaidWhereTheyAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	template := x509.Certificate{DNSNames: []string{"dns.school.example"}, NotAfter: time.Now().Add(time.Hour)}
	cert, key := writePair(t, dir, "one", template)
	_, otherKey := writePair(t, dir, "other", template)
	empty, locked, garbled := filepath.Join(dir, "empty"), filepath.Join(dir, "locked"), filepath.Join(dir, "garbled")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	writePEM(t, locked, "ENCRYPTED PRIVATE KEY", []byte("x"))
	writePEM(t, garbled, "CERTIFICATE", []byte("x"))
	none := filepath.Join(dir, "none")
	for name, c := range map[string]struct {
		certificate, key string
		want             []string
	}{
		"nothing": {cert, key, nil},
		"there is no file": {none, none, []string{
			`f:7:18: listen.tls.certificate: "DIR/none": no such file or directory`, `f:8:10: listen.tls.key: "DIR/none": no such file or directory`,
		}},
		"the key is another's": {cert, otherKey, []string{
			`f:8:10: listen.tls.key: "DIR/other.key" is not the key of the certificate "DIR/one.pem" (the site's own certificate comes first in its file)`,
		}},
		"the wrong way round": {key, cert, []string{
			`f:7:18: listen.tls.certificate: "DIR/one.key" holds no certificate (are certificate and key the wrong way round?)`,
			`f:8:10: listen.tls.key: "DIR/one.pem" holds no private key (it must be PEM: -----BEGIN …)`,
		}},
		"an empty file": {empty, key, []string{
			`f:7:18: listen.tls.certificate: "DIR/empty" holds no certificate (it must be PEM: -----BEGIN …)`,
		}},
		"a key with a password": {cert, locked, []string{
			`f:8:10: listen.tls.key: "DIR/locked" is encrypted with a password (openssl pkey writes it without)`,
		}},
		"no certificate within": {garbled, key, []string{
			`f:7:18: listen.tls.certificate: "DIR/garbled" with "DIR/one.key": x509: malformed certificate`,
		}},
	} {
		pair, problems := pairOf(t, c.certificate, c.key).Load()
		var got []string
		for _, p := range problems {
			got = append(got, strings.ReplaceAll(p.Error(), dir, "DIR"))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if (pair == nil) == (c.want == nil) {
			t.Errorf("%s: pair %v", name, pair)
		}
	}
	if pair, problems := (KeyPair{}).Load(); pair != nil || problems != nil {
		t.Errorf("no pair: %v, %v", pair, problems)
	}
}

func TestACertificateThatClientsWillRefuseIsWarnedOf(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	names := []string{"dns.school.example"}
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		template x509.Certificate
		mode     os.FileMode
		want     []string
	}{
		"nothing":          {x509.Certificate{DNSNames: names, NotAfter: now.Add(15 * day)}, 0o640, nil},
		"it ends soon":     {x509.Certificate{DNSNames: names, NotAfter: now.Add(13 * day)}, 0o600, []string{"certificate: the certificate expires on 2026-12-03 12:00 (renew it)"}},
		"it has ended":     {x509.Certificate{DNSNames: names, NotAfter: now.Add(-time.Minute)}, 0o600, []string{"certificate: the certificate expired on 2026-11-20 11:59 (renew it: clients refuse it)"}},
		"it begins later":  {x509.Certificate{DNSNames: names, NotBefore: now.Add(time.Hour), NotAfter: now.Add(90 * day)}, 0o600, []string{"certificate: the certificate is valid from 2026-11-20 13:00 only (is the clock right?)"}},
		"it has no name":   {x509.Certificate{NotAfter: now.Add(90 * day)}, 0o600, []string{"certificate: the certificate has no DNS name (Android and browsers want one)"}},
		"all read its key": {x509.Certificate{DNSNames: names, NotAfter: now.Add(90 * day)}, 0o644, []string{`key: "DIR/pair.key" is open to everybody on this machine (chmod 640)`}},
	} {
		dir := t.TempDir()
		cert, key := writePair(t, dir, "pair", c.template)
		if err := os.Chmod(key, c.mode); err != nil {
			t.Fatal(err)
		}
		files := pairOf(t, cert, key)
		pair, problems := files.Load()
		if problems != nil {
			t.Fatal(problems)
		}
		var got []string
		for _, w := range files.Warnings(pair, now, time.UTC) {
			text := strings.ReplaceAll(w.Error(), dir, "DIR")
			got = append(got, text[strings.Index(text, "listen.tls.")+len("listen.tls."):])
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if w := (KeyPair{}).Warnings((*tls.Certificate)(nil), now, time.UTC); w != nil {
		t.Errorf("no pair: %v", w)
	}
}
