//go:build e2e

package e2e_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
)

// control asks the control socket.
func (s *site) control(t *testing.T, method, path string, form url.Values) []byte {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(s.dataDir(), "control.sock"))
		},
	}}
	if method == http.MethodGet {
		path += "?" + form.Encode()
	}
	req, err := http.NewRequest(method, "http://schoolgate"+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed {
		t.Errorf("the control socket has no %s %s", method, path)
	}
	return body
}

// newSecretSite is a school with a confidential list of each kind. The one by URL is on trial.
func newSecretSite(t *testing.T, url string) *site {
	t.Helper()
	s := newSite(t, fmt.Sprintf(`
confidential_key: {secret_file: identity.txt}
categories:
  iwf:
    lists:
      - {path: lists/clear.txt, format: urls}
      - {path: lists/sealed.txt.age, format: urls}
  terror:
    severity: high
    confidential: true
    lists: [{url: %q, format: urls, required: true, trial: 7d}]
  ordinary: {severity: high, lists: [{path: lists/ordinary.txt}]}
groups: {pupils: {clients: [127.20.0.0/16], block: [terror, ordinary]}}
default_group: pupils
`, url))
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, identity.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, encrypted.text(1000)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	etc := filepath.Dir(s.config)
	write(t, filepath.Join(etc, "identity.txt"), identity.String()+"\n")
	write(t, filepath.Join(etc, "lists", "clear.txt"), inClear.text(1000))
	write(t, filepath.Join(etc, "lists", "sealed.txt.age"), sealed.String())
	write(t, filepath.Join(etc, "lists", "ordinary.txt"), "ordinary.example\n")
	if err := os.Mkdir(filepath.Join(s.dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"TMPDIR=" + filepath.Join(s.dir, "tmp")}
	return s
}

// askForSecrets asks for each of the names as several clients do. The list by URL blocks once its trial
// is over.
func (s *site) askForSecrets(t *testing.T, onTrial bool) {
	t.Helper()
	for _, l := range []secretList{inClear, encrypted, fetched} {
		for name, blocked := range map[string]bool{
			l.name(): true, "www." + l.name(): true, strings.ToUpper(l.foreign()): true, l.withPath(): false,
		} {
			for _, client := range []string{pupil, unknown} {
				for _, typ := range []string{"A", "AAAA", "HTTPS"} {
					for _, options := range [][]string{nil, {"+tcp"}} {
						want := map[bool]string{true: "NOERROR 1", false: "NOERROR 0"}[typ == "A"]
						if blocked && (l != fetched || !onTrial) {
							want = "blocked"
						}
						if got := s.dig(t, client, name, typ, options...).outcome(true); got != want {
							t.Errorf("%s %s %v from %s: %s, want %s", name, typ, options, client, got, want)
						}
					}
				}
			}
		}
	}
}

// askEverything runs every command and asks every page and endpoint, and searches what they say.
func (s *site) askEverything(t *testing.T, id, when string, running bool) {
	t.Helper()
	commands := [][]string{
		{"status"},
		{"lists", "status"},
		{"lists", "lint"},
		{"lists", "compile"},
		{"lists", "update"},
		{"lists", "update", id},
		{"check"},
		{"check", "--fetch"},
		{"breaches", "list"},
		{"alert", "test"},
	}
	for _, args := range commands {
		for _, args := range [][]string{args, append(slices.Clip(args), "--json")} {
			out, said, code := s.try(t, args...)
			if code == 2 && running {
				t.Errorf("%v: exit code 2: %s", args, said)
			}
			traced(t, fmt.Sprintf("%s: schoolgate %v", when, args), []byte(out+said))
		}
	}
	for _, args := range [][]string{{"breaches", "export"}, {"breaches", "export", "--format", "csv"}, {"alert", "retry", "nosuch"}} {
		out, said, _ := s.try(t, args...)
		traced(t, fmt.Sprintf("%s: schoolgate %v", when, args), []byte(out+said))
	}
	for _, l := range []secretList{inClear, encrypted, fetched} {
		// What was asked may be repeated; the entry is a shorter name, or an address.
		for _, name := range []string{"www." + l.name(), "www." + l.foreign(), "www." + l.withPath()} {
			search := func(what, said string) {
				traced(t, fmt.Sprintf("%s: %s", when, what), []byte(strings.ReplaceAll(said, name, "")))
			}
			for _, more := range [][]string{nil, {"--json"}} {
				out, said, _ := s.try(t, append([]string{"explain", name, "--client", pupil}, more...)...)
				search("explain", out+said)
			}
			if running {
				search("GET /explain", string(s.control(t, http.MethodGet, "/explain", url.Values{"name": {name}, "client": {pupil}})))
			}
		}
	}
	if !running {
		return
	}
	for _, page := range []string{"/metrics", "/healthz", "/readyz"} {
		_, body := s.get(page)
		traced(t, when+": "+page, []byte(body))
	}
	s.reload(t)
	traced(t, when+": GET /status", s.control(t, http.MethodGet, "/status", nil))
	for _, path := range []string{"/flush", "/reload", "/alert/test", "/alert/retry", "/lists/update", "/lists/compile", "/lists/confirm"} {
		form := url.Values{}
		if path == "/lists/confirm" {
			form = url.Values{"list": {"nosuch"}, "by": {"nobody"}}
		}
		traced(t, when+": POST "+path, s.control(t, http.MethodPost, path, form))
	}
	traced(t, when+": the log", []byte(s.said.String()))
}

// leaks are what a server of a confidential list may do wrong, each with the list's names at hand.
func leaks(t *testing.T) map[string]http.HandlerFunc {
	t.Helper()
	good := fetched.text(20_000)
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for _, name := range []string{fetched.word + ".txt", fetched.word + ".csv"} {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, good); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return map[string]http.HandlerFunc{
		"a web page":              text("<html><body>" + good + "</body></html>"),
		"a short list":            text(fetched.text(10)),
		"no list":                 text(strings.Repeat(fetched.word+" "+fetched.word+"\n", 100)),
		"a name never to block":   text(good + "https://www.gov.uk/\n"),
		"an archive to choose of": bytesOf(archive.Bytes()),
		"cut off":                 func(w http.ResponseWriter, _ *http.Request) { cutAfter(w, good[:len(good)/2]) },
		"damaged gzip":            bytesOf(append([]byte{0x1f, 0x8b, 8}, good...)),
		"an error page": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, good, http.StatusInternalServerError)
		},
		"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, good)
		},
	}
}

