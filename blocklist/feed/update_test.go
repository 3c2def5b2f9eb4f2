package feed

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
)

// publisher is a site with one list that somebody else serves, and a clock.
type publisher struct {
	*site
	now  time.Time
	spec Spec

	mu       sync.Mutex // of what the server's goroutines use
	answer   http.HandlerFunc
	requests []http.Header
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{site: newSite(t), now: time.Date(2026, 9, 7, 8, 0, 0, 0, time.UTC)}
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.requests = append(p.requests, r.Header)
		p.answer(w, r)
	})
	p.spec = Spec{ID: "published", Category: 7, URL: server.URL + "/list.txt", Refresh: 24 * time.Hour}
	p.options.Now = func() time.Time { return p.now }
	p.options.Never = []blocklist.Name{mustName(t, "www.gov.example")}
	p.restart()
	return p
}

// publish has the server serve a text, which was changed an hour before now.
func (p *publisher) publish(text string) {
	modified := p.now.Add(-time.Hour)
	p.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text))))
		http.ServeContent(w, r, "", modified, strings.NewReader(text))
	})
}

func (p *publisher) serve(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

// asked is how often the server was asked since the last call, and the last question.
func (p *publisher) asked() (n int, last http.Header) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = len(p.requests)
	if n > 0 {
		last = p.requests[n-1]
	}
	p.requests = nil
	return n, last
}

// update asks for the list, and says what came of it.
func (p *publisher) update(due bool) string {
	p.t.Helper()
	out := p.loader.Update(p.t.Context(), []Spec{p.spec}, nil, due)
	switch {
	case len(out) == 0:
		return "not asked"
	case out[0].Err != nil:
		return out[0].Err.Error()
	case out[0].Changed:
		return "changed"
	}
	return "unchanged"
}

