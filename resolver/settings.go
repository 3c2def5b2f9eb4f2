package resolver

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// Config is what a Resolver is made with and keeps for its life.
type Config struct {
	// Listen holds the addresses for UDP and TCP. A wildcard address answers from the address that
	// was asked. Port 0 takes a free one, the same for UDP and TCP.
	Listen []netip.AddrPort
	// DoT, DoH and DoQ hold the addresses for encrypted DNS. They need Certificate.
	DoT, DoH, DoQ []netip.AddrPort
	// Certificate returns the certificate to show, its Leaf included, at each handshake anew; nil: there is
	// none at the moment, and handshakes fail. Called from many goroutines, it must not block.
	Certificate func() *tls.Certificate
	// CacheEntries bounds the answer cache; 0 turns it off.
	CacheEntries int
	// Recorder takes the breaches.
	Recorder Recorder
	// Questions takes the questions, where Settings.LogQuestions says so; nil: nobody does.
	Questions Questions
	// Identities says what is known of clients; nil: nothing.
	Identities Identities
	Registerer prometheus.Registerer
	Logger     *slog.Logger
	// Notify is told that a server says that one of its zones has changed (NOTIFY, RFC 1996), and
	// reports whether that is taken: from is a server of the zone. Anybody on the site's network can
	// pretend to be: it must not believe more than that it may be time to ask. It must not block and
	// may be called from many goroutines. nil: no NOTIFY is taken.
	Notify func(zone blocklist.Name, from netip.Addr) (taken bool)
	// Now is the clock by which the policy judges and breaches are recorded; nil: time.Now. What is waited for,
	// and how old an answer is, goes by the real one.
	Now func() time.Time
	// Settings are the first ones; Apply replaces them.
	Settings Settings

	roots *x509.CertPool // that certificates of servers must lead to; nil: the system's
}

// Recorder takes the breaches from the data path. Record must not block and may be called from
// many goroutines; it owns the event.
type Recorder interface {
	Record(policy.Event)
}

// Questions takes every answered question from the data path, of clients that may ask and were not over their
// limit. Question must not block and may be called from many goroutines; lane tells those apart that call it at
// the same time. The name is the caller's, and good during the call only.
type Questions interface {
	Question(lane int, q policy.Question)
}

// Settings is all that a reload replaces, as one value.
type Settings struct {
	Policy    *policy.Policy
	Upstreams Upstreams
	// Zones are the servers of policy.Spec.Zones, in the same order.
	Zones []Upstreams
	// Records are the records of policy.Spec.Records; several may have the same owner name.
	Records  []Record
	Cache    CacheTimes
	Blocking Blocking
	Access   Access
	// CountClients says that it is to be counted who asks (Resolver.Asked).
	CountClients bool
	// LogQuestions has Config.Questions told of every question.
	LogQuestions bool
}

// Access is how clients are told apart and bounded; who may ask is the policy's.
type Access struct {
	RateLimit RateLimit
	// TrustedForwarders ask for many, and have no rate limit. They are believed who asks them.
	TrustedForwarders []netip.Prefix
	// Proxies put a PROXY header before what they pass on, which names the client. What comes from them
	// without is dropped; from others it is no such header.
	Proxies []netip.Prefix
}

// Upstreams is a set of servers that stand for each other.
type Upstreams struct {
	Servers []Upstream
	// Bootstrap are udp:// or tcp:// servers that are asked where servers are that are written with a
	// name. Those of Settings.Upstreams hold for zones too.
	Bootstrap []Upstream
	// Strategy is "fastest", "ordered" or "random".
	Strategy string
	// Timeout bounds one try at one server.
	Timeout time.Duration
}

// CacheTimes bounds how long answers are kept and handed out.
type CacheTimes struct {
	MinTTL, MaxTTL time.Duration // of what is kept
	ClientTTL      time.Duration // the most that a client is given
	NegativeTTL    time.Duration // the most for NXDOMAIN and NODATA
	// ServeStale is how long after its time an answer serves where no upstream answers (RFC 8767); 0: not.
	ServeStale time.Duration
	// Prefetch has answers that are asked for asked anew before they run out.
	Prefetch bool
}

// Blocking is how a blocked question is answered.
type Blocking struct {
	Answer   string // "nxdomain", "nodata", "zero", "refused" or "page"
	TTL      time.Duration
	PageIPv4 netip.Addr // for "page"; the zero Addr: NODATA
	PageIPv6 netip.Addr
	// StripECH takes the keys of Encrypted Client Hello out of what upstreams say from then on.
	StripECH bool
	// StructuredErrors says who blocked, and whom to ask, to programs that ask for that.
	StructuredErrors StructuredErrors
}
