//go:build e2e

package e2e_test

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// exclusion is a row that no session with dig can show, and why.
type exclusion struct {
	id, why string
	// tests are those that prove what schoolgate has of it, and said the words of a file for people that say it.
	tests []string
	said  phrase
}

type phrase struct{ file, words string }

// notShown are the rows without a subtest of TestRows.
func notShown() []exclusion {
	return []exclusion{
		{"SS-16", "a signed-in Workspace account decides over the network's mode: no DNS filter can change that", nil, phrase{"README.md", "one video, one user's page"}},
		{"SS-17", "search terms and thumbnails are inside the connection: no DNS filter can see them", nil, phrase{"README.md", "See **search terms**"}},
		{"BYP-07", "ports 53 and 853 are the firewall's to close; its rules are written out", nil, phrase{"deploy/docs/install.md", `udp dport { 53, 853, 8853 } reject`}},
		{"BYP-08", "the browser decides: a real Chromium is asked", []string{"TestChromiumLoadsByDNSOverHTTPSWhatIsAllowedAndNothingElse"}, phrase{}},
		{"BYP-10", "a fall is seen over weeks: a rule of Prometheus alerts, not a session", nil, phrase{"deploy/prometheus/rules.yaml", "alert: SchoolgateBlocksFell"}},
		{"BYP-14", "addresses typed in, hosts files and mobile data ask no resolver: no DNS filter can", nil, phrase{"README.md", "mobile data, hotspots, hosts files, addresses typed in"}},
		{"DNS-23", "the option of structured errors has no code yet (a draft)", nil, phrase{}},
		{"DNS-24", "as DNS-23: its numbers go into that option", nil, phrase{}},
		{"DNS-25", "as DNS-23: it is the client's to ignore", nil, phrase{}},
		{"DNS-31", "no browser shows a reason yet, and none is promised", nil, phrase{"README.md", "Show a **block page on HTTPS** without a certificate error"}},
		{"L-8", "roles are the console's, which is not here yet; the file's users are checked", []string{"TestGoodFilesLoadWithTheseWarnings"}, phrase{"deploy/docs/configuration.md", "`safeguarding` works with incidents"}},
	}
}

// rowRanges are the rows of which each must be accounted for.
var rowRanges = []struct {
	prefix      string
	first, last int
}{{"DFE-%02d", 5, 18}, {"SS-%02d", 1, 17}, {"BYP-%02d", 1, 14}, {"DEP-%02d", 1, 13}, {"DNS-%d", 20, 32}, {"L-%d", 2, 8}, {"L-%d", 20, 32}}

func TestEveryRowIsShownOrItIsSaidWhyNot(t *testing.T) {
	found := map[string]int{}
	for _, r := range allRows() {
		found[r.id]++
	}
	sources := testFunctions(t)
	for _, e := range notShown() {
		found[e.id]++
		if e.why == "" {
			t.Errorf("%s: no reason", e.id)
		}
		for _, name := range e.tests {
			if !sources[name] {
				t.Errorf("%s: there is no test %s", e.id, name)
			}
		}
		if e.said.file != "" && !strings.Contains(readFile(t, "../../../"+e.said.file), e.said.words) {
			t.Errorf("%s: %s does not say %q", e.id, e.said.file, e.said.words)
		}
	}
	for _, r := range rowRanges {
		for i := r.first; i <= r.last; i++ {
			id := fmt.Sprintf(r.prefix, i)
			if found[id] != 1 {
				t.Errorf("%s is accounted for %d times", id, found[id])
			}
			delete(found, id)
		}
	}
	for id := range found {
		t.Errorf("%s is no row of the ranges", id)
	}
}

// testFunctions are the names of all tests of the source tree.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := fs.WalkDir(os.DirFS("../../.."), ".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			for _, m := range declared.FindAllStringSubmatch(readFile(t, "../../../"+path), -1) {
				names[m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
