package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// exception is one that is whole, until an hour from now.
func exception(action string, names ...string) Exception {
	return Exception{Action: action, Names: names, Until: time.Now().Add(time.Hour).Truncate(time.Second), By: "it", Reason: "lesson"}
}

func (s *school) except(e Exception) Exception {
	s.t.Helper()
	added, _, err := s.AddException(s.t.Context(), e)
	if err != nil {
		s.t.Fatal(err)
	}
	return added
}

// settle notes the ends of exceptions as of now.
func (s *school) settleNow() { s.settleExceptions(s.t.Context()) }

func TestAnExceptionIsInForceAtOnceAndOnRecord(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	set := s.Filter().set
	e := exception("allow", "games.example")
	e.Group = "pupils"
	added := s.except(e)
	if got := s.dig("games.example"); got != "192.0.2.1" {
		t.Errorf("with the exception: %s", got)
	}
	if s.Filter().set != set {
		t.Error("the lists were read anew")
	}
	if got := s.metric(`schoolgate_exceptions{action="allow"}`); got != "1" {
		t.Errorf("schoolgate_exceptions = %s", got)
	}
	if _, err := s.RemoveException(t.Context(), strings.ToUpper(added.ID), "head", "enough"); err != nil {
		t.Fatal(err)
	}
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("without it: %s", got)
	}
	until := added.Until.In(s.Filter().Config.Timezone).Format(time.RFC3339)
	want := []string{
		fmt.Sprintf("it | exceptions.add | exception %s: allow games.example for group pupils until %s", added.ID, until),
		fmt.Sprintf("head | exceptions.remove | exception %s: allow games.example for group pupils until %s, added by it: lesson", added.ID, until),
	}
	if diff := cmp.Diff(want, s.acts()[1:]); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

