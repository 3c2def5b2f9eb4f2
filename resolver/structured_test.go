package resolver_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver"
)

const askForReasons = 65100 // the code of these tests

// explaining blocks a name of its own for each category, and explains to who asks for it.
func explaining(c *resolver.Config) {
	spec := policy.Spec{
		Site: "Ysgol Tŷ <Gwyn> & \"Co\"", Access: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Categories: []policy.Category{
			{Name: "iwf", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
			{Name: "pornography", Severity: policy.SeverityHigh},
			{Name: "malware", Severity: policy.SeverityHigh},
			{Name: "phishing", Severity: policy.SeverityHigh, Confidential: true},
		},
		Groups:       []policy.Group{{Name: "pupils", Block: []string{"pornography", "malware", "phishing"}}, {Name: "small", Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, Only: []blocklist.Name{"\x03bbc\x00"}}},
		Rules:        []policy.Rule{{Names: []blocklist.Name{"\x04rule\x07example\x00"}, Reason: "secret reason"}},
		DefaultGroup: "pupils",
	}
	var sources []blocklist.Source
	for i, category := range spec.Categories {
		names := []blocklist.Name{blocklist.Name(fmt.Sprintf("%c%s\x07example\x00", len(category.Name), category.Name))}
		if category.Name == "malware" || category.Name == "iwf" {
			names = append(names, "\x04both\x07example\x00")
		}
		sources = append(sources, blocklist.Source{ID: "list", Category: blocklist.Category(i), List: blocklist.ListOf(names...)})
	}
	p, err := policy.Compile(spec, blocklist.Build(sources), true)
	if err != nil {
		panic(err)
	}
	c.Settings.Policy = p
	c.Settings.Zones = nil
	c.Settings.Blocking.StructuredErrors = resolver.StructuredErrors{Option: askForReasons, Contact: "mailto:it@school.example"}
}

func askingFor(name string, option uint16, data ...byte) *dns.Msg {
	q := ask(name, dns.TypeA)
	q.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_LOCAL{Code: option, Data: data}}
	return q
}

// reasonOf is the text of the one extended error, which must be Blocked.
func reasonOf(t *testing.T, r *dns.Msg) string {
	t.Helper()
	var found []*dns.EDNS0_EDE
	for _, option := range r.IsEdns0().Option {
		if e, ok := option.(*dns.EDNS0_EDE); ok {
			found = append(found, e)
		}
	}
	if len(found) != 1 || found[0].InfoCode != dns.ExtendedErrorCodeBlocked {
		t.Fatalf("not one extended error Blocked: %v", r)
	}
	return found[0].ExtraText
}

func TestWhoAsksOverEncryptedDNSIsToldWhoBlockedAndWhomToAsk(t *testing.T) {
	s := startEncrypted(t, explaining)
	for _, name := range []string{"pornography.example", "malware.example", "rule.example", "iwf.example", "phishing.example"} {
		s.everyWay(t, askingFor(name, askForReasons), func(t *testing.T, way string, r *dns.Msg) {
			t.Helper()
			text := reasonOf(t, r)
			var got map[string]any
			if err := json.Unmarshal([]byte(text), &got); err != nil || !utf8.ValidString(text) || strings.Contains(text, ": ") {
				t.Fatalf("%s over %s: no minified JSON: %v: %s", name, way, err, text)
			}
			want := map[string]any{
				"c": []any{"mailto:it@school.example"}, "j": "Blocked by the school's filter", "s": 5.0, "o": "Ysgol Tŷ <Gwyn> & \"Co\"", "l": "en",
			}
			if d := cmp.Diff(want, got); d != "" || r.Rcode != dns.RcodeNameError || r.Truncated {
				t.Errorf("%s over %s: %s\n%v", name, way, d, r)
			}
		})
	}
}

// IWF-08: else whoever asks could write the list down.
func TestAReasonDoesNotTellAConfidentialCategoryFromAnother(t *testing.T) {
	s := startEncrypted(t, explaining)
	reason := func(name string) string { return reasonOf(t, s.overTLS(t, askingFor(name, askForReasons))) }
	ordinary := reason("pornography.example")
	for _, name := range []string{"iwf.example", "both.example", "malware.example", "phishing.example", "rule.example"} {
		if got := reason(name); got != ordinary {
			t.Errorf("%s: %s\nan ordinary one: %s", name, got, ordinary)
		}
	}
}

