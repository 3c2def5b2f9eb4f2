package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"schoolgate/policy/breach"
)

// selfTestYAML has a group with promises of each kind, and one with an allow-list.
const selfTestYAML = `version: 1
site: test
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0"}
data_dir: data
categories:
  drugs: {severity: medium, locked: true, lists: [{path: drugs.txt, required: true}]}
  gaming: {severity: low, lists: [{path: gaming.txt}]}
  encrypted_dns: {severity: none, lists: [builtin:encrypted_dns]}
groups:
  pupils: {clients: [10.20.0.0/16], block: [gaming, encrypted_dns], safe_search: {search: on, youtube: strict}}
  early: {clients: [10.30.0.0/16], only: [bbc.co.uk]}
  nowhere: {clients: ["mac:00:11:22:33:44:55"], inherit: pupils}
default_group: pupils
`

// told is the checks of a group, by what and name.
func told(t *testing.T, s SelfTest, group string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, g := range s.Groups {
		if g.Group == group {
			for _, c := range g.Checks {
				all[c.What+" "+c.Name] = strings.TrimSuffix(c.Result+": "+c.Why, ": ")
			}
		}
	}
	return all
}

func TestASelfTestSaysOfEachGroupWhetherItsPolicyHolds(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(selfTestYAML)
	s.start()
	client, err := Dial(t.Context(), filepath.Join(s.dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.SelfTest(t.Context(), "", "it")
	if err != nil {
		t.Fatal(err)
	}
	const selfTestOnly = "ok: self-test name only: it proves nothing of the list"
	locked := map[string]string{
		"category iwf iwf.testfiltering.com": selfTestOnly, "category ctiru ctiru.testfiltering.com": selfTestOnly,
		"category drugs, list drugs.txt pills.example": "ok",
		"way round use-application-dns.net":            "ok", "way round mask.icloud.com": "ok", "way round mask-h2.icloud.com": "ok", "way round resolver.arpa": "ok",
	}
	pupils := map[string]string{
		"category gaming, list gaming.txt games.example": "ok",
		"safe search www.google.com":                     "ok", "safe search www.bing.com": "ok", "safe search duckduckgo.com": "ok", "safe search www.youtube.com": "ok",
		"way round dns.google":        "ok",
		"ordinary name www.bbc.co.uk": "ok", "ordinary name www.gov.uk": "ok", "ordinary name www.nhs.uk": "ok",
	}
	early := map[string]string{"allow-list, outside outside-the-allow-list.example": "ok", "allow-list, inside bbc.co.uk": "ok", "way round dns.google": "ok"}
	for what, result := range locked {
		pupils[what], early[what] = result, result
	}
	ofPupils, builtin := told(t, got, "pupils"), 0
	for what, result := range ofPupils {
		if strings.HasPrefix(what, "category encrypted_dns, list builtin:encrypted_dns ") && result == "ok" {
			delete(ofPupils, what)
			builtin++
		}
	}
	if diff := cmp.Diff(pupils, ofPupils); diff != "" || builtin != 3 {
		t.Errorf("%d names of the built-in list; pupils (-want +got):\n%s", builtin, diff)
	}
	if diff := cmp.Diff(early, told(t, got, "early")); diff != "" {
		t.Errorf("early (-want +got):\n%s", diff)
	}
	nowhere := map[string]string{"group ": "not tested: no address that may ask is of this group alone"}
	if diff := cmp.Diff(nowhere, told(t, got, "nowhere")); diff != "" {
		t.Errorf("nowhere (-want +got):\n%s", diff)
	}
	if got.Failed != 0 || got.NotTested != 1 || got.OK != len(pupils)+builtin+len(early) {
		t.Errorf("%d ok, %d failed, %d not tested", got.OK, got.Failed, got.NotTested)
	}

	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := breach.OpenReader(filepath.Join(s.dir, "data", "breach.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Breaches(t.Context(), breach.Filter{}, func(b breach.Breach) error { t.Errorf("a breach: %+v", b); return nil }); err != nil {
		t.Fatal(err)
	}
	var acts []string
	err = r.Acts(t.Context(), breach.ActFilter{What: "selftest"}, func(a breach.RecordedAct) error {
		acts = append(acts, a.Who+" "+a.What+" "+a.Detail)
		return nil
	})
	if err != nil || len(acts) != 1 || !strings.HasPrefix(acts[0], "it selftest.passed groups pupils, early, nowhere: ") ||
		!strings.Contains(acts[0], "; configuration "+got.Config+"; age of lists: drugs 0 h, gaming 0 h; sha256 of "+filepath.Base(got.File)+" "+got.SHA256) {
		t.Errorf("%q %v", acts, err)
	}
	text, err := os.ReadFile(got.File)
	var kept SelfTest
	if err := errors.Join(err, json.Unmarshal(text, &kept)); err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(text)); sum != got.SHA256 {
		t.Errorf("the file's hash is %s, not %s", sum, got.SHA256)
	}
	kept.File, kept.SHA256 = got.File, got.SHA256
	if diff := cmp.Diff(got, kept); diff != "" {
		t.Errorf("the file (-told +kept):\n%s", diff)
	}
	if info, err := os.Stat(got.File); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if _, err := client.SelfTest(t.Context(), "pupil", "it"); err == nil || !strings.Contains(err.Error(), `there is no group "pupil"`) {
		t.Errorf("an unknown group: %v", err)
	}
}

func TestASelfTestFindsWhatDoesNotHold(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.configure(selfTestYAML)
	s.start()
	// A resolver that filters nothing.
	lax := func(_ context.Context, packet []byte, _ netip.AddrPort, _ string, unrecorded bool) ([]byte, error) {
		var m dnsmessage.Message
		if err := m.Unpack(packet); err != nil || !unrecorded {
			t.Errorf("%v, unrecorded %v", err, unrecorded)
		}
		m.Response, m.Additionals = true, nil
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
		}}
		return m.Pack()
	}
	tester := selfTester{filter: s.Filter(), at: s.now(), ask: lax}
	got := tester.run(t.Context(), "pupils")
	for what, result := range told(t, got, "pupils") {
		if failed := strings.HasPrefix(result, CheckFailed); failed == strings.HasPrefix(what, "ordinary name") {
			t.Errorf("%s: %s", what, result)
		}
	}
	if got.Failed != 16 || got.OK != 3 {
		t.Errorf("%d failed, %d ok", got.Failed, got.OK)
	}
	if detail := got.detail(s.Filter()); !strings.Contains(detail, "pupils category gaming, list gaming.txt (not blocked: answered 192.0.2.1)") {
		t.Error(detail)
	}
}