func (p *publisher) wantUpdate(what, want string) {
	p.t.Helper()
	if got := p.update(false); got != want {
		p.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func (p *publisher) wantLoad(what, want string) {
	p.t.Helper()
	got := strings.ReplaceAll(p.all([]Spec{p.spec})[0], p.spec.URL, "URL")
	if got != want {
		p.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func TestAListIsFetchedByUpdateAndServedByLoad(t *testing.T) {
	p := newPublisher(t)
	p.publish(good)
	p.wantLoad("before", ": "+errNotFetched.Error())
	if n, _ := p.asked(); n > 0 {
		t.Error("Load asked the server")
	}
	p.wantUpdate("first", "changed")
	p.wantLoad("first", "source abcd")
	p.restart()
	p.wantLoad("after a restart", "source abcd")
	p.asked()

	fetched := p.now
	p.now = p.now.Add(time.Hour)
	p.wantUpdate("again", "unchanged")
	if _, header := p.asked(); header.Get("If-None-Match") == "" || header.Get("If-Modified-Since") == "" {
		t.Errorf("asked with %v", header)
	}
	l := p.loader.Load(t.Context(), []Spec{p.spec}, nil).Lists[0]
	if !l.Modified.Equal(fetched.Add(-time.Hour)) || !l.Checked.Equal(p.now) || l.Err != nil {
		t.Errorf("modified %v, checked %v, %v", l.Modified, l.Checked, l.Err)
	}
	p.publish(later)
	p.wantUpdate("a new version", "changed")
	p.wantLoad("a new version", "source abce")
	p.wantLog()

	t.Run("whatever its server says of its age", func(t *testing.T) {
		for said, want := range map[string]time.Time{
			"":                              p.now,
			"nonsense":                      p.now,
			"Thu, 01 Jan 1970 00:00:00 GMT": p.now,
			"Fri, 01 Jan 2027 00:00:00 GMT": p.now,
			"Tue, 01 Sep 2026 06:00:00 GMT": time.Date(2026, 9, 1, 6, 0, 0, 0, time.UTC),
		} {
			p.now = p.now.Add(time.Minute)
			text := good + "# " + said + "\n"
			p.serve(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Last-Modified", said)
				_, _ = w.Write([]byte(text))
			})
			if want.Year() == 2026 && want.Month() == 9 && want.Day() == 7 {
				want = p.now
			}
			p.wantUpdate(said, "changed")
			if l := p.loader.Load(t.Context(), []Spec{p.spec}, nil).Lists[0]; !l.Modified.Equal(want) {
				t.Errorf("%q: modified %v, want %v", said, l.Modified, want)
			}
		}
	})
}

func TestAVersionThatIsRefusedLeavesTheOldOneInForce(t *testing.T) {
	text := func(s string) http.HandlerFunc { return body([]byte(s)) }
	for _, tt := range []struct {
		what   string
		answer http.HandlerFunc
		change func(*Spec)
		err    string
	}{
		{"a page", text("<html><title>Sign in</title>"), nil, "not a list: HTML or XML"},
		{"nothing", text(""), nil, "list without a usable line: nothing in it"},
		{"a short one", text("a.example.org\nb.example.org\n"), nil, "refused: it has 2 entries, less than 70 % of the 4 before (if the publisher did cut it down, lower min_share)"},
		{"one that is short by its own measure", text("a.example.org\nb.example.org\nc.example.org\n"), func(s *Spec) { s.MinShare = 80 }, "refused: it has 3 entries, less than 80 % of the 4 before (if the publisher did cut it down, lower min_share)"},
		{"a broad one", text(good + "co.uk\n"), nil, "refused: 1 of its 5 entries cover a public suffix, a top-level domain or the site's own zones, more than 1 %"},
		{"one with what must not be blocked", text(good + "gov.example\n"), nil, "refused: it blocks a name that must never be blocked: www.gov.example"},
		{"one without its canary", text(later), func(s *Spec) { s.Canaries = []blocklist.Name{"\x01d\x07example\x03org\x00"} }, "refused: it lacks a name written under canaries: d.example.org"},
		{"another file", text(later), func(s *Spec) { s.SHA256 = "00" }, fmt.Sprintf("its sha256 is %x, and the configuration wants 00", sha256.Sum256([]byte(later)))},
		{"an error", http.NotFound, nil, "the server answered 404 Not Found"},
		{"half of it", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(good))
		}, nil, "the connection ended after 56 of 100 bytes"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			p := newPublisher(t)
			p.publish(good)
			p.wantUpdate("at first", "changed")
			p.wantLoad("at first", "source abcd")
			if tt.change != nil {
				tt.change(&p.spec)
			}
			p.serve(tt.answer)
			p.wantUpdate("refused", tt.err)
			p.wantLoad("refused", "copy abcd: "+tt.err)
			p.restart()
			p.wantLoad("after a restart", "copy abcd: "+tt.err)
			p.publish(good + "e.example.org\n")
			p.spec.SHA256 = ""
			p.wantUpdate("once it is good again", "changed")
			p.wantLoad("once it is good again", "source abcde")
			if files := p.kept("*.tmp"); len(files) > 0 {
				t.Errorf("left behind: %v", files)
			}
		})
	}
}

func TestAVersionIsHeldToTheCanariesOfToday(t *testing.T) {
	p := newPublisher(t)
	p.publish(good)
	p.wantUpdate("at first", "changed")
	p.spec.Canaries = []blocklist.Name{mustName(t, "e.example.org")}
	p.wantUpdate("which the server has not changed", "refused: it lacks a name written under canaries: e.example.org")
	p.wantLoad("", "copy abcd: refused: it lacks a name written under canaries: e.example.org")
}

func TestAFileIsHeldToItsCanariesAlone(t *testing.T) {
	s := newSite(t)
	specs := s.lists(good)
	specs[0].Canaries = []blocklist.Name{mustName(t, "a.example.org")}
	s.wantAll("at first", specs, "source abcd")
	s.put(specs[0].Path, "a.example.org\nco.uk\ncom\nwww.gov.uk\n")
	s.wantAll("cut down by IT", specs, "source a")
	s.put(specs[0].Path, "b.example.org\n")
	missing := "refused: it lacks a name written under canaries: a.example.org"
	s.wantAll("without its canary", specs, "memory a: "+missing)
	s.restart()
	s.wantAll("and after a restart", specs, "copy a: "+missing)
}

