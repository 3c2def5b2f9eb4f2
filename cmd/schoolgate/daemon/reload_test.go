package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
)

// edit replaces text in the small school's configuration.
func edit(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(baseYAML) }

// refusal reloads and returns the reasons why that was refused.
func (s *school) refusal() []string {
	s.t.Helper()
	_, err := s.Reload(s.t.Context(), "test")
	var r *Refused
	if !errors.As(err, &r) {
		s.t.Fatalf("Reload: got %v, want a refusal", err)
	}
	for i := range r.Reasons {
		r.Reasons[i] = strings.ReplaceAll(r.Reasons[i], s.dir+"/", "")
	}
	return r.Reasons
}

func TestAReloadIsInForceWithTheNextQuery(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	if got := s.dig("chess.example"); got != "192.0.2.1" {
		t.Errorf("before: %s", got)
	}
	before := s.Filter().Config.Hash
	s.write("gaming.txt", "games.example\nchess.example\n")
	s.configure(baseYAML + "rules: [{block: [news.example], groups: [pupils], reason: r, by: b, added: 2026-09-01}]\n")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"chess.example", "news.example"} {
		if got := s.dig(name); got != "NXDOMAIN EDE 15" {
			t.Errorf("%s after: %s", name, got)
		}
	}
	after := s.Filter().Config.Hash
	want := []string{
		fmt.Sprintf("start | config.start | hash %.6s, before none; 1 group, 4 categories, 4 lists with 4 entries, 0 rules", before),
		fmt.Sprintf("test | config.reload | hash %.6s, before %.6s; 1 group, 4 categories, 4 lists with 5 entries, 1 rule", after, before),
	}
	if diff := cmp.Diff(want, s.acts()); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

func TestAFileThatLooksCutOffIsRefused(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(baseYAML + "rules: [{block: [news.example], reason: r}]\n")
	s.start()
	whole, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	s.write("schoolgate.yaml", strings.TrimRight(string(whole), "\n"))
	if r := s.refusal(); len(r) != 1 || !strings.Contains(r[0], "it looks cut off") {
		t.Errorf("refused with %q", r)
	}
	s.configure(baseYAML)
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Errorf("without its last section, ended by a line break: %v", err)
	}
}

func TestABadFileLeavesThePolicyBeforeServing(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.configure(edit("block: [gaming]", "block: [gamin]", "severity: low", "severity: lowest"))
	reasons := s.refusal()
	if len(reasons) != 2 || !strings.Contains(reasons[0], ":7:22: categories.gaming.severity") || !strings.Contains(reasons[1], ":9:58: groups.pupils.block[0]") {
		t.Errorf("reasons: %q", reasons)
	}
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("the policy before: %s", got)
	}
	acts := s.acts()
	act := fmt.Sprintf("test | config.refused | hash %.6s; in force stays %.6s; ", hashOf([]byte(s.read("schoolgate.yaml"))), s.Filter().Config.Hash)
	if got := acts[len(acts)-1]; !strings.HasPrefix(got, act) || !strings.Contains(got, "groups.pupils.block[0]") {
		t.Errorf("audit: %s, want %s", got, act)
	}
	code, body := s.get("/healthz")
	want := "the last reload was refused; the configuration before serves on: "
	if code != 503 || !strings.HasPrefix(body, want) || !strings.HasSuffix(body, " (and 1 more)\n") {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if got := s.metric("schoolgate_config_last_reload_successful"); got != "0" {
		t.Errorf("last_reload_successful = %s", got)
	}

	s.configure(baseYAML)
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if code, body := s.get("/healthz"); code != 200 {
		t.Errorf("/healthz after a good one: %d %q", code, body)
	}
	if got := s.metric("schoolgate_config_last_reload_successful"); got != "1" {
		t.Errorf("last_reload_successful = %s", got)
	}
}

