package resolver

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/publicsuffix"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// tunnels tells by its shape when a client carries other traffic in questions: below one registered domain it asks
// for many names that nobody has asked for before, whose labels hold more than names do. Whatever is repeated is
// answered from the cache and never comes here, which leaves alone the names that content networks make up: those are
// short, or many clients ask for them.
//
// It holds a fixed number of counts; one that is pushed out begins anew.
type tunnels struct {
	seed maphash.Seed
	mu   sync.Mutex
	kept []tunnelCount
}

// tunnelCount is what one client asked for below one registered domain.
type tunnelCount struct {
	key    uint64
	began  int64     // Unix seconds
	until  int64     // it is taken for a tunnel up to then
	seen   [4]uint64 // of 256 bits each name has one: one that is asked for again, since nothing may keep the answer, counts once
	names  int
	octets int
}

const (
	tunnelCounts = 4096
	// A name counts whose labels below the registered domain have that many octets; of the types that tunnels
	// like and browsers do not ask for, half as many do.
	tunnelOctets = 40
	// Within a minute so many names with so many octets are a tunnel: tools that carry a session poll once a second
	// with some 50 octets when idle (dnscat2), and use 200 when not (iodine).
	tunnelWindow = 60
	tunnelNames  = 30
	tunnelTotal  = 1500
	// tunnelHold is for how long it is one then, in seconds, after the last name that counts.
	tunnelHold = 600
)

// lookUpServices are domains below which security products and mail servers ask for long names by design.
var lookUpServices = map[string]bool{
	"mcafee.com": true, "sophosxl.net": true, "e5.sk": true, "trendmicro.com": true, "barracudabrts.com": true, "cloudmark.com": true,
	"spamhaus.org": true, "spamhaus.net": true, "surbl.org": true, "uribl.com": true, "spamcop.net": true, "mailspike.net": true,
	"barracudacentral.org": true, "senderscore.com": true,
}

func newTunnels() *tunnels {
	return &tunnels{seed: maphash.MakeSeed(), kept: make([]tunnelCount, tunnelCounts)}
}

// note counts a question that is in no cache, and reports whether the client tunnels below domain.
func (t *tunnels) note(client netip.Addr, name []byte, typ uint16, now time.Time) (domain blocklist.Name, tunnel bool) {
	least := tunnelOctets
	switch typ {
	case dnswire.TypeA, dnswire.TypeAAAA, dnswire.TypeHTTPS, dnswire.TypePTR, dnswire.TypeSRV:
	default:
		least /= 2
	}
	if len(name) < least+len("\x01a\x02de\x00") {
		return "", false
	}
	text := blocklist.Name(name).String()
	registered, err := publicsuffix.EffectiveTLDPlusOne(text)
	if err != nil || strings.HasSuffix(registered, ".arpa") || lookUpServices[registered] {
		return "", false
	}
	octets := len(text) - len(registered)
	if octets < least {
		return "", false
	}
	if domain, err = blocklist.ParseName(registered); err != nil {
		return "", false
	}
	var h maphash.Hash
	h.SetSeed(t.seed)
	addr := client.As16()
	_, _ = h.Write(addr[:])
	_, _ = h.WriteString(registered)
	key := h.Sum64() | 1
	second := now.Unix()

	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.kept[key>>1%tunnelCounts]
	switch age := second - c.began; {
	case c.key != key:
		*c = tunnelCount{key: key, began: second}
	case age < 0 || age >= tunnelWindow:
		*c = tunnelCount{key: key, began: second, until: c.until}
	}
	if bit := maphash.Bytes(t.seed, name); c.seen[bit>>6&3]>>(bit&63)&1 == 0 {
		c.seen[bit>>6&3] |= 1 << (bit & 63)
		c.names++
		c.octets += octets
	}
	if c.names >= tunnelNames && c.octets >= tunnelTotal || second < c.until {
		c.until = second + tunnelHold
		return domain, true
	}
	return "", false
}

// tunnelled says of a question that is in no cache, and that is about to go upstream, that it is part of a
// tunnel, and blocks it where the policy blocks ways round the filter. The breach names the domain alone: the names
// below are all different, and hold what was tunnelled.
func (r *Resolver) tunnelled(q *query) (settled bool) {
	domain, tunnel := r.tunnels.note(q.client, q.msg.Name(), q.msg.Type, q.received)
	if !tunnel {
		return false
	}
	verdict := q.snapshot.policy.Bypassed(q.verdict, q.at)
	if verdict == q.verdict {
		return false
	}
	q.verdict, q.recordAs = verdict, domain
	if verdict.Action == policy.Block {
		q.block()
		return true
	}
	q.outcome = outcomeMonitored
	return false
}
