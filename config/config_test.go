package config

import (
	"bytes"
	"encoding/base64"
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
	"schoolgate/blocklist/feed"
	"schoolgate/resolver"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// secretKey is the key of testdata/hook.secret and of $GOOD_SECRET.
const secretKey = "a key for tests, not a secret!!!"

// ageKey is an age identity, as age-keygen writes it.
const ageKey = "# public key: none of interest\nAGE-SECRET-KEY-15SYQVZQFSWXR35E7WUNEZ0R48GRCTWHCDVMNQ0ZE9PFXPACJ88RSHW8NLY\n"

// fakeMachine is a machine that is the same everywhere.
func fakeMachine() machine {
	env := map[string]string{
		"GOOD_SECRET":   "whsec_" + base64.StdEncoding.EncodeToString([]byte(secretKey)),
		"SHORT_SECRET":  "whsec_" + base64.StdEncoding.EncodeToString([]byte("too short")),
		"CHAT_URL":      "https://hooks.chat.example/services/T0/B0/token\n",
		"HTTP_URL":      "http://hooks.chat.example/services/T0/B0/token\n",
		"USER_PASSWORD": "schoolgate:correct horse\n",
		"PLAIN_SECRET":  "correct horse battery staple",
		"API_TOKEN":     "bSxqg4v0mEJCwYv1m8oZ0sVh6W2dQ9tL7uKcRfYxT1A=\n",
		"POOR_TOKEN":    strings.Repeat("ab", 20),
		"PUBLIC_KEY":    "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n",
		"TSIG_KEY":      " " + base64.StdEncoding.EncodeToString([]byte(secretKey)) + "\n",
		"SHORT_KEY":     base64.StdEncoding.EncodeToString([]byte("too short")),
		"AGE_KEY":       ageKey,
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

// secrets returns a directory with a secret for each receiver of the starter and the example.
func secrets(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"dsl", "headteacher", "it"} {
		key := bytes.Repeat([]byte{byte(i)}, 32)
		text := "whsec_" + base64.StdEncoding.EncodeToString(key) + "\n"
		if err := os.WriteFile(filepath.Join(dir, name+".secret"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
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

func TestSpellings(t *testing.T) {
	t.Parallel()
	cfg, err := loadAt(t, "testdata/good/spellings.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type facts struct {
		Site, Zone, Console, Title string
		Watch                      bool
		Listen, Access             []string
		Servers, Bootstrap         []string
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
	gaming := slices.IndexFunc(cfg.Lists, func(s feed.Spec) bool { return s.Path != "" })
	got := facts{
		Site: cfg.Site, Zone: cfg.Timezone.String(), Console: cfg.ConsoleURL, Title: p.Categories[2].Title, Watch: cfg.Watch,
		Listen:    texts(len(cfg.Listen), func(i int) fmt.Stringer { return cfg.Listen[i] }),
		Access:    texts(len(p.Access), func(i int) fmt.Stringer { return p.Access[i] }),
		Servers:   texts(len(cfg.Upstreams.Servers), func(i int) fmt.Stringer { return cfg.Upstreams.Servers[i] }),
		Bootstrap: texts(len(cfg.Upstreams.Bootstrap), func(i int) fmt.Stringer { return cfg.Upstreams.Bootstrap[i] }),
		Cache:     cfg.Cache, Clients: p.Groups[0].Clients,
		Names: texts(3, func(i int) fmt.Stringer { return p.Rules[0].Names[i] }),
		Added: p.Rules[0].Added.UTC().Format(time.RFC3339), Expires: p.Rules[0].Expires.Format(time.RFC3339),
		Block: p.Groups[1].Block, Only: p.Groups[1].OnlySet && p.Groups[1].Only == nil,
		Required: cfg.Lists[gaming].Required, Addresses: cfg.Lists[gaming].Addresses, Format: cfg.Lists[gaming].Format,
	}
	want := facts{
		Site: "2026", Zone: "UTC", Console: "https://console.example", Title: "Games, to play or to buy", Watch: true,
		Listen:    []string{"0.0.0.0:53", "[::]:53", "192.0.2.9:5300", "127.0.0.1:0", "[::1]:0"},
		Access:    []string{"0.0.0.0/0", "::/0", "192.0.2.1/32", "2001:db8::/32"},
		Servers:   []string{"udp://192.0.2.1:53", "tcp://192.0.2.1:5353", "udp://[2001:db8::1]:53", "tls://192.0.2.1:853#dns.example", "https://dns.example/dns-query", "quic://dns.example:8853"},
		Bootstrap: []string{"udp://192.0.2.1:53", "tcp://[2001:db8::1]:53"},
		Cache:     resolver.CacheTimes{MaxTTL: 36 * time.Hour, ClientTTL: 90 * time.Minute, NegativeTTL: 5 * time.Minute},
		Clients:   prefixes("10.20.0.0/16", "2001:db8:20::/48", "10.20.0.7/32"),
		Names:     []string{"sites.example", "xn--bcher-kva.example", "_dmarc.site.example"},
		Added:     "2026-09-01T07:00:00Z", Expires: "2026-12-19T00:00:00Z",
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
		"on another port":           {`["127.0.0.1:5300"]`, []string{"udp://127.0.0.1:53", "udp://192.0.2.53:53"}},
		"on one of their addresses": {`["127.0.0.1:53"]`, []string{"udp://192.0.2.53:53"}},
		"on every IPv4 address":     {`["0.0.0.0:53"]`, []string{"udp://192.0.2.53:53"}},
		"on every address":          {`[":53"]`, []string{"udp://192.0.2.53:53"}},
		"on every IPv6 address":     {`["[::]:53"]`, []string{"udp://127.0.0.1:53", "udp://192.0.2.53:53"}},
		"on all of their addresses": {`["0.0.0.0:53", "192.0.2.53:53"]`, nil},
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