func TestWhatNeedsARestartIsNamed(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.configure(edit(`dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0"`, `dns: ["127.0.0.2:0"], dot: ["127.0.0.1:0"], doh: ["127.0.0.1:0"], doq: ["127.0.0.1:0"], tls: {certificate: c, key: k}, metrics: ""`, "data_dir: data", "data_dir: other") +
		"cache: {entries: 7}\nguard: {never: [school.example]}\n")
	want := []string{
		"listen.dns has changed: restart schoolgate for that",
		"listen.dot has changed: restart schoolgate for that",
		"listen.doh has changed: restart schoolgate for that",
		"listen.doq has changed: restart schoolgate for that",
		"listen.metrics has changed: restart schoolgate for that",
		"data_dir has changed: restart schoolgate for that",
		"cache.entries has changed: restart schoolgate for that",
		"guard.never has changed: restart schoolgate for that",
	}
	if diff := cmp.Diff(want, s.refusal()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheKeyOfConfidentialListsChangesWithARestart(t *testing.T) {
	t.Parallel()
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{classic.String(), hybrid.String()} {
		s := newSchool(t)
		s.write("lists.key", key+"\n")
		s.configure(baseYAML + "confidential_key: {secret_file: lists.key}\n")
		s.start()
		if _, err := s.Reload(t.Context(), "test"); err != nil {
			t.Errorf("the same key: %v", err)
		}
		s.write("lists.key", classic.String()+"\n"+hybrid.String()+"\n")
		if diff := cmp.Diff([]string{"confidential_key has changed: restart schoolgate for that"}, s.refusal()); diff != "" {
			t.Errorf("another key (-want +got):\n%s", diff)
		}
	}
}

func TestARequiredListThatIsGoneRefusesTheReload(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	for _, c := range []struct {
		name  string
		spoil func()
		want  string
	}{
		{"missing", func() { s.remove("drugs.txt") }, "no such file or directory"},
		{"empty", func() { s.write("drugs.txt", "") }, "list without a usable line"},
		{"a web page", func() { s.write("drugs.txt", "<!DOCTYPE html><html><body>404</body></html>\n") }, "not a list"},
	} {
		c.spoil()
		reasons := s.refusal()
		if len(reasons) != 1 || !strings.HasPrefix(reasons[0], "schoolgate.yaml:6:51: categories.drugs.lists: list drugs.txt: ") || !strings.Contains(reasons[0], c.want) {
			t.Errorf("%s: %q", c.name, reasons)
		}
		if got := s.dig("pills.example"); got != "NXDOMAIN EDE 15" {
			t.Errorf("%s: the list before: %s", c.name, got)
		}
	}
}

func TestAListThatIsNotRequiredKeepsItsContent(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.remove("gaming.txt")
	warnings, err := s.Reload(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, w := range warnings {
		found = found || strings.Contains(w, "categories.gaming.lists: list gaming.txt: ") && strings.Contains(w, "stays in use")
	}
	if !found {
		t.Errorf("warnings: %q", warnings)
	}
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("the content before: %s", got)
	}
	code, body := s.get("/healthz")
	if code != 503 || !strings.HasPrefix(body, "list gaming.txt of category gaming could not be refreshed and keeps its 1 entry of 20") {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if got := s.metric(`schoolgate_list_update_failures_total{category="gaming",list="gaming.txt"}`); got != "1" {
		t.Errorf("failures = %s", got)
	}
}

func TestAReloadDoesNotWeakenALockedCategory(t *testing.T) {
	t.Parallel()
	const why = " (a locked category is weakened at a start only, which is recorded and alerted)"
	for _, c := range []struct{ name, yaml, want string }{
		{"unlocked", edit("locked: true, ", ""), "category drugs was locked and no longer is"},
		{"removed", edit("  drugs: {severity: medium, locked: true, lists: [{path: drugs.txt, required: true}]}\n", ""), "the locked category drugs is gone"},
		{"emptied", edit("[{path: drugs.txt, required: true}]", "[]"), "the locked category drugs had 1 entry and has none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSchool(t)
			s.start()
			s.configure(c.yaml)
			if diff := cmp.Diff([]string{c.want + why}, s.refusal()); diff != "" {
				t.Errorf("reload (-want +got):\n%s", diff)
			}
			s.stop()
			s.start()
			acts := s.acts()
			if want := "start | locked.weakened | " + c.want; len(acts) != 4 || acts[2] != want {
				t.Errorf("audit of the start: %q, want %q", acts, want)
			}
			s.stop()
			s.start()
			if acts := s.acts(); len(acts) != 5 {
				t.Errorf("what was said at one start is said at the next: %q", acts)
			}
		})
	}
}

func TestAnAllowOfALockedNameHasNoEffectAndIsAudited(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(baseYAML + "rules: [{allow: [sub.pills.example], reason: r, by: b, added: 2026-09-01}]\n")
	s.start()
	if got := s.dig("sub.pills.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("got %s", got)
	}
	if acts := s.acts(); !strings.HasSuffix(acts[0], "schoolgate.yaml:11:1: rules: this rule allows a name of a locked category: it has no effect") {
		t.Errorf("audit: %q", acts)
	}
}

func TestTheIndexOfNamesIsReusedWhereNoListChanged(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	// A file that is a few seconds old has settled, and is not read again.
	s.age("drugs.txt", "gaming.txt")
	s.start()
	before := s.Filter()
	s.configure(edit("severity: low", "severity: medium"))
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if before.set != s.Filter().set {
		t.Error("it was built again")
	}
}

func TestWhoAsksWhileAReloadWaitsGetsTheOutcomeOfThatOne(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	done := make(chan struct{})
	close(done)
	s.askedMu.Lock()
	s.asked = &reload{done: done, warnings: []string{"of the one that waits"}}
	s.askedMu.Unlock()
	got, err := s.Reload(t.Context(), "test")
	if diff := cmp.Diff([]string{"of the one that waits"}, got); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
	if acts := s.acts(); len(acts) != 1 {
		t.Errorf("a reload took place: %v", acts)
	}
	s.askedMu.Lock()
	s.asked = nil
	s.askedMu.Unlock()
	if _, err := s.Reload(t.Context(), "test"); err != nil || len(s.acts()) != 2 {
		t.Errorf("the next one: %v, %v", err, s.acts())
	}
}
