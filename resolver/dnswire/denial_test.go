package dnswire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/resolver/dnswire"
)

// Whatever denial an upstream sends, what is made of it for a name below is a message that miekg can read, is
// to that name, and has as many records, with the same times to live.
func FuzzDenialBelow(f *testing.F) {
	key := []byte("\x04gone\x07example\x00")
	m := new(dns.Msg).SetQuestion("gone.example.", dns.TypeA)
	m.Id, m.Response, m.AuthenticatedData, m.Rcode, m.Compress = 7, true, true, dns.RcodeNameError, true
	f.Add(pack(f, m), false)
	for _, text := range []string{
		"example. 900 IN SOA ns.gone.example. host.example. 1 2 3 4 60", "f.example. 900 IN NSEC h.example. A",
		"gone.example. 300 IN NS ns.gone.example.",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Ns = append(m.Ns, rr)
		f.Add(pack(f, m), true)
	}
	name := strings.Repeat("below.", 30) + "gone.example."
	below := make([]byte, dnswire.MaxName)
	end, err := dns.PackDomainName(name, below, 0, nil, false)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, packet []byte, keep bool) {
		a, err := dnswire.ParseAnswer(bytes.Clone(packet), 7, key, dns.TypeA, keep)
		if err != nil || a.Msg == nil || !dnswire.DeniesAllBelow(a.Msg) {
			return
		}
		out, ok := dnswire.AppendDenial(nil, a.Msg, below[:end], dns.TypeTXT)
		if !ok {
			t.Fatalf("%x: not taken", a.Msg)
		}
		was, got := new(dns.Msg), new(dns.Msg)
		if err := was.Unpack(a.Msg); err != nil {
			return // miekg minds what is in the RDATA
		}
		if err := got.Unpack(out); err != nil {
			t.Fatalf("%x: %v", out, err)
		}
		if got.Question[0].Name != name || got.Rcode != dns.RcodeNameError || !got.AuthenticatedData || len(got.Answer) != 0 || len(got.Ns) != len(was.Ns) {
			t.Fatalf("%v became %v", was, got)
		}
		for i, rr := range got.Ns {
			if rr.Header().Ttl > was.Ns[i].Header().Ttl || !dns.IsDuplicate(rr, was.Ns[i]) {
				t.Fatalf("%v became %v", was.Ns[i], rr)
			}
		}
	})
}
