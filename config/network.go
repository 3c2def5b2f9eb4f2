package config

import (
	"net/netip"
	"time"

	"schoolgate/blocklist"
	"schoolgate/resolver"
)

type access struct {
	place
	allow             values[allowed]
	rateLimit         rateLimit
	trustedForwarders values[prefix]
	proxies           values[prefix]
}

// allowed is a word of access.allow, or a prefix.
type allowed struct {
	word string // "loopback", "private", "any" or ""
	prefix
}

func allowedClient() scalar[allowed] {
	return scalar[allowed]{
		words: "loopback | private | any | range", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (allowed, error) {
			switch s {
			case "loopback", "private", "any":
				return allowed{word: s}, nil
			}
			p, err := parsePrefix(s)
			if err != nil {
				return allowed{}, wrong("loopback, private, any or a range like 10.20.0.0/16", "%q is not known", s)
			}
			return allowed{prefix: p}, nil
		},
	}
}

func (a *access) fields() []field {
	return []field{
		{
			key: "allow", kind: many(&a.allow, allowedClient()), def: "[loopback, private]",
			doc: "Who may ask; others are REFUSED. `private` is RFC 1918, 100.64.0.0/10, link-local and unique local addresses, and the networks that this machine is on",
		},
		{
			key: "rate_limit", kind: mapping(&a.rateLimit), def: "{}",
			doc: "How much one address (IPv6: one /64) may ask. Over it TC on UDP, so that whoever is at home there comes over TCP, and REFUSED on TCP and encrypted DNS; what is blocked or monitored is recorded all the same. What an address proves to be its own, over TCP or by a DNS cookie (RFC 7873), counts apart from what it does not, so that nobody who forges it silences it. Groups that say `shared` have no limit",
		},
		{
			key: "trusted_forwarders", kind: many(&a.trustedForwarders, addressRange()), def: "[]",
			doc: "Resolvers that ask for many devices: they have no rate limit, and are believed who asks them: EDNS client subnet (RFC 7871) and the MAC of dnsmasq's `add-mac`, both of which go no further. A subnet of less than a whole address stands for its network: group and record are that network's. From others these options say nothing",
		},
		{
			key: "proxies", kind: many(&a.proxies, addressRange()), def: "[]",
			doc: "Load balancers that put a PROXY header, version 2, before each query over UDP and each connection (plain, `dot`, `doh`): the client is who it names, for groups, rate limit and records. What comes from them without such a header is dropped and counted; from others a header is none. Name only machines that nobody else can send from",
		},
	}
}

type rateLimit struct {
	place
	perSecond, burst value[int]
}

func (l *rateLimit) fields() []field {
	return []field{
		{key: "queries_per_second", kind: one(&l.perSecond, integer(0, 1_000_000)), def: "500", doc: "On average; 0 is off"},
		{key: "burst", kind: one(&l.burst, integer(0, 1_000_000)), def: "1000", doc: "How many at once, after a while of fewer"},
	}
}

type upstreams struct {
	place
	servers   values[string]
	bootstrap values[string]
	strategy  value[string]
	timeout   value[time.Duration]
}

// upstreamServer is a server in a form that resolver.ParseUpstream reads; the checker has it read, for
// its errors stand with those of the whole.
func upstreamServer() scalar[string] {
	s := text()
	s.words = "server"
	s.schema = object{
		"type": "string", "pattern": `^\s*((udp|tcp)://)?\[?[0-9A-Fa-f:.]|^\s*(tls|https|quic)://`,
		"description": "one of the forms " + resolver.UpstreamForms,
	}
	return s
}

func (u *upstreams) fields() []field {
	return []field{
		{
			key: "servers", kind: undivided(&u.servers, upstreamServer()),
			doc: "`udp://192.0.2.1`, `tcp://192.0.2.1`, and encrypted `tls://192.0.2.1#dns.example` (DNS over TLS, RFC 7858), `https://dns.example/dns-query` (DNS over HTTPS, RFC 8484) or `quic://192.0.2.1#dns.example` (DNS over QUIC, RFC 9250); each with `:port` where it is another than usual. The certificate must be for the name behind `#`, for the host, or for the address where there is no name; there is no fall-back to clear text. A host name instead of an address needs `bootstrap`. Those of `/etc/resolv.conf` where none is written, without this resolver itself",
		},
		{
			key: "bootstrap", kind: undivided(&u.bootstrap, text()), def: "[]",
			doc: "Plain servers, `udp://` or `tcp://` with an address, that are asked where servers are that are written with a host name: those above, and those of `zones`. Their answers are kept, and the last good ones used where they fail. They are asked nothing else",
		},
		{
			key: "strategy", kind: one(&u.strategy, enum("fastest", "ordered", "random")), def: "fastest",
			doc: "Which one is asked first",
		},
		{
			key: "timeout", kind: one(&u.timeout, duration(10*time.Millisecond, time.Minute)), def: "2s",
			doc: "How long one try at one server may take",
		},
	}
}

type zone struct {
	place
	names   values[blocklist.Name]
	servers values[string]
	groups  values[string]
}

