package resolver_test

import (
	"crypto/tls"
	"encoding/base64"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"schoolgate/policy"
	"schoolgate/resolver"
)

// identities is what is known of clients.
type identities struct {
	byAddr map[netip.Addr]*policy.Known
	byMAC  map[[6]byte]*policy.Known
}

func (i identities) Known(addr netip.Addr) *policy.Known { return i.byAddr[addr] }

func (i identities) KnownMAC(mac [6]byte) *policy.Known { return i.byMAC[mac] }

// The device that is known: its MAC and its name.
const (
	knownMAC  = "00:11:22:33:44:55"
	knownName = "y7-ipad-3"
)

var knownMACOctets = [6]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55}

const (
	forwarder = "127.0.0.20"
	stranger  = "127.0.0.21" // may ask, and is not believed
)

// identified runs a resolver that knows one device, at 127.0.0.3, and has a group for each way in which a client can
// be known: "pupils" is that of nobody in particular. All but "staff", which monitors, block.
func identified(t testing.TB, change func(*policy.Spec)) *server {
	t.Helper()
	return start(t, func(c *resolver.Config) {
		spec := schoolSpec(t)
		for _, g := range []policy.Group{
			{Name: "by_mac", MACs: []string{knownMAC}},
			{Name: "by_name", Devices: []string{"y7-*"}},
			{Name: "by_host", Hosts: []string{"y7.dns.school.example"}},
			{Name: "by_range", Clients: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16"), netip.MustParsePrefix("2001:db8:20::/48")}},
			{Name: "forwarders", Clients: []netip.Prefix{netip.MustParsePrefix(forwarder + "/32")}},
			{Name: "by_address", Clients: []netip.Prefix{netip.MustParsePrefix("10.20.3.4/32")}},
		} {
			g.Inherit = "pupils"
			spec.Groups = append(spec.Groups, g)
		}
		if change != nil {
			change(&spec)
		}
		c.Settings.Policy = compile(t, spec)
		c.Settings.Access.TrustedForwarders = []netip.Prefix{netip.MustParsePrefix(forwarder + "/32")}
		known := policy.Client{MAC: knownMAC, Name: knownName, User: "a.pupil"}
		at := known
		at.Addr = netip.MustParseAddr("127.0.0.3")
		c.Identities = identities{map[netip.Addr]*policy.Known{at.Addr: {Client: at}}, map[[6]byte]*policy.Known{knownMACOctets: {Client: known}}}
	}, startUpstream(t, records("www.porn.example. 300 IN A 192.0.2.66", "www.example. 300 IN A 192.0.2.1")))
}

// who asks for a blocked name, as the record has it.
func (s *server) who(t *testing.T, q *dns.Msg, from string) (group string, client policy.Client) {
	t.Helper()
	s.exchange(t, q, "udp", from)
	events := s.record.taken()
	if len(events) != 1 {
		t.Fatalf("%d breaches", len(events))
	}
	return events[0].Policy.Groups()[events[0].Verdict.Group], events[0].Client
}

func sameClient(t *testing.T, what string, got, want policy.Client) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// with adds options to a question for a blocked name.
func with(options ...dns.EDNS0) *dns.Msg { return withOptions("www.porn.example", options...) }

func withOptions(name string, options ...dns.EDNS0) *dns.Msg {
	q := ask(name, dns.TypeA)
	q.IsEdns0().Option = append(q.IsEdns0().Option, options...)
	return q
}

func subnet(text string) dns.EDNS0 {
	p := netip.MustParsePrefix(text)
	family := uint16(1)
	if p.Addr().Is6() {
		family = 2
	}
	return &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: family, SourceNetmask: uint8(p.Bits()), Address: p.Addr().AsSlice()}
}

func local(code uint16, data string) dns.EDNS0 {
	return &dns.EDNS0_LOCAL{Code: code, Data: []byte(data)}
}

func TestWhatIsKnownOfAnAddressIsRecordedAndFindsTheGroup(t *testing.T) {
	s := identified(t, nil)
	group, client := s.who(t, with(), "127.0.0.3")
	if group != "by_mac" {
		t.Errorf("the known device is in %s", group)
	}
	sameClient(t, "the known device", client, policy.Client{Addr: netip.MustParseAddr("127.0.0.3"), MAC: knownMAC, Name: knownName, User: "a.pupil"})
	group, client = s.who(t, with(), "127.0.0.4")
	if group != "pupils" {
		t.Errorf("an unknown device is in %s", group)
	}
	sameClient(t, "an unknown device", client, policy.Client{Addr: netip.MustParseAddr("127.0.0.4")})
}

