//go:build e2e

package e2e_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// gambling is a list of so many names, site0.gambling.example and so on, with its canary.
func gambling(names int, more ...string) string {
	list := new(strings.Builder)
	for i := range names {
		fmt.Fprintf(list, "site%d.gambling.example\n", i)
	}
	return list.String() + "canary.example\n" + strings.Join(more, "\n") + "\n"
}

// gamblingSite is a school that blocks one list, which it requires. keys are more of the list's.
func gamblingSite(t *testing.T, url, keys string) *site {
	t.Helper()
	return newSite(t, fmt.Sprintf(`
categories:
  gambling: {severity: high, lists: [{url: %q, required: true, %s}]}
groups: {pupils: {clients: [127.20.0.0/16], block: [gambling]}}
default_group: pupils
`, url, keys))
}

// failure is something that a server may do instead of serving a list, and what people are to read of it.
type failure struct {
	name  string
	serve http.HandlerFunc
	says  string // a regular expression
}

// failures are all of them but slowness, which takes the client's limits of a minute: the tests of
// blocklist/feed play it by a clock of their own.
func failures(t *testing.T, elsewhere string) []failure {
	t.Helper()
	const names = 1000
	good := gambling(names)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	broad := []string{"com", "net", "org", "uk", "co.uk", "gov.uk", "ac.uk", "de", "fr", "io", "info", "edu"}
	all := []failure{
		{"a web page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html><body>"+strings.ReplaceAll(good, "\n", "<br>\n")+"</body></html>\n")
		}, `HTML`},
		{"nothing", text(""), `nothing in it`},
		{"half of the list", text(gambling(names / 2)), `501 entries, less than 70 % of the 1001`},
		{"too many broad entries", text(gambling(names, broad...)), `12 of its 1013 entries cover a public suffix`},
		{"a name that must never be blocked", text(gambling(names, "www.gov.uk")), `never be blocked: www\.gov\.uk`},
		{"no canary", text(strings.ReplaceAll(good, "canary.example\n", "")), `canaries: canary\.example`},
		{"not found", status(http.StatusNotFound), `404`},
		{"a broken server", status(http.StatusInternalServerError), `500`},
		{"a redirect to another port of this machine", redirect("http://" + elsewhere + "/list.txt"), `redirected to "http://` + regexp.QuoteMeta(elsewhere)},
		{"a redirect to the cloud's metadata", redirect("http://169.254.169.254/latest/meta-data/"), `redirected to "http://169\.254\.169\.254`},
		{"a zip bomb", bytesOf(zipBomb(t)), `(?i)unpack`},
		{"a gzip bomb", bytesOf(gzipped(t, bomb)), `(?i)unpack`},
	}
	for tenth := range 10 {
		part := good[:len(good)*tenth/10]
		all = append(all,
			failure{fmt.Sprintf("cut off after %d tenths", tenth), func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(len(good)))
				cutAfter(w, part)
			}, fmt.Sprintf(`connection ended after %d of %d bytes`, len(part), len(good))},
			failure{fmt.Sprintf("cut off after %d tenths, in chunks", tenth), func(w http.ResponseWriter, _ *http.Request) {
				cutAfter(w, part)
			}, fmt.Sprintf(`connection ended after %d bytes`, len(part))},
		)
	}
	return all
}

