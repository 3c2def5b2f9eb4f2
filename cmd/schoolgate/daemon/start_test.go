package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/config"
)

// age makes files look as if they had been written an hour ago.
func (s *school) age(names ...string) {
	s.t.Helper()
	then := time.Now().Add(-time.Hour)
	for _, n := range names {
		if err := os.Chtimes(filepath.Join(s.dir, n), then, then); err != nil {
			s.t.Fatal(err)
		}
	}
}

func TestARefusedFileFallsBackOnTheLastAcceptedOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, yaml string }{
		{"a wrong value", edit("severity: low", "severity: lowest")},
		{"no YAML at all", "\x00\x01"},
		{"empty, as after a power cut", ""},
		{"a rule twice, which only the policy sees", baseYAML + "rules:\n" +
			"  - {allow: [a.example], reason: r, by: b, added: 2026-09-01}\n  - {block: [a.example], reason: r, by: b, added: 2026-09-01}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSchool(t)
			s.start()
			hash := s.Filter().Config.Hash
			s.stop()

			s.write("schoolgate.yaml", c.yaml)
			s.start()
			if s.Fallback() == nil || s.Filter().Config.Hash != hash {
				t.Fatalf("Fallback = %v, hash %s, want the accepted %s", s.Fallback(), s.Filter().Config.Hash, hash)
			}
			if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
				t.Errorf("the accepted policy: %s", got)
			}
			code, body := s.get("/healthz")
			if want := "the configuration was refused at start; the last accepted one serves: "; code != 503 || !strings.HasPrefix(body, want) {
				t.Errorf("/healthz: %d %q", code, body)
			}
			if code, body := s.get("/readyz"); code != 200 {
				t.Errorf("/readyz: %d %q", code, body)
			}
			if got := s.metric("schoolgate_config_last_reload_successful"); got != "0" {
				t.Errorf("last_reload_successful = %s", got)
			}
			if acts := s.acts(); !strings.Contains(acts[len(acts)-1], "; the last accepted configuration, because the file's was refused: ") {
				t.Errorf("audit: %q", acts)
			}

			s.configure(baseYAML)
			if _, err := s.Reload(t.Context(), "test"); err != nil || s.Fallback() != nil {
				t.Errorf("reload of the mended file: %v, %v", err, s.Fallback())
			}
		})
	}
}

func TestAReloadEndsAFallbackWhosePathIsRelative(t *testing.T) {
	s := newSchool(t)
	t.Chdir(s.dir)
	s.path = "schoolgate.yaml"
	s.start()
	s.stop()
	s.write("schoolgate.yaml", "verson: 1\n")
	s.start()
	const atStart = "the configuration was refused at start; the last accepted one serves: schoolgate.yaml:1:1: verson: "
	if _, body := s.get("/healthz"); !strings.HasPrefix(body, atStart) || strings.Contains(body, "reload") {
		t.Errorf("/healthz: %q", body)
	}
	s.configure(edit("severity: low", "severity: lowest"))
	s.refusal()
	const reload = "\nthe last reload was refused; the configuration before serves on: schoolgate.yaml:7:22: categories.gaming.severity: "
	if _, body := s.get("/healthz"); !strings.HasPrefix(body, atStart) || !strings.Contains(body, reload) {
		t.Errorf("/healthz after a refused reload: %q", body)
	}
	if f := s.Fallback(); f == nil || !strings.Contains(f.brief(), "verson") {
		t.Errorf("Fallback: %v", f)
	}
	s.configure(baseYAML)
	if _, err := s.Reload(t.Context(), "test"); err != nil || s.Fallback() != nil {
		t.Errorf("reload of the mended file: %v, %v", err, s.Fallback())
	}
	if code, body := s.get("/healthz"); code != 200 {
		t.Errorf("/healthz when mended: %d %q", code, body)
	}
}

func TestAFileCutOffAnywhereIsReadOrFallsBack(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.stop()
	whole, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	fellBack := 0
	for i := range whole {
		s.write("schoolgate.yaml", string(whole[:i]))
		d := &Daemon{path: s.path, log: s.options().Logger}
		snap, err := d.readStart("")
		if err != nil {
			t.Fatalf("cut off after %d bytes: %v", i, err)
		}
		if snap.fallback == nil && !bytes.HasSuffix(whole[:i], []byte("\n")) {
			t.Fatalf("cut off after %d bytes, within a line, and believed", i)
		}
		if snap.fallback != nil {
			fellBack++
			if diff := cmp.Diff(whole, snap.filter.Config.Files[0].Data); diff != "" {
				t.Fatalf("cut off after %d bytes (-want +got):\n%s", i, diff)
			}
		}
	}
	if fellBack < len(whole)/2 {
		t.Errorf("fell back %d times in %d", fellBack, len(whole))
	}
}

