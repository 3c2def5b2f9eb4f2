//go:build e2e

package e2e_test

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// internetZone is what the upstreams of the school know beside the answers that they have for every name (see
// everyName): safe forms, and names that lead to others.
const internetZone = `
$ORIGIN .
$TTL 3600
forcesafesearch.google.com     A     216.239.38.120
forcesafesearch.google.com     AAAA  2001:4860:4802:32::78
strict.bing.com                A     204.79.197.220
restrict.youtube.com           A     216.239.38.119
restrict.youtube.com           AAAA  2001:4860:4802:32::77
restrictmoderate.youtube.com   A     216.239.38.121
safe.duckduckgo.com            A     192.0.2.101
strict-safe-search.ecosia.org  A     192.0.2.102
safesearch.pixabay.com         A     192.0.2.103
familysearch.yandex.ru         A     213.180.193.56
forcesafe.search.brave.com     A     192.0.2.104

cloaked.example       CNAME  adult.example.
cloaked2.example      CNAME  first-hop.example.
first-hop.example     CNAME  second-hop.example.
second-hop.example    CNAME  tracker.adult.example.
cloaked-middle.example CNAME cdn.adult.example.
cdn.adult.example     CNAME  harmless.example.
cloaked-case.example  CNAME  WwW.AdUlT.eXaMpLe.
cloaked-iwf.example   CNAME  whole-iwf.example.
cloak-allowed.example CNAME  adult.example.
iwf.cloak-allowed.example CNAME whole-iwf.example.
to-allowed.example    CNAME  edu.big.example.
dtree.example         DNAME  adult.example.
dharmless.example     DNAME  harmless.example.
svc.example           HTTPS  1 cdn.adult.example. alpn="h2"
svc-alias.example     HTTPS  0 adult.example.
_dns.svc.example      SVCB   1 adult.example. alpn="dot"
svc-own.example       HTTPS  1 . alpn="h2,h3"
infected.example      A      192.0.2.90
infected.example      A      198.18.66.5
infected6.example     AAAA   2001:db8:666::5
hint.example          HTTPS  1 . alpn="h2" ipv4hint=198.18.66.6
hint6.example         HTTPS  1 . alpn="h2" ipv6hint=2001:db8:666::6
rpz-address.example   A      198.18.77.77
ech.example           HTTPS  1 . alpn="h2" ipv4hint=192.0.2.80 ech="AEX+DQBBawAgACBc"
ech-mandatory.example HTTPS  1 . mandatory=alpn,ech alpn="h2" ech="AEX+DQBBawAgACBc"
ech.svcb.example      SVCB   1 svc-own.example. alpn="h2" ech="AEX+DQBBawAgACBc"

rebind10.attacker.org A      10.0.0.9
rebind172.attacker.org A      172.16.0.1
rebind192.attacker.org A      192.168.0.1
rebind169.attacker.org A      169.254.169.254
rebind127.attacker.org A      127.0.0.1
rebind0.attacker.org A      0.0.0.0
rebind-fc.attacker.org AAAA   fd00::1
rebind-fe.attacker.org AAAA   fe80::1
rebind-lo.attacker.org AAAA   ::1
rebind-zero.attacker.org AAAA   ::
rebind-mapped.attacker.org AAAA   ::ffff:10.0.0.9
rebind-hint.attacker.org HTTPS  1 . alpn="h2" ipv4hint=192.168.0.1
rebind-mixed.attacker.org A      192.0.2.80
rebind-mixed.attacker.org A      192.168.0.1
rebind-cname.attacker.org CNAME  rebind10.attacker.org.
a.printers.org.uk     A      192.168.0.9
stale.bets.example 1  A      192.0.2.80
`

// insideZone is the domain controller's.
const insideZone = `
$ORIGIN school.internal.
$TTL 600
@                     A      10.0.0.10
files                 A      10.0.0.20
games                 CNAME  adult.example.
_ldap._tcp.dc._msdcs  SRV    0 100 389 dc
dc                    A      10.0.0.10
9.0.1.10.in-addr.arpa.   PTR staff-laptop.school.internal.
`

// internet is a server that answers for the whole of DNS and counts what it is asked.
type internet struct {
	records map[string][]dns.RR // by owner, in lower case
	closed  bool                // it knows nothing but its records

	mu      sync.Mutex
	asked   map[string]int  // questions by name, in lower case, without the last dot
	fails   map[string]bool // names for which it answers SERVFAIL
	told    []string        // what questions said of the client who asked
	servers []*dns.Server
}

