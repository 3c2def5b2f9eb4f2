package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"schoolgate/blocklist"
	"schoolgate/blocklist/feed"
	"schoolgate/policy"
)

func TestListsMeanThis(t *testing.T) {
	t.Parallel()
	cfg, err := loadAt(t, "testdata/good/lists.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const h, d = time.Hour, 24 * time.Hour
	sum := "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	entry := func(name string) feed.Spec {
		l, ok := feed.Lookup(name)
		if !ok {
			t.Fatalf("%s is not in the catalogue", name)
		}
		return feed.Spec{ID: name, URL: l.URL, Member: l.Member, Format: l.Format}
	}
	gambling := entry("ut1:gambling")
	gambling.Category, gambling.Refresh, gambling.MinShare = 2, d, -1
	games := entry("ut1:games")
	games.Category, games.Format, games.Addresses, games.Required, games.Confidential = 3, "hosts", true, true, true
	games.Refresh, games.MinShare, games.Canaries = 7*d, 1, domainNames(t, "game.example")
	games.Trial, games.TrialCategory, games.TrialName = 90*d, 6, "gaming"
	want := []feed.Spec{
		{ID: "builtin:ctiru", Category: 0, Builtin: "ctiru", Confidential: true, Locked: true},
		{ID: "builtin:iwf", Category: 1, Builtin: "iwf", Confidential: true, Locked: true},
		{
			ID: "lists/iwf.txt.age", Category: 1, Path: "testdata/good/lists/iwf.txt.age", Format: "urls", Required: true, Confidential: true, Locked: true,
			Canaries: domainNames(t, "canary.example"),
		},
		{ID: "https://lists.example/iwf", Category: 1, URL: "https://lists.example/iwf", Required: true, Confidential: true, Locked: true, Refresh: d, MinShare: -1},
		{ID: "own.txt", Category: 2, Path: "testdata/good/own.txt", Trial: h, TrialCategory: 5, TrialName: "gambling"},
		{ID: "http://lists.example/plain.txt", Category: 2, URL: "http://lists.example/plain.txt", Refresh: d, MinShare: -1},
		{ID: "http://lists.example/pinned.txt", Category: 2, URL: "http://lists.example/pinned.txt", SHA256: sum, Refresh: d, MinShare: -1},
		{ID: "http://127.0.0.1:8080/here.txt", Category: 2, URL: "http://127.0.0.1:8080/here.txt", Refresh: time.Minute, MinShare: -1},
		{
			ID: "https://lists.example/all.tar.gz#all/gambling/domains", Category: 2, URL: "https://lists.example/all.tar.gz", Member: "all/gambling/domains",
			Format: "domains", Refresh: d, MinShare: 50, Canaries: domainNames(t, "bet.example"), Trial: 7 * d, TrialCategory: 5, TrialName: "gambling",
		},
		{
			ID: "https://lists.example/all.tar.gz#all/lottery/domains", Category: 2, URL: "https://lists.example/all.tar.gz", Member: "all/lottery/domains",
			Refresh: d, MinShare: 100,
		},
		gambling,
		games,
		{
			ID: "zone:rpz.example", Category: 3, Format: "rpz", Addresses: true, Confidential: true, Refresh: h, MinShare: -1,
			Zone: &feed.Zone{
				Name: domainNames(t, "rpz.example")[0],
				Servers: []netip.AddrPort{
					netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[2001:db8::1]:5353"), netip.MustParseAddrPort("[2001:db8::2]:53"),
				},
				TSIG: &feed.TSIG{Name: "key.example.", Algorithm: "hmac-sha256", Secret: []byte(secretKey)},
			},
		},
		{
			ID: "zone:other.example", Category: 4, Format: "rpz", Refresh: d, MinShare: -1, Trial: 7 * d, TrialCategory: 7, TrialName: "high",
			Zone: &feed.Zone{
				Name:    domainNames(t, "other.example")[0],
				Servers: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")},
				TSIG:    &feed.TSIG{Name: "key.", Algorithm: "hmac-sha512", Secret: []byte(secretKey)},
			},
		},
		{ID: "b.txt", Category: 4, Path: "testdata/good/b.txt", Required: true},
	}
	if diff := cmp.Diff(want, cfg.Lists, whole, cmpopts.IgnoreFields(feed.Spec{}, "Line", "Column")); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	trials := []policy.Category{
		{Name: "gambling (on trial)", Title: "gambling: list on trial", Severity: policy.SeverityLow, TrialOf: "gambling"},
		{Name: "gaming (on trial)", Title: "Games: list on trial", Confidential: true, TrialOf: "gaming"},
		{Name: "high (on trial)", Title: "high: list on trial", Severity: policy.SeverityLow, TrialOf: "high"},
	}
	if diff := cmp.Diff(trials, cfg.Policy.Categories[5:]); diff != "" {
		t.Errorf("categories after those of the file (-want +got):\n%s", diff)
	}
	if _, err := policy.Compile(cfg.Policy, blocklist.Build(nil), true); err != nil {
		t.Error(err)
	}
	never := append(feed.NeverBlocked(), domainNames(t, "school.example", "trust.example")...)
	if diff := cmp.Diff(never, cfg.Never); diff != "" {
		t.Errorf("names never blocked (-want +got):\n%s", diff)
	}
}