func TestAFileThatIsGoneFallsBackWhereTheDataIsFound(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(edit("data_dir: data", "data_dir: state"))
	s.start()
	s.stop()
	s.remove("schoolgate.yaml")
	if _, err := New(t.Context(), s.options()); !errors.Is(err, ErrUnreadable) {
		t.Errorf("without a hint: %v, want ErrUnreadable", err)
	}
	o := s.options()
	o.StateDir = filepath.Join(s.dir, "state")
	d, err := New(t.Context(), o)
	if err != nil {
		t.Fatalf("with the state directory: %v", err)
	}
	if d.Fallback() == nil {
		t.Error("no fall-back")
	}
	s.Daemon = d
	run(t, d)
}

func TestAWrongFileWithNothingToFallBackOnIsRefusedWithEveryProblem(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(edit("severity: low", "severity: lowest", "block: [gaming]", "block: [gamin]"))
	_, err := New(t.Context(), s.options())
	var r *Refused
	if !errors.As(err, &r) || len(r.Reasons) != 2 {
		t.Errorf("got %v, want a refusal with two reasons", err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "data")); err == nil {
		t.Error("it made a data directory all the same")
	}
}

func TestADamagedCopyIsNotBelieved(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, from, to, want string }{
		{"cut off", `"yaml"`, "", "is damaged: "},
		{"changed", `"hash":"`, `"hash":"f`, "is damaged: its checksum is wrong"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSchool(t)
			s.start()
			s.stop()
			copied := filepath.Join(s.dir, "data", acceptedFile)
			text, err := os.ReadFile(copied)
			if err != nil {
				t.Fatal(err)
			}
			if c.to == "" {
				text = text[:strings.Index(string(text), c.from)]
			}
			s.write("data/"+acceptedFile, strings.Replace(string(text), c.from, c.to, 1))
			s.write("schoolgate.yaml", "")
			if _, err := New(t.Context(), s.options()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			s.configure(baseYAML)
			s.start() // a good file needs no copy, and mends it
			s.stop()
			if _, err := readAccepted(filepath.Join(s.dir, "data")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestACopyThatCannotBeKeptIsSaid(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	// A directory of that name is what a file cannot take the place of.
	if err := os.MkdirAll(filepath.Join(s.dir, "data", acceptedFile), 0o700); err != nil {
		t.Fatal(err)
	}
	s.start()
	code, body := s.get("/healthz")
	if code != 503 || !strings.HasPrefix(body, "keep the accepted configuration: ") {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("it does not serve: %s", got)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "data", acceptedFile+".*"))
	if err != nil || left != nil {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestTheDataDirectoryIsFoundInABrokenFile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"relative", "version: 1\ndata_dir: state\n?", []string{"/etc/x/state", "/etc/x/data", "/run/s"}},
		{"absolute, quoted", "data_dir: \"/var/lib/school gate\" # here\n", []string{"/var/lib/school gate", "/etc/x/data", "/run/s"}},
		{"with a comment", "data_dir:   /srv/s  # here\n", []string{"/srv/s", "/etc/x/data", "/run/s"}},
		{"of another section", "store:\n  data_dir: /srv/s\n", []string{"/etc/x/data", "/run/s"}},
		{"not at all", "", []string{"/etc/x/data", "/run/s"}},
	} {
		if diff := cmp.Diff(c.want, dataDirs("/etc/x/schoolgate.yaml", []config.SourceFile{{Path: "/etc/x/schoolgate.yaml", Data: []byte(c.text)}}, "/run/s")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestUntilEveryRequiredListIsThereNothingIsLookedUp(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.remove("drugs.txt")
	s.start()
	for name, want := range map[string]string{
		"www.example.org": "SERVFAIL EDE 14", "games.example": "SERVFAIL EDE 14",
		"iwf.testfiltering.com": "NXDOMAIN EDE 15", "localhost": "127.0.0.1",
	} {
		if got := s.dig(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if code, body := s.get("/readyz"); code != 503 {
		t.Errorf("/readyz: %d %q", code, body)
	}
	code, body := s.get("/healthz")
	if code != 503 || !strings.HasPrefix(body, "list drugs.txt of category drugs is required and has never been there, so that queries fail: ") {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if a, err := readAccepted(filepath.Join(s.dir, "data")); a != nil || err != nil {
		t.Errorf("it was kept as accepted: %v %v", a, err)
	}

	s.retake()
	if s.Filter().Policy.Ready() {
		t.Error("ready without the list")
	}
	s.write("drugs.txt", "pills.example\n")
	s.retake()
	if code, body := s.get("/readyz"); code != 200 {
		t.Errorf("/readyz with the list: %d %q", code, body)
	}
	if got := s.dig("pills.example") + ", " + s.dig("www.example.org"); got != "NXDOMAIN EDE 15, 192.0.2.1" {
		t.Errorf("with the list: %s", got)
	}
	if a, err := readAccepted(filepath.Join(s.dir, "data")); a == nil || err != nil {
		t.Errorf("it was not kept as accepted: %v", err)
	}
	hash := s.Filter().Config.Hash
	want := []string{
		fmt.Sprintf("start | config.start | hash %.6s, before none; 1 group, 4 categories, 3 lists with 3 entries, 0 rules; not ready: waits for a required list", hash),
		fmt.Sprintf("schoolgate | lists.complete | hash %.6s, before none; 1 group, 4 categories, 4 lists with 4 entries, 0 rules", hash),
	}
	if diff := cmp.Diff(want, s.acts()); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

func TestAConfidentialListThatIsGoneIsNotSaidNeverToHaveBeenThere(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(edit("severity: medium, locked: true", "severity: medium, locked: true, confidential: true"))
	s.start()
	s.stop()
	s.remove("drugs.txt")
	s.start()
	want := "list drugs.txt of category drugs is required and cannot be read; confidential lists are kept on disk only where there is a key to encrypt them with " +
		"(confidential_key), so questions are answered SERVFAIL until it is back: open "
	code, body := s.get("/healthz")
	if code != 503 || !strings.HasPrefix(body, want) {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if refused, _ := s.Filter().ListProblems(); len(refused) != 1 || refused[0].Hint != "the list is required: put it there" {
		t.Errorf("a hint to make the list of a locked category optional: %v", refused)
	}

	s.logHealth()
	s.write("drugs.txt", "pills.example\n")
	s.retake()
	s.logHealth()
	s.stop()
	for _, want := range []string{"level=WARN msg=health problem=\"list drugs.txt of", "level=INFO msg=health resolved=\"list drugs.txt of"} {
		if n := strings.Count(s.log.String(), want); n != 1 {
			t.Errorf("%d times in the log: %s\n%s", n, want, s.log)
		}
	}
}

func TestAProblemWhoseCountChangesIsLoggedOnce(t *testing.T) {
	t.Parallel()
	for a, b := range map[string]string{
		`alerts: the receiver "it2" does not take them: 3 wait, the oldest since 2026-11-20T10:00:00Z`: `alerts: the receiver "it2" does not take them: 14 wait, the oldest since 2026-11-21T11:30:00Z`,
		"breach record: disk full; waiting in memory: 3":                                               "breach record: disk full; waiting in memory: 400",
	} {
		if withoutCounts(a) != withoutCounts(b) {
			t.Errorf("%q and %q", withoutCounts(a), withoutCounts(b))
		}
	}
	if a := "upstream udp://127.0.0.1:5301 does not answer"; withoutCounts(a) != a {
		t.Errorf("an address is no count: %q", withoutCounts(a))
	}
}

func TestAPortThatIsTakenIsSaidWithWhatToDo(t *testing.T) {
	t.Parallel()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	for key, yaml := range map[string]string{
		"listen.dns":     edit(`dns: ["127.0.0.1:0"]`, `dns: ["127.0.0.1:`+port+`"]`),
		"listen.doh":     strings.Replace(encryptedYAML, `doh: ["127.0.0.1:0"]`, `doh: ["127.0.0.1:`+port+`"]`, 1),
		"listen.metrics": edit(`metrics: "127.0.0.1:0"`, `metrics: "127.0.0.1:`+port+`"`),
	} {
		s := newSchool(t)
		s.configure(yaml)
		_, err := New(t.Context(), s.options())
		want := " (see who has it: ss -lnptu 'sport = :" + port + "'; or change " + key + ")"
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v, want %q at the end", key, err, want)
		}
	}
}

func TestARequiredListIsServedFromItsLastGoodCopy(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.stop()
	s.write("drugs.txt", "<html>gone</html>\n")
	s.start()
	if got := s.dig("pills.example") + ", " + s.dig("www.example.org"); got != "NXDOMAIN EDE 15, 192.0.2.1" {
		t.Errorf("from the copy: %s", got)
	}
	if code, _ := s.get("/readyz"); code != 200 {
		t.Errorf("/readyz: %d", code)
	}
	if code, body := s.get("/healthz"); code != 503 || !strings.HasPrefix(body, "list drugs.txt of category drugs could not be refreshed and keeps its 1 entry of 20") {
		t.Errorf("/healthz: %d %q", code, body)
	}
}

// retake takes the lists up again, as awaitLists does.
func (s *school) retake() {
	s.t.Helper()
	if err := s.takeUp(s.t.Context(), "schoolgate"); err != nil {
		s.t.Fatal(err)
	}
}
