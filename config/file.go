package config

import (
	"net/netip"
	"time"
)

// file is a configuration as it is written. Its methods fields, and those of its sections, are the
// one list of all keys.
type file struct {
	place
	version         value[int]
	extends         value[string]
	site            value[string]
	timezone        value[*time.Location]
	watch           value[bool]
	listen          listen
	consoleURL      value[string]
	dataDir         value[string]
	access          access
	identitySources identitySources
	api             api
	upstreams       upstreams
	zones           []zone
	records         []record
	cache           cache
	blocking        blocking
	categories      []category
	guard           guard
	confidentialKey confidentialKey
	sealed          sealed
	calendar        calendar
	groups          []group
	defaultGroup    value[string]
	rules           []rule
	store           store
	queryLog        value[string]
	retention       retention
	alerts          alerts
	users           []user
}

func (f *file) fields() []field {
	return []field{
		{
			key: "version", kind: one(&f.version, formatVersion()), need: true,
			doc: "The version of this file's format",
		},
		{
			key: "extends", kind: one(&f.extends, filePath()), graded: true,
			doc: "A configuration that this one adds to, such as that of a trust for all its schools. What it blocks stays blocked, but for what it marks with `local: may_loosen`; its relative paths begin where it lies. It may extend another itself",
		},
		{
			key: "site", kind: one(&f.site, text()),
			doc: "The name of the school or building, on every record and alert of this resolver. The host's name where it is not written",
		},
		{
			key: "timezone", kind: one(&f.timezone, timeZone()), def: "Europe/London", graded: true,
			doc: "The zone in which dates and times of the day are meant",
		},
		{
			key: "watch", kind: one(&f.watch, boolean()), def: "false",
			doc: "Reload when this file, or one that it extends, changes, once it has rested for two seconds",
		},
		{key: "listen", kind: mapping(&f.listen), def: "{}", doc: "The sockets that schoolgate opens"},
		{
			key: "console_url", kind: one(&f.consoleURL, blank(baseURL())), def: `""`,
			doc: "What links in alerts begin with",
		},
		{
			key: "data_dir", kind: one(&f.dataDir, filePath()), def: "./data",
			doc: "The directory for records, copies of lists and the control socket",
		},
		{key: "access", kind: mapping(&f.access), def: "{}", doc: "Who may ask"},
		{key: "identity", kind: mapping(&f.identitySources), def: "{}", doc: "Where it is learned which device, and who, is at an address"},
		{key: "api", kind: mapping(&f.api), def: "{}", doc: "Which programs may use `/api/v1`, on `listen.console`"},
		{
			key: "upstreams", kind: mapping(&f.upstreams), def: "{}",
			doc: "The resolvers that questions are forwarded to",
		},
		{
			key: "zones", kind: sections(&f.zones),
			doc: "Names that are forwarded to the school's own servers, and not filtered",
		},
		{key: "records", kind: sections(&f.records), doc: "Records that schoolgate answers itself, unfiltered"},
		{key: "cache", kind: mapping(&f.cache), def: "{}", doc: "How long answers are kept"},
		{key: "blocking", kind: mapping(&f.blocking), def: "{}", doc: "How a blocked question is answered"},
		{
			key: "categories", kind: named(&f.categories),
			doc: "Kinds of content with their lists, at most 61 beside `iwf` and `ctiru`, which always exist and are always locked, confidential and critical; one with a list on trial counts twice. The order decides between equally severe ones",
		},
		{key: "guard", kind: mapping(&f.guard), def: "{}", doc: "What a fetched version of a list must be like; else it is refused, the last good one stays, and a system alert says so"},
		{
			key: "confidential_key", kind: mapping(&f.confidentialKey),
			doc: "The age identity (`AGE-SECRET-KEY-…`, from `age-keygen`) that decrypts confidential lists, and to which their copies are encrypted. One of its keys",
		},
		{
			key: "sealed", kind: mapping(&f.sealed),
			doc: "To whom the names of confidential categories are kept encrypted, as evidence that this machine can't open. Without it they are kept nowhere",
		},
		{key: "calendar", kind: mapping(&f.calendar), doc: "Terms, holidays and times of the day for schedules"},
		{key: "groups", kind: named(&f.groups), need: true, doc: "Sets of clients, each under one policy"},
		{
			key: "default_group", kind: one(&f.defaultGroup, reference("group")), need: true, graded: true,
			doc: "The group of a client that no other group names; make it the strictest",
		},
		{key: "rules", kind: sections(&f.rules), doc: "Exceptions that last, each with its reason"},
		{key: "store", kind: mapping(&f.store), def: "{}", doc: "Where records are kept"},
		{
			key: "query_log", kind: one(&f.queryLog, enum("none", "counts", "full")), def: "counts",
			doc: "What is kept of all queries, beside the breach record: `none`: nothing of anybody; `counts`: how many in each hour, by group, outcome and category, and of each client how much it asks, not what (`clients list`); `full`: every query with its client as well. See [query-log.md](query-log.md)",
		},
		{
			key: "retention", kind: mapping(&f.retention), def: "{}",
			doc: "How long records are kept; what is older is deleted once a day. An incident's breaches live as long as it",
		},
		{key: "alerts", kind: mapping(&f.alerts), def: "{}", doc: "Who is told of what"},
		{
			key: "users", kind: sections(&f.users), later: true,
			doc: "The first users of the console, which keeps its own from then on",
		},
	}
}