// cutAfter sends a part of a body and closes the connection.
func cutAfter(w http.ResponseWriter, part string) {
	_, _ = io.WriteString(w, part)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func bytesOf(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

// bomb writes 64 MB of one name.
func bomb(w io.Writer) error {
	piece := bytes.Repeat([]byte("bomb.gambling.example\n"), 1<<15)
	for range 64 << 20 / len(piece) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

func gzipped(t *testing.T, content func(io.Writer) error) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if err := content(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zipBomb(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.Create("domains")
	if err != nil {
		t.Fatal(err)
	}
	if err := bomb(w); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWhateverAServerDoesTheOldListBlocksAndITIsTold(t *testing.T) {
	elsewhere := publish(t, "127.0.0.1:0", text(gambling(1000)))
	p := publish(t, "127.0.0.1:0", text(gambling(1000)))
	id := "http://" + p.addr + "/list.txt"
	s := gamblingSite(t, id, "canaries: [canary.example]")
	s.start(t) // ready: the list has been fetched
	s.blocked(t, "www.site7.gambling.example", true)

	failed := fmt.Sprintf(`schoolgate_list_update_failures_total{category="gambling",list=%q}`, id)
	told := map[string]failure{} // by the reason
	for i, f := range failures(t, elsewhere.addr) {
		t.Run(f.name, func(t *testing.T) {
			p.play(f.serve)
			before := s.metric(t, failed)
			reason := regexp.MustCompile(f.says)
			for range 2 { // the second time tells nobody anything new
				if u := s.update(t, id); u.Changed || !reason.MatchString(u.Error) {
					t.Errorf("lists update: %+v, want a reason like %s", u, f.says)
				}
			}
			s.blocked(t, "www.site7.gambling.example", true)
			l := s.list(t, id)
			if l.State != "kept" || l.Entries != 1001 || !reason.MatchString(l.Problem) {
				t.Errorf("lists status: %+v, want the old entries and a reason like %s", l, f.says)
			}
			if out := s.command(t, "lists", "status"); !strings.Contains(out, "  ! "+id+": "+l.Problem) {
				t.Errorf("lists status does not say %q:\n%s", l.Problem, out)
			}
			if status, body := s.get("/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, l.Problem) {
				t.Errorf("healthz %d: %s", status, body)
			}
			if after := s.metric(t, failed); after != before+2 {
				t.Errorf("%s is %v after two failures, before them %v", failed, after, before)
			}
			told[l.Problem] = f

			fresh := fmt.Sprintf("fresh%d.example", i)
			p.play(text(gambling(1000, fresh)[len("site0.gambling.example\n"):])) // as many as before
			if u := s.update(t, id); u.Error != "" || !u.Changed || u.Entries != 1001 {
				t.Errorf("a good version: %+v", u)
			}
			s.blocked(t, fresh, true)
			if l := s.list(t, id); l.State != "loaded" || l.Problem != "" {
				t.Errorf("after a good version: %+v", l)
			}
			if status, body := s.get("/healthz"); status != http.StatusOK {
				t.Errorf("healthz after a good version: %d %s", status, body)
			}
		})
	}
	if n := elsewhere.requests(); n != 0 {
		t.Errorf("the redirect to another port was followed %d times", n)
	}

	// Once this alert is there too, what had to come before has been sent, once or more often.
	p.play(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	s.update(t, id)
	messages := map[string]int{}
	for last := false; !last || len(messages) < len(told); {
		a := s.it.next(t, 30*time.Second)
		message, _ := a.data["message"].(string)
		if a.typ != "system" {
			t.Errorf("IT was sent %s %v", a.typ, a.data)
		}
		for reason := range told {
			if strings.Contains(message, reason) {
				messages[reason]++
			}
		}
		last = last || strings.Contains(message, "418")
	}
	for reason, f := range told {
		if messages[reason] != 1 {
			t.Errorf("%s: IT was told %d times: %s", f.name, messages[reason], reason)
		}
	}
}

func TestAListIsOnlyTakenWithTheSHA256OfTheConfiguration(t *testing.T) {
	good := gambling(100)
	p := publish(t, "127.0.0.1:0", text(good))
	id := "http://" + p.addr + "/pinned.txt"
	s := gamblingSite(t, id, fmt.Sprintf("sha256: %x", sha256.Sum256([]byte(good))))
	s.start(t)
	p.play(text(gambling(100, "more.example")))
	if u := s.update(t, id); u.Changed || !strings.Contains(u.Error, "sha256") {
		t.Errorf("another content: %+v", u)
	}
	s.blocked(t, "site7.gambling.example", true)
	s.blocked(t, "more.example", false)
	if l := s.list(t, id); l.State != "kept" || !strings.Contains(l.Problem, "sha256") {
		t.Errorf("lists status: %+v", l)
	}
	a := s.it.next(t, 30*time.Second)
	if message, _ := a.data["message"].(string); !strings.Contains(message, "sha256") {
		t.Errorf("IT was told %v", a.data)
	}
	p.play(text(good))
	if u := s.update(t, id); u.Error != "" {
		t.Errorf("the right content again: %+v", u)
	}
	if status, body := s.get("/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d %s", status, body)
	}
}

func TestAListThatHasNotChangedIsNotSentAgain(t *testing.T) {
	conditions := make(chan string, 100)
	p := publish(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		conditions <- r.Header.Get("If-None-Match")
		w.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") == `"one"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		text(gambling(10))(w, r)
	})
	id := "http://" + p.addr + "/list.txt"
	s := gamblingSite(t, id, "")
	s.start(t)
	if got := <-conditions; got != "" {
		t.Errorf("at first: If-None-Match %s", got)
	}
	for range 2 {
		if u := s.update(t, id); u.Error != "" || u.Changed || u.Bytes != 0 {
			t.Errorf("not modified: %+v", u)
		}
		if got := <-conditions; got != `"one"` {
			t.Errorf("If-None-Match %s", got)
		}
	}
	s.stop(t)
	s.start(t)
	if u := s.update(t, id); u.Error != "" || u.Changed {
		t.Errorf("not modified, after a restart: %+v", u)
	}
	if got := <-conditions; got != `"one"` {
		t.Errorf("after a restart: If-None-Match %s", got)
	}
	s.blocked(t, "site7.gambling.example", true)
	if l := s.list(t, id); l.State != "loaded" || l.Problem != "" {
		t.Errorf("lists status: %+v", l)
	}
}

func TestAStartWithoutTheNetworkServesTheLastGoodCopy(t *testing.T) {
	p := publish(t, "127.0.0.1:0", text(gambling(10)))
	id := "http://" + p.addr + "/list.txt"
	s := gamblingSite(t, id, "")
	s.start(t)
	p.stop()
	for _, end := range []func(*testing.T){s.stop, s.kill} {
		end(t)
		s.launch(t)
		s.untilReady(t)
		s.blocked(t, "site7.gambling.example", true)
		if l := s.list(t, id); l.Entries != 11 {
			t.Errorf("lists status: %+v", l)
		}
	}
	if u := s.update(t, id); u.Error == "" || u.Changed {
		t.Errorf("an update without the server: %+v", u)
	}
	s.blocked(t, "site7.gambling.example", true)
}

func TestARequiredListThatWasNeverThereIsWaitedForAndNothingIsOpen(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	id := "http://" + addr + "/list.txt"
	s := gamblingSite(t, id, "")
	s.launch(t)
	waitFor(t, "the metrics listener", func() bool { status, _ := s.get("/readyz"); return status != 0 })
	if status, body := s.get("/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("readyz %d: %s", status, body)
	}
	for _, name := range []string{"site7.gambling.example", "www.bbc.co.uk"} {
		r := s.dig(t, pupil, name, "A")
		if r.status() != "SERVFAIL" || !strings.Contains(string(r), "; EDE: 14 (Not Ready)") {
			t.Errorf("%s:\n%s", name, r)
		}
	}
	if l := s.list(t, id); l.State != "missing" {
		t.Errorf("lists status: %+v", l)
	}
	pid := s.cmd.Process.Pid

	publish(t, addr, text(gambling(10)))
	if u := s.update(t, id); u.Error != "" || !u.Changed {
		t.Errorf("lists update: %+v", u)
	}
	s.untilReady(t)
	s.blocked(t, "site7.gambling.example", true)
	s.blocked(t, "www.bbc.co.uk", false)
	if s.cmd.Process.Pid != pid || s.ended() {
		t.Error("it did not go on running")
	}
}

func TestAListOnTrialIsRecordedAndBlocksOnceItIsConfirmed(t *testing.T) {
	p := publish(t, "127.0.0.1:0", text(gambling(10)))
	id := "http://" + p.addr + "/list.txt"
	s := gamblingSite(t, id, "trial: 7d")
	s.start(t)
	s.blocked(t, "site7.gambling.example", false)
	if l := s.list(t, id); !l.OnTrial || l.TrialEnds == "" {
		t.Errorf("lists status: %+v", l)
	}
	b := s.breaches(t)
	if len(b) != 1 || b[0]["category"] != "gambling" || b[0]["action"] != "monitor" || b[0]["severity"] != "low" {
		t.Errorf("breaches export: %v", b)
	}

	s.command(t, "lists", "confirm", id, "--by", "it@school.example")
	s.blocked(t, "site7.gambling.example", true)
	if l := s.list(t, id); l.OnTrial {
		t.Errorf("lists status after the confirmation: %+v", l)
	}
	s.kill(t)
	s.start(t)
	s.blocked(t, "site7.gambling.example", true)
	b = s.breaches(t)
	if last := b[len(b)-1]; last["category"] != "gambling" || last["action"] != "block" || last["severity"] != "high" {
		t.Errorf("breaches export after the confirmation: %v", b)
	}
}

func TestNothingWaitsForAServerThatHangs(t *testing.T) {
	p := publish(t, "127.0.0.1:0", text(gambling(10)))
	id := "http://" + p.addr + "/list.txt"
	s := gamblingSite(t, id, "")
	s.start(t)
	asked := make(chan struct{}, 10)
	p.play(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "site0.gambling.example\n")
		_ = http.NewResponseController(w).Flush()
		asked <- struct{}{}
		<-r.Context().Done()
	})
	done := make(chan int, 1)
	go func() {
		_, _, code := s.try(t, "lists", "update", id)
		done <- code
	}()
	waitFor(t, "the server to be asked", func() bool { return len(asked) > 0 })
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.config, string(config)+"rules: [{block: [ruled.example], reason: a test}]\n")
	s.reload(t)
	s.blocked(t, "ruled.example", true)
	s.blocked(t, "site7.gambling.example", true)
	if l := s.list(t, id); l.State != "loaded" {
		t.Errorf("lists status while the server hangs: %+v", l)
	}
	s.stop(t)
	if code := <-done; code != 1 {
		t.Errorf("lists update ended with code %d when schoolgate was stopped", code)
	}
	s.start(t)
	s.blocked(t, "site7.gambling.example", true)
}