func TestFilesOfSelfTestsGoWithTheAudit(t *testing.T) {
	t.Parallel()
	dir, now := filepath.Join(t.TempDir(), selfTestDir), time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	if err := retainSelfTests(dir, now); err != nil {
		t.Errorf("none was made: %v", err)
	}
	old, young := SelfTest{Time: now.Add(-time.Second)}, SelfTest{Time: now}
	other := filepath.Join(dir, "notes.json")
	if err := errors.Join(old.keep(dir), young.keep(dir), os.WriteFile(other, nil, 0o600), retainSelfTests(dir, now)); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if diff := cmp.Diff([]string{young.File, other}, left); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if err := young.keep(dir); err == nil {
		t.Error("what is kept was written over")
	}
}

func TestHowAnswersAreJudged(t *testing.T) {
	t.Parallel()
	blocked := map[uint16]bool{edeBlocked: true}
	address := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	zero := []netip.Addr{netip.IPv4Unspecified()}
	say := func(result, why string) string { return strings.TrimSuffix(result+": "+why, ": ") }
	for _, c := range []struct{ name, got, want string }{
		{"blocked with NXDOMAIN", say(judgeBlocked(reply{rcode: dnsmessage.RCodeNameError, ede: blocked}, "nxdomain")), "ok"},
		{"a name that does not exist is not blocked", say(judgeBlocked(reply{rcode: dnsmessage.RCodeNameError}, "nxdomain")), "FAILED: not blocked: NameError"},
		{"blocked with no address", say(judgeBlocked(reply{ede: blocked, address: zero}, "zero")), "ok"},
		{"blocked with an address of a site", say(judgeBlocked(reply{ede: blocked, address: address}, "zero")), "FAILED: said to be blocked, and answered 192.0.2.1"},
		{"blocked with that of the page", say(judgeBlocked(reply{ede: blocked, address: address}, "page")), "ok"},
		{"no answer is no block", say(judgeBlocked(reply{err: errNoAnswer}, "nxdomain")), "FAILED: not blocked: no answer"},
		{"the safe form", say(judgeSafe(reply{cname: "forcesafesearch.google.com.", address: address}, "forcesafesearch.google.com")), "ok"},
		{"the safe form can't be had", say(judgeSafe(reply{rcode: dnsmessage.RCodeServerFailure}, "x.example")), "ok: not reachable, and shut"},
		{"the open form", say(judgeSafe(reply{address: address}, "x.example")), "FAILED: not in its safe form: answered 192.0.2.1"},
		{"an ordinary name is blocked", say(judgeOpen(reply{ede: blocked})), "FAILED: blocked"},
		{"no upstream", say(judgeOpen(reply{rcode: dnsmessage.RCodeServerFailure})), "not tested: no answer"},
		{"a way round is open", say(judgeAbsent(reply{address: address})), "FAILED: not shut: answered 192.0.2.1"},
		{"a way round fails", say(judgeAbsent(reply{err: errors.New("cut off")})), "FAILED: not shut: cut off"},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.name, c.got, c.want)
		}
	}
}
