package feed

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
)

func TestOneSourceIsAskedForOnce(t *testing.T) {
	p := newPublisher(t)
	p.publish("0.0.0.0 a.example.org\n0.0.0.0 b.example.org\n0.0.0.0 x..y\n")
	other := p.spec
	other.ID, other.Category, other.Format, other.Refresh = "other", 8, blocklist.FormatHosts, time.Hour
	specs := []Spec{{ID: "builtin", Builtin: "iwf", Category: 1}, p.spec, other}
	out := p.loader.Update(t.Context(), specs, nil, true)
	var got []string
	for _, u := range out {
		got = append(got, fmt.Sprint(u.ID, " ", u.Changed, " ", u.Bytes, " ", u.Entries, " ", u.Skipped, " ", u.Err))
	}
	if diff := cmp.Diff([]string{"published true 57 2 1 <nil>", "other true 57 2 1 <nil>"}, got); diff != "" {
		t.Error(diff)
	}
	if n, _ := p.asked(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	p.wantAll("", specs, "source", "source ab", "source ab")
	if wait := p.loader.Next(specs[1:2]).Sub(p.now); wait > 66*time.Minute {
		t.Errorf("due in %v, and one wants it hourly", wait)
	}
	t.Run("and not taken where one of its lists cannot be read from it", func(t *testing.T) {
		specs[2].Format = blocklist.FormatAdblock
		if out := p.loader.Update(t.Context(), specs, nil, false); out[0].Err == nil || out[1].Err == nil {
			t.Errorf("%+v", out)
		}
	})
}

func TestAConfidentialListIsFetchedOnlyToBeEncrypted(t *testing.T) {
	p := newPublisher(t)
	var long strings.Builder
	long.WriteString(good)
	for i := range 20000 {
		fmt.Fprintf(&long, "zqxsecret-%d.example\n", i)
	}
	long.WriteString("zqxsecret.example\n")
	p.publish(long.String())
	p.spec.Confidential = true
	const noKey = "a confidential list is kept only encrypted, and there is no key for that: set confidential_key"
	p.wantUpdate("without a key", noKey)
	p.wantLoad("without a key", ": "+noKey)
	if n, _ := p.asked(); n > 0 {
		t.Error("asked in vain")
	}

	during := 0
	p.options.Identity, _ = newIdentity(t)
	p.options.Progress = func(r Progress) {
		if r.Stage == "fetch" {
			during++
			wantNoTrace(t, p.copies, "zqxsecret")
		}
	}
	p.restart()
	p.wantUpdate("with a key", "changed")
	wantNoTrace(t, p.copies, "zqxsecret")
	p.wantLoad("with a key", "source abcd")
	p.restart()
	p.wantLoad("after a restart", "source abcd")
	p.wantUpdate("again", "unchanged")
	p.serve(body([]byte("<html>zqxsecret")))
	p.wantUpdate("a page", "not a list: HTML or XML")
	p.wantLoad("a page", "copy abcd: not a list: HTML or XML")
	wantNoTrace(t, p.copies, "zqxsecret")
	if during == 0 || len(p.kept("*.list.age")) != 1 || len(p.kept("*.list")) != 0 {
		t.Errorf("looked %d times while it was fetched; kept: %v", during, p.kept("*"))
	}
	if strings.Contains(p.log.String(), "zqxsecret") {
		t.Errorf("logged: %s", &p.log)
	}
	t.Run("as is one that is published encrypted", func(t *testing.T) {
		p := newPublisher(t)
		p.options.Identity, _ = newIdentity(t)
		p.restart()
		p.publish(sealed(t, p.options.Identity, secretText, true))
		p.wantUpdate("", "changed")
		p.wantLoad("", "source ab")
		p.restart()
		p.wantLoad("after a restart", "source ab")
		wantNoTrace(t, p.copies, "zqxsecret")
		p.spec.Confidential = true
		p.wantUpdate("confidential too", "unchanged")
		p.publish(sealed(t, p.options.Identity, secretText+"c.example.org\n", false))
		p.wantUpdate("confidential too", "changed")
		p.wantLoad("confidential too", "source abc")
		wantNoTrace(t, p.copies, "zqxsecret")
	})
}

func TestWhoKeepsNothingAsksNobody(t *testing.T) {
	p := newPublisher(t)
	for _, options := range []Options{{Dir: p.copies, ReadOnly: true}, {}} {
		p.loader = New(options)
		p.wantUpdate("", "there is no directory to keep it in")
		if next := p.loader.Next([]Spec{p.spec}); !next.After(time.Now()) {
			t.Errorf("due at %v", next)
		}
	}
	if n, _ := p.asked(); n > 0 || len(p.kept("*")) > 0 {
		t.Errorf("asked %d times, kept %v", n, p.kept("*"))
	}
}

func TestLoadsAndUpdatesMayRunAtOnce(t *testing.T) {
	p := newPublisher(t)
	specs := append(p.lists(good), p.spec)
	specs[1].Trial, specs[1].TrialCategory = time.Hour, 40
	p.publish(good)
	p.update(false)
	var all sync.WaitGroup
	for i := range 4 {
		p.publish(good + strings.Repeat("#", i))
		all.Go(func() {
			for _, u := range p.loader.Update(t.Context(), specs, nil, false) {
				if u.Err != nil {
					t.Error(u.Err)
				}
			}
		})
		all.Go(func() {
			for _, l := range p.loader.Load(t.Context(), specs, nil).Lists {
				if l.Err != nil || l.List == nil || l.List.Enforceable != 4 {
					t.Errorf("%+v", l)
				}
			}
			p.loader.Next(specs)
			if err := p.loader.Confirm(specs[1]); err != nil && !strings.HasSuffix(err.Error(), "is not on trial any more") {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAZoneIsTransferredByUpdateAndServedByLoad(t *testing.T) {
	s := newSite(t)
	now := time.Date(2026, 9, 7, 8, 0, 0, 0, time.UTC)
	s.options.Now = func() time.Time { return now }
	s.options.Identity, _ = newIdentity(t)
	for _, confidential := range []bool{false, true} {
		t.Run(fmt.Sprintf("confidential %v", confidential), func(t *testing.T) {
			first := zoneVersion{serial: 1, records: []string{"a.example.org.rpz.example. CNAME .", "b.example.org.rpz.example. CNAME ."}}
			second := zoneVersion{serial: 2, records: append(slices.Clone(first.records), "c.example.org.rpz.example. CNAME .")}
			p := startPrimary(t, nil, first)
			zone := p.zone()
			s.restart()
			specs := []Spec{{ID: zone.String(), Category: 2, Zone: &zone, Confidential: confidential}}
			check := func(what string, changed bool, want string) {
				t.Helper()
				out := s.loader.Update(t.Context(), specs, nil, false)
				if len(out) != 1 || out[0].Err != nil || out[0].Changed != changed {
					t.Errorf("%s: %+v", what, out)
				}
				s.wantAll(what, specs, want)
			}
			check("at first", true, "source ab")
			check("unchanged", false, "source ab")
			s.restart()
			p.mu.Lock()
			p.versions = append(p.versions, second)
			p.mu.Unlock()
			check("by differences", true, "source abc")
			if asked := p.types(); !slices.Contains(asked, "IXFR") {
				t.Errorf("asked for %v", asked)
			}
			l := s.loader.Load(t.Context(), specs, nil).Lists[0]
			if !l.Modified.Equal(now) || l.List.Format != blocklist.FormatRPZ {
				t.Errorf("%+v", l)
			}
			specs[0].Zone = &Zone{Name: zone.Name, Servers: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}}
		})
	}
}