func TestAReloadPlacesAKnownClientAnew(t *testing.T) {
	s := identified(t, nil)
	if group, _ := s.who(t, with(), "127.0.0.3"); group != "by_mac" {
		t.Fatalf("before: in %s", group)
	}
	spec := schoolSpec(t)
	spec.Groups = append(spec.Groups, policy.Group{Name: "ipads", Inherit: "pupils", Devices: []string{"*ipad*"}})
	s.settings.Policy = compile(t, spec)
	if err := s.Apply(s.settings); err != nil {
		t.Fatal(err)
	}
	if group, _ := s.who(t, with(), "127.0.0.3"); group != "ipads" {
		t.Errorf("after: in %s", group)
	}
}

// TestATrustedForwarderIsBelievedAndNobodyElse asks each question from the forwarder, from a stranger, and from the
// device itself: an option that is believed of one must change nothing for the others.
func TestATrustedForwarderIsBelievedAndNobodyElse(t *testing.T) {
	addr := netip.MustParseAddr
	device := policy.Client{MAC: knownMAC, Name: knownName, User: "a.pupil"}
	at := func(c policy.Client, a string) policy.Client {
		c.Addr = addr(a)
		return c
	}
	for what, test := range map[string]struct {
		options []dns.EDNS0
		group   string
		client  policy.Client
	}{
		"no option":                             {nil, "forwarders", at(policy.Client{}, forwarder)},
		"a whole IPv4 address":                  {[]dns.EDNS0{subnet("10.20.3.4/32")}, "by_address", at(policy.Client{}, "10.20.3.4")},
		"a whole IPv6 address":                  {[]dns.EDNS0{subnet("2001:db8:20::9/128")}, "by_range", at(policy.Client{}, "2001:db8:20::9")},
		"a network is its range's":              {[]dns.EDNS0{subnet("10.20.3.0/24")}, "by_range", at(policy.Client{}, "10.20.3.0")},
		"an IPv6 network too":                   {[]dns.EDNS0{subnet("2001:db8:20::/56")}, "by_range", at(policy.Client{}, "2001:db8:20::")},
		"a network wider than any range":        {[]dns.EDNS0{subnet("10.0.0.0/8")}, "pupils", at(policy.Client{}, "10.0.0.0")},
		"an address of no range":                {[]dns.EDNS0{subnet("198.51.100.7/32")}, "pupils", at(policy.Client{}, "198.51.100.7")},
		"an address of which more is known":     {[]dns.EDNS0{subnet("127.0.0.3/32")}, "by_mac", at(device, "127.0.0.3")},
		"a network that holds a known address":  {[]dns.EDNS0{subnet("127.0.0.0/24")}, "pupils", at(policy.Client{}, "127.0.0.0")},
		"no network (RFC 7871 §7.1.2)":          {[]dns.EDNS0{subnet("0.0.0.0/0")}, "forwarders", at(policy.Client{}, forwarder)},
		"the six octets of a MAC":               {[]dns.EDNS0{local(65001, string(knownMACOctets[:]))}, "by_mac", at(device, forwarder)},
		"a MAC as text":                         {[]dns.EDNS0{local(65073, "00:11:22:33:44:55")}, "by_mac", at(device, forwarder)},
		"a MAC in base64":                       {[]dns.EDNS0{local(65073, base64.StdEncoding.EncodeToString(knownMACOctets[:]))}, "by_mac", at(device, forwarder)},
		"a MAC that nobody knows":               {[]dns.EDNS0{local(65001, "abcdef")}, "forwarders", at(policy.Client{MAC: "61:62:63:64:65:66"}, forwarder)},
		"an address and a MAC":                  {[]dns.EDNS0{subnet("10.20.3.4/32"), local(65001, string(knownMACOctets[:]))}, "by_mac", at(device, "10.20.3.4")},
		"a network and a MAC":                   {[]dns.EDNS0{subnet("10.20.3.0/24"), local(65001, "abcdef")}, "by_range", at(policy.Client{MAC: "61:62:63:64:65:66"}, "10.20.3.0")},
		"an address that is known of another":   {[]dns.EDNS0{subnet("127.0.0.3/32"), local(65001, "abcdef")}, "pupils", at(policy.Client{MAC: "61:62:63:64:65:66"}, "127.0.0.3")},
		"half a MAC says nothing":               {[]dns.EDNS0{local(65001, "abc")}, "forwarders", at(policy.Client{}, forwarder)},
		"text that is no MAC says nothing":      {[]dns.EDNS0{local(65073, "00:11:22:33:44:5g")}, "forwarders", at(policy.Client{}, forwarder)},
		"of two MACs the first counts":          {[]dns.EDNS0{local(65001, "abcdef"), local(65001, string(knownMACOctets[:]))}, "forwarders", at(policy.Client{MAC: "61:62:63:64:65:66"}, forwarder)},
		"of two subnets the first counts":       {[]dns.EDNS0{subnet("10.20.3.4/32"), subnet("127.0.0.3/32")}, "by_address", at(policy.Client{}, "10.20.3.4")},
		"a subnet of an unknown family is none": {[]dns.EDNS0{local(8, "\x00\x03\x08\x00\x0a")}, "forwarders", at(policy.Client{}, forwarder)},
		"one that is too short is none":         {[]dns.EDNS0{local(8, "\x00\x01\x20\x00\x0a")}, "forwarders", at(policy.Client{}, forwarder)},
	} {
		t.Run(what, func(t *testing.T) {
			s := identified(t, nil)
			q := with(test.options...)
			group, client := s.who(t, q, forwarder)
			if group != test.group {
				t.Errorf("in %s, want %s", group, test.group)
			}
			sameClient(t, "the forwarder's client", client, test.client)
			if group, client = s.who(t, q, stranger); group != "pupils" {
				t.Errorf("forged by a stranger: in %s", group)
			}
			sameClient(t, "forged by a stranger", client, policy.Client{Addr: addr(stranger)})
			if group, client = s.who(t, q, "127.0.0.3"); group != "by_mac" {
				t.Errorf("forged by a known device: in %s", group)
			}
			sameClient(t, "forged by a known device", client, at(device, "127.0.0.3"))
		})
	}
}

