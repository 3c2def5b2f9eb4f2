package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// trustText is what a trust writes for all its schools.
const trustText = `version: 1
upstreams: {servers: ["udp://192.0.2.1"]}
query_log: counts
categories:
  pornography: {severity: high, lists: [builtin:pornography]}
  gaming: {severity: low, local: may_loosen, lists: [builtin:gaming]}
  gambling: {severity: medium, lists: [builtin:gambling]}
  weapons: {locked: true, lists: []}
  chat: {lists: []}
calendar:
  terms: [{from: 2026-09-02, to: 2027-07-20}]
  periods:
    lunch: [{days: mon-fri, from: "12:10", to: "13:10"}]
    night: [{days: mon-sun, from: "22:00", to: "06:30", always: true}]
groups:
  pupils:
    block: [pornography, gaming, gambling]
    monitor: [chat]
    safe_search: {search: on, youtube: strict}
    schedule: [{during: lunch, unblock: [gaming]}]
  infants: {inherit: pupils, only: [bbc.co.uk]}
  staff: {block: [pornography, weapons], local: may_loosen}
default_group: pupils
rules:
  - {block: [example.net], reason: "all schools"}
alerts:
  receivers: {dsl: {type: webhook, url: "https://alerts.trust.example/hook", secret_env: GOOD_SECRET}}
  routes: [{to: [dsl]}, {about: system, to: [dsl]}]
records: [{name: portal.trust.example, type: A, value: 10.0.0.1}]
`