func (z *zone) fields() []field {
	return []field{
		{key: "names", kind: many(&z.names, domain()), need: true, doc: "The names, each with everything below it"},
		{key: "servers", kind: many(&z.servers, upstreamServer()), need: true, doc: "As in `upstreams.servers`"},
		{key: "groups", kind: many(&z.groups, reference("group")), def: "[]", doc: "Who may ask, with the groups that inherit from them; for others the zone does not exist. Empty: all"},
	}
}

type record struct {
	place
	name  value[string]
	kind  value[string]
	value value[string]
	ttl   value[time.Duration]
}

func (r *record) fields() []field {
	return []field{
		{key: "name", kind: one(&r.name, text()), need: true, doc: "The name that has the record"},
		{key: "type", kind: one(&r.kind, enum("A", "AAAA", "CNAME", "PTR", "TXT", "SRV", "MX")), need: true, doc: "The type"},
		{key: "value", kind: one(&r.value, text()), need: true, doc: "The data, as in a zone file (RFC 1035), names taken as absolute"},
		{key: "ttl", kind: one(&r.ttl, duration(0, 30*day)), def: "5m", doc: "How long clients may keep it"},
	}
}

type cache struct {
	place
	entries                       value[int]
	minTTL, maxTTL                value[time.Duration]
	clientTTL, negativeTTL, stale value[time.Duration]
	prefetch                      value[bool]
}

func (c *cache) fields() []field {
	const most = 30 * day
	return []field{
		{key: "entries", kind: one(&c.entries, integer(0, 100_000_000)), def: "200000", doc: "How many answers are kept; 0 turns the cache off. Changes at the next start"},
		{key: "min_ttl", kind: one(&c.minTTL, duration(0, most)), def: "0s", doc: "The least that an answer is kept"},
		{key: "max_ttl", kind: one(&c.maxTTL, duration(0, most)), def: "1d", doc: "The most that an answer is kept"},
		{key: "client_ttl", kind: one(&c.clientTTL, duration(time.Second, most)), def: "5m", doc: "The most that a client is given; it is never given more than until its policy changes"},
		{key: "negative_ttl", kind: one(&c.negativeTTL, duration(0, most)), def: "5m", doc: "The most that NXDOMAIN and NODATA are kept"},
		{key: "serve_stale", kind: one(&c.stale, duration(0, most)), def: "1d", doc: "How long an answer that has run out serves while no upstream answers (RFC 8767); 0s: not at all"},
		{key: "prefetch", kind: one(&c.prefetch, boolean()), def: "true", doc: "Ask anew for names that are asked for before they run out"},
	}
}

type blocking struct {
	place
	answer       value[string]
	ttl          value[time.Duration]
	page         page
	stripECH     value[bool]
	rebind       value[bool]
	rebindExempt values[blocklist.Name]
	structured   value[int]
	local        value[string]
}

func (b *blocking) fields() []field {
	return []field{
		{
			key: "answer", kind: one(&b.answer, enum("nxdomain", "nodata", "zero", "refused", "page")), def: "nxdomain",
			doc: "`zero` is 0.0.0.0 and ::, `page` the addresses of `page`",
		},
		{key: "ttl", kind: one(&b.ttl, duration(0, day)), def: "30s", doc: "How long clients may keep a blocked answer"},
		{key: "page", kind: mapping(&b.page), def: "{}", doc: "The block page. Browsers show it for plain HTTP only"},
		{key: "strip_ech", kind: one(&b.stripECH, boolean()), def: "true", graded: true, doc: "Take the keys of Encrypted Client Hello out of answers"},
		{key: "rebind_protection", kind: one(&b.rebind, boolean()), def: "true", graded: true, doc: "Refuse private addresses for public names; zones, records and allowed names are exempt"},
		{key: "rebind_exempt", kind: many(&b.rebindExempt, domain()), def: "[]", doc: "Names that may have private addresses"},
		{
			key: "structured_errors", kind: one(&b.structured, integer(0, 65535)), def: "0",
			doc: "Tell programs that ask over encrypted DNS who blocked, and whom to ask (`page.contact`), as JSON in the extended error (draft-ietf-dnsop-structured-dns-error). The code of the EDNS option by which they ask: none is assigned yet, so that this is for trials, such as 65100; 0: nobody is told",
		},
		{key: "local", kind: one(&b.local, localKind()), doc: "`may_loosen`: a file that extends this one may turn off what protects here, and exempt names"},
	}
}

// noContact is the contact where nobody has written one: an address that does not exist must not be shown.
const noContact = "mailto:it@school.example"

type page struct {
	place
	ipv4, ipv6 value[netip.Addr]
	contact    value[string]
}

func (p *page) fields() []field {
	return []field{
		{key: "ipv4", kind: one(&p.ipv4, blank(addr("IPv4"))), def: `""`, doc: "Its IPv4 address"},
		{key: "ipv6", kind: one(&p.ipv6, blank(addr("IPv6"))), def: `""`, doc: "Its IPv6 address"},
		{key: "contact", kind: one(&p.contact, blank(text())), def: `"` + noContact + `"`, doc: "Whom to ask about a block: `mailto:`, `tel:`, `https:`, or words. This one is not shown"},
	}
}
