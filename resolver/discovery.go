package resolver

import (
	"encoding/binary"
	"strings"

	"schoolgate/blocklist"
	"schoolgate/resolver/dnswire"
)

// The names under which clients ask a resolver for itself, as keys.
const (
	resolverName  = "\x08resolver\x04arpa\x00"
	discoveryName = "\x04_dns" + resolverName
)

// resolverInfo is what RESINFO says (RFC 9606 §5), as the strings of a TXT record: the extended errors
// that are answered.
const resolverInfo = "exterr=3,13-15,18-19,21-22,29"

// describeItself answers for resolver.arpa: where the encrypted listeners are (RFC 9462 §4), and what
// this resolver does. A resolver that has none, or whose certificate has no name that a client could
// check, says nothing of itself: NODATA, as for everything else there.
func (r *Resolver) describeItself(q *query) {
	target := r.ownName()
	name := string(q.msg.Name())
	q.start()
	if target != "" && len(r.encrypted) > 0 {
		ttl := q.clientTTL()
		switch {
		case name == discoveryName && q.msg.Type == dnswire.TypeSVCB:
			for _, data := range r.designations(target) {
				q.positive(dnswire.TypeSVCB, ttl, data)
			}
			q.addAddresses(target)
		case name == resolverName && q.msg.Type == dnswire.TypeRESINFO:
			q.positive(dnswire.TypeRESINFO, ttl, append([]byte{byte(len(resolverInfo))}, resolverInfo...))
		}
	}
	if q.answers == 0 {
		q.negative(dnswire.RcodeSuccess, seconds(q.snapshot.Blocking.TTL))
		return
	}
	q.flags = dnswire.FlagAA
}

// addAddresses puts the addresses that the configuration's records have for a name into the additional section, as
// far as they fit into any response, so that the client need not ask for them (RFC 9462 §4).
func (q *query) addAddresses(name blocklist.Name) {
	ttl := q.clientTTL()
	for _, rec := range q.snapshot.records[string(name)] {
		if rec.typ != dnswire.TypeA && rec.typ != dnswire.TypeAAAA {
			continue
		}
		end := len(q.out)
		q.out = dnswire.AppendOwned(q.out, string(name), rec.typ, min(rec.ttl, ttl), rec.data)
		if len(q.out) > minUDP-mostOPT {
			q.out = q.out[:end]
			return
		}
		q.additional++
	}
}

// mostOPT is about what the OPT record takes: itself, cookies and an extended error.
const mostOPT = 64

// ownName is the first whole name that the certificate is for; "" where it has none.
func (r *Resolver) ownName() blocklist.Name {
	if r.certificate == nil {
		return ""
	}
	cert := r.certificate()
	if cert == nil || cert.Leaf == nil {
		return ""
	}
	for _, n := range cert.Leaf.DNSNames {
		if strings.HasPrefix(n, "*.") {
			continue
		}
		if name, err := blocklist.ParseName(n); err == nil {
			return name
		}
	}
	return ""
}

// The keys of service parameters (RFC 9460 §14.3.2, RFC 9461 §5).
const (
	svcALPN    = 1
	svcPort    = 3
	svcDoHPath = 7
)

// designations are the data of one SVCB record for each encrypted transport and port, in the order in
// which clients should prefer them.
func (r *Resolver) designations(target blocklist.Name) [][]byte {
	var out [][]byte
	type service struct {
		transport transport
		port      uint16
	}
	told := map[service]bool{}
	for _, e := range r.encrypted {
		s := service{e.transport, e.addr.Port()}
		if told[s] {
			continue
		}
		told[s] = true
		alpn := map[transport]string{overTLS: "dot", overHTTPS: "h2", overQUIC: "doq"}[e.transport]
		data := binary.BigEndian.AppendUint16(nil, uint16(len(out)+1)) // the priority
		data = append(data, target...)
		data = appendParam(data, svcALPN, append([]byte{byte(len(alpn))}, alpn...))
		data = appendParam(data, svcPort, binary.BigEndian.AppendUint16(nil, s.port))
		if e.transport == overHTTPS {
			data = appendParam(data, svcDoHPath, []byte(dohPath+"{?dns}"))
		}
		out = append(out, data)
	}
	return out
}

func appendParam(data []byte, key uint16, value []byte) []byte {
	data = binary.BigEndian.AppendUint16(data, key)
	data = binary.BigEndian.AppendUint16(data, uint16(len(value)))
	return append(data, value...)
}