func TestANameOfAConfidentialListIsNowhere(t *testing.T) {
	p := publish(t, "127.0.0.1:0", text(fetched.text(20_000)))
	id := "http://" + p.addr + "/list.txt"
	s := newSecretSite(t, id)
	s.start(t)
	s.askForSecrets(t, true)
	s.askEverything(t, id, "on trial", true)
	s.tracedFiles(t, "on trial")

	for _, args := range [][]string{{"lists", "confirm", id, "--by", "it@school.example"}, {"lists", "confirm", id, "--by", "it@school.example", "--json"}} {
		out, said, _ := s.try(t, args...)
		traced(t, "lists confirm", []byte(out+said))
	}
	s.askForSecrets(t, false)
	s.askEverything(t, id, "confirmed", true)
	s.tracedFiles(t, "confirmed")

	for what, serve := range leaks(t) {
		p.play(serve)
		if u := s.update(t, id); u.Error == "" {
			t.Errorf("%s was taken", what)
		} else {
			traced(t, what, []byte(u.Error))
		}
		_, health := s.get("/healthz")
		out, said, _ := s.try(t, "lists", "status")
		traced(t, what, []byte(health+out+said))
		s.tracedFiles(t, what)
	}
	s.askEverything(t, id, "after failures", true)

	// Half of a new version has come when it is looked for, and when the power fails.
	half, goOn := make(chan struct{}, 10), make(chan struct{})
	good := fetched.text(25_000)
	p.play(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, good[:len(good)/2])
		_ = http.NewResponseController(w).Flush()
		half <- struct{}{}
		select {
		case <-goOn:
			_, _ = io.WriteString(w, good[len(good)/2:])
		case <-r.Context().Done():
		}
	})
	done := s.updateUntilHalf(t, id, half)
	s.tracedFiles(t, "half-way")
	goOn <- struct{}{}
	if out := <-done; !strings.Contains(out, `"changed": true`) {
		t.Errorf("update after a halt: %s", out)
	}
	done = s.updateUntilHalf(t, id, half)
	traced(t, "the log", []byte(s.said.String()))
	s.kill(t)
	traced(t, "lists update, killed", []byte(<-done))
	s.tracedFiles(t, "killed half-way")
	p.play(text(good))
	s.askEverything(t, id, "not running", false)

	s.env = append(s.env, "JOURNAL_STREAM=8:1") // the log as JSON
	s.start(t)
	s.askForSecrets(t, false)
	s.askEverything(t, id, "started again", true)
	s.stop(t)
	s.tracedFiles(t, "stopped")
	traced(t, "the log", []byte(s.said.String()))

	s.recordedAsConfidential(t)
	for what, r := range map[string]*receiver{"the safeguarding lead's alert": s.receiver, "IT's alert": s.it} {
		if len(r.alerts) == 0 {
			t.Errorf("there was no %s to search", what)
		}
		for len(r.alerts) > 0 {
			traced(t, what, (<-r.alerts).body)
		}
	}
}

