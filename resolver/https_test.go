package resolver_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestAResponseOfHTTPSIsKeptNoLongerThanItsAnswer(t *testing.T) {
	up := startUpstream(t, records(
		"www.example. 300 IN CNAME other.example.", "other.example. 77 IN A 192.0.2.1", "long.example. 86400 IN A 192.0.2.1",
	))
	s := startEncrypted(t, nil, up)
	for name, want := range map[string]string{
		"www.example":      "max-age=77",  // the smallest of the answer
		"none.example":     "max-age=60",  // MINIMUM of the SOA record
		"www.porn.example": "max-age=30",  // blocking.ttl
		"long.example":     "max-age=300", // cache.client_ttl
	} {
		if _, head := s.overHTTPS(t, ask(name, dns.TypeA), http.MethodGet, true); head.Get("Cache-Control") != want {
			t.Errorf("%s: Cache-Control %q, want %q", name, head.Get("Cache-Control"), want)
		}
	}
	// A failure has nothing that says how long it is true.
	if _, head := s.overHTTPS(t, ask("www.example", dns.TypeAXFR), http.MethodGet, true); head.Get("Cache-Control") != "max-age=0" {
		t.Errorf("REFUSED: Cache-Control %q", head.Get("Cache-Control"))
	}
}

func TestAnHTTPRequestThatIsNoQueryHasTheStatusThatSaysWhy(t *testing.T) {
	s := startEncrypted(t, nil)
	query := pack(t, ask("printer.internal", dns.TypeA))
	encoded := base64.RawURLEncoding.EncodeToString(query)
	response := bytes.Clone(query)
	response[2] |= 0x80
	large := append(bytes.Clone(query), make([]byte, 4097)...)
	const dnsType = "application/dns-message"
	for name, c := range map[string]struct {
		method, target, kind string
		body                 io.Reader
		want                 int
	}{
		"a query":                         {"GET", "/dns-query?dns=" + encoded, "", nil, 200},
		"a posted query":                  {"POST", "/dns-query", dnsType, bytes.NewReader(query), 200},
		"a content type with a parameter": {"POST", "/dns-query", dnsType + "; x=y", bytes.NewReader(query), 200},
		"another path":                    {"GET", "/", "", nil, 404},
		"a path below":                    {"GET", "/dns-query/x?dns=" + encoded, "", nil, 404},
		"another method":                  {"PUT", "/dns-query", dnsType, bytes.NewReader(query), 405},
		"HEAD":                            {"HEAD", "/dns-query?dns=" + encoded, "", nil, 405},
		"OPTIONS":                         {"OPTIONS", "/dns-query", "", nil, 405},
		"no parameter":                    {"GET", "/dns-query", "", nil, 400},
		"an empty parameter":              {"GET", "/dns-query?dns=", "", nil, 400},
		"two parameters":                  {"GET", "/dns-query?dns=" + encoded + "&dns=" + encoded, "", nil, 400},
		"padded base64":                   {"GET", "/dns-query?dns=" + encoded + "==", "", nil, 400},
		"no base64":                       {"GET", "/dns-query?dns=%2B%2F%2B", "", nil, 400},
		"a response":                      {"POST", "/dns-query", dnsType, bytes.NewReader(response), 400},
		"an empty body":                   {"POST", "/dns-query", dnsType, http.NoBody, 400},
		"half a header":                   {"POST", "/dns-query", dnsType, bytes.NewReader(query[:6]), 400},
		"a parameter beyond what is read": {"GET", "/dns-query?dns=" + base64.RawURLEncoding.EncodeToString(large), "", nil, 414},
		"a parameter of 40 kB":            {"GET", "/dns-query?dns=" + strings.Repeat("A", 40<<10), "", nil, 431},
		"a body beyond what is read":      {"POST", "/dns-query", dnsType, bytes.NewReader(large), 413},
		"such a body without its length":  {"POST", "/dns-query", dnsType, io.MultiReader(bytes.NewReader(large)), 413},
		"another content type":            {"POST", "/dns-query", "application/dns-json", bytes.NewReader(query), 415},
		"no content type":                 {"POST", "/dns-query", "", bytes.NewReader(query), 415},
		"the parameters of a JSON API":    {"GET", "/dns-query?name=printer.internal&type=A", "", nil, 400},
	} {
		for _, h2 := range []bool{true, false} {
			body := c.body
			if seeker, ok := body.(io.Seeker); ok {
				_, _ = seeker.Seek(0, io.SeekStart)
			} else if body != nil && body != http.NoBody {
				body = io.MultiReader(bytes.NewReader(large))
			}
			req, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+s.doh+c.target, body)
			if err != nil {
				t.Fatal(err)
			}
			if c.kind != "" {
				req.Header.Set("Content-Type", c.kind)
			}
			resp, err := s.httpClient(t, h2).Do(req)
			if err != nil {
				if !h2 || c.want != 431 { // HTTP/2 may end the connection instead
					t.Errorf("%s: %.200v", name, err)
				}
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != c.want {
				t.Errorf("%s, HTTP/2 %v: status %d, want %d", name, h2, resp.StatusCode, c.want)
			}
			if c.want == 405 && resp.Header.Get("Allow") != "GET, POST" {
				t.Errorf("%s: Allow %q", name, resp.Header.Get("Allow"))
			}
		}
	}
	if n := s.counter(t, "schoolgate_refused_connections_total", "transport", "doh", "reason", "malformed"); n != 2*19 {
		t.Errorf("%v malformed requests counted", n)
	}
}