func TestWhoDoesNotAskForAReasonGetsTheAnswerThatHeAlwaysGot(t *testing.T) {
	s, off := startEncrypted(t, explaining), startEncrypted(t, func(c *resolver.Config) {
		explaining(c)
		c.Settings.Blocking.StructuredErrors.Option = 0
	})
	for what, q := range map[string]*dns.Msg{
		"no option":        ask("malware.example", dns.TypeA),
		"another option":   askingFor("malware.example", askForReasons+1),
		"option with data": askingFor("malware.example", askForReasons, 1),
		"a good name":      askingFor("localhost", askForReasons),
	} {
		for _, s := range []*encryptedServer{s, off} {
			s.everyWay(t, q, func(t *testing.T, way string, r *dns.Msg) {
				t.Helper()
				if q.Question[0].Name == "localhost." {
					if ede(r) != -1 || len(r.Answer) != 1 {
						t.Errorf("%s over %s: %v", what, way, r)
					}
				} else if text := reasonOf(t, r); text != "" {
					t.Errorf("%s over %s: %s", what, way, text)
				}
			})
		}
	}
	if text := reasonOf(t, off.overTLS(t, askingFor("malware.example", askForReasons))); text != "" {
		t.Errorf("asked for, and switched off: %s", text)
	}
	bare := askingFor("malware.example", askForReasons)
	bare.Extra = nil
	if r := s.overTLS(t, bare); r.IsEdns0() != nil {
		t.Errorf("without EDNS: %v", r)
	}
}

// A client must not believe a reason that came over plain DNS: there it would only make answers long.
func TestNobodyIsGivenAReasonOverPlainDNS(t *testing.T) {
	s := start(t, explaining)
	for _, size := range []uint16{0, 512, 600, 1232, 1400, 4096, 65535} {
		for _, network := range []string{"udp", "tcp"} {
			for _, name := range []string{"pornography.example", strings.Repeat(strings.Repeat("a", 60)+".", 3) + "pornography.example"} {
				asked, plain := askingFor(name, askForReasons), ask(name, dns.TypeA)
				asked.IsEdns0().SetUDPSize(size)
				plain.IsEdns0().SetUDPSize(size)
				r, without := s.exchange(t, asked, network, ""), s.exchange(t, plain, network, "")
				if text := reasonOf(t, r); text != "" || r.Truncated || len(pack(t, r)) != len(pack(t, without)) {
					t.Errorf("%s, %d octets: %q in %v", network, size, text, r)
				}
			}
		}
	}
}

// Over a stream there is room for all; where there is not, the bare error is left (RFC 8914 §3).
func TestAReasonThatIsTooLongLeavesTheBareError(t *testing.T) {
	for length, fits := range map[int]bool{1000: true, 60000: true, 65535: false, 70000: false} {
		s := startEncrypted(t, func(c *resolver.Config) {
			explaining(c)
			c.Settings.Blocking.StructuredErrors.Contact = "mailto:" + strings.Repeat("x", length)
		})
		r := s.overTLS(t, askingFor("malware.example", askForReasons))
		if text := reasonOf(t, r); (text != "") != fits || r.Rcode != dns.RcodeNameError {
			t.Errorf("%d octets: a reason of %d", length, len(text))
		}
	}
}

// Whatever a blocked name is answered with, it is never called a forged answer, and padding still hides its length.
func TestAReasonChangesNothingElseOfTheAnswer(t *testing.T) {
	for _, answer := range []string{"nxdomain", "nodata", "zero", "refused", "page"} {
		s := startEncrypted(t, func(c *resolver.Config) {
			explaining(c)
			c.Settings.Blocking.Answer, c.Settings.Blocking.PageIPv4 = answer, netip.MustParseAddr("10.0.0.1")
		})
		q := askingFor("malware.example", askForReasons)
		q.IsEdns0().Option = append(q.IsEdns0().Option, &dns.EDNS0_PADDING{Padding: make([]byte, 8)})
		with, without := s.overTLS(t, q), s.overTLS(t, ask("malware.example", dns.TypeA))
		if size, _ := s.sizes.Load(with); size != 468 || reasonOf(t, with) == "" {
			t.Errorf("%s: %v octets", answer, size)
		}
		text := func(m *dns.Msg) string { return fmt.Sprint(m.Rcode, m.Answer, m.Ns, m.Truncated) }
		if text(with) != text(without) {
			t.Errorf("%s: %s, without a reason %s", answer, text(with), text(without))
		}
	}
}

func TestAReloadChangesTheReason(t *testing.T) {
	s := startEncrypted(t, explaining)
	s.settings.Blocking.StructuredErrors.Contact = "tel:+441234567890"
	s.settings.Blocking.TTL = time.Minute
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	if text := reasonOf(t, s.overTLS(t, askingFor("malware.example", askForReasons))); !strings.Contains(text, `"c":["tel:+441234567890"]`) {
		t.Error(text)
	}
}