func TestAForwarderThatKeepsAnswersByNetworkGivesThemToNoOther(t *testing.T) {
	s := identified(t, nil)
	scope := func(r *dns.Msg) *dns.EDNS0_SUBNET {
		for _, o := range r.IsEdns0().Option {
			if e, ok := o.(*dns.EDNS0_SUBNET); ok {
				return e
			}
		}
		return nil
	}
	for _, text := range []string{"10.20.3.4/32", "10.20.0.0/20", "2001:db8:20::/56"} {
		for _, name := range []string{"www.porn.example", "www.example"} {
			q := withOptions(name, subnet(text))
			e := scope(s.exchange(t, q, "udp", forwarder))
			if want := netip.MustParsePrefix(text); e == nil || int(e.SourceNetmask) != want.Bits() || e.SourceScope != e.SourceNetmask || e.Address.String() != want.Addr().String() {
				t.Errorf("%s for %s: the answer is for %v", name, text, e)
			}
			if e := scope(s.exchange(t, q, "udp", stranger)); e != nil {
				t.Errorf("%s for %s: a stranger is told %v", name, text, e)
			}
		}
	}
}

func TestWhatAForwarderSaysGoesNoFurther(t *testing.T) {
	up := startUpstream(t, records("www.example. 300 IN A 192.0.2.1"))
	s := start(t, func(c *resolver.Config) {
		c.Settings.Access.TrustedForwarders = []netip.Prefix{netip.MustParsePrefix(forwarder + "/32")}
	}, up)
	q := withOptions("www.example", subnet("10.20.3.4/32"), local(65001, "abcdef"), local(65073, "00:11:22:33:44:55"))
	s.exchange(t, q, "udp", forwarder)
	for _, o := range (<-up.queries).IsEdns0().Option {
		if o.Option() == dns.EDNS0SUBNET || o.Option() == 65001 || o.Option() == 65073 {
			t.Errorf("upstream was told %v", o)
		}
	}
}

func TestADeviceBehindAForwarderCannotChooseALaxerGroupEither(t *testing.T) {
	s := identified(t, func(spec *policy.Spec) {
		for i := range spec.Groups {
			if spec.Groups[i].Name == "staff" {
				spec.Groups[i].MACs = []string{"61:62:63:64:65:66"}
			}
		}
	})
	if group, _ := s.who(t, with(subnet("10.20.3.4/32"), local(65001, "abcdef")), forwarder); group != "by_address" {
		t.Errorf("in %s", group)
	}
}

func TestAClientIsKnownByTheNameThatItAsksOverEncryptedDNS(t *testing.T) {
	s := startEncrypted(t, func(c *resolver.Config) {
		spec := schoolSpec(t)
		spec.Groups = append(spec.Groups, policy.Group{Name: "by_host", Inherit: "pupils", Hosts: []string{"y7.dns.school.example"}})
		spec.Groups[1].Hosts = []string{"staff.dns.school.example"} // which blocks less
		c.Settings.Policy = compile(t, spec)
	})
	certificate, pool := newCertificate(t, "y7.dns.school.example", "staff.dns.school.example", "dns.school.example")
	s.certificate.Store(certificate)
	for host, want := range map[string]string{
		"y7.dns.school.example": "by_host", "Y7.DNS.school.example": "by_host", "dns.school.example": "pupils", "staff.dns.school.example": "pupils",
	} {
		s.client = &tls.Config{RootCAs: pool, ServerName: host}
		s.everyWay(t, with(), func(t *testing.T, way string, _ *dns.Msg) {
			t.Helper()
			events := s.record.taken()
			if len(events) != 1 {
				t.Fatalf("%s over %s: %d breaches", host, way, len(events))
			}
			if got := events[0].Policy.Groups()[events[0].Verdict.Group]; got != want {
				t.Errorf("%s over %s: in %s, want %s", host, way, got, want)
			}
		})
	}
}