func TestExceptionsSurviveReloadsAndRestarts(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.except(exception("allow", "games.example"))
	e := exception("block", "news.example")
	e.Client = "127.0.0.1"
	s.except(e)
	check := func(when string) {
		t.Helper()
		for name, want := range map[string]string{"games.example": "192.0.2.1", "news.example": "NXDOMAIN EDE 15"} {
			if got := s.dig(name); got != want {
				t.Errorf("%s after %s: %s, want %s", name, when, got, want)
			}
		}
	}
	check("they were added")
	s.configure(baseYAML + "rules: [{block: [games.example], reason: an exception goes before it}]\n")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	check("a reload")
	s.write("gaming.txt", "games.example\nother.example\n")
	if err := s.takeUp(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	check("an update of lists")
	s.stop()
	s.start()
	check("a restart")
	for _, name := range []string{exceptionsFile, exceptionsCopy} {
		if info, err := os.Stat(filepath.Join(s.dir, "data", name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
}

func TestTheEndOfAnExceptionIsNotedOnceWhateverRunsThen(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	now := time.Now()
	x := &exceptions{}
	for i, ago := range []time.Duration{time.Hour, 8 * 24 * time.Hour} {
		e := exception("allow", "games.example")
		e.complete(now)
		e.ID, e.Until = fmt.Sprintf("ended%d", i), now.Add(-ago)
		x.all = append(x.all, e)
	}
	last := exception("allow", "chess.example")
	last.complete(now)
	x.all = append(x.all, last)
	s.stop()
	if err := x.write(filepath.Join(s.dir, "data")); err != nil {
		t.Fatal(err)
	}
	s.start()
	ends := func() (n int) {
		for _, a := range s.acts() {
			if strings.HasPrefix(a, "schoolgate | exceptions.end | exception ended") && strings.HasSuffix(a, ": has ended") {
				n++
			}
		}
		return n
	}
	s.await(func() bool { return ends() == 2 })
	s.settleNow()
	s.settleNow()
	var left []string
	for _, e := range s.Exceptions() {
		left = append(left, e.ID)
	}
	if diff := cmp.Diff([]string{"ended0", last.ID}, left); diff != "" {
		t.Errorf("what is kept: an ended one for a week (-want +got):\n%s", diff)
	}
	s.stop()
	s.start()
	s.settleNow()
	if n := ends(); n != 2 {
		t.Errorf("%d ends on record, want 2", n)
	}
	if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("what has ended allows: %s", got)
	}
}

func manyNames(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("n%d.example", i))
	}
	return names
}

func TestAnExceptionMustBeRight(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.except(exception("block", "news.example"))
	now := s.now()
	for want, change := range map[string]func(*Exception){
		"\"deny\" is neither allow nor block":                        func(e *Exception) { e.Action = "deny" },
		"there is no name":                                           func(e *Exception) { e.Names = nil },
		"101 names: one exception can have 100":                      func(e *Exception) { e.Names = manyNames(101) },
		"it is for a group or for a client, not for both":            func(e *Exception) { e.Group, e.Client = "pupils", "10.0.0.1" },
		"there is no group \"pupil\"":                                func(e *Exception) { e.Group = "pupil" },
		"by is empty":                                                func(e *Exception) { e.By = " " },
		"reason is empty":                                            func(e *Exception) { e.Reason = "" },
		"reason is longer than 500 bytes":                            func(e *Exception) { e.Reason = strings.Repeat("x", 501) },
		"by holds control characters":                                func(e *Exception) { e.By = "it\x1b[2J" },
		"news.example is subject to exception ID, the opposite, for": func(e *Exception) { e.Names = []string{"NEWS.example."} },
	} {
		e := exception("allow", "chess.example")
		change(&e)
		_, _, err := s.AddException(t.Context(), e)
		if err == nil {
			t.Errorf("taken, want %q", want)
			continue
		}
		got := strings.Replace(err.Error(), s.Exceptions()[0].ID, "ID", 1)
		if !strings.HasPrefix(got, want) || IsWrongUse(err) == strings.Contains(want, "subject to") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	// The opposite for another scope, or at another time, is none.
	e := exception("allow", "news.example")
	e.Group = "pupils"
	s.except(e)
	full := &exceptions{}
	for range MaxExceptions {
		e := exception("block", "news.example")
		e.complete(now)
		full.all = append(full.all, e)
	}
	e.complete(now)
	if _, err := full.with(e, s.Filter().Config, now); err == nil || !strings.HasPrefix(err.Error(), "1000 exceptions are in force") {
		t.Errorf("one too many: %v", err)
	}
}

func TestANameOfALockedOrConfidentialListIsKeptOffTheRecord(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(edit("severity: low,", "severity: low, confidential: true,"))
	s.start()
	e := exception("allow", "pills.example", "games.example")
	added, notes, err := s.AddException(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pills.example is in a locked category: the exception has no effect on it, and this attempt is on record"}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if got := s.dig("pills.example"); got != "NXDOMAIN EDE 15" {
		t.Errorf("a locked name: %s", got)
	}
	acts := s.acts()
	act := fmt.Sprintf("it | exceptions.add | exception %s: allow pills.example, (confidential) for everybody until ", added.ID)
	if got := acts[len(acts)-1]; !strings.HasPrefix(got, act) || !strings.HasSuffix(got, "; no effect on 1 name of a locked category") {
		t.Errorf("audit: %s", got)
	}
}

func TestITIsToldOfADamagedStore(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	yaml, it := s.withReceiver(baseYAML)
	s.configure(yaml)
	s.start()
	s.except(exception("block", "news.example"))
	s.stop()
	s.write("data/"+exceptionsFile, "{")
	s.start()
	s.await(func() bool {
		return it.count("system", "the exceptions in "+filepath.Join(s.dir, "data", exceptionsFile)+" can't be read") == 1
	})
}

func TestAnExceptionThatCannotBeStoredIsNotInForce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{exceptionsFile, exceptionsCopy} {
		s := newSchool(t)
		s.start()
		if err := os.MkdirAll(filepath.Join(s.dir, "data", name, "in the way"), 0o700); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.AddException(t.Context(), exception("allow", "games.example"))
		if err == nil || !strings.HasPrefix(err.Error(), "store the exceptions: ") || IsWrongUse(err) {
			t.Errorf("%s can't be written: %v", name, err)
		}
		if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" || len(s.Exceptions()) > 0 {
			t.Errorf("it is in force all the same: %s, %v", got, s.Exceptions())
		}
		if n := len(s.acts()); n != 1 {
			t.Errorf("%d acts on record, want that of the start", n)
		}
		left, err := filepath.Glob(filepath.Join(s.dir, "data", "exceptions.*.*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range left {
			if base := filepath.Base(file); base != exceptionsFile && base != exceptionsCopy {
				t.Errorf("%s is left behind", base)
			}
		}
		s.stop()
		if err := os.RemoveAll(filepath.Join(s.dir, "data", name)); err != nil {
			t.Fatal(err)
		}
		s.start()
		if got := s.dig("games.example"); got != "NXDOMAIN EDE 15" {
			t.Errorf("after a restart: %s", got)
		}
	}
}

func TestAClockThatIsWrongEndsNoException(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.stop()
	var all []Exception
	for _, e := range []Exception{exception("block", "news.example"), exception("allow", "games.example")} {
		e.complete(time.Now())
		e.Until = time.Now().Add(-time.Hour) // over, but is it?
		all = append(all, e)
	}
	if err := (&exceptions{all: all}).write(filepath.Join(s.dir, "data")); err != nil {
		t.Fatal(err)
	}
	o := s.options()
	o.Build.Time = time.Now().Add(24 * time.Hour) // made tomorrow: today is a clock that runs behind
	d, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s.Daemon, s.stop = d, run(t, d)
	if d.settleExceptions(t.Context()) {
		t.Error("their end is noted")
	}
	for _, name := range []string{"news.example", "games.example"} {
		if got := s.dig(name); got != "NXDOMAIN EDE 15" {
			t.Errorf("%s, of which nobody knows whether it is over: %s", name, got)
		}
	}
}

func TestAStoreThatIsDamagedOpensNothing(t *testing.T) {
	t.Parallel()
	const allowed, blocked, failed = "192.0.2.1", "NXDOMAIN EDE 15", "SERVFAIL EDE 14"
	for what, c := range map[string]struct {
		damage           func(s *school)
		games, news, org string
		problem          string
	}{
		"the file is cut off": {
			func(s *school) { s.write("data/"+exceptionsFile, s.read("data/" + exceptionsFile)[:40]) },
			blocked, blocked, allowed, "it is damaged: unexpected end of JSON input; those that block hold on",
		},
		"a bit flips": {
			func(s *school) {
				s.write("data/"+exceptionsFile, strings.Replace(s.read("data/"+exceptionsFile), "news.example", "newt.example", 1))
			},
			blocked, blocked, allowed, "its checksum is wrong; those that block hold on",
		},
		"the file is gone": {
			func(s *school) { s.remove("data/" + exceptionsFile) },
			blocked, blocked, allowed, "it is missing, and its copy is there; those that block hold on",
		},
		"the copy is damaged": {
			func(s *school) { s.write("data/"+exceptionsCopy, "{}") }, allowed, blocked, allowed, "",
		},
		"both are": {
			func(s *school) {
				s.write("data/"+exceptionsFile, "{}")
				s.write("data/"+exceptionsCopy, "")
			},
			failed, failed, failed, "can't be read, nor their copy, so that nobody knows what they blocked, and questions are answered SERVFAIL",
		},
		"both are of a later version": {
			func(s *school) {
				newer := strings.Replace(s.read("data/"+exceptionsFile), `"version":1`, `"version":2`, 1)
				s.write("data/"+exceptionsFile, newer)
				s.write("data/"+exceptionsCopy, newer)
			},
			blocked, blocked, allowed, "it is of version 2, and this schoolgate reads version 1; those that block hold on",
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newSchool(t)
			s.start()
			s.except(exception("allow", "games.example"))
			s.except(exception("block", "news.example"))
			s.stop()
			c.damage(s)
			s.start()
			got := []string{s.dig("games.example"), s.dig("news.example"), s.dig("www.example.org")}
			if diff := cmp.Diff([]string{c.games, c.news, c.org}, got); diff != "" {
				t.Errorf("what it allowed, what it blocked, and another name (-want +got):\n%s", diff)
			}
			if code, body := s.get("/readyz"); (code == 503) != (c.org == failed) {
				t.Errorf("/readyz: %d %s", code, body)
			}
			code, body := s.get("/healthz")
			if c.problem == "" {
				if code != 200 {
					t.Errorf("/healthz: %d %s", code, body)
				}
				return
			}
			if code != 503 || !strings.Contains(body, c.problem) {
				t.Errorf("/healthz: %d %s", code, body)
			}
			if _, _, err := s.AddException(t.Context(), exception("allow", "chess.example")); err == nil || !strings.Contains(err.Error(), "can't be read") {
				t.Errorf("one more is taken, over what can't be read: %v", err)
			}
			// Moved away, they are no more: at the next look, without a restart.
			for _, name := range []string{exceptionsFile, exceptionsCopy} {
				_ = os.Remove(filepath.Join(s.dir, "data", name))
			}
			if err := s.takeUp(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
			if got := s.dig("news.example"); got != allowed {
				t.Errorf("after they were moved away: %s", got)
			}
			if code, body := s.get("/healthz"); code != 200 {
				t.Errorf("/healthz then: %d %s", code, body)
			}
		})
	}
}