// extend loads a site's file that extends base texts, the first of which is trust.yaml, that one base2.yaml.
func extend(t testing.TB, site string, bases ...string) (*Config, error) {
	t.Helper()
	dir := t.TempDir()
	for i, text := range bases {
		name := []string{"trust.yaml", "region.yaml"}[i]
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return load(&report{file: "site.yaml"}, []byte(site), dir, fakeMachine())
}

// A key is written after three lines, on line 4.
const siteHead = "version: 1\nextends: trust.yaml\nsite: winchelsea\n"

func TestASiteMayNotLoosenWhatItsTrustDoesNotMark(t *testing.T) {
	t.Parallel()
	const (
		mark = " (remove it, or have trust.yaml say local: may_loosen in "
		gone = " (remove it)"
	)
	for name, c := range map[string]struct{ site, want string }{
		"a category unblocked": {
			"groups: {pupils: {unblock: [pornography]}}",
			"4:29: groups.pupils.unblock[0]: trust.yaml:17:13 blocks pornography for pupils" + mark + "categories.pornography or groups.pupils)",
		},
		"a category unblocked by a group that inherits": {
			"groups: {year7: {inherit: pupils, unblock: [gambling], clients: [10.0.0.0/8]}}",
			"4:45: groups.year7.unblock[0]: trust.yaml:17:34 blocks gambling for pupils" + mark + "categories.gambling or groups.pupils)",
		},
		"a category unblocked for a period": {
			"groups: {pupils: {schedule: [{during: lunch, unblock: [pornography]}]}}",
			"4:56: groups.pupils.schedule[0].unblock[0]: trust.yaml:17:13 blocks pornography for pupils" + mark + "categories.pornography or groups.pupils)",
		},
		"a locked category unblocked, whatever is marked": {
			"groups: {staff: {unblock: [weapons]}}",
			"4:28: groups.staff.unblock[0]: weapons is locked: nothing unblocks it (remove it)",
		},
		"a group without a base": {
			"groups: {year7: {block: [pornography, gaming, gambling], clients: [10.0.0.0/8]}}",
			"4:17: groups.year7: a group of one's own inherits from one of trust.yaml, so that it blocks no less (write inherit: pupils, infants, staff)",
		},
		"a group of the trust that inherits from another one": {
			"groups: {pupils: {inherit: staff}}",
			"4:28: groups.pupils.inherit: pupils is a group of trust.yaml, and what it inherits is for that to say" + mark + "groups.pupils)",
		},
		"unknown devices in a weaker group": {
			"default_group: staff",
			"4:16: default_group: staff does not block all that pupils blocks, the default_group of trust.yaml:23:16 (remove it, or name a group that blocks all that pupils does)",
		},
		"a name more in an allow-list": {
			"groups: {infants: {only: [bbc.co.uk, example.org]}}",
			"4:38: groups.infants.only[1]: example.org is not in the allow-list of trust.yaml:21:36" + mark + "groups.infants)",
		},
		"safe search off": {
			"groups: {pupils: {safe_search: {search: off}}}",
			"4:41: groups.pupils.safe_search.search: search is less safe than by trust.yaml:19:27" + mark + "groups.pupils)",
		},
		"YouTube less strict where safe search is inherited": {
			"groups: {infants: {safe_search: {search: on}}}",
			"4:33: groups.infants.safe_search: youtube is less safe than by trust.yaml:19:40" + mark + "groups.infants)",
		},
		"a milder severity": {
			"categories: {pornography: {severity: none}}",
			"4:38: categories.pornography.severity: none is less than high of trust.yaml:5:27" + mark + "categories.pornography)",
		},
		"a milder severity than the default": {
			"categories: {chat: {severity: medium}}",
			"4:31: categories.chat.severity: medium is less than high that holds where trust.yaml says nothing" + mark + "categories.chat)",
		},
		"a locked category unlocked": {
			"categories: {weapons: {locked: false}}",
			"4:32: categories.weapons.locked: unlocks what is locked by trust.yaml:8:21" + mark + "categories.weapons)",
		},
		"breaches out of sight": {
			"categories: {pornography: {confidential: true}}",
			"4:42: categories.pornography.confidential: is not the false that holds where trust.yaml says nothing" + mark + "categories.pornography)",
		},
		"breaches of nobody": {
			"groups: {pupils: {shared: true}}",
			"4:27: groups.pupils.shared: makes breaches those of nobody, which trust.yaml does not have so" + mark + "groups.pupils)",
		},
		"devices that name themselves": {
			"groups: {pupils: {trust_identity: true}}",
			"4:35: groups.pupils.trust_identity: lets in devices that name themselves, which trust.yaml does not have so" + mark + "groups.pupils)",
		},
		"alerts past those whom the trust has told": {
			"groups: {pupils: {alert_to: [it]}}\nalerts: {receivers: {it: {type: webhook, url: \"https://it.example/\", secret_env: GOOD_SECRET}}}",
			"4:29: groups.pupils.alert_to: breaches of pupils would no longer be told to whom the routes of trust.yaml name" + mark + "groups.pupils)",
		},
		"Encrypted Client Hello let through": {
			"blocking: {strip_ech: false}",
			"4:23: blocking.strip_ech: turns off what is on where trust.yaml says nothing" + mark + "blocking)",
		},
		"rebinding let through": {
			"blocking: {rebind_protection: off}",
			"4:31: blocking.rebind_protection: turns off what is on where trust.yaml says nothing" + mark + "blocking)",
		},
		"a name exempt from rebinding": {
			"blocking: {rebind_exempt: [example.org]}",
			"4:28: blocking.rebind_exempt[0]: example.org is not exempt from rebind_protection in trust.yaml" + mark + "blocking)",
		},
		"fetched lists that may shrink to nothing": {
			"guard: {min_share: 0}",
			"4:20: guard.min_share: 0 is less than the 70 that holds where trust.yaml says nothing" + mark + "guard)",
		},
		"fetched lists refused by a name that they rightly hold": {
			"guard: {never: [example.org]}",
			"4:17: guard.never[0]: would refuse lists of trust.yaml that hold example.org" + mark + "guard)",
		},
		"another clock": {
			"timezone: America/New_York",
			"4:11: timezone: is not the Europe/London that holds where trust.yaml says nothing" + mark + "calendar)",
		},
		"a longer lunch": {
			`calendar: {periods: {lunch: [{from: "09:00", to: "16:00"}]}}`,
			"4:30: calendar.periods.lunch[0]: changes the period by which trust.yaml:20:25 goes" + mark + "calendar)",
		},
		"days off": {
			"calendar: {closed: [2026-11-20]}",
			"4:21: calendar.closed[0]: changes the days by which the schedules of trust.yaml go" + mark + "calendar)",
		},
		"terms": {
			"calendar: {terms: [{from: 2026-08-01, to: 2026-08-31}]}",
			"4:20: calendar.terms[0]: changes the days by which the schedules of trust.yaml go" + mark + "calendar)",
		},
		"a plain key": {
			"query_log: none",
			"4:12: query_log: trust.yaml:3:12 has this too, and what that says stands" + gone,
		},
		"a list that is one thing": {
			`upstreams: {servers: ["udp://9.9.9.9"]}`,
			"4:22: upstreams.servers: trust.yaml:2:22 has this too, and what that says stands" + gone,
		},
		"a receiver's address": {
			`alerts: {receivers: {dsl: {url: "https://elsewhere.example/"}}}`,
			"4:33: alerts.receivers.dsl.url: trust.yaml:27:41 has this too, and what that says stands" + gone,
		},
		"a record of a name that the trust has records of": {
			"records: [{name: portal.trust.example, type: AAAA, value: \"2001:db8::1\"}]",
			"4:11: records[0]: trust.yaml:29:11 has records of portal.trust.example, and those stand alone" + gone,
		},
		"a mark of its own": {
			"groups: {pupils: {local: may_loosen}}",
			"4:26: groups.pupils.local: only trust.yaml can say so" + gone,
		},
		"a rule against a rule of the same scope": {
			`rules: [{allow: [example.net], reason: "for us"}]`,
			"4:18: rules[0].allow[0]: example.net is allowed on line 4 and blocked in trust.yaml:25 for everybody (remove one of the two)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := extend(t, siteHead+c.site+"\n", trustText)
			if err == nil {
				t.Fatal("it loads")
			}
			if diff := cmp.Diff("site.yaml:"+c.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestASiteMayDoTheseThings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ trust, site string }{
		"nothing at all":                       {trustText, ""},
		"place its networks":                   {trustText, "groups: {pupils: {clients: [10.20.0.0/16]}, staff: {clients: [10.1.0.0/16]}}"},
		"block more":                           {trustText, "groups: {pupils: {block: [chat]}, infants: {monitor: [gaming]}}"},
		"have a group of its own":              {trustText, "groups: {year7: {inherit: pupils, clients: [10.0.0.0/8], block: [chat]}}\ndefault_group: year7"},
		"unblock what is marked":               {trustText, "groups: {pupils: {unblock: [gaming]}}"},
		"unblock what is marked, for a time":   {trustText, "groups: {pupils: {schedule: [{during: night, unblock: [gaming]}]}}"},
		"do as it likes with a marked group":   {trustText, "groups: {staff: {unblock: [pornography], safe_search: {search: off}, shared: true, trust_identity: true, alert_to: [dsl]}}"},
		"have categories and lists of its own": {trustText, "categories: {pornography: {lists: [builtin:bypass]}, memes: {lists: [], severity: low}}\ngroups: {pupils: {block: [memes]}}"},
		"unblock its own":                      {trustText, "categories: {memes: {lists: []}}\ngroups: {year7: {inherit: pupils, block: [memes], clients: [10.0.0.0/8]}, choir: {inherit: year7, unblock: [memes], clients: [10.1.0.0/16]}}"},
		"lock, and grade more severely":        {trustText, "categories: {gambling: {locked: true, severity: critical}}"},
		"have rules, records and zones":        {trustText, "rules: [{allow: [example.org], reason: r}]\nrecords: [{name: p.school.internal, type: A, value: 10.0.0.9}]\nzones: [{names: [school.internal], servers: [\"udp://10.0.0.2\"]}]"},
		"have periods of its own":              {trustText, "calendar: {periods: {club: [{from: \"15:30\", to: \"16:30\"}]}}\ngroups: {pupils: {schedule: [{during: club, block: [chat]}]}}"},
		"be told of breaches too":              {trustText, "alerts: {receivers: {us: {type: webhook, url: \"https://us.example/\", secret_env: GOOD_SECRET}}, routes: [{to: [us]}]}"},
		"say what the trust says too":          {trustText, "query_log: counts\nupstreams: {servers: [\"udp://192.0.2.1\"]}"},
		"take its own calendar where that is marked": {
			strings.Replace(trustText, "calendar:\n", "calendar:\n  local: may_loosen\n", 1),
			"timezone: Europe/Paris\ncalendar: {closed: [2026-11-20], terms: [{from: 2026-08-01, to: 2026-08-31}], periods: {lunch: [{from: \"11:00\", to: \"12:00\"}]}}",
		},
		"turn off protection where that is marked": {trustText + "blocking: {local: may_loosen}\n", "blocking: {strip_ech: false, rebind_exempt: [example.org], answer: zero}"},
		"let lists shrink where that is marked":    {trustText + "guard: {local: may_loosen}\n", "guard: {min_share: 10, never: [example.org]}"},
		"have days off where no schedule of the trust goes by them": {
			strings.Replace(trustText, "    schedule: [{during: lunch, unblock: [gaming]}]\n", "", 1),
			"calendar: {closed: [2026-11-20]}\ngroups: {pupils: {schedule: [{during: lunch, block: [chat]}]}}",
		},
		"have all the groups where the trust has none": {
			"version: 1\ncategories: {gaming: {lists: []}}\nrules: [{block: [example.net], reason: r}]\n",
			"groups: {everyone: {block: [gaming]}}\ndefault_group: everyone",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := extend(t, siteHead+c.site+"\n", c.trust)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := policy.Compile(cfg.Policy, blocklist.Build(nil), true); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARegionBetweenTrustAndSiteIsHeldTooAndHolds(t *testing.T) {
	t.Parallel()
	const region = "version: 1\nextends: trust.yaml\ngroups: {pupils: {block: [chat]}}\n"
	for name, c := range map[string]struct{ region, site, want string }{
		"what the region blocks": {
			region, "groups: {pupils: {unblock: [chat]}}",
			"site.yaml:3:29: groups.pupils.unblock[0]: region.yaml:3:27 blocks chat for pupils (remove it, or have region.yaml say local: may_loosen in categories.chat or groups.pupils)",
		},
		"what the trust blocks, past a region": {
			region, "groups: {pupils: {unblock: [pornography]}}",
			"site.yaml:3:29: groups.pupils.unblock[0]: trust.yaml:17:13 blocks pornography for pupils (remove it, or have region.yaml say local: may_loosen in categories.pornography or groups.pupils)",
		},
		"what the region loosens itself": {
			"version: 1\nextends: trust.yaml\ngroups: {pupils: {unblock: [pornography]}}\n", "",
			"region.yaml:3:29: groups.pupils.unblock[0]: trust.yaml:17:13 blocks pornography for pupils (remove it, or have trust.yaml say local: may_loosen in categories.pornography or groups.pupils)",
		},
		"nothing": {region, "groups: {pupils: {unblock: [gaming]}}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := extend(t, "version: 1\nextends: region.yaml\n"+c.site+"\n", trustText, c.region)
			got := ""
			if err != nil {
				got = err.Error()
			} else if len(cfg.Files) != 3 || cfg.Policy.Base.Base == nil {
				t.Errorf("files %v", cfg.Files)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFilesThatCannotExtendAreRefusedWithTheirPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ site, trust, region, want string }{
		"none there":  {"version: 1\nextends: none.yaml\n", "", "", `site.yaml:2:10: extends: "none.yaml": no such file or directory (put it there)`},
		"a directory": {"version: 1\nextends: .\n", "", "", `site.yaml:2:10: extends: ".": is a directory, not a file (put it there)`},
		"a circle": {
			"version: 1\nextends: trust.yaml\n", "extends: region.yaml\n", "extends: trust.yaml\n",
			"region.yaml:1:10: extends: the files extend each other in a circle (site.yaml -> trust.yaml -> region.yaml -> trust.yaml)",
		},
		"itself": {"extends: site.yaml\n", "", "", "site.yaml:1:10: extends: the files extend each other in a circle (site.yaml -> site.yaml)"},
		"a mistake in the trust's": {
			"version: 1\nextends: trust.yaml\ngroups: {a: {}}\ndefault_group: a\n", "version: 1\nquery_log: count\n", "",
			`trust.yaml:2:12: query_log: "count" is none of none, counts, full (the nearest is "counts")`,
		},
		"mistakes in both": {
			"version: 1\nextends: trust.yaml\ngroups: {a: {blok: []}}\ndefault_group: a\n", "version: 1\ncategories: {x: {list: []}}\n", "",
			"site.yaml:3:14: groups.a.blok: unknown key (the nearest is \"block\")\ntrust.yaml:2:18: categories.x.list: unknown key (the nearest is \"lists\")",
		},
		"no YAML":          {"version: 1\nextends: trust.yaml\n", "a: [\n", "", "trust.yaml:1:1: not YAML: did not find expected node content"},
		"what neither has": {"version: 1\nextends: trust.yaml\n", "version: 1\n", "", "site.yaml:1:1: groups: is required\nsite.yaml:1:1: default_group: is required"},
		"unblock without extends": {
			"version: 1\ncategories: {g: {lists: []}}\ngroups: {a: {block: [g], unblock: [g]}}\ndefault_group: a\n", "", "",
			"site.yaml:3:35: groups.a.unblock: is for a file that extends another (take them out of block)",
		},
		"a list": {"version: 1\nextends: [trust.yaml]\ngroups: {a: {}}\ndefault_group: a\n", "", "", "site.yaml:2:10: extends: is a list, want path"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := extend(t, c.site, c.trust, c.region)
			if err == nil {
				t.Fatal("it loads")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPathsAreRelativeToTheFileThatHasThem(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "trust"), 0o700); err != nil {
		t.Fatal(err)
	}
	trust := "version: 1\ncategories: {gaming: {lists: [{path: gaming.txt}]}}\nzones: [{names: [trust.internal], servers: [\"udp://10.0.0.1\"]}]\n"
	if err := os.WriteFile(filepath.Join(dir, "trust", "trust.yaml"), []byte(trust), 0o600); err != nil {
		t.Fatal(err)
	}
	site := "version: 1\nextends: trust/trust.yaml\ncategories: {gaming: {lists: [{path: gaming.txt}]}}\ngroups: {a: {block: [gaming], clients: [10.0.0.0/8]}}\ndefault_group: a\n"
	cfg, err := load(&report{file: "site.yaml"}, []byte(site), dir, fakeMachine())
	if err != nil {
		t.Fatal(err)
	}
	type where struct {
		ID, Path, File string
		Line           int
	}
	var got []where
	for _, l := range cfg.Lists {
		if l.Path != "" {
			got = append(got, where{l.ID, l.Path, l.File, l.Line})
		}
	}
	want := []where{
		{"trust/gaming.txt", filepath.Join(dir, "trust", "gaming.txt"), "trust/trust.yaml", 2},
		{"gaming.txt", filepath.Join(dir, "gaming.txt"), "", 3},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	if cfg.DataDir != filepath.Join(dir, "data") {
		t.Errorf("data_dir %s", cfg.DataDir)
	}
	again, err := ParseFiles(cfg.Files, filepath.Join(dir, "site.yaml"))
	if err != nil || again.Hash != cfg.Hash || len(again.Files) != 2 {
		t.Errorf("from memory: %v %v", again, err)
	}
}

func TestAScheduleOfAParentFreesNothingThatAnHeirBlocks(t *testing.T) {
	t.Parallel()
	trust := strings.Replace(trustText, "only: [bbc.co.uk]", "block: [chat]", 1)
	_, err := extend(t, siteHead+"groups: {pupils: {schedule: [{during: lunch, unblock: [chat]}]}}\n", trust)
	const want = "site.yaml:4:56: groups.pupils.schedule[0].unblock[0]: trust.yaml:21:38 blocks chat for infants (remove it, or have trust.yaml say local: may_loosen in categories.chat or groups.infants)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
