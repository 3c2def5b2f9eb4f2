package dnswire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/resolver/dnswire"
)

func TestStripECHTakesNothingButTheKeysOfEncryptedClientHello(t *testing.T) {
	rrs := func(texts ...string) (out []dns.RR) {
		for _, text := range texts {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, rr)
		}
		return out
	}
	for _, test := range []struct {
		what     string
		answer   []dns.RR
		want     string // of the answer; "": nothing is to be taken
		wantMore string // of the authority
	}{
		{what: "no keys", answer: rrs(`www.example.org. 300 IN HTTPS 1 . alpn="h2" ipv4hint="192.0.2.1"`)},
		{what: "an alias", answer: rrs(`www.example.org. 300 IN HTTPS 0 cdn.example.org.`)},
		{what: "another type", answer: rrs(`www.example.org. 300 IN A 192.0.2.1`)},
		{
			what: "keys between others, signed, behind an alias and before another record",
			answer: rrs(
				`www.example.org. 300 IN CNAME svc.example.org.`,
				`svc.example.org. 300 IN HTTPS 1 edge.example.org. mandatory="alpn,ech" alpn="h2,h3" ipv4hint="192.0.2.1" ech="AEX+DQBB" ipv6hint="2001:db8::1"`,
				`svc.example.org. 300 IN RRSIG HTTPS 13 3 300 20270101000000 20260101000000 12345 example.org. AAAA`,
				`svc.example.org. 300 IN HTTPS 2 . alpn="h2"`,
				`edge.example.org. 60 IN A 192.0.2.2`,
			),
			want: `svc.example.org. HTTPS 1 edge.example.org. mandatory="alpn" alpn="h2,h3" ipv4hint="192.0.2.1" ipv6hint="2001:db8::1"` + "\n" +
				`svc.example.org. HTTPS 2 . alpn="h2"`,
		},
		{
			what: "mandatory alone", answer: rrs(`www.example.org. 300 IN HTTPS 1 . mandatory="ech" ech="AEX+DQBB"`),
			want: `www.example.org. HTTPS 1 .`,
		},
	} {
		t.Run(test.what, func(t *testing.T) {
			m := new(dns.Msg).SetQuestion("www.example.org.", dns.TypeHTTPS)
			m.Response, m.AuthenticatedData, m.Answer, m.Compress = true, true, test.answer, true
			m.Id = 7
			name := []byte("\x03www\x07example\x03org\x00")
			parsed, err := dnswire.ParseAnswer(pack(t, m), 7, name, dns.TypeHTTPS, true)
			if err != nil {
				t.Fatal(err)
			}
			before := bytes.Clone(parsed.Msg)
			got, ttls := dnswire.StripECH(parsed.Msg)
			if !bytes.Equal(before, parsed.Msg) {
				t.Error("the message was changed")
			}
			if (got == nil) != (test.want == "") {
				t.Fatalf("stripped: %v", got != nil)
			}
			if got == nil {
				return
			}
			var back dns.Msg
			if err := back.Unpack(got); err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, rr := range back.Answer {
				if rr.Header().Rrtype == dns.TypeHTTPS {
					lines = append(lines, rr.Header().Name+" HTTPS "+strings.TrimPrefix(rr.String(), rr.Header().String()))
				}
				if rr.Header().Rrtype == dns.TypeRRSIG {
					t.Error("a signature over what was changed is left")
				}
			}
			if strings.Join(lines, "\n") != test.want || back.AuthenticatedData || back.Rcode != 0 {
				t.Errorf("%s, want %s; %v", strings.Join(lines, "\n"), test.want, back.MsgHdr)
			}
			if len(ttls) != len(back.Answer) {
				t.Errorf("%d times to live of %d records", len(ttls), len(back.Answer))
			}
			for i, at := range ttls {
				dnswire.AgeTTL(got, at, 0, uint32(i+1))
			}
			if err := back.Unpack(got); err != nil {
				t.Fatal(err)
			}
			for i, rr := range back.Answer {
				if rr.Header().Ttl != uint32(i+1) {
					t.Errorf("the time to live of %v is elsewhere", rr)
				}
			}
			if again, _ := dnswire.StripECH(got); again != nil {
				t.Error("there is something left to take")
			}
		})
	}
}