// TestTheKeyOfConfidentialListsIsItsOwnersOnly has what a file in the repository can't: permissions,
// links and a data directory.
func TestTheKeyOfConfidentialListsIsItsOwnersOnly(t *testing.T) {
	t.Parallel()
	const hint = " (keep it elsewhere: who copies data_dir must not get the key to it)"
	for name, c := range map[string]struct {
		key  string // where it says that the key is
		file string // where it is
		mode os.FileMode
		want string // the problem; "" for none
	}{
		"the owner's":               {"etc/lists.key", "etc/lists.key", 0o600, ""},
		"the owner's, to read only": {"etc/lists.key", "etc/lists.key", 0o400, ""},
		"beside a longer data_dir":  {"database.key", "database.key", 0o600, ""},
		"readable by the group":     {"etc/lists.key", "etc/lists.key", 0o640, `"etc/lists.key" is open to others than its owner (chmod 600)`},
		"readable by everybody":     {"etc/lists.key", "etc/lists.key", 0o604, `"etc/lists.key" is open to others than its owner (chmod 600)`},
		"in the data directory":     {"data/lists/key", "data/lists/key", 0o600, `"data/lists/key" is inside data_dir` + hint},
		"there by another way":      {"etc/../data/key", "data/key", 0o600, `"etc/../data/key" is inside data_dir` + hint},
		"there by a link":           {"linked/key", "data/key", 0o600, `"linked/key" is inside data_dir` + hint},
		"a directory":               {"etc", "etc/lists.key", 0o600, `"etc": is a directory, not a file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, d := range []string{"etc", "data/lists"} {
				if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink("data", filepath.Join(dir, "linked")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(ageKey), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, c.file), c.mode); err != nil {
				t.Fatal(err)
			}
			text := "version: 1\ngroups: {everyone: {}}\ndefault_group: everyone\nconfidential_key: {secret_file: " + c.key + "}\n"
			cfg, err := load(&report{file: "f"}, []byte(text), dir, fakeMachine())
			switch {
			case c.want == "" && (err != nil || cfg.Identity == nil):
				t.Errorf("not taken: %v", err)
			case c.want != "" && (err == nil || err.Error() != "f:4:33: confidential_key.secret_file: "+c.want):
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestAKeyWhereDataDirLinksToIsInsideIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "disk"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("disk", filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "disk", "key"), []byte(ageKey), 0o600); err != nil {
		t.Fatal(err)
	}
	const text = "version: 1\ngroups: {everyone: {}}\ndefault_group: everyone\nconfidential_key: {secret_file: disk/key}\n"
	_, err := load(&report{file: "f"}, []byte(text), dir, fakeMachine())
	if err == nil || !strings.Contains(err.Error(), "is inside data_dir") {
		t.Errorf("taken: %v", err)
	}
}

func TestACredentialOfSystemdIsTheKeyOfConfidentialLists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// systemd gives the service access by an access control list, which shows as rights of the group.
	for name, text := range map[string]string{"lists-key": ageKey, "other": "AGE-SECRET-KEY-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o440); err != nil {
			t.Fatal(err)
		}
	}
	m := fakeMachine()
	m.getenv = func(name string) string { return map[string]string{"CREDENTIALS_DIRECTORY": dir}[name] }
	for name, want := range map[string]string{
		"lists-key": "",
		"other":     "f:4:32: confidential_key.credential: not an age identity: make one with age-keygen",
		"none":      `f:4:32: confidential_key.credential: "none": no such file or directory (write LoadCredential=none:FILE in the unit)`,
	} {
		text := "version: 1\ngroups: {everyone: {}}\ndefault_group: everyone\nconfidential_key: {credential: " + name + "}\n"
		cfg, err := load(&report{file: "f"}, []byte(text), t.TempDir(), m)
		switch {
		case want == "" && (err != nil || cfg.Identity == nil):
			t.Errorf("%s is not taken: %v", name, err)
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestGroupsKnowNoListOnTrial keeps what goes by the name of a category to the category itself.
func TestGroupsKnowNoListOnTrial(t *testing.T) {
	t.Parallel()
	const text = "version: 1\ncategories: {gaming: {lists: [{path: a.txt, trial: 1d}]}}\ngroups: {everyone: {block: [%]}}\ndefault_group: everyone\n"
	cfg, err := loadText(t, strings.Replace(text, "%", "gaming", 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.Policy.Groups[0].Block; len(got) != 1 || got[0] != "gaming" {
		t.Errorf("the group blocks %q", got)
	}
	const want = `test.yaml:3:29: groups.everyone.block[0]: there is no category "gaming (on trial)" (the nearest is "gaming")`
	if _, err = loadText(t, strings.Replace(text, "%", "gaming (on trial)", 1)); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestTheCatalogueHasWhatTheFilesForPeopleName keeps the commented lists right too.
func TestTheCatalogueHasWhatTheFilesForPeopleName(t *testing.T) {
	t.Parallel()
	collections := map[string]bool{}
	for _, l := range feed.Catalogue() {
		collection, _, _ := strings.Cut(l.Name, ":")
		collections[collection] = true
	}
	for _, path := range []string{"starter.yaml", "../deploy/schoolgate.example.yaml", "../deploy/docs/lists.md", "../deploy/docs/configuration.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, name := range regexp.MustCompile(`\b[a-z][a-z0-9]*:[a-z0-9][a-z0-9_.-]*\b`).FindAllString(string(text), -1) {
			collection, _, _ := strings.Cut(name, ":")
			if !collections[collection] {
				continue
			}
			seen++
			if _, ok := feed.Lookup(name); !ok {
				t.Errorf("%s names %s, which is not in the catalogue", path, name)
			}
		}
		if seen == 0 {
			t.Errorf("%s names no list of the catalogue", path)
		}
	}
}
