package config

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/policy/alert"
	"schoolgate/resolver"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// secretKey is the key of testdata/hook.secret and of $GOOD_SECRET.
const secretKey = "a key for tests, not a secret!!!"

// fakeMachine is a machine that is the same everywhere.
func fakeMachine() machine {
	env := map[string]string{
		"GOOD_SECRET":  "whsec_" + base64.StdEncoding.EncodeToString([]byte(secretKey)),
		"SHORT_SECRET": "whsec_" + base64.StdEncoding.EncodeToString([]byte("too short")),
		"PLAIN_SECRET": "correct horse battery staple",
	}
	return machine{
		hostname:   "resolver1",
		prefixes:   []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("192.0.2.9/24"), netip.MustParsePrefix("2001:db8::9/64")},
		resolvConf: filepath.Join("testdata", "resolv.conf"),
		getenv:     func(name string) string { return env[name] },
		now:        time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC),
	}
}

// loadAt loads a file as if it were called by its base name.
func loadAt(t testing.TB, path string) (*Config, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return load(&report{file: filepath.Base(path)}, data, filepath.Dir(path), fakeMachine())
}

func loadText(t testing.TB, text string) (*Config, error) {
	t.Helper()
	return load(&report{file: "test.yaml"}, []byte(text), t.TempDir(), fakeMachine())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func yamlFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	return files
}

func TestGoodFilesLoadWithTheseWarnings(t *testing.T) {
	t.Parallel()
	for _, path := range yamlFiles(t, "testdata/good") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			if filepath.Base(path) == "contract.yaml" {
				path = contractCopy(t)
			}
			cfg, err := loadAt(t, path)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, w := range cfg.Warnings {
				fmt.Fprintln(&got, "warning:", w)
			}
			for _, p := range cfg.NotEnforced {
				fmt.Fprintln(&got, "not yet:", p)
			}
			want := strings.TrimSuffix(filepath.Base(path), ".yaml") + ".want"
			golden(t, filepath.Join("testdata/good", want), got.String())
		})
	}
}

func TestBadFilesAreRefusedWithTheseProblems(t *testing.T) {
	t.Parallel()
	for _, path := range yamlFiles(t, "testdata/bad") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			cfg, err := loadAt(t, path)
			var problems Errors
			if !errors.As(err, &problems) {
				t.Fatalf("loaded %v, error %v", cfg, err)
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".want", problems.Error()+"\n")
		})
	}
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
	want := Config{
		Hash: got.Hash,
		Site: "winchelsea", Timezone: london, DataDir: filepath.Join(dir, "data"),
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:5300")}, Metrics: "127.0.0.1:9053",
		CacheEntries: 200000,
		Cache:        resolver.CacheTimes{MaxTTL: 24 * time.Hour, ClientTTL: 5 * time.Minute, NegativeTTL: 5 * time.Minute},
		Blocking:     resolver.Blocking{Answer: "nxdomain", TTL: 30 * time.Second},
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
					Block: []string{"pornography", "extremism", "gaming", "gambling", "bypass", "encrypted_dns"},
				},
				{
					Name: "staff", Clients: prefixes("10.1.0.0/16"), Block: []string{"pornography", "extremism"},
					AlertTo: []string{"headteacher"}, AlertToSet: true,
				},
				{Name: "guests", Clients: prefixes("172.16.0.0/16"), Inherit: "year7"},
				{Name: "domain_controllers", Clients: prefixes("10.0.0.10/32"), Inherit: "year7", Shared: true, SharedSet: true},
			},
			DefaultGroup: "year7",
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
		Lists: []blocklist.Spec{
			{ID: "builtin:ctiru", Category: 0, Builtin: "ctiru", Confidential: true},
			{ID: "builtin:iwf", Category: 1, Builtin: "iwf", Confidential: true},
			{ID: "lists/iwf.txt", Category: 1, Path: filepath.Join(dir, "lists", "iwf.txt"), Format: "urls", Required: true, Confidential: true},
			{ID: "../shared/lists/sinfonietta/pornography-hosts", Category: 2, Path: filepath.Join(lists, "sinfonietta", "pornography-hosts"), Required: true},
			{ID: "builtin:pornography", Category: 2, Builtin: "pornography"},
			{ID: "../shared/lists/ut1/agressif/domains", Category: 3, Path: filepath.Join(lists, "ut1", "agressif", "domains"), Required: true},
			{ID: "../shared/lists/ut1/games/domains", Category: 4, Path: filepath.Join(lists, "ut1", "games", "domains")},
			{ID: "https://lists.example/gambling.txt", Category: 5, URL: "https://lists.example/gambling.txt"},
			{ID: "../shared/lists/ut1/vpn/domains", Category: 6, Path: filepath.Join(lists, "ut1", "vpn", "domains"), Required: true},
			{ID: "../shared/lists/ut1/redirector/domains", Category: 6, Path: filepath.Join(lists, "ut1", "redirector", "domains"), Required: true},
			{ID: "builtin:bypass", Category: 6, Builtin: "bypass"},
			{ID: "builtin:encrypted_dns", Category: 7, Builtin: "encrypted_dns"},
		},
		Quiet: 10 * time.Minute,
		Alerts: alert.Config{
			Site: "winchelsea",
			Receivers: []alert.Receiver{
				{Name: "dsl", Type: "webhook", URL: "http://127.0.0.1:9911/hook", Secret: []byte(secretKey), Full: true},
				{Name: "headteacher", Type: "webhook", URL: "http://127.0.0.1:9912/hook", Secret: []byte(secretKey)},
				{Name: "it", Type: "webhook", URL: "http://127.0.0.1:9913/hook", Secret: []byte(secretKey)},
			},
			Routes: []alert.Route{
				{Severities: []string{"critical", "high"}, To: []string{"dsl"}},
				{Severities: []string{"medium", "low"}, To: []string{"dsl"}, Digest: "mon-fri 15:45"},
				{About: "system", To: []string{"it"}},
			},
		},
	}
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
	diff := cmp.Diff(want, *got,
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
		cmp.AllowUnexported(resolver.Upstream{}, resolver.Record{}))
	if diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wantLines := []int{1, 109, 111, 118, 119, 123, 127, 131, 136, 137, 138, 142, 0, 0}
	rule := 1 + bytes.Count(text[:bytes.Index(text, []byte("  - {allow: [sexwise"))], []byte("\n"))
	wantLines[12], wantLines[13] = rule, rule+1
	for i, id := range []string{"", "  iwf:", "path: lists/iwf", "pornography-hosts", "- builtin:porn", "agressif", "games/domains", "gambling.txt", "vpn", "redirector", "builtin:bypass", "builtin:encrypted"} {
		if id != "" {
			wantLines[i] = 1 + bytes.Count(text[:bytes.Index(text, []byte(id))], []byte("\n"))
		}
	}
	wantLines[1]++ // the first key below iwf
	if diff := cmp.Diff(wantLines, positions); diff != "" {
		t.Errorf("lines of lists and rules (-want +got):\n%s", diff)
	}
}