func TestListsAreAskedForWhenTheyAreDue(t *testing.T) {
	p := newPublisher(t)
	p.publish(good)
	specs := []Spec{p.spec}
	next := func() time.Duration { return p.loader.Next(specs).Sub(p.now) }
	if next() != 0 {
		t.Errorf("at first: due in %v", next())
	}
	if got := p.loader.Next([]Spec{{Path: "x"}, {Builtin: "iwf"}}); !got.IsZero() {
		t.Errorf("of a file: %v", got)
	}

	seen := map[time.Duration]bool{}
	for range 50 {
		p.update(false)
		wait := next()
		seen[wait] = true
		if wait < 24*time.Hour*9/10 || wait > 24*time.Hour*11/10 {
			t.Fatalf("due in %v", wait)
		}
	}
	if len(seen) < 40 {
		t.Errorf("all schools would ask at once: %v", seen)
	}
	p.restart()
	wait := next()
	p.asked()
	p.now = p.now.Add(wait - time.Second)
	if got := p.update(true); got != "not asked" {
		t.Errorf("before its time: %s", got)
	}
	p.now = p.now.Add(time.Second)
	if got := p.update(true); got != "unchanged" {
		t.Errorf("at its time: %s", got)
	}

	t.Run("sooner where the refresh is shorter now", func(t *testing.T) {
		specs[0].Refresh = time.Hour
		if next() != 0 {
			t.Errorf("due in %v", next())
		}
		specs[0].Refresh = 24 * time.Hour
	})
	t.Run("and where the clock went back", func(t *testing.T) {
		p.now = p.now.Add(-48 * time.Hour)
		if next() != 0 {
			t.Errorf("due in %v", next())
		}
		p.update(false)
	})
	t.Run("and after a failure soon, then less often, never beyond the refresh", func(t *testing.T) {
		p.serve(http.NotFound)
		var waits []time.Duration
		p.now = p.now.Add(next())
		for range 13 {
			p.update(true)
			waits = append(waits, next())
			p.now = p.now.Add(next())
		}
		want := []time.Duration{time.Minute}
		for len(want) < 13 {
			want = append(want, min(2*want[len(want)-1], 24*time.Hour))
		}
		if diff := cmp.Diff(want, waits); diff != "" {
			t.Error(diff)
		}
		p.publish(good)
		p.update(true)
		if wait := next(); wait < 24*time.Hour*9/10 {
			t.Errorf("after a success: %v", wait)
		}
	})
}

func TestWhoAsksByHandDoesNotPutOffWhenAListIsDue(t *testing.T) {
	p := newPublisher(t)
	p.publish(good)
	due := func() time.Time { return p.loader.Next([]Spec{p.spec}) }
	p.wantUpdate("at first", "changed")
	const gone = "the server answered 404 Not Found"
	p.serve(http.NotFound)
	before := due()
	p.wantUpdate("by hand", gone)
	if !due().Equal(before) {
		t.Errorf("due %v, then %v", before, due())
	}

	p.now = before
	for range 4 { // fail, then 1, 2, 4 and 8 minutes
		p.update(true)
		p.now = due()
	}
	p.now = p.now.Add(-time.Minute)
	before = due()
	for range 5 {
		p.wantUpdate("by hand", gone)
	}
	if !due().Equal(before) {
		t.Errorf("after failures, due %v, then %v", before, due())
	}
	p.now = before
	for range 2 {
		p.wantUpdate("by hand, when it is due", gone)
		if wait := due().Sub(p.now); wait != 8*time.Minute {
			t.Errorf("after four failures, due in %v", wait)
		}
	}
	p.now = due()
	p.update(true)
	if wait := due().Sub(p.now); wait != 16*time.Minute {
		t.Errorf("after the fifth, due in %v", wait)
	}
	p.publish(good)
	p.wantUpdate("a success is one", "unchanged")
	if wait := due().Sub(p.now); wait < 24*time.Hour*9/10 {
		t.Errorf("due in %v", wait)
	}
}

