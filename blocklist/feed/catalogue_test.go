package feed

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
)

var update = flag.Bool("update", false, "rewrite the manual's catalogue")

func TestEveryListingIsWhole(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^[a-z][a-z0-9]*:[a-z0-9_.-]+$`) // what a configuration takes for one
	archive := regexp.MustCompile(`\.(tar|tar\.gz|tgz|zip)$`)
	all := Catalogue()
	seen := map[string]string{}
	for _, l := range all {
		if !name.MatchString(l.Name) {
			t.Errorf("%q is not a name", l.Name)
		}
		if u, err := url.Parse(l.URL); err != nil || u.Scheme != "https" || u.Host == "" || strings.ContainsAny(l.URL, "*# ") {
			t.Errorf("%s: address %q", l.Name, l.URL)
		}
		if other, ok := seen[l.URL]; ok {
			t.Errorf("%s is the same as %s", l.Name, other)
		}
		seen[l.URL] = l.Name
		if (l.Member != "") != archive.MatchString(l.URL) || strings.Contains(l.Member, "*") {
			t.Errorf("%s: member %q of %s", l.Name, l.Member, l.URL)
		}
		if !slices.Contains(blocklist.Formats(), l.Format) {
			t.Errorf("%s: format %q", l.Name, l.Format)
		}
		if l.Licence == "" || l.Title == "" || !strings.HasSuffix(l.About, ".") {
			t.Errorf("%s: licence %q, title %q, about %q", l.Name, l.Licence, l.Title, l.About)
		}
	}
	for i := range all[1:] {
		if all[i].Name >= all[i+1].Name {
			t.Errorf("%s stands before %s", all[i].Name, all[i+1].Name)
		}
	}
}

func TestAListIsFoundByItsName(t *testing.T) {
	t.Parallel()
	want := Listing{
		Name: "ut1:drogue", Title: "Drugs", URL: "https://dsi.ut-capitole.fr/blacklists/download/drogue.tar.gz",
		Member: "drogue/domains", Format: blocklist.FormatDomains, Licence: "CC-BY-SA-4.0",
		About: "Sites about drugs: those that sell them, and some that warn of them.",
	}
	got, ok := Lookup("ut1:drogue")
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("found %v, %s", ok, diff)
	}
	for _, name := range []string{"", "ut1", "ut1:", "ut1:nosuch", "UT1:drogue", "drogue"} {
		if l, ok := Lookup(name); ok || l != (Listing{}) {
			t.Errorf("%q is %+v", name, l)
		}
	}
}

// TestTheListsAtHandPassTheGuard reads copies of published lists as the catalogue says: were one
// refused for what it always holds, nobody could use it.
func TestTheListsAtHandPassTheGuard(t *testing.T) {
	t.Parallel()
	const at = "../../../shared/lists"
	if _, err := os.Stat(at); os.IsNotExist(err) {
		t.Skip("the real lists are not there")
	}
	checked := 0
	for _, l := range Catalogue() {
		collection, name, _ := strings.Cut(l.Name, ":")
		path := map[string]string{
			"ut1":              filepath.Join("ut1", name, "domains"),
			"sinfonietta":      filepath.Join("sinfonietta", name+"-hosts"),
			"blocklistproject": filepath.Join("blocklistproject", name+".domains.txt"),
		}[collection]
		f, err := os.Open(filepath.Join(at, path))
		if path == "" || os.IsNotExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		list, err := blocklist.Parse(f, blocklist.Options{Format: l.Format})
		f.Close()
		if err != nil {
			t.Errorf("%s: %v", l.Name, err)
			continue
		}
		if err := guard(list, nil, guardRules{Fetched: true, Never: NeverBlocked()}); err != nil {
			t.Errorf("%s: %v", l.Name, err)
		}
		checked++
	}
	if checked < 35 {
		t.Errorf("only %d lists were there", checked)
	}
}

func TestTheManualHasTheWholeCatalogue(t *testing.T) {
	t.Parallel()
	const path = "../../deploy/docs/catalogue.md"
	want := catalogueManual()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("go test ./blocklist/feed -run Manual -update writes it: %s", diff)
	}
}

// catalogueManual is the catalogue as the manual shows it, a table for each collection.
func catalogueManual() string {
	var b strings.Builder
	b.WriteString("# Catalogue of public lists\n\n" +
		"Written by a test from the catalogue itself; [lists.md](lists.md#catalogue) says how to use it.\n")
	last := ""
	for _, l := range Catalogue() {
		name, _, _ := strings.Cut(l.Name, ":")
		if name != last {
			last = name
			all := collections()
			c := all[slices.IndexFunc(all, func(c collection) bool { return c.name == name })]
			from := "`" + c.url + "`"
			if c.member != "" {
				from += ", the file `" + c.member + "` in it"
			}
			fmt.Fprintf(&b, "\n## %s\n\nFrom %s, where `*` is the list. Format: %s. Licence: %s.\n\n| name | kind | what it holds |\n|---|---|---|\n",
				name, from, c.format, c.licence)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", l.Name, l.Title, l.About)
	}
	return b.String()
}
