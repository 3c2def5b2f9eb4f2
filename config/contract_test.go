package config

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/identity"
	"schoolgate/policy"
	"schoolgate/policy/alert"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
	"schoolgate/resolver"
)

// whole compares configurations to the last field.
var whole = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
	cmp.AllowUnexported(resolver.Upstream{}, resolver.Record{}),
}

// contractCopy puts the example of the contract beside the secrets and lists that it names.
func contractCopy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/good/contract.yaml")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile("testdata/hook.secret")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "main", "contract.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"contract.yaml": text, "hook.secret": secret} {
		if err := os.WriteFile(filepath.Join(dir, "main", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shared, err := filepath.Abs("../../shared")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shared, filepath.Join(dir, "shared")); err != nil {
		t.Fatal(err)
	}
	return path
}

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func domainNames(t *testing.T, texts ...string) []blocklist.Name {
	t.Helper()
	var all []blocklist.Name
	for _, s := range texts {
		n, err := blocklist.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

func upstreamsOf(t *testing.T, c Config, texts ...string) resolver.Upstreams {
	t.Helper()
	u := resolver.Upstreams{Strategy: c.Upstreams.Strategy, Timeout: c.Upstreams.Timeout}
	for _, s := range texts {
		server, err := resolver.ParseUpstream(s)
		if err != nil {
			t.Fatal(err)
		}
		u.Servers = append(u.Servers, server)
	}
	return u
}

func TestContractExampleMeansThis(t *testing.T) {
	t.Parallel()
	path := contractCopy(t)
	got, err := loadAt(t, path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	lists := filepath.Join(filepath.Dir(dir), "shared", "lists")
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	printer, err := resolver.ParseRecord("printer.school.internal", "A", "10.0.0.9", 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	added := time.Date(2026, 9, 1, 0, 0, 0, 0, london)
	day := func(text string) time.Time {
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const monFri = 0x3e
	want := Config{
		File: "contract.yaml", Hash: got.Hash, Files: got.Files,
		Site: "winchelsea", Timezone: london, DataDir: filepath.Join(dir, "data"),
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5300")}, Metrics: "127.0.0.1:9053",
		CacheEntries: 200000,
		KeepClients:  7 * 24 * time.Hour,
		Cache:        resolver.CacheTimes{MaxTTL: 24 * time.Hour, ClientTTL: 5 * time.Minute, NegativeTTL: 5 * time.Minute, ServeStale: 24 * time.Hour, Prefetch: true},
		Blocking:     resolver.Blocking{Answer: "nxdomain", TTL: 30 * time.Second, StripECH: true},
		Sources:      identity.Config{Neighbours: true, Reverse: prefixes("10.0.0.0/8")},
		Access:       resolver.Access{RateLimit: resolver.RateLimit{Every: 2 * time.Millisecond, Burst: 1000}},
		Records:      []resolver.Record{printer},
		Policy: policy.Spec{
			Site: "winchelsea",
			Access: prefixes("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
				"fe80::/10", "fc00::/7", "127.0.0.0/8", "192.0.2.0/24", "2001:db8::/64"),
			Categories: []policy.Category{
				{Name: "ctiru", Title: "Unlawful terrorist content (CTIRU list)", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
				{Name: "iwf", Title: "Child sexual abuse (IWF list)", Severity: policy.SeverityCritical, Locked: true, Confidential: true},
				{Name: "pornography", Title: "Pornography", Severity: policy.SeverityHigh},
				{Name: "extremism", Title: "Extremism and racial hatred", Severity: policy.SeverityCritical},
				{Name: "gaming", Title: "Gaming", Severity: policy.SeverityLow},
				{Name: "gambling", Title: "Gambling", Severity: policy.SeverityMedium},
				{Name: "bypass", Title: "Ways round the filter (VPN, proxy, Tor)", Severity: policy.SeverityHigh},
				{Name: "encrypted_dns", Title: "DNS over HTTPS (devices try it by themselves)"},
			},
			Groups: []policy.Group{
				{
					Name: "early_years", Clients: prefixes("10.10.0.0/16"),
					Only: domainNames(t, "bbc.co.uk", "phonicsplay.co.uk"), OnlySet: true,
				},
				{
					Name: "year7", Clients: prefixes("10.20.0.0/16", "2001:db8:20::/48"),
					MACs: []string{"00:11:22:33:44:55"}, Devices: []string{"y7-ipad-*"},
					Block:      []string{"pornography", "extremism", "gaming", "gambling", "bypass", "encrypted_dns"},
					Schedule:   []policy.Change{{During: "lunch", Unblock: []string{"gaming"}}},
					SafeSearch: policy.SafeSearch{Search: true, YouTube: policy.YouTubeStrict}, SafeSearchSet: true,
				},
				{
					Name: "staff", Clients: prefixes("10.1.0.0/16"), Block: []string{"pornography", "extremism"},
					AlertTo: []string{"headteacher"}, AlertToSet: true,
				},
				{Name: "guests", Clients: prefixes("172.16.0.0/16"), Inherit: "year7"},
				{Name: "domain_controllers", Clients: prefixes("10.0.0.10/32"), Inherit: "year7", Shared: true, SharedSet: true},
			},
			DefaultGroup: "year7",
			Rebinding:    true,
			Calendar: policy.Calendar{
				Zone:   london,
				Terms:  []policy.Days{{From: day("2026-09-02"), To: day("2026-12-18")}},
				Closed: []policy.Days{{From: day("2026-10-26"), To: day("2026-10-30")}},
				Periods: []policy.Period{
					{Name: "lessons", Times: []policy.Span{{Days: monFri, From: 530, To: 730}, {Days: monFri, From: 790, To: 920}}},
					{Name: "lunch", Times: []policy.Span{{Days: monFri, From: 730, To: 790}}},
					{Name: "night", Times: []policy.Span{{Days: 0x7f, From: 1320, To: 390, Always: true}}},
				},
			},
			Rules: []policy.Rule{
				{
					Allow: true, Names: domainNames(t, "sexwise.org.uk"), Groups: []string{"year7"}, Reason: "PSHE, Year 7 unit 4",
					By: "it@school.example", Added: added, Severity: policy.SeverityLow,
				},
				{
					Names: domainNames(t, "example.net"), Reason: "reported by Year 8 tutor",
					By: "it@school.example", Added: added, Severity: policy.SeverityLow,
				},
			},
			Records: domainNames(t, "printer.school.internal"),
			Zones:   []policy.Zone{{Names: domainNames(t, "school.internal", "10.in-addr.arpa")}},
		},
		Lists: []feed.Spec{
			{ID: "builtin:ctiru", Category: 0, Builtin: "ctiru", Confidential: true, Locked: true},
			{ID: "builtin:iwf", Category: 1, Builtin: "iwf", Confidential: true, Locked: true},
			{ID: "lists/iwf.txt", Category: 1, Path: filepath.Join(dir, "lists", "iwf.txt"), Format: "urls", Required: true, Confidential: true, Locked: true},
			{ID: "../shared/lists/sinfonietta/pornography-hosts", Category: 2, Path: filepath.Join(lists, "sinfonietta", "pornography-hosts"), Required: true},
			{ID: "builtin:pornography", Category: 2, Builtin: "pornography"},
			{ID: "../shared/lists/ut1/agressif/domains", Category: 3, Path: filepath.Join(lists, "ut1", "agressif", "domains"), Required: true},
			{ID: "../shared/lists/ut1/games/domains", Category: 4, Path: filepath.Join(lists, "ut1", "games", "domains")},
			{ID: "https://lists.example/gambling.txt", Category: 5, URL: "https://lists.example/gambling.txt", Refresh: 24 * time.Hour, MinShare: 70},
			{ID: "../shared/lists/ut1/vpn/domains", Category: 6, Path: filepath.Join(lists, "ut1", "vpn", "domains"), Required: true},
			{ID: "../shared/lists/ut1/redirector/domains", Category: 6, Path: filepath.Join(lists, "ut1", "redirector", "domains"), Required: true},
			{ID: "builtin:bypass", Category: 6, Builtin: "bypass"},
			{ID: "builtin:encrypted_dns", Category: 7, Builtin: "encrypted_dns"},
		},
		Never:     feed.NeverBlocked(),
		Record:    breach.Settings{Site: "winchelsea", Quiet: 10 * time.Minute, Escalation: breach.Escalation{Within: 10 * time.Minute}},
		Retention: breach.Retention{Breaches: 365 * 24 * time.Hour, Incidents: 7 * 365 * 24 * time.Hour, Audit: 7 * 365 * 24 * time.Hour},
		QueryLog:  querylog.Settings{Mode: "counts", Retention: 7 * 24 * time.Hour, CountsRetention: 365 * 24 * time.Hour, MaxBytes: 2 << 30},
		Alerts: alert.Config{
			Site: "winchelsea",
			Receivers: []alert.Receiver{
				{Name: "dsl", Type: "webhook", URL: "http://127.0.0.1:9911/hook", Secrets: [][]byte{[]byte(secretKey)}, Full: true},
				{Name: "headteacher", Type: "webhook", URL: "http://127.0.0.1:9912/hook", Secrets: [][]byte{[]byte(secretKey)}},
				{Name: "it", Type: "webhook", URL: "http://127.0.0.1:9913/hook", Secrets: [][]byte{[]byte(secretKey)}},
			},
			Routes: []alert.Route{
				{Severities: []string{"critical", "high"}, To: []string{"dsl"}},
				{Severities: []string{"medium", "low"}, To: []string{"dsl"}, Digest: alert.Times{Days: 0b0111110, Minute: 15*60 + 45}},
				{About: "system", To: []string{"it"}},
			},
		},
	}
	want.Alerts.Calendar = want.Policy.Calendar
	want.Upstreams = resolver.Upstreams{Strategy: "fastest", Timeout: 2 * time.Second}
	want.Upstreams = upstreamsOf(t, want, "udp://127.0.0.1:5301")
	want.Zones = []resolver.Upstreams{upstreamsOf(t, want, "udp://127.0.0.1:5302")}
	positions := []int{}
	for i := range got.Lists {
		positions = append(positions, got.Lists[i].Line)
		got.Lists[i].Line, got.Lists[i].Column = 0, 0
	}
	for i := range got.Policy.Rules {
		positions = append(positions, got.Policy.Rules[i].Line)
		got.Policy.Rules[i].Line = 0
	}
	got.NotEnforced, got.Warnings = nil, nil // in contract.want
	if diff := cmp.Diff(want, *got, whole); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := func(holding string) int {
		return 1 + bytes.Count(text[:bytes.Index(text, []byte(holding))], []byte("\n"))
	}
	wantLines := []int{
		1, line("title: Child"), line("lists/iwf.txt"), line("pornography-hosts"), line("- builtin:pornography"), line("agressif"),
		line("games/domains"), line("gambling.txt"), line("vpn/domains"), line("redirector/domains"), line("- builtin:bypass"),
		line("builtin:encrypted_dns"), line("sexwise.org.uk"), line("example.net"),
	}
	if diff := cmp.Diff(wantLines, positions); diff != "" {
		t.Errorf("lines of lists and rules (-want +got):\n%s", diff)
	}
}

func TestNoKeyWrittenEqualsEveryDefaultWritten(t *testing.T) {
	t.Parallel()
	const rest = "version: 1\ngroups: {everyone: {}}\ndefault_group: everyone\nsite: s\n"
	bare, err := loadText(t, rest)
	if err != nil {
		t.Fatal(err)
	}
	// The values of contract part 2.
	full, err := loadText(t, rest+`
timezone: Europe/London
watch: false
listen: {dns: ["127.0.0.1:5300"], dot: [], doh: [], doq: [], console: "127.0.0.1:8053", metrics: "127.0.0.1:9053", tls: {certificate: "", key: ""}}
console_url: ""
access: {allow: [loopback, private], rate_limit: {queries_per_second: 500, burst: 1000}, trusted_forwarders: [], proxies: []}
upstreams: {bootstrap: [], strategy: fastest, timeout: 2s}
cache: {entries: 200000, min_ttl: 0s, max_ttl: 1d, client_ttl: 5m, negative_ttl: 5m, serve_stale: 1d, prefetch: true}
blocking:
  answer: nxdomain
  ttl: 30s
  page: {ipv4: "", ipv6: "", contact: "mailto:it@school.example"}
  strip_ech: true
  rebind_protection: true
  rebind_exempt: []
guard: {min_share: 70, never: []}
store: {type: sqlite}
query_log: counts
retention: {breaches: 365d, incidents: 7y, audit: 7y, queries: 7d}
alerts: {quiet: 10m}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Config{bare, full} {
		c.Hash, c.Files, c.DataDir, c.NotEnforced, c.Warnings = "", nil, "", nil, nil
	}
	if diff := cmp.Diff(bare, full, whole); diff != "" {
		t.Errorf("(-bare +full):\n%s", diff)
	}
}
