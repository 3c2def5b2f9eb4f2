package resolver

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
)

// Record is a local record: an answer that the configuration holds.
type Record struct {
	name blocklist.Name
	typ  uint16
	ttl  uint32 // seconds
	data []byte // RDATA, uncompressed
}

// recordTypes are the types that a local record may have.
var recordTypes = map[string]bool{"A": true, "AAAA": true, "CNAME": true, "PTR": true, "TXT": true, "SRV": true, "MX": true}

// ParseRecord makes a record of its text: the owner's name, the type (A, AAAA, CNAME, PTR, TXT, SRV
// or MX) and the value in the form of a zone file (RFC 1035 §5), names taken as absolute. A TXT value
// without quotes is one string.
func ParseRecord(name, typ, value string, ttl time.Duration) (Record, error) {
	owner, err := blocklist.ParseName(name)
	if err != nil {
		return Record{}, fmt.Errorf("name %q: %w", name, err)
	}
	typ = strings.ToUpper(typ)
	if !recordTypes[typ] {
		return Record{}, fmt.Errorf("type %q is not one of A, AAAA, CNAME, PTR, TXT, SRV, MX", typ)
	}
	if strings.ContainsAny(value, "\n\r") {
		return Record{}, fmt.Errorf("value %q has a line break", value)
	}
	if typ == "TXT" && !strings.HasPrefix(value, `"`) {
		value = strconv.Quote(value)
	}
	rr, err := dns.NewRR(". 0 IN " + typ + " " + value)
	if err != nil || rr == nil {
		return Record{}, fmt.Errorf("value %q is not that of a %s record", value, typ)
	}
	buf := make([]byte, 65535)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return Record{}, fmt.Errorf("value %q: %w", value, err)
	}
	const before = 11 // the root as owner, type, class, TTL and RDLENGTH
	return Record{
		name: owner, typ: rr.Header().Rrtype, ttl: uint32(ttl / time.Second),
		data: append([]byte(nil), buf[before:end]...),
	}, nil
}

// Name is the owner's name.
func (r Record) Name() blocklist.Name { return r.name }

// target is the key of the name that a CNAME record leads to.
func (r Record) target() string { return strings.ToLower(string(r.data)) }
