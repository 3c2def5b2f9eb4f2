package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
)

// diffYAML is a small school; lines are replaced in it.
const diffYAML = `version: 1
timezone: Europe/London
upstreams: {servers: [192.0.2.1]}
access: {allow: [10.0.0.0/8]}
categories:
  drugs: {severity: high, locked: true}
  gaming: {severity: low}
  gambling: {severity: medium}
  chat: {severity: low}
calendar:
  terms: [{from: 2026-09-02, to: 2026-12-18}]
  periods:
    lunch: [{days: mon-fri, from: "12:10", to: "13:10"}]
groups:
  pupils:
    clients: [10.20.0.0/16]
    block: [gaming, gambling]
    monitor: [chat]
    safe_search: {search: on, youtube: strict}
    schedule: [{during: lunch, unblock: [gaming]}]
  sixth:
    clients: [10.30.0.0/16]
    inherit: pupils
  early:
    clients: [10.40.0.0/16]
    only: [bbc.co.uk]
  staff:
    clients: [10.1.0.0/16]
    block: [gambling]
default_group: pupils
rules:
  - {allow: [chess.example], groups: [pupils], reason: chess club}
  - {block: [news.example], reason: too much of it}
`

func parseForDiff(t *testing.T, text string) *Config {
	t.Helper()
	cfg, err := load(&report{file: "schoolgate.yaml"}, []byte(text), t.TempDir(), machine{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return cfg
}

func TestADifferenceIsToldInPlainWords(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		edits []string // pairs
		want  []string
	}{
		"nothing":                                {nil, nil},
		"what makes no difference to a question": {[]string{"reason: chess club", "reason: club of chess", "- {block: [news.example]", "  # moved\n  - {block: [news.example]"}, nil},
		"a category is blocked, for heirs too": {
			[]string{"block: [gaming, gambling]\n    monitor: [chat]", "block: [gaming, gambling, chat]"},
			[]string{"pupils | blocks chat | blocks chat, which was monitored", "sixth | blocks chat | blocks chat, which was monitored"},
		},
		"a category is freed": {
			[]string{"block: [gaming, gambling]", "block: [gaming]"},
			[]string{"pupils | frees gambling | no longer blocks gambling", "sixth | frees gambling | no longer blocks gambling"},
		},
		"and monitored instead": {
			[]string{"block: [gambling]", "monitor: [gambling, gaming]"},
			[]string{"staff | monitors gaming | monitors gaming", "staff | frees gambling | no longer blocks gambling, and monitors it"},
		},
		"what was monitored no longer is": {
			[]string{"    monitor: [chat]\n", "", "block: [gambling]", "block: [gambling, chat]"},
			[]string{
				"pupils | ignores chat | no longer monitors chat", "sixth | ignores chat | no longer monitors chat", "staff | blocks chat | blocks chat",
			},
		},
		"a lock": {
			[]string{"gambling: {severity: medium}", "gambling: {severity: critical, locked: true}"},
			[]string{" | blocks gambling | gambling is locked: blocked for everybody, always", " | other gambling | breaches of gambling are critical, before medium"},
		},
		"no lock": {
			[]string{", locked: true", ""}, []string{" | frees drugs | drugs is no longer locked (a reload refuses that)"},
		},
		"a category comes and one goes": {
			[]string{"  chat: {severity: low}", "  forums: {severity: low}", "monitor: [chat]", "monitor: [forums]"},
			[]string{
				" | other forums | category forums is new", " | other chat | category chat is no more",
				"pupils | monitors forums | monitors forums", "pupils | ignores chat | no longer monitors chat",
				"sixth | monitors forums | monitors forums", "sixth | ignores chat | no longer monitors chat",
			},
		},
		"a schedule": {
			[]string{"unblock: [gaming]", "unblock: [gambling]", `from: "12:10"`, `from: "12:00"`, "to: 2026-12-18", "to: 2026-12-17"},
			[]string{
				"pupils | other  | unblocks gambling during lunch, by its schedule", "pupils | other  | no longer unblocks gaming during lunch, by its schedule",
				"sixth | other  | unblocks gambling during lunch, by its schedule", "sixth | other  | no longer unblocks gaming during lunch, by its schedule",
				" | other  | period lunch is mon tue wed thu fri 12:00 to 13:10, before mon tue wed thu fri 12:10 to 13:10",
				" | other  | the terms are 2026-09-02/2026-12-17, before 2026-09-02/2026-12-18",
			},
		},
		"safe search": {
			[]string{"{search: on, youtube: strict}", "{search: off, youtube: moderate}"},
			[]string{
				"pupils | other  | gets search engines no longer in their safe form", "pupils | other  | gets YouTube's restricted mode moderate, before strict",
				"sixth | other  | gets search engines no longer in their safe form", "sixth | other  | gets YouTube's restricted mode moderate, before strict",
			},
		},
		"an allow-list": {
			[]string{"only: [bbc.co.uk]", "only: [phonics.example]", "block: [gambling]", "only: [mail.example]\n    block: [gambling]"},
			[]string{
				"early | other  | is let through to phonics.example too (only)", "early | other  | is no longer let through to bbc.co.uk (only)",
				"staff | other  | is let through to mail.example and to nothing else",
			},
		},
		"clients move": {
			[]string{"clients: [10.1.0.0/16]", "clients: [10.1.0.0/16, 10.20.9.0/24]"},
			[]string{" | other  | clients 10.20.9.0/24 are in group staff, before in pupils: that frees gaming"},
		},
		"devices are named": {
			[]string{"clients: [10.1.0.0/16]", `clients: [10.1.0.0/16, "mac:00:11:22:33:44:55", "name:laptop-*"]` + "\n    trust_identity: true"},
			[]string{
				"staff | other  | takes devices by MAC and name from groups that block more too (trust_identity)",
				" | other  | clients mac:00:11:22:33:44:55 are in group staff, before in that of their address",
				" | other  | clients name:laptop-* are in group staff, before in that of their address",
			},
		},
		"a group goes, and its clients are unknown": {
			[]string{"  early:\n    clients: [10.40.0.0/16]\n    only: [bbc.co.uk]\n", ""},
			[]string{"early | other  | is no more", " | other  | clients 10.40.0.0/16 are in group pupils, before in early: that blocks gaming, gambling"},
		},
		"a group comes": {
			[]string{"default_group: pupils", "  guests: {clients: [10.50.0.0/16], block: [chat]}\ndefault_group: pupils"},
			[]string{
				"guests | other  | is new, and blocks chat",
				" | other  | clients 10.50.0.0/16 are in group guests, before in pupils: that blocks chat, and that frees gaming, gambling",
			},
		},
		"unknown devices": {
			[]string{"default_group: pupils", "default_group: staff"},
			[]string{" | other  | unknown devices are in group staff, before in pupils: that frees gaming"},
		},
		"rules": {
			[]string{"- {allow: [chess.example], groups: [pupils], reason: chess club}", `- {allow: [draughts.example], groups: [pupils], reason: draughts, expires: 2026-12-01}`, "  - {block: [news.example], reason: too much of it}\n", ""},
			[]string{
				" | frees  | a new rule: draughts.example is allowed for group pupils until 2026-12-02T00:00:00Z (draughts)",
				" | blocks  | a rule is no more: chess.example is allowed for group pupils (chess club)",
				" | frees  | a rule is no more: news.example is blocked for everybody (too much of it)",
			},
		},
		"what is not filtered": {
			[]string{"access: {allow: [10.0.0.0/8]}", "access: {allow: [10.0.0.0/9]}\nblocking: {rebind_protection: off}\nzones: [{names: [school.internal], servers: [192.0.2.9]}]"},
			[]string{
				" | other  | questions for school.internal go to the school's own servers, unfiltered (zones)",
				" | other  | public names that lead to the school's own network get an answer (blocking.rebind_protection)",
				" | other  | clients 10.0.0.0/9 may ask too (access.allow)", " | other  | clients 10.0.0.0/8 may no longer ask (access.allow)",
			},
		},
	} {
		var got []string
		for _, change := range Diff(parseForDiff(t, diffYAML), parseForDiff(t, strings.NewReplacer(c.edits...).Replace(diffYAML))) {
			got = append(got, change.Group+" | "+change.Kind+" "+change.Category+" | "+change.Text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestAChangeKnowsWhichQuestionsItConcerns(t *testing.T) {
	t.Parallel()
	newer := strings.NewReplacer("block: [gaming, gambling]", "block: [gaming]", "allow: [chess.example]", "allow: [games.example]").Replace(diffYAML)
	name, err := blocklist.ParseName("www.games.example")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range Diff(parseForDiff(t, diffYAML), parseForDiff(t, newer)) {
		for _, group := range []string{"pupils", "sixth", "staff"} {
			for _, category := range []string{"gaming", "gambling"} {
				if c.Concerns(group, category, name) {
					got = append(got, c.Text+": "+group+" "+category)
				}
			}
		}
	}
	const rule = "a new rule: games.example is allowed for group pupils (chess club): "
	want := []string{
		"no longer blocks gambling: pupils gambling", "no longer blocks gambling: sixth gambling",
		rule + "pupils gaming", rule + "pupils gambling", rule + "sixth gaming", rule + "sixth gambling",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