func TestANewProcessAsksAtOnceForWhatFailedOrIsMissing(t *testing.T) {
	p := newPublisher(t)
	p.serve(http.NotFound)
	wait := func() time.Duration { return p.loader.Next([]Spec{p.spec}).Sub(p.now) }
	for range 8 {
		p.update(true)
		p.now = p.now.Add(wait())
	}
	p.update(true)
	if wait() != 256*time.Minute {
		t.Errorf("after nine failures, due in %v", wait())
	}
	p.restart()
	if wait() != 0 {
		t.Errorf("after a restart, due in %v", wait())
	}
	if p.update(true) == "not asked" || wait() != 512*time.Minute {
		t.Errorf("once it has asked, due in %v", wait())
	}

	p.publish(good)
	p.wantUpdate("at first", "changed")
	p.restart()
	if wait() < 21*time.Hour {
		t.Errorf("what is there is due in %v", wait())
	}
	if err := os.Remove(p.files()[0]); err != nil {
		t.Fatal(err)
	}
	if wait() != 0 {
		t.Errorf("what is missing is due in %v", wait())
	}
}

func TestARequiredListWithoutContentIsAskedForEveryHalfMinute(t *testing.T) {
	p := newPublisher(t)
	p.serve(http.NotFound)
	wait := func() time.Duration { return p.loader.Next([]Spec{p.spec}).Sub(p.now) }
	for range 10 {
		p.update(true)
		p.now = p.now.Add(wait())
	}
	p.update(true)
	p.spec.Required = true
	if wait() != 30*time.Second {
		t.Errorf("once it is required, due in %v", wait())
	}
	for range 10 {
		p.now = p.now.Add(30 * time.Second)
		if p.update(true) == "not asked" || wait() != 30*time.Second {
			t.Fatalf("due in %v", wait())
		}
	}
	p.now = p.now.Add(20 * time.Second)
	if p.update(false); wait() != 10*time.Second {
		t.Errorf("after a try by hand, due in %v", wait())
	}
	p.now = p.now.Add(-time.Hour)
	if wait() != 0 {
		t.Errorf("when the clock went back, due in %v", wait())
	}
	other := p.spec
	other.ID, other.Required = "other", false
	if out := p.loader.Update(t.Context(), []Spec{other, p.spec}, nil, true); len(out) != 2 || wait() != 30*time.Second {
		t.Errorf("where another does without: %d outcomes, due in %v", len(out), wait())
	}

	p.publish(good)
	p.wantUpdate("then", "changed")
	p.serve(http.NotFound)
	p.now = p.now.Add(wait())
	for _, want := range []time.Duration{time.Minute, 2 * time.Minute} {
		if p.update(true); wait() != want {
			t.Errorf("with content, due in %v, want %v", wait(), want)
		}
		p.now = p.now.Add(wait())
	}
}

func TestAnErrorThatWasKeptWithTheNameOfItsListIsShownAsItIs(t *testing.T) {
	p := newPublisher(t)
	p.publish(good)
	p.update(false)
	p.loader.state.change(keyOf(p.spec).source(), func(st *listState) { st.Error = "list " + p.spec.URL + ": gone" })
	p.wantLoad("", "copy abcd: list URL: gone")
}

func TestAnUpdateThatIsStoppedSaysNothingOfTheSource(t *testing.T) {
	p := newPublisher(t)
	p.publish(good)
	p.update(false)
	p.wantLoad("at first", "source abcd")
	due := p.loader.Next([]Spec{p.spec})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.serve(func(http.ResponseWriter, *http.Request) { cancel() })
	out := p.loader.Update(ctx, []Spec{p.spec}, nil, false)
	if len(out) != 1 || !errors.Is(out[0].Err, context.Canceled) {
		t.Errorf("%+v", out)
	}
	p.wantLoad("then", "source abcd")
	if next := p.loader.Next([]Spec{p.spec}); !next.Equal(due) {
		t.Errorf("due %v, then %v", due, next)
	}
}

func TestACopyThatIsDamagedIsFetchedAgain(t *testing.T) {
	p := newPublisher(t)
	p.publish(good)
	p.update(false)
	p.wantLoad("at first", "source abcd")
	copied := p.files()[0]
	whole, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(whole); i += 16 {
		damaged := slices.Clone(whole)
		damaged[i] ^= 1
		if err := os.WriteFile(copied, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		p.asked()
		p.update(false)
		if _, header := p.asked(); header.Get("If-None-Match") != "" {
			t.Fatalf("byte %d: asked with %v", i, header)
		}
		p.wantLog("last good copy of a list refused")
		if again, err := os.ReadFile(copied); err != nil || string(again) != string(whole) {
			t.Fatalf("byte %d: %q, %v", i, again, err)
		}
	}
	p.wantLoad("then", "source abcd")
}