func newInternet(t *testing.T, zone string) *internet {
	t.Helper()
	n := &internet{records: make(map[string][]dns.RR), asked: make(map[string]int), fails: make(map[string]bool), closed: zone == insideZone}
	parser := dns.NewZoneParser(strings.NewReader(zone), "", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		owner := strings.ToLower(rr.Header().Name)
		n.records[owner] = append(n.records[owner], rr)
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// serve answers at an address of a namespace over UDP and TCP until the test ends.
func (n *internet) serve(t *testing.T, namespace, addr string) {
	t.Helper()
	var socket net.PacketConn
	var listener net.Listener
	inNamespace(t, namespace, func() (err error) {
		if socket, err = net.ListenPacket("udp", addr); err == nil {
			listener, err = net.Listen("tcp", addr)
		}
		return err
	})
	for _, s := range []*dns.Server{{PacketConn: socket, UDPSize: 4096}, {Listener: listener}} {
		s.Handler = n
		done := make(chan struct{})
		go func() { defer close(done); _ = s.ActivateAndServe() }()
		t.Cleanup(func() { _ = s.Shutdown(); <-done })
		n.servers = append(n.servers, s)
	}
}

// ServeDNS answers a question.
func (n *internet) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := n.answer(q)
	if _, overUDP := w.RemoteAddr().(*net.UDPAddr); overUDP {
		m.Truncate(1232)
	}
	_ = w.WriteMsg(m)
}

func (n *internet) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	question := q.Question[0]
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	opt := q.IsEdns0()
	n.mu.Lock()
	n.asked[name]++
	fails := n.fails[name]
	if opt != nil {
		m.SetEdns0(1232, opt.Do())
		for _, o := range opt.Option {
			switch o.Option() {
			case dns.EDNS0SUBNET, 65001, 65073: // the last two are dnsmasq's, with the MAC
				n.told = append(n.told, name+" "+o.String())
			}
		}
	}
	n.mu.Unlock()
	if fails {
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	n.follow(m, question.Name, question.Qtype)
	if opt != nil && opt.Do() && strings.HasPrefix(name, "ech") { // a signed zone
		m.AuthenticatedData = true
		for _, rr := range m.Answer {
			m.Answer = append(m.Answer, &dns.RRSIG{
				Hdr: header(rr.Header().Name, dns.TypeRRSIG, rr.Header().Ttl), TypeCovered: rr.Header().Rrtype, Algorithm: dns.RSASHA256, Labels: 2, OrigTtl: 3600,
				Expiration: 4000000000, Inception: 1700000000, KeyTag: 12345, SignerName: "example.", Signature: "AQIDBAUGBwg=",
			})
		}
	}
	return m
}

// follow adds the answer for a name, and for the names to which it leads.
func (n *internet) follow(m *dns.Msg, name string, typ uint16) {
	for range 8 {
		rrs, known := n.records[strings.ToLower(name)]
		next := ""
		for _, rr := range rrs {
			if alias, is := rr.(*dns.CNAME); is && typ != dns.TypeCNAME {
				m.Answer, next = append(m.Answer, rr), alias.Target
			} else if rr.Header().Rrtype == typ {
				m.Answer = append(m.Answer, rr)
			}
		}
		if !known {
			next = n.throughDNAME(m, name)
		}
		if next == "" {
			if !known {
				n.everyName(m, name, typ)
			}
			break
		}
		name = next
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{&dns.SOA{Hdr: header("example.", dns.TypeSOA, 3600), Ns: "ns.example.", Mbox: "host.example.", Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: 3600}}
	}
}

// throughDNAME adds the DNAME record above a name, and returns where it leads; "" where there is none.
func (n *internet) throughDNAME(m *dns.Msg, name string) (target string) {
	for off, end := dns.NextLabel(name, 0); !end; off, end = dns.NextLabel(name, off) {
		for _, rr := range n.records[strings.ToLower(name[off:])] {
			if alias, is := rr.(*dns.DNAME); is {
				target = name[:off] + alias.Target
				m.Answer = append(m.Answer, rr, &dns.CNAME{Hdr: header(name, dns.TypeCNAME, rr.Header().Ttl), Target: target})
				return target
			}
		}
	}
	return ""
}

// everyName answers for a name that has no record of its own.
func (n *internet) everyName(m *dns.Msg, name string, typ uint16) {
	switch h := header(name, typ, 3600); {
	case n.closed && len(m.Answer) > 0: // where an alias leads out, the resolver must see for itself
	case n.closed || strings.Contains(strings.ToLower(name), "nothing-here"):
		m.Rcode = dns.RcodeNameError
	case typ == dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: h, A: net.IPv4(192, 0, 2, 80)})
	case typ == dns.TypeAAAA:
		m.Answer = append(m.Answer, &dns.AAAA{Hdr: h, AAAA: net.ParseIP("2001:db8:80::80")})
	case typ == dns.TypeTXT:
		m.Answer = append(m.Answer, &dns.TXT{Hdr: h, Txt: []string{"an answer"}})
	case typ == dns.TypeHTTPS:
		m.Answer = append(m.Answer, &dns.HTTPS{SVCB: dns.SVCB{Hdr: h, Priority: 1, Target: ".", Value: []dns.SVCBKeyValue{&dns.SVCBIPv4Hint{Hint: []net.IP{net.IPv4(192, 0, 2, 80)}}}}})
	}
}

// questions is how often a name was asked for.
func (n *internet) questions(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[strings.ToLower(name)]
}

// forget begins the counts anew.
func (n *internet) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.asked)
}

// fail has a name answered with SERVFAIL until the test ends.
func (n *internet) fail(t *testing.T, name string) {
	t.Helper()
	set := func(yes bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.fails[name] = yes
	}
	set(true)
	t.Cleanup(func() { set(false) })
}

// whatWasTold is what questions said of the client who asked.
func (n *internet) whatWasTold() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told
}