// updateUntilHalf begins an update, and waits until half has a value and what has come of the list is in a
// file. The channel gives what the command prints in the end.
func (s *site) updateUntilHalf(t *testing.T, id string, half <-chan struct{}) <-chan string {
	t.Helper()
	done := make(chan string, 1)
	go func() {
		out, said, _ := s.try(t, "lists", "update", id, "--json")
		done <- out + said
	}()
	asked := false
	waitFor(t, "half of the list in a temporary file", func() bool {
		select {
		case <-half:
			asked = true
		default:
		}
		temps, _ := filepath.Glob(filepath.Join(s.dataDir(), "lists", "*.tmp"))
		return asked && slices.ContainsFunc(temps, func(path string) bool {
			info, err := os.Stat(path)
			return err == nil && info.Size() > 64<<10
		})
	})
	return done
}

// recordedAsConfidential checks that the breaches are in the record, without their names.
func (s *site) recordedAsConfidential(t *testing.T) {
	t.Helper()
	seen := map[string]int{}
	for _, b := range s.breaches(t) {
		category, _ := b["category"].(string)
		seen[category+" "+fmt.Sprint(b["action"])]++
		if name := b["query"].(map[string]any)["name"]; name != "(confidential)" {
			t.Errorf("a breach of %s names %v", category, name)
		}
		if entry := b["rule"].(map[string]any)["entry"]; entry != "(confidential)" {
			t.Errorf("a breach of %s names the entry %v", category, entry)
		}
	}
	for _, want := range []string{"iwf block", "terror monitor", "terror block"} {
		if seen[want] == 0 {
			t.Errorf("no breach is recorded as %s: %v", want, seen)
		}
	}
}

func TestTheAnswerForAConfidentialNameIsThatOfAnyOther(t *testing.T) {
	p := publish(t, "127.0.0.1:0", text(fetched.text(10)))
	id := "http://" + p.addr + "/list.txt"
	s := newSecretSite(t, id)
	s.start(t)
	s.command(t, "lists", "confirm", id, "--by", "it@school.example")
	const ordinary = "ordinary.example"
	compared := 0
	for _, l := range []secretList{inClear, encrypted, fetched} {
		for _, below := range []string{"", "www."} {
			for _, typ := range []uint16{1, 28, 65, 16, 255} { // A, AAAA, HTTPS, TXT, ANY
				for _, edns := range []bool{false, true} {
					for _, network := range []string{"udp", "tcp"} {
						want, err := s.ask(network, pupil, question(below+ordinary, typ, edns))
						if err != nil {
							t.Fatal(err)
						}
						got, err := s.ask(network, pupil, question(below+l.name(), typ, edns))
						if err != nil {
							t.Fatal(err)
						}
						wire := func(name string) []byte { return question(name, typ, false)[12 : 12+len(name)+2] }
						got = bytes.Replace(got, wire(below+l.name()), wire(below+ordinary), 1)
						if !bytes.Equal(got, want) || got[3]&15 != 3 {
							t.Errorf("%s%s type %d over %s, EDNS %v:\n%x, and of another\n%x", below, l.name(), typ, network, edns, got, want)
						}
						compared++
					}
				}
			}
		}
	}
	t.Logf("%d answers compared", compared)
}
