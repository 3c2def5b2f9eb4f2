package config

import (
	"fmt"
	"net/netip"
	"time"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/identity"
	"schoolgate/policy"
	"schoolgate/policy/alert"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
	"schoolgate/resolver"
)

// Config is a whole configuration, checked, in the terms of the packages that it is for.
type Config struct {
	// File is what the file is called in messages: its path as it was given.
	File string
	// Path is the file's absolute path, "" for the built-in default.
	Path string
	// Files are the file, and behind it those that it extends, the farthest one last. None for the built-in default.
	Files []SourceFile
	// Hash is the SHA-256 of the file's bytes, lower-case hexadecimal; where it extends others, HashFiles of all.
	Hash string

	Site     string
	Timezone *time.Location
	Watch    bool
	// DataDir is absolute.
	DataDir string

	Listen []netip.AddrPort // DNS over UDP and TCP
	DoT    []netip.AddrPort // DNS over TLS
	DoH    []netip.AddrPort // DNS over HTTPS
	DoQ    []netip.AddrPort // DNS over QUIC
	Page   []netip.AddrPort // the block page
	// PageContact is whom to ask about a block: mailto:, tel:, https:, or words; "" for nobody.
	PageContact string
	TLS         KeyPair // there is one where there is one of these
	Metrics     string  // host:port, "" for none
	// Console is the host:port of /api/v1, "" where nothing is served there. Off loopback it needs TLS.
	Console    string
	ConsoleURL string
	// Tokens are those of /api/v1, in the file's order.
	Tokens []Token

	CacheEntries int
	Upstreams    resolver.Upstreams
	Zones        []resolver.Upstreams // the servers of Policy.Zones, in the same order
	Records      []resolver.Record
	Cache        resolver.CacheTimes
	Blocking     resolver.Blocking
	Access       resolver.Access
	// Sources say which device, and who, is at an address.
	Sources identity.Config
	// KeepClients is for how long it is kept who has asked, without what; 0: not at all.
	KeepClients time.Duration

	// Policy has, after the categories of the file, one for each that has lists on trial.
	Policy policy.Spec
	// Lists are the lists of Policy.Categories, in the order of the file, builtin:iwf and
	// builtin:ctiru included.
	Lists []feed.Spec
	// Never are the names that no fetched list may hold.
	Never []blocklist.Name
	// Identity is the key of confidential lists, nil where there is none.
	Identity *feed.Identity
	// IdentityElsewhere says that there is one, which only the service has.
	IdentityElsewhere bool

	Record    breach.Settings
	Retention breach.Retention
	QueryLog  querylog.Settings
	Alerts    alert.Config
	// Risks are the kinds of risk that the file gives categories, for reports, by the category name.
	Risks map[string]string

	// NotEnforced has the paths of the keys that ask for something which this version does not do:
	// "groups.year7.schedule". They are checked like all others.
	NotEnforced []string
	// Warnings are problems that do not keep the configuration from being used, in the order of their
	// lines.
	Warnings Errors
}

// Format prints what a configuration is called, whatever the verb: it holds secrets.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "configuration %q with hash %s", c.Path, c.Hash)
}

// MarshalText keeps the secrets out of JSON and the like.
func (c Config) MarshalText() ([]byte, error) { return fmt.Append(nil, c), nil }