func formatVersion() scalar[int] {
	version := integer(1, 1)
	version.parse = func(s string) (int, error) {
		if s != "1" {
			return 0, wrong("write 1", "%s is not known", s)
		}
		return 1, nil
	}
	return version
}

type listen struct {
	place
	dns           values[netip.AddrPort]
	dot, doh, doq values[netip.AddrPort]
	page          values[netip.AddrPort]
	console       value[string]
	metrics       value[string]
	tls           tlsFiles
}

func (l *listen) fields() []field {
	return []field{
		{
			key: "dns", kind: many(&l.dns, address()), def: `["127.0.0.1:5300"]`,
			doc: "DNS over UDP and TCP. `0.0.0.0:53` is every IPv4 address of the machine, `[::]:53` every IPv6 one, `:53` both",
		},
		{key: "dot", kind: many(&l.dot, address()), def: "[]", doc: "DNS over TLS (RFC 7858), which Android calls Private DNS: `[\":853\"]`"},
		{key: "doh", kind: many(&l.doh, address()), def: "[]", doc: "DNS over HTTPS (RFC 8484), path `/dns-query`: `[\":443\"]`"},
		{key: "doq", kind: many(&l.doq, address()), def: "[]", doc: "DNS over QUIC (RFC 9250): `[\":853\"]`"},
		{
			key: "page", kind: many(&l.page, address()), def: "[]",
			doc: "The block page, over plain HTTP: `[\":80\"]`. `blocking.answer: page` leads browsers to it, with the addresses of `blocking.page`",
		},
		{
			key: "console", kind: one(&l.console, blank(hostPort())), def: `"127.0.0.1:8053"`,
			doc: "`/api/v1`, over HTTP on this machine, else over HTTPS with `tls`. It is opened once `api.tokens` has one; the web console comes in a later version",
		},
		{
			key: "metrics", kind: one(&l.metrics, blank(hostPort())), def: `"127.0.0.1:9053"`,
			doc: "`/metrics`, `/healthz`, `/readyz` and `/-/reload`; empty for none",
		},
		{
			key: "tls", kind: mapping(&l.tls), def: "{}",
			doc: "For `dot`, `doh` and `doq`, and for `console` off loopback. Read again when the files change, within a minute",
		},
	}
}

type tlsFiles struct {
	place
	certificate, key value[string]
}

func (t *tlsFiles) fields() []field {
	return []field{
		{key: "certificate", kind: one(&t.certificate, blank(filePath())), def: `""`, doc: "PEM file with the certificate and those between it and the root"},
		{key: "key", kind: one(&t.key, blank(filePath())), def: `""`, doc: "PEM file with its private key"},
	}
}

type store struct {
	place
	kind       value[string]
	dsnFile    value[string]
	queryLogMB value[int]
}

func (s *store) fields() []field {
	return []field{
		{key: "type", kind: one(&s.kind, enum("sqlite", "postgres")), def: "sqlite", doc: "`sqlite`, a file in `data_dir`; `postgres` comes in a later version"},
		{key: "dsn_file", kind: one(&s.dsnFile, filePath()), later: true, doc: "File with the connection string, for `postgres`"},
		{key: "query_log_mb", kind: one(&s.queryLogMB, integer(16, 1_000_000)), def: "2048", doc: "How much the files of `query_log: full` may take, in MiB: some 8 to 19 octets a question. Above it the oldest day goes before its time. A tenth of the disk, 1 GiB at most, is always left free"},
	}
}

type retention struct {
	place
	breaches, incidents, audit, queries value[time.Duration]
}

func (r *retention) fields() []field {
	return []field{
		{key: "breaches", kind: one(&r.breaches, duration(day, longest)), def: "365d", doc: "Incidents with their breaches that were closed with `no_concern`, or that nobody took in hand. The hourly counts of `query_log` live as long"},
		{key: "incidents", kind: one(&r.incidents, duration(day, longest)), def: "7y", doc: "The other incidents, with their notes and breaches"},
		{key: "audit", kind: one(&r.audit, duration(day, longest)), def: "7y", doc: "The record of changes"},
		{key: "queries", kind: one(&r.queries, duration(day, longest)), def: "7d", doc: "The questions that `query_log: full` has written down, of which a day's are deleted together, when all are older; and who asked how much (`clients list`)"},
	}
}

type user struct {
	place
	name         value[string]
	role         value[string]
	passwordHash value[string]
}

func (u *user) fields() []field {
	return []field{
		{key: "name", kind: one(&u.name, text()), need: true, doc: "What the user signs in with"},
		{key: "role", kind: one(&u.role, enum("admin", "safeguarding", "viewer")), need: true, doc: "`admin` changes, `safeguarding` works with incidents, `viewer` looks"},
		{key: "password_hash_file", kind: one(&u.passwordHash, filePath()), need: true, doc: "File with the hash of the password in PHC form"},
	}
}
