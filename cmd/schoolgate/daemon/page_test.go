package daemon

import (
	"database/sql"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pageSchool runs a school with a block page, and returns what its page answers.
func pageSchool(t *testing.T) (s *school, ask func(method, host, path string, form url.Values, header ...string) (status int, text string, h http.Header)) {
	t.Helper()
	s = newSchool(t)
	s.write("secret.txt", "secret.example\n")
	s.configure(strings.NewReplacer(
		`metrics: "127.0.0.1:0"`, `metrics: "127.0.0.1:0", page: ["127.0.0.1:0"]`,
		"lists: [{path: gaming.txt}]}", `title: "Games & <fun>", lists: [{path: gaming.txt}]}`+
			"\n  secret: {severity: high, confidential: true, lists: [{path: secret.txt}]}",
		"block: [gaming]", "block: [gaming, secret]",
	).Replace(baseYAML) + `blocking: {page: {contact: "mailto:help@school.example"}}` + "\n")
	s.start()
	return s, func(method, host, path string, form url.Values, header ...string) (int, string, http.Header) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.Addrs().Page[0]+path, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if r.Host = host; form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body), res.Header
	}
}

func TestTheBlockPageSaysWhatHappenedAndNothingConfidential(t *testing.T) {
	t.Parallel()
	_, ask := pageSchool(t)
	for _, test := range []struct {
		host   string
		status int
		says   []string
		never  []string
	}{
		{
			"www.games.example", 403,
			[]string{"This site is blocked", "www.games.example", "Games &amp; &lt;fun&gt;", "mailto:help@school.example", "0800 1111", "<form"},
			[]string{"<fun>", "<script"},
		},
		{"secret.example", 403, []string{"This site is blocked", "not suitable for school"}, []string{"<form", "confidential", "“secret”"}},
		{"pills.example:80", 403, []string{"This site is blocked", "“drugs”"}, []string{"<form"}}, // locked: nothing can open it
		{"museum.example", 200, []string{"is not blocked for this device"}, []string{"<form"}},
		{"127.0.0.1", 200, []string{"Nothing is blocked here"}, []string{"<form"}},
		{"", 200, []string{"Nothing is blocked here"}, []string{"<form"}},
		{`"><script>alert(1)</script>.games.example`, 200, []string{"Nothing is blocked here"}, []string{"<script"}},
	} {
		status, text, h := ask("GET", test.host, "/any/path?x=<b>", nil)
		if strings.ContainsAny(test.host, `<>"`) && status == http.StatusBadRequest {
			continue // net/http has seen to it
		}
		if status != test.status || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-") ||
			h.Get("Cache-Control") != "no-store" || h.Get("Set-Cookie") != "" {
			t.Errorf("%q: %d %v", test.host, status, h)
		}
		for _, part := range test.says {
			if !strings.Contains(text, part) {
				t.Errorf("%q: %q is not said: %s", test.host, part, text)
			}
		}
		for _, part := range test.never {
			if strings.Contains(text, part) {
				t.Errorf("%q: %q is said: %s", test.host, part, text)
			}
		}
	}
	if status, _, h := ask("DELETE", "games.example", "/", nil); status != http.StatusMethodNotAllowed || h.Get("Allow") == "" {
		t.Errorf("DELETE: %d %v", status, h)
	}
}

func TestWhoAsksForASiteIsWrittenDownForWhoeverDecides(t *testing.T) {
	t.Parallel()
	s, ask := pageSchool(t)
	requests := func() (acts []string) {
		t.Helper()
		db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "data", "breach.db")+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		rows, err := db.QueryContext(t.Context(), "SELECT who || ': ' || why || ': ' || detail FROM audit WHERE what = 'unblock.request'")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var act string
			if err := rows.Scan(&act); err != nil {
				t.Fatal(err)
			}
			acts = append(acts, act)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return acts
	}
	why := func(text string) url.Values { return url.Values{"why": {text}} }
	if status, text, _ := ask("POST", "games.example", pageRequest, why(" for our <b>project</b> ")); status != 200 || !strings.Contains(text, "Thank you") {
		t.Fatalf("%d %s", status, text)
	}
	want := []string{"device 127.0.0.1: for our <b>project</b>: games.example for group pupils, blocked as gaming"}
	if diff := cmp.Diff(want, requests()); diff != "" {
		t.Error(diff)
	}
	for what, test := range map[string]struct {
		host, why string
		header    []string
	}{
		"nothing said":               {"games.example", " ", nil},
		"too much said":              {"games.example", strings.Repeat("x", maxWhy+1), nil},
		"far too much":               {"games.example", strings.Repeat("x", 100_000), nil},
		"a confidential name":        {"secret.example", "please", nil},
		"a locked one":               {"pills.example", "please", nil},
		"one that is not blocked":    {"museum.example", "please", nil},
		"a page of somebody else's":  {"games.example", "please", []string{"Sec-Fetch-Site", "cross-site"}},
		"the address and not a name": {"127.0.0.1", "please", nil},
	} {
		if _, text, _ := ask("POST", test.host, pageRequest, why(test.why), test.header...); strings.Contains(text, "Thank you") {
			t.Errorf("%s: taken", what)
		}
	}
	for range 2 * maxAskingsOne {
		ask("POST", "games.example", pageRequest, why("again"))
	}
	if n := len(requests()); n != maxAskingsOne {
		t.Errorf("%d requests of one device are written down, at most %d should be", n, maxAskingsOne)
	}
}