func TestSpellings(t *testing.T) {
	t.Parallel()
	cfg, err := loadAt(t, "testdata/good/spellings.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Site, Zone, Console, Title string
		Watch                      bool
		Listen, Access, Servers    []string
		Cache                      resolver.CacheTimes
		Clients                    []netip.Prefix
		Names                      []string
		Added, Expires             string
		Block                      []string
		Only                       bool
		Required, Addresses        bool
		Format                     blocklist.Format
	}
	texts := func(n int, at func(i int) fmt.Stringer) (all []string) {
		for i := range n {
			all = append(all, at(i).String())
		}
		return all
	}
	p := cfg.Policy
	gaming := slices.IndexFunc(cfg.Lists, func(s blocklist.Spec) bool { return s.Path != "" })
	got := facts{
		Site: cfg.Site, Zone: cfg.Timezone.String(), Console: cfg.ConsoleURL, Title: p.Categories[2].Title, Watch: cfg.Watch,
		Listen:  texts(len(cfg.Listen), func(i int) fmt.Stringer { return cfg.Listen[i] }),
		Access:  texts(len(p.Access), func(i int) fmt.Stringer { return p.Access[i] }),
		Servers: texts(len(cfg.Upstreams.Servers), func(i int) fmt.Stringer { return cfg.Upstreams.Servers[i] }),
		Cache:   cfg.Cache, Clients: p.Groups[0].Clients,
		Names: texts(3, func(i int) fmt.Stringer { return p.Rules[0].Names[i] }),
		Added: p.Rules[0].Added.UTC().Format(time.RFC3339), Expires: p.Rules[0].Expires.Format(time.RFC3339),
		Block: p.Groups[1].Block, Only: p.Groups[1].OnlySet && p.Groups[1].Only == nil,
		Required: cfg.Lists[gaming].Required, Addresses: cfg.Lists[gaming].Addresses, Format: cfg.Lists[gaming].Format,
	}
	want := facts{
		Site: "2026", Zone: "UTC", Console: "https://console.example", Title: "Games, to play or to buy", Watch: true,
		Listen:  []string{"[::]:53", "192.0.2.9:5300", "127.0.0.1:0", "[::1]:0"},
		Access:  []string{"0.0.0.0/0", "::/0", "192.0.2.1/32", "2001:db8::/32"},
		Servers: []string{"udp://192.0.2.1:53", "tcp://192.0.2.1:5353", "udp://[2001:db8::1]:53"},
		Cache:   resolver.CacheTimes{MaxTTL: 36 * time.Hour, ClientTTL: 90 * time.Minute, NegativeTTL: 5 * time.Minute},
		Clients: prefixes("10.20.0.0/16", "2001:db8:20::/48", "10.20.0.7/32"),
		Names:   []string{"sites.example", "xn--bcher-kva.example", "_dmarc.site.example"},
		Added:   "2026-09-01T07:00:00Z", Expires: "2026-12-19T00:00:00Z",
		Block: []string{"gaming", "weekend_games"}, Only: true,
		Required: true, Addresses: true, Format: "rpz",
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWithoutUpstreamsThoseOfTheMachineButItself(t *testing.T) {
	t.Parallel()
	const groups = "\nversion: 1\ngroups: {everyone: {}}\ndefault_group: everyone\n"
	for name, c := range map[string]struct {
		listen string
		want   []string
	}{
		"on another port":             {`["127.0.0.1:5300"]`, []string{"udp://127.0.0.1:53", "udp://192.0.2.53:53"}},
		"on one of their addresses":   {`["127.0.0.1:53"]`, []string{"udp://192.0.2.53:53"}},
		"on every IPv4 address":       {`["0.0.0.0:53"]`, []string{"udp://192.0.2.53:53"}},
		"on every address":            {`[":53"]`, []string{"udp://192.0.2.53:53"}},
		"on every address but itself": {`[":53", "192.0.2.53:53"]`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := loadText(t, "listen: {dns: "+c.listen+"}"+groups)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, u := range cfg.Upstreams.Servers {
				got = append(got, u.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
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
access: {allow: [loopback, private], rate_limit: {queries_per_second: 500, burst: 1000}, trusted_forwarders: []}
upstreams: {bootstrap: [], strategy: fastest, timeout: 2s}
cache: {entries: 200000, min_ttl: 0s, max_ttl: 1d, client_ttl: 5m, negative_ttl: 5m, serve_stale: 1d, prefetch: true}
blocking:
  answer: nxdomain
  ttl: 30s
  page: {ipv4: "", ipv6: "", contact: "mailto:it@school.example"}
  strip_ech: true
  rebind_protection: true
  rebind_exempt: []
store: {type: sqlite}
query_log: counts
retention: {breaches: 365d, incidents: 7y, audit: 7y, queries: 7d}
alerts: {quiet: 10m}
`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Config{bare, full} {
		c.Hash, c.DataDir, c.NotEnforced, c.Warnings = "", "", nil, nil
	}
	diff := cmp.Diff(bare, full,
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
		cmp.AllowUnexported(resolver.Upstream{}, resolver.Record{}))
	if diff != "" {
		t.Errorf("(-bare +full):\n%s", diff)
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	t.Parallel()
	secret := Secret(secretKey)
	coded := base64.StdEncoding.EncodeToString(secret)
	encoded, err := json.Marshal(map[string]any{"secret": secret, "in": struct{ S Secret }{secret}})
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{string(encoded)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, &secret), fmt.Sprintf(verb, struct{ S Secret }{secret}))
	}
	cfg, err := loadAt(t, "testdata/good/spellings.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(cfg.Alerts.Receivers[0].Secret, secret) {
		t.Error("the key of the secret in the environment is lost")
	}
	for _, text := range []string{"whsec_" + coded[:8], "whsec_" + coded + "!", coded, "whsec_" + strings.Repeat("QUFB", 30)} {
		m := fakeMachine()
		m.getenv = func(string) string { return text }
		data, err := os.ReadFile("testdata/good/spellings.yaml")
		if err != nil {
			t.Fatal(err)
		}
		_, err = load(&report{file: "f"}, data, "testdata/good", m)
		if err == nil {
			t.Fatal("a bad secret was taken")
		}
		printed = append(printed, err.Error())
	}
	for _, p := range printed {
		for _, leak := range []string{secretKey[:6], coded[:6], fmt.Sprint([]byte(secretKey))[1:12], fmt.Sprintf("%x", secretKey)[:12], "QUFB"} {
			if strings.Contains(p, leak) {
				t.Errorf("%q shows the secret: %q", p, leak)
			}
		}
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "30s": 30 * time.Second, "12h": 12 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour,
		"365d": 365 * 24 * time.Hour, "7y": 7 * 365 * 24 * time.Hour, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "100y": longest,
	} {
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":        `"" is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"5":       `"5" is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"1w":      `"1w" is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"1d ":     `"1d " is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"-1h":     `"-1h" is negative`,
		"101y":    `"101y" is too long (at most 100y)`,
		"1e9y":    `"1e9y" is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"99y400d": `"99y400d" is too long (at most 100y)`,
	} {
		if _, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("ParseDuration(%q): %v, want %s", text, err, want)
		}
	}
}
