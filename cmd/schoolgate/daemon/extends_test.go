package daemon

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const trustYAML = `version: 1
categories:
  drugs: {severity: medium, locked: true, lists: [{path: drugs.txt, required: true}]}
  gaming: {severity: low, lists: [{path: gaming.txt}]}
groups: {pupils: {block: [gaming]}}
default_group: pupils
`

const siteYAML = `version: 1
extends: trust.yaml
site: test
watch: true
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0"}
data_dir: data
groups: {pupils: {clients: [10.20.0.0/16, 127.0.0.0/8]}}
rules: [{allow: [chess.games.example, example.net], reason: "chess club"}]
`

// newSite is a school whose configuration extends that of a trust.
func newSite(t *testing.T) *school {
	t.Helper()
	s := newSchool(t)
	s.write("trust.yaml", trustYAML)
	s.configure(siteYAML)
	return s
}

func TestASiteIsHeldToItsTrust(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start()
	if got := s.dig("chess.games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("an allow rule of the site for what the trust blocks: %s", got)
	}
	want := []string{s.path + ":8:1: rules: this rule allows a name that " + filepath.Join(s.dir, "trust.yaml") +
		" does not let through for pupils: it has no effect there (have it say local: may_loosen in the category or the group)"}
	warned := s.Filter().heldAllows(time.Now())
	if diff := cmp.Diff(want[0], warned.Error()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	e, notes, err := s.AddException(t.Context(), Exception{
		Action: "allow", Names: []string{"games.example"}, Until: time.Now().Add(time.Hour), By: "it", Reason: "a lesson",
	})
	if err != nil {
		t.Fatal(err)
	}
	note := "does not let games.example through for pupils: the exception has no effect there, and this attempt is on record"
	if len(notes) != 1 || !strings.HasSuffix(notes[0], note) {
		t.Errorf("notes %q", notes)
	}
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("an exception for what the trust blocks: %s", got)
	}
	if acts := s.acts(); !strings.HasSuffix(acts[len(acts)-1], "; no effect on 1 name that "+filepath.Join(s.dir, "trust.yaml")+" does not let through") {
		t.Errorf("audit %q", acts)
	}

	s.write("trust.yaml", strings.Replace(trustYAML, "severity: low,", "severity: low, local: may_loosen,", 1))
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got := s.dig("games.example"); got != "192.0.2.1" {
		t.Errorf("exception %s, once the trust has marked the category: %s", e.ID, got)
	}
}

func TestAChangeOfTheBaseIsNoticedReadAndShown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start()
	before := s.configStatus(s.current.Load())
	if len(before.Extends) != 1 || before.Extends[0].Path != filepath.Join(s.dir, "trust.yaml") || before.Extends[0].Hash != hashOf([]byte(trustYAML)) || before.Changed {
		t.Errorf("status %+v", before)
	}
	_, metrics := s.get("/metrics")
	if want := fmt.Sprintf("schoolgate_config_base_info{file=%q,hash=%q} 1", before.Extends[0].Path, before.Extends[0].Hash); !strings.Contains(metrics, want) {
		t.Errorf("no %s in the metrics", want)
	}
	s.write("trust.yaml", trustYAML+"rules: [{block: [new.example], reason: r}]\n")
	s.await(func() bool { return s.Filter().Config.Hash != before.Hash }) // watch: true
	if got := s.dig("new.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("what the trust blocks now: %s", got)
	}

	good := s.Filter().Config.Hash
	s.write("trust.yaml", "verson: 1\n")
	if _, err := s.Reload(t.Context(), "test"); err == nil || !strings.Contains(err.Error(), "trust.yaml:1:1: verson: ") {
		t.Errorf("reload of a broken base: %v", err)
	}
	if now := s.configStatus(s.current.Load()); now.Hash != good || !now.Changed || len(now.Refused) == 0 {
		t.Errorf("status after a refused reload: %+v", now)
	}
}

func TestAStartWithoutTheBaseFallsBackOnBothFiles(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*school){
		"gone":     func(s *school) { s.remove("trust.yaml") },
		"broken":   func(s *school) { s.write("trust.yaml", "version: 2\n") },
		"cut off":  func(s *school) { s.write("trust.yaml", strings.TrimSuffix(trustYAML, "pupils\n")+"pup") },
		"the site": func(s *school) { s.write("schoolgate.yaml", "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.start()
			hash := s.Filter().Config.Hash
			s.stop()
			spoil(s)
			s.start()
			if s.Fallback() == nil || s.Filter().Config.Hash != hash || len(s.Filter().Config.Files) != 2 {
				t.Errorf("fallback %v, hash %s, want %s", s.Fallback(), s.Filter().Config.Hash, hash)
			}
			if got := s.dig("chess.games.example"); got != "NXDOMAIN EDE 15" {
				t.Errorf("what the trust blocks: %s", got)
			}
		})
	}
}

func TestAZoneOfASiteTakesNothingOutOfTheTrustsLists(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.configure(siteYAML + "zones: [{names: [games.example, school.internal], servers: [\"udp://" + upstream(t) + "\"]}]\n")
	s.start()
	got := []string{s.dig("games.example"), s.dig("www.games.example"), s.dig("a.school.internal")}
	if diff := cmp.Diff([]string{"NXDOMAIN EDE 15", "NXDOMAIN EDE 15", "192.0.2.1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
