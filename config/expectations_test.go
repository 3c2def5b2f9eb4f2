package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
)

// expectationsOf reads a file of policy tests for a small school.
func expectationsOf(t *testing.T, text string) ([]Expectation, error) {
	t.Helper()
	cfg, err := load(&report{file: "schoolgate.yaml"}, []byte(`version: 1
categories: {gaming: {}}
groups: {year7: {block: [gaming]}, staff: {}}
default_group: year7
upstreams: {servers: [192.0.2.1]}
`), t.TempDir(), machine{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tests.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadExpectations(path, cfg)
}

func TestExpectationsAreAListOrUnderTests(t *testing.T) {
	t.Parallel()
	name, err := blocklist.ParseName("www.example.org")
	if err != nil {
		t.Fatal(err)
	}
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	const list = `- {client: 10.20.3.4, at: 2026-07-20T10:15:00Z, name: www.example.org, want: block, category: gaming}
- group: staff
  at: 2026-07-20 10:15
  name: WWW.Example.org.
  want: allow
- {group: year7, name: www.example.org, want: rewrite}
`
	want := []Expectation{
		{Line: 1, Column: 3, Client: netip.MustParseAddr("10.20.3.4"), At: time.Date(2026, 7, 20, 11, 15, 0, 0, london), Name: name, Want: "block", Category: "gaming"},
		{Line: 2, Column: 3, Group: "staff", At: time.Date(2026, 7, 20, 10, 15, 0, 0, london), Name: name, Want: "allow"},
		{Line: 6, Column: 3, Group: "year7", Name: name, Want: "rewrite"},
	}
	equal := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(time.Time.Equal)}
	got, err := expectationsOf(t, list)
	if diff := cmp.Diff(want, got, equal); err != nil || diff != "" {
		t.Errorf("a list: %v (-want +got):\n%s", err, diff)
	}
	for i := range want {
		want[i].Line++
		want[i].Column += 2
	}
	got, err = expectationsOf(t, "tests:\n  "+strings.ReplaceAll(strings.TrimRight(list, "\n"), "\n", "\n  ")+"\n")
	if diff := cmp.Diff(want, got, equal); err != nil || diff != "" {
		t.Errorf("under tests: %v (-want +got):\n%s", err, diff)
	}
}

func TestAFileOfExpectationsIsReadStrictly(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":          "tests.yaml:1:1: the file is empty (schoolgate init writes one to begin with)",
		"tests: []": "tests.yaml:1:1: tests.yaml has no test (write - {group: year7, name: www.example.org, want: allow})",
		"- {client: pupil, name: a.example, want: block}":                          `tests.yaml:1:12: [0].client: "pupil" is not an address (write "10.20.3.4")`,
		"- {group: year8, name: a.example, want: block}":                           `tests.yaml:1:11: [0].group: there is no group "year8" (the nearest is "year7")`,
		"- {name: a.example, want: block}":                                         "tests.yaml:1:3: [0]: does not say who asks (write client: ADDRESS or group: NAME)",
		"- {group: staff, client: 10.1.0.1, name: a.example, want: block}":         "tests.yaml:1:3: [0]: has both client and group (make two tests of it)",
		"- {group: staff, want: block}":                                            "tests.yaml:1:3: [0].name: is required",
		"- {group: staff, name: a.example}":                                        "tests.yaml:1:3: [0].want: is required",
		"- {group: staff, name: a.example, want: deny}":                            `tests.yaml:1:41: [0].want: "deny" is none of allow, block, monitor, rewrite, local, refuse, fail (the nearest is "refuse")`,
		"- {group: staff, name: a.example, want: block, categry: gaming}":          `tests.yaml:1:48: [0].categry: unknown key (the nearest is "category")`,
		"- {group: staff, name: a.example, want: block, category: gamin}":          `tests.yaml:1:58: [0].category: there is no category "gamin" (the nearest is "gaming")`,
		"- {group: staff, name: a.example, want: allow, category: gaming}":         "tests.yaml:1:58: [0].category: only what is blocked or monitored has a category (leave it out)",
		"- {group: staff, name: a.example, want: block, at: noon}":                 `tests.yaml:1:52: [0].at: "noon" is not a date and time (write 2026-11-20 10:15, which is meant by the school's clock, or 2026-11-20T10:15:00Z)`,
		"- {group: staff, name: a.example/x, want: block}\n- {group: staff, a: 1}": "tests.yaml:1:24: [0].name: \"a.example/x\" is not a domain name (write the name of the host only)\ntests.yaml:2:3: [1].name: is required\ntests.yaml:2:3: [1].want: is required\ntests.yaml:2:18: [1].a: unknown key (the nearest is \"at\")",
	} {
		_, err := expectationsOf(t, text)
		var problems Errors
		if !errors.As(err, &problems) {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var got []string
		for _, p := range problems {
			p.File = filepath.Base(p.File)
			got = append(got, p.Error())
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// Whatever is in a file of policy tests, it is read or its problems stand where they are.
func FuzzExpectations(f *testing.F) {
	f.Add("- {client: 10.20.3.4, at: 2026-07-20T10:15:00Z, name: www.example.org, want: block, category: gaming}")
	f.Add("tests:\n  - {group: staff, at: 2026-07-20 10:15, name: a.example, want: allow}")
	f.Add("- &a [*a]")
	cfg := &Config{}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parseExpectations([]byte(text), "tests.yaml", cfg)
		var problems Errors
		if err == nil == (len(all) == 0) || err != nil && !errors.As(err, &problems) {
			t.Errorf("%d tests and %v", len(all), err)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Column < 1 {
				t.Errorf("nowhere: %v", p)
			}
		}
	})
}
