package config

import (
	"crypto/x509"
	"net/netip"
	"testing"
	"time"

	"schoolgate/blocklist"
)

func TestTheRangeOfAReverseZone(t *testing.T) {
	t.Parallel()
	for zone, want := range map[string]string{
		"10.in-addr.arpa": "10.0.0.0/8", "20.172.in-addr.arpa": "172.20.0.0/16", "4.3.20.10.in-addr.arpa": "10.20.3.4/32", "in-addr.arpa": "0.0.0.0/0",
		"8.b.d.0.1.0.0.2.ip6.arpa": "2001:db8::/32", "2.8.b.d.0.1.0.0.2.ip6.arpa": "2001:db8:2000::/36", "IP6.ARPA": "::/0",
		"school.internal": "", "arpa": "", "256.in-addr.arpa": "", "a.in-addr.arpa": "", "5.4.3.20.10.in-addr.arpa": "", "ab.ip6.arpa": "", "g.ip6.arpa": "", "0-127.2.0.192.in-addr.arpa": "",
	} {
		n, err := blocklist.ParseName(zone)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := reverseRange(n)
		if ok != (want != "") || ok && got != netip.MustParsePrefix(want) {
			t.Errorf("%s: %v %v, want %q", zone, got, ok, want)
		}
	}
}

func TestACertificateThatIsNotForTheNameOfAGroupIsWarnedOf(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	cert, key := writePair(t, t.TempDir(), "pair", x509.Certificate{DNSNames: []string{"dns.school.example", "*.dns.school.example"}, NotAfter: now.Add(90 * 24 * time.Hour)})
	files := pairOf(t, cert, key)
	for _, name := range []string{"dns.school.example", "y7.dns.school.example", "y7.school.example", "a.y7.dns.school.example"} {
		files.Hosts = append(files.Hosts, HostName{name, Error{File: "f", Line: 9, Column: 1, Path: name}})
	}
	pair, problems := files.Load()
	if problems != nil {
		t.Fatal(problems)
	}
	want := "f:9:1: y7.school.example: the certificate is not for y7.school.example: devices that ask by it get no answer (have the name put into the certificate)\n" +
		"f:9:1: a.y7.dns.school.example: the certificate is not for a.y7.dns.school.example: devices that ask by it get no answer (have the name put into the certificate)"
	if got := files.Warnings(pair, now, time.UTC).Error(); got != want {
		t.Errorf("warnings:\n%s\nwant\n%s", got, want)
	}
}
