package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
)

// list is one entry of lists: a mapping, builtin:NAME or a name of the catalogue.
type list struct {
	place
	builtin   value[string]
	path      value[string]
	url       value[*url.URL]
	catalogue value[string]
	zone      transfer
	format    value[string]
	addresses value[bool]
	required  value[bool]
	refresh   value[time.Duration]
	sha256    value[string]
	member    value[string]
	minShare  value[int]
	canaries  values[blocklist.Name]
	trial     value[time.Duration]
}

func (l *list) fields() []field {
	return []field{
		{key: "path", kind: one(&l.path, filePath()), doc: "A file with the list, in clear or encrypted to `confidential_key`. Read again when it has changed"},
		{
			key: "url", kind: one(&l.url, webURL()),
			doc: "Where the list is published, over https or http: the list itself, or a gzip, zip, tar or tar.gz file with it",
		},
		{key: "catalogue", kind: one(&l.catalogue, text()), doc: "Its name in the catalogue of public lists, such as `ut1:games`, which knows where it is published"},
		{key: "zone", kind: mapping(&l.zone), doc: "An RPZ zone, by transfer (AXFR, IXFR)"},
		{
			key: "format", kind: one(&l.format, listFormat()),
			doc: "Found by looking where it is not written",
		},
		{
			key: "addresses", kind: one(&l.addresses, boolean()), def: "false",
			doc: "Lines with IP addresses block answers that hold them; such a breach is at most `low`",
		},
		{
			key: "required", kind: one(&l.required, boolean()),
			doc: "No name is looked up until the list has been loaded once, and a reload without it is refused. True for `path` lists of locked, critical and high categories where it is not written",
		},
		{key: "refresh", kind: one(&l.refresh, duration(time.Minute, year)), def: "24h", doc: "How often a `url`, `catalogue` or `zone` list is asked for"},
		{key: "sha256", kind: one(&l.sha256, blank(sha256Digest())), def: `""`, doc: "What the bytes at `url` must have, as they are served"},
		{key: "member", kind: one(&l.member, text()), doc: "The file of the archive at `url`: `adult/domains`. Its only file, else `domains`, else `hosts`, where it is not written"},
		{key: "min_share", kind: one(&l.minShare, integer(0, 100)), doc: "`guard.min_share` of this list"},
		{key: "canaries", kind: many(&l.canaries, domain()), def: "[]", doc: "Names that the list must hold; a version without one is refused"},
		{
			key: "trial", kind: one(&l.trial, duration(time.Hour, 90*day)),
			doc: "For this long the list blocks nothing, and what it would block is recorded as monitored, at most `low`; then it counts like any other. Not in locked categories",
		},
	}
}

func listFormat() scalar[string] {
	words := make([]string, 0, len(blocklist.Formats()))
	for _, f := range blocklist.Formats() {
		words = append(words, string(f))
	}
	return enum(words...)
}

// catalogued is what a name in a catalogue looks like: "ut1:games".
var catalogued = regexp.MustCompile(`^[a-z][a-z0-9]*:[A-Za-z0-9_.-]+$`)

// short reads a list that is named instead of described.
func (l *list) short(text string) error {
	switch name, builtin := strings.CutPrefix(text, "builtin:"); {
	case builtin:
		l.builtin = value[string]{l.place, name}
		return nil
	case catalogued.MatchString(strings.ToLower(text)):
		l.catalogue = value[string]{l.place, text}
		return nil
	case strings.HasPrefix(text, "https://"), strings.HasPrefix(text, "http://"):
		return wrong("write {url: URL}", "%q is not the name of a list", text)
	}
	return wrong("write {path: FILE}, builtin:NAME or a catalogue's name like ut1:games", "%q is not the name of a list", text)
}

func (l *list) shortSchema() map[string]any {
	return object{"type": "string", "pattern": catalogued.String()}
}

// transfer is an RPZ zone and where it is transferred from.
type transfer struct {
	place
	name    value[blocklist.Name]
	servers values[netip.AddrPort]
	tsig    tsig
}

func (t *transfer) fields() []field {
	return []field{
		{key: "name", kind: one(&t.name, domain()), need: true, doc: "The zone"},
		{key: "servers", kind: many(&t.servers, nameserver()), need: true, doc: "Its servers, asked in this order. Their NOTIFY is heeded"},
		{key: "tsig", kind: mapping(&t.tsig), doc: "The key that transfers are signed with (RFC 8945)"},
	}
}

type tsig struct {
	place
	name       value[blocklist.Name]
	algorithm  value[string]
	secretFile value[string]
	secretEnv  value[string]
}

func (t *tsig) fields() []field {
	return []field{
		{key: "name", kind: one(&t.name, domain()), need: true, doc: "The name of the key, the same on the server"},
		{key: "algorithm", kind: one(&t.algorithm, enum(feed.TSIGAlgorithms()...)), def: "hmac-sha256", doc: "What it is used with"},
		{key: "secret_file", kind: one(&t.secretFile, filePath()), doc: "File with the key in base64"},
		{key: "secret_env", kind: one(&t.secretEnv, text()), doc: "Environment variable with the key, instead of a file"},
	}
}

// nameserver is the address of a server for DNS, at port 53 where it has none.
func nameserver() scalar[netip.AddrPort] {
	return scalar[netip.AddrPort]{
		words: "address:port", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (netip.AddrPort, error) {
			a, err := netip.ParseAddrPort(s)
			if err != nil {
				var addr netip.Addr
				addr, err = netip.ParseAddr(s)
				a = netip.AddrPortFrom(addr, 53)
			}
			if err != nil || a.Port() == 0 || a.Addr().IsUnspecified() {
				return netip.AddrPort{}, wrong(`write "192.0.2.1:53" or "[2001:db8::1]:53"`, "%q is not the address of a server", s)
			}
			return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
		},
	}
}

// guard is what fetched versions of all lists are held to.
type guard struct {
	place
	minShare value[int]
	never    values[blocklist.Name]
	local    value[string]
}

func (g *guard) fields() []field {
	return []field{
		{
			key: "min_share", kind: one(&g.minShare, integer(0, 100)), def: "70", graded: true,
			doc: "How many per cent of the last version's entries a new one must have; 0 takes any number",
		},
		{
			key: "never", kind: many(&g.never, domain()), def: "[]",
			doc: "Names that no fetched list may hold, beside those that schoolgate knows (search, operating systems, the NHS and such)",
		},
		{key: "local", kind: one(&g.local, localKind()), doc: "`may_loosen`: a file that extends this one may lower `min_share` and add to `never`"},
	}
}

// confidentialKey is where the key of confidential lists is.
type confidentialKey struct {
	place
	secretFile value[string]
	secretEnv  value[string]
	credential value[string]
}

func (k *confidentialKey) fields() []field {
	return []field{
		{key: "secret_file", kind: one(&k.secretFile, filePath()), doc: "File with the identity, outside `data_dir`, that only its owner can read"},
		{key: "secret_env", kind: one(&k.secretEnv, text()), doc: "Environment variable with the identity"},
		{key: "credential", kind: one(&k.credential, credential()), doc: "The name under which systemd passes the identity: `LoadCredential=NAME:FILE`"},
	}
}

// credential is the name of a file in $CREDENTIALS_DIRECTORY.
func credential() scalar[string] {
	form := regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*$`)
	return scalar[string]{
		words: "name of a credential", schema: object{"type": "string", "pattern": form.String()},
		parse: func(s string) (string, error) {
			if !form.MatchString(s) {
				return "", wrong("letters, digits, -, _ and .", "is not the name of a credential")
			}
			return s, nil
		},
	}
}
