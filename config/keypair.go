package config

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"time"
)

// KeyPair names the files of listen.tls. They are read when they are needed, not when the configuration is:
// one that broke overnight is no reason to leave a school without DNS.
type KeyPair struct {
	// Certificate and Key are absolute paths, "" where there is none.
	Certificate, Key string
	// CertificateAt and KeyAt say where the paths stand in the configuration.
	CertificateAt, KeyAt Error
	// Hosts are the names of which the configuration says that clients ask by them.
	Hosts []HostName
}

// HostName is a name of this resolver, and where it stands in the configuration.
type HostName struct {
	Name string
	At   Error
}

// Load reads the pair. Without a path there is none: nil, and no problem.
func (p KeyPair) Load() (*tls.Certificate, Errors) {
	if p.Certificate == "" || p.Key == "" {
		return nil, nil
	}
	cert, problem := pemFile(p.Certificate, p.CertificateAt, "CERTIFICATE", "certificate")
	key, keyProblem := pemFile(p.Key, p.KeyAt, "PRIVATE KEY", "private key")
	var problems Errors
	for _, e := range []*Error{problem, keyProblem} {
		if e != nil {
			problems = append(problems, *e)
		}
	}
	if problems != nil {
		return nil, problems
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err == nil {
		return &pair, nil
	}
	what := strings.TrimPrefix(err.Error(), "tls: ")
	if strings.Contains(what, "does not match") {
		return nil, Errors{p.KeyAt.with("the site's own certificate comes first in its file", "%q is not the key of the certificate %q", p.Key, p.Certificate)}
	}
	return nil, Errors{p.CertificateAt.with("", "%q with %q: %s", p.Certificate, p.Key, what)}
}

// pemFile reads a file that must hold a block whose type ends in kind.
func pemFile(path string, at Error, kind, called string) ([]byte, *Error) {
	fail := func(hint, format string, args ...any) ([]byte, *Error) {
		e := at.with(hint, format, args...)
		return nil, &e
	}
	data, err := readFile(path)
	if err != nil {
		return fail("", "%q: %v", path, err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case !strings.HasSuffix(block.Type, kind):
		case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["Proc-Type"] != "":
			return fail("openssl pkey writes it without", "%q is encrypted with a password", path)
		default:
			return data, nil
		}
	}
	if kind == "CERTIFICATE" && bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return fail("are certificate and key the wrong way round?", "%q holds no %s", path, called)
	}
	return fail("it must be PEM: -----BEGIN …", "%q holds no %s", path, called)
}

// with is a problem at the place of e.
func (e Error) with(hint, format string, args ...any) Error {
	e.Problem, e.Hint = fmt.Sprintf(format, args...), hint
	return e
}

// expiresSoon is how long before its end a certificate is warned of: whoever renews it by itself has done
// so by then.
const expiresSoon = 14 * 24 * time.Hour

// Warnings says what clients will not like about a pair that Load returned.
func (p KeyPair) Warnings(cert *tls.Certificate, now time.Time, zone *time.Location) Errors {
	if cert == nil || cert.Leaf == nil {
		return nil
	}
	var warnings Errors
	warn := func(at Error, hint, format string, args ...any) {
		warnings = append(warnings, at.with(hint, format, args...))
	}
	day := func(t time.Time) string { return t.In(zone).Format("2006-01-02 15:04") }
	switch leaf := cert.Leaf; {
	case now.After(leaf.NotAfter):
		warn(p.CertificateAt, "renew it: clients refuse it", "the certificate expired on %s", day(leaf.NotAfter))
	case now.Add(expiresSoon).After(leaf.NotAfter):
		warn(p.CertificateAt, "renew it", "the certificate expires on %s", day(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		warn(p.CertificateAt, "is the clock right?", "the certificate is valid from %s only", day(leaf.NotBefore))
	}
	if len(cert.Leaf.DNSNames) == 0 {
		warn(p.CertificateAt, "Android and browsers want one", "the certificate has no DNS name")
	}
	for _, h := range p.Hosts {
		if cert.Leaf.VerifyHostname(h.Name) != nil {
			warn(h.At, "have the name put into the certificate", "the certificate is not for %s: devices that ask by it get no answer", h.Name)
		}
	}
	if info, err := os.Stat(p.Key); err == nil && info.Mode().Perm()&0o007 != 0 {
		warn(p.KeyAt, "chmod 640", "%q is open to everybody on this machine", p.Key)
	}
	return warnings
}
