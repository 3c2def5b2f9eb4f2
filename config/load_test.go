package config

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

func TestOnlyRegularFilesAreRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Skip("no FIFOs here:", err)
	}
	link := filepath.Join(dir, "link.yaml")
	if err := os.Symlink("/proc/self/environ", link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "no such file or directory",
		dir:                             "is a directory, not a file",
		fifo:                            "is not a regular file",
		"/dev/zero":                     "is not a regular file",
		"/proc/self/environ":            "is not a file on disk, but in /proc",
		link:                            "is not a file on disk, but in /proc",
	} {
		_, err := Load(path)
		var problems Errors
		if err == nil || errors.As(err, &problems) || err.Error() != path+": "+want {
			t.Errorf("Load(%s): %v, want that it %s", path, err, want)
		}
	}
}

func TestLoadKnowsWhereTheFileIs(t *testing.T) {
	const text = "\ufeffversion: 1\ngroups: {everyone: {}}\ndefault_group: everyone\nupstreams: {servers: [192.0.2.1]}\n"
	dir := t.TempDir()
	path := filepath.Join(dir, "etc", "schoolgate.yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	t.Chdir(dir)
	cfg, err := Load("etc/schoolgate.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"etc/schoolgate.yaml", path, filepath.Join(dir, "etc", "data"), fmt.Sprintf("%x", sha256.Sum256([]byte(text)))}
	if diff := cmp.Diff(want, []string{cfg.File, cfg.Path, cfg.DataDir, cfg.Hash}); diff != "" {
		t.Errorf("name, path, data and hash (-want +got):\n%s", diff)
	}
	write(text + "site: [\n")
	const problem = "etc/schoolgate.yaml:5:1: not YAML: did not find expected node content"
	if _, err := Load("etc/schoolgate.yaml"); err == nil || err.Error() != problem {
		t.Errorf("%v, want %s", err, problem)
	}
}

func TestDefaultServesOneMachine(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	cfg, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.NotEnforced) > 0 {
		t.Errorf("it asks for what there is not: %v", cfg.NotEnforced)
	}
	var lists []string
	for _, l := range cfg.Lists {
		lists = append(lists, l.ID)
	}
	got := map[string]any{
		"path": cfg.Path, "data": cfg.DataDir, "listen": cfg.Listen[0].String(), "metrics": cfg.Metrics, "lists": lists,
		"groups": len(cfg.Policy.Groups), "default": cfg.Policy.DefaultGroup, "block": cfg.Policy.Groups[0].Block,
	}
	want := map[string]any{
		"path": "", "data": filepath.Join(state, "schoolgate"), "listen": "127.0.0.1:5300", "metrics": "127.0.0.1:9053",
		"lists": []string{
			"builtin:iwf", "builtin:ctiru", "builtin:pornography", "builtin:extremism", "builtin:gaming",
			"builtin:gambling", "builtin:bypass", "builtin:encrypted_dns",
		},
		"groups": 1, "default": "everyone",
		"block": []string{"pornography", "extremism", "gaming", "gambling", "bypass", "encrypted_dns"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStateDirectory(t *testing.T) {
	t.Parallel()
	for want, env := range map[string]map[string]string{
		"/state/schoolgate":                       {"XDG_STATE_HOME": "/state", "HOME": "/home/it"},
		"/home/it/.local/state/schoolgate":        {"XDG_STATE_HOME": "relative", "HOME": "/home/it"},
		filepath.Join(os.TempDir(), "schoolgate"): {},
	} {
		m := machine{getenv: func(name string) string { return env[name] }}
		if got := m.stateDir(); got != want {
			t.Errorf("with %v: %s, want %s", env, got, want)
		}
	}
}

func TestStarterLoadsAsWrittenAndCoversTheStandard(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := Starter(&b); err != nil {
		t.Fatal(err)
	}
	cfg, err := load(&report{file: "schoolgate.yaml"}, b.Bytes(), t.TempDir(), fakeMachine())
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	for _, w := range cfg.Warnings {
		warnings = append(warnings, w.Path+": "+w.Problem)
	}
	if diff := cmp.Diff([]string{"alerts: no one is alerted of a breach"}, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if len(cfg.NotEnforced) > 0 {
		t.Errorf("it asks for what there is not: %v", cfg.NotEnforced)
	}
	severities := map[string]policy.Severity{}
	for _, c := range cfg.Policy.Categories {
		severities[c.Name] = c.Severity
		if c.Title == c.Name {
			t.Errorf("%s has no title", c.Name)
		}
	}
	// The rows of UKSIC's inappropriate content, and the two lists of illegal content.
	for _, row := range []string{
		"iwf", "ctiru", "discrimination", "hate_speech", "drugs", "extremism", "gambling", "malware", "bypass", "misinformation",
		"piracy", "pornography", "self_harm", "violence", "bullying", "gaming", "generative_ai",
		"social_networks", "chat", "dating", "webmail", "file_hosting",
	} {
		if _, ok := severities[row]; !ok {
			t.Errorf("there is no category %s", row)
		}
	}
	for name, want := range map[string]policy.Severity{
		// As deploy/docs/safeguarding.md has it.
		"extremism": policy.SeverityCritical, "self_harm": policy.SeverityCritical,
		"pornography": policy.SeverityHigh, "bypass": policy.SeverityHigh,
		"gambling": policy.SeverityMedium, "drugs": policy.SeverityMedium, "gaming": policy.SeverityLow,
	} {
		if severities[name] != want {
			t.Errorf("%s is %v, want %v", name, severities[name], want)
		}
	}
}

// The commented parts of the starter are right too once the comments are taken away.
func TestStarterLoadsWithItsAlertsAndRules(t *testing.T) {
	t.Parallel()
	text := string(starterFile)
	for _, first := range []string{"# alerts:", "# zones:", "# upstreams:"} {
		text = uncomment(t, text, first)
	}
	text = strings.Replace(text, "rules: []\n#  -", "rules:\n  -", 1)
	text = strings.Replace(text, "\n#  - {block", "\n  - {block", 1)
	cfg, err := load(&report{file: "schoolgate.yaml"}, []byte(text), secrets(t), fakeMachine())
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 || len(cfg.Alerts.Receivers) != 3 || len(cfg.Policy.Rules) != 2 || len(cfg.Zones) != 1 {
		t.Errorf("warnings %v, %d receivers, %d rules, %d zones", cfg.Warnings, len(cfg.Alerts.Receivers), len(cfg.Policy.Rules), len(cfg.Zones))
	}
}

// FuzzLoad looks for a panic, and for a refusal that says nothing or says it of no place.
func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"testdata/good", "testdata/bad"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	m := fakeMachine()
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := load(&report{file: "f"}, data, "testdata/good", m)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("configuration %v, error %v", cfg, err)
		}
		var problems Errors
		if err != nil && (!errors.As(err, &problems) || len(problems) == 0) {
			t.Fatalf("error %v", err)
		}
		// YAML ends lines in all these ways.
		lines := 1
		for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
			lines += bytes.Count(data, []byte(end))
		}
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Problem == "" {
				t.Errorf("a problem without a place or text: %#v", p)
			}
		}
	})
}
