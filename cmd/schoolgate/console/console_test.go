package console

import (
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
	"schoolgate/config"
	"schoolgate/identity"
	"schoolgate/policy"
	"schoolgate/resolver"
)

const good = "bSxqg4v0mEJCwYv1m8oZ0sVh6W2dQ9tL7uKcRfYxT1A="

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// desk is a Server with a clock of its own, in a school where 10.0.0.10 is many people and 10.0.0.1 forwards.
type desk struct {
	*Server
	t      *testing.T
	now    time.Time
	config config.Config
	policy *policy.Policy
	store  *identity.Store
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, now: noon}
	d.config = config.Config{
		ConsoleURL: "https://console.school.example",
		Tokens: []config.Token{
			{Name: "other", Role: "viewer", Hash: sha256.Sum256([]byte("other"))},
			{Name: "bridge", Role: config.RoleSignIn, Hash: sha256.Sum256([]byte(good))},
		},
		Sources: identity.Config{Logins: identity.Logins{Tellers: []string{"bridge"}, Session: 12 * time.Hour}},
		Access: resolver.Access{
			TrustedForwarders: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")},
		},
	}
	var err error
	d.policy, err = policy.Compile(policy.Spec{
		Access: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")},
		Groups: []policy.Group{
			{Name: "pupils"},
			{Name: "terminals", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.10/32")}, MACs: []string{"00:11:22:33:44:77"}, Shared: true, SharedSet: true},
		},
		DefaultGroup: "pupils",
	}, blocklist.Build(nil), true)
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return d.now }
	d.store = identity.New(identity.Options{Config: d.config.Sources, Now: clock, Logger: slog.New(slog.DiscardHandler)})
	d.Server = New(Config{
		InForce:    func() (*config.Config, *policy.Policy) { return &d.config, d.policy },
		Identities: d.store, Now: clock, Logger: slog.New(slog.DiscardHandler),
	})
	return d
}

// request is one that is in order, for a test to change.
func request(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8053/api/v1/logins", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+good)
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (d *desk) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

// tells sends logins, and returns what became of them as JSON without its newline.
func (d *desk) tells(body string) (int, string) {
	w := d.send(request(body))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func (d *desk) whoIsAt(addr string) string {
	if k := d.store.Known(netip.MustParseAddr(addr)); k != nil {
		return k.Client.User
	}
	return ""
}

func TestWhoHasSignedInIsKnownOnceItIsAnswered(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, step := range []struct{ what, body, want string }{
		{"a login", `{"user":"a.pupil","ip":"10.20.3.4","event":"login"}`, "a.pupil"},
		{"heard of again", `{"user":"a.pupil","ip":"::ffff:10.20.3.4","event":"login"}`, "a.pupil"},
		{"another at the same device", `{"user":"b.pupil","ip":"10.20.3.4","event":"login","mac":"00-11-22-33-44-55","session":"7"}`, "b.pupil"},
		{"the late logout of the first", `{"user":"a.pupil","ip":"10.20.3.4","event":"logout"}`, "b.pupil"},
		{"a logout of somebody who is not there", `{"user":"c.pupil","ip":"10.20.3.4","event":"logout"}`, "b.pupil"},
		{"a logout of another session", `{"user":"b.pupil","ip":"10.20.3.4","event":"logout","session":"6"}`, "b.pupil"},
		{"the logout", `{"user":"b.pupil","ip":"10.20.3.4","event":"logout","session":"7"}`, ""},
		{"by the times, not as they stand", `[{"user":"d","ip":"10.20.3.4","event":"logout","time":"2026-11-20T11:59:00Z"},
			{"user":"e","ip":"10.20.3.4","event":"login","time":"2026-11-20T11:59:30Z"}, {"user":"d","ip":"10.20.3.4","event":"login","time":"2026-11-20T11:58:00Z"}]`, "e"},
	} {
		if code, answer := d.tells(step.body); code != http.StatusOK || !strings.HasSuffix(answer, `"refused":[]}`) || d.whoIsAt("10.20.3.4") != step.want {
			t.Errorf("%s: %d %s; %q is there, want %q", step.what, code, answer, d.whoIsAt("10.20.3.4"), step.want)
		}
	}
	if code, answer := d.tells(`{"user":"f","ip":"10.20.3.4","event":"login","time":"2026-11-20T11:59:00Z"}`); code != http.StatusUnprocessableEntity || d.whoIsAt("10.20.3.4") != "e" {
		t.Errorf("older than what is known: %d %s", code, answer)
	}
	if got := d.Stats(); got != (Stats{Taken: 10, Refused: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestASignInEndsWithItsSession(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.tells(`{"user":"a","ip":"10.20.3.4","event":"login","time":"2026-11-20T02:00:00+01:00"}`)
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{time.Hour - time.Second, "a"}, {time.Hour, ""}} {
		d.now = noon.Add(c.after)
		d.store.Tell(nil) // which makes the table anew
		if got := d.whoIsAt("10.20.3.4"); got != c.want {
			t.Errorf("after %s %q is there, want %q", c.after, got, c.want)
		}
	}
}

// Who is said to be at an address is accused of what comes from there.
func TestWhatIsDoubtfulIsRefusedByItselfAndWithItsReason(t *testing.T) {
	t.Parallel()
	for reason, item := range map[string]string{
		`ip: "10.20.3" is not an address`:                                                                           `{"user":"a","ip":"10.20.3","event":"login"}`,
		`ip: "" is not an address`:                                                                                  `{"user":"a","event":"login"}`,
		`ip: 192.0.2.1 is not in access.allow`:                                                                      `{"user":"a","ip":"192.0.2.1","event":"login"}`,
		`ip: 0.0.0.0 is not in access.allow`:                                                                        `{"user":"a","ip":"0.0.0.0","event":"login"}`,
		`ip: 10.0.0.10 is of a group that says shared: there are many people behind it`:                             `{"user":"a","ip":"10.0.0.10","event":"login"}`,
		`ip: 10.0.0.11 is of a group that says shared: there are many people behind it`:                             `{"user":"a","ip":"10.0.0.11","mac":"00:11:22:33:44:77","event":"login"}`,
		`ip: 10.0.0.1 asks for others (access.trusted_forwarders, access.proxies): there are many people behind it`: `{"user":"a","ip":"10.0.0.1","event":"login"}`,
		`ip: 10.0.0.2 asks for others (access.trusted_forwarders, access.proxies): there are many people behind it`: `{"user":"a","ip":"10.0.0.2","event":"login"}`,
		`event: "Login" is neither login nor logout`:                                                                `{"user":"a","ip":"10.20.3.4","event":"Login"}`,
		`event: "" is neither login nor logout`:                                                                     `{"user":"a","ip":"10.20.3.4"}`,
		`mac: "00:11" is not a MAC`:                                                                                 `{"user":"a","ip":"10.20.3.4","mac":"00:11","event":"login"}`,
		`user: nobody is named`:                                                                                     `{"ip":"10.20.3.4","event":"login"}`,
		`user: a machine, which signs in before anybody does`:                                                       `{"user":"Y7-PC-3$","ip":"10.20.3.4","event":"login"}`,
		`a sign-in needs a user of at most 253 printable octets`:                                                    `{"user":"a\nb","ip":"10.20.3.4","event":"login"}`,
		`session: longer than 253 octets`:                                                                           `{"user":"a","ip":"10.20.3.4","event":"login","session":"` + strings.Repeat("x", 254) + `"}`,
		`time: "noon" is not a time like 2026-11-20T10:14:03Z`:                                                      `{"user":"a","ip":"10.20.3.4","event":"login","time":"noon"}`,
		`time: it is in the future; see the clocks of both machines`:                                                `{"user":"a","ip":"10.20.3.4","event":"login","time":"2026-11-20T12:01:01Z"}`,
		`time: it is older than identity.logins.session, 12h0m0s`:                                                   `{"user":"a","ip":"10.20.3.4","event":"login","time":"2026-11-20T00:00:00Z"}`,
		`event: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…" is neither login nor logout`:                            `{"user":"a","ip":"10.20.3.4","event":"` + strings.Repeat("x", 500) + `"}`,
	} {
		d := newDesk(t)
		if code, answer := d.tells(item); code != http.StatusUnprocessableEntity || !strings.Contains(answer, `"refused":[{"index":0,"reason":`+quoted(reason)+`}]`) {
			t.Errorf("alone: %d %s, want %s", code, answer, reason)
		}
		code, answer := d.tells(`[{"user":"x","ip":"10.20.9.9","event":"login"},` + item + `,{"user":"y","ip":"fd00::9","event":"login","time":"2026-11-20T12:00:59Z"}]`)
		if want := `{"taken":[0,2],"refused":[{"index":1,"reason":` + quoted(reason) + `}]}`; code != http.StatusOK || answer != want {
			t.Errorf("among others: %d %s\nwant %s", code, answer, want)
		}
		if d.whoIsAt("10.20.9.9") != "x" || d.whoIsAt("fd00::9") != "y" {
			t.Errorf("%s: the good ones are not known", reason)
		}
	}
}

func quoted(s string) string {
	out, _ := json.Marshal(s)
	return string(out)
}

func TestARequestThatIsNotInOrderChangesNothingAndIsToldWhy(t *testing.T) {
	t.Parallel()
	const body = `{"user":"a","ip":"10.20.3.4","event":"login"}`
	header := func(key, value string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(key, value) } }
	for what, c := range map[string]struct {
		body   string
		change func(*http.Request)
		status int
		detail string
	}{
		"no token":           {body, func(r *http.Request) { r.Header.Del("Authorization") }, 401, "a token is needed: Authorization: Bearer …"},
		"another scheme":     {body, header("Authorization", "Basic "+good), 401, "a token is needed: Authorization: Bearer …"},
		"a wrong token":      {body, header("Authorization", "Bearer "+good+"x"), 401, "the token is none of api.tokens"},
		"a hash as token":    {body, header("Authorization", "Bearer \x00"), 401, "the token is none of api.tokens"},
		"another role":       {body, header("Authorization", "Bearer other"), 403, "the token's role is viewer, and this is for signin"},
		"another path":       {body, func(r *http.Request) { r.URL.Path = "/api/v1/login" }, 404, "there is nothing here; see /api/v1/openapi.json"},
		"a path below":       {body, func(r *http.Request) { r.URL.Path = "/api/v1/logins/" }, 404, "there is nothing here; see /api/v1/openapi.json"},
		"a path with dots":   {body, func(r *http.Request) { r.URL.Path = "/x/../api/v1/logins" }, 404, "there is nothing here; see /api/v1/openapi.json"},
		"another method":     {body, func(r *http.Request) { r.Method = http.MethodGet }, 405, "use POST"},
		"a browser's asking": {"", func(r *http.Request) { r.Method = http.MethodOptions }, 405, "use POST"},
		"a page's form":      {body, header("Content-Type", "text/plain"), 415, "send application/json, not compressed"},
		"no type":            {body, func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "send application/json, not compressed"},
		"compressed":         {body, header("Content-Encoding", "gzip"), 415, "send application/json, not compressed"},
		"another's name":     {body, func(r *http.Request) { r.Host = "evil.example:8053" }, 421, "this is not served under that name: ask 127.0.0.1, or write console_url"},
		"no name":            {body, func(r *http.Request) { r.Host = "" }, 421, "this is not served under that name: ask 127.0.0.1, or write console_url"},
		"another's address":  {body, func(r *http.Request) { r.Host = "192.0.2.1" }, 421, "this is not served under that name: ask 127.0.0.1, or write console_url"},
		"too large":          {strings.Repeat(" ", maxLoginsBody) + body, nil, 413, "the body has more than 524288 octets"},
		"nothing":            {"", nil, 400, "the body is not JSON: it ends too soon"},
		"half":               {body[:20], nil, 400, "the body is not JSON: it ends too soon"},
		"two":                {body + body, nil, 400, "the body is not JSON: there is something behind the end"},
		"not UTF-8":          {`{"user":"` + "\xff" + `"}`, nil, 400, "the body is not UTF-8"},
		"an unknown key":     {`{"user":"a","ip":"10.20.3.4","event":"login","usr":"b"}`, nil, 422, `unknown key "usr": there are user, ip, mac, event, time, session`},
		"another case":       {`[` + body + `,{"User":"a"}]`, nil, 422, `[1]: unknown key "User": there are user, ip, mac, event, time, session`},
		"a key twice":        {`{"user":"a","user":"b","ip":"10.20.3.4","event":"login"}`, nil, 422, "user is written twice"},
		"a number":           {`{"user":7,"ip":"10.20.3.4","event":"login"}`, nil, 422, "user: want a string"},
		"a list within":      {`[{"user":["a"],"ip":"10.20.3.4","event":"login"}]`, nil, 422, "[0]: user: want a string"},
		"null":               {"null", nil, 422, "want an object, or a list of objects"},
		"a list of lists":    {"[[" + body + "]]", nil, 422, "[0]: want an object"},
		"an empty list":      {"[]", nil, 422, "the list is empty"},
		"too many":           {"[" + strings.TrimSuffix(strings.Repeat(body+",", 1001), ",") + "]", nil, 422, "more than 1000 at once"},
	} {
		d := newDesk(t)
		r := request(c.body)
		if c.change != nil {
			c.change(r)
		}
		w := d.send(r)
		var got map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Errorf("%s: %v in %s", what, err, w.Body)
			continue
		}
		want := map[string]any{"type": "about:blank", "title": http.StatusText(c.status), "status": float64(c.status), "detail": c.detail}
		if diff := cmp.Diff(want, got); diff != "" || w.Code != c.status || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %v\n%s", what, w.Code, w.Header(), diff)
		}
		if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") || (w.Code == 405) != (w.Header().Get("Allow") == "POST") {
			t.Errorf("%s: headers %v", what, w.Header())
		}
		if d.whoIsAt("10.20.3.4") != "" {
			t.Errorf("%s: it was taken", what)
		}
	}
}

func TestARequestForThisMachineByAnyOfItsNamesIsServed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, host := range []string{"127.0.0.1", "127.0.0.1:8053", "[::1]:8053", "LocalHost:8053", "console.school.example"} {
		r := request(`{"user":"a","ip":"10.20.3.4","event":"login"}`)
		r.Host = host
		if w := d.send(r); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", host, w.Code, w.Body)
		}
	}
}

func TestNoPageOfAnotherSiteMayReadAnything(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, r := range []*http.Request{request(`{"user":"a","ip":"10.20.3.4","event":"login"}`), request("x"), httptest.NewRequest(http.MethodGet, "http://127.0.0.1/api/v1/openapi.json", nil)} {
		r.Header.Set("Origin", "https://evil.example")
		h := d.send(r).Header()
		for key, want := range map[string]string{
			"Access-Control-Allow-Origin": "", "Set-Cookie": "", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy": "no-referrer",
		} {
			if h.Get(key) != want {
				t.Errorf("%s: %q, want %q", key, h.Get(key), want)
			}
		}
	}
}

func TestWhoTriesManyTokensHasToWaitAndOthersDoNot(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	try := func(token, from string) int {
		r := request(`{"user":"a","ip":"10.20.3.4","event":"login"}`)
		r.Header.Set("Authorization", "Bearer "+token)
		r.RemoteAddr = from
		w := d.send(r)
		if (w.Code == http.StatusTooManyRequests) != (w.Header().Get("Retry-After") == "10") {
			t.Errorf("headers of %d: %v", w.Code, w.Header())
		}
		return w.Code
	}
	for i := range 10 {
		if code := try("wrong", "[fd00::1]:1"); code != http.StatusUnauthorized {
			t.Fatalf("wrong token %d: %d", i, code)
		}
	}
	if a, b := try("wrong", "[fd00::2]:1"), try(good, "[fd00::2]:1"); a != 429 || b != 429 {
		t.Errorf("the same network: %d, and with a good token %d", a, b)
	}
	if code := try(good, "10.20.3.5:1"); code != http.StatusOK {
		t.Errorf("another address: %d", code)
	}
	d.now = d.now.Add(failureRate)
	if a, b, c := try(good, "[fd00::1]:1"), try("wrong", "[fd00::1]:1"), try(good, "[fd00::1]:1"); a != 200 || b != 401 || c != 429 {
		t.Errorf("ten seconds later: %d, %d, %d", a, b, c)
	}
	if got := d.Stats().Unauthorised; got != 11 {
		t.Errorf("%d counted", got)
	}
}

func TestManyAddressesThatTryTokensAreBounded(t *testing.T) {
	t.Parallel()
	var f failures
	at := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
	}
	for i := range maxFailing + 1000 {
		f.note(at(i), noon)
	}
	if len(f.of) > maxFailing+1 {
		t.Errorf("%d are known", len(f.of))
	}
	if f.mayTry(at(maxFailing+5000), noon) || !f.mayTry(at(1), noon) {
		t.Error("those beyond are not bounded together, or those known are")
	}
	if !f.mayTry(at(maxFailing+5000), noon.Add(time.Hour*24)) {
		t.Error("they are never forgotten")
	}
}

// A token that is taken out of the configuration, or has another secret now, is no longer good.
func TestATokenIsThatOfTheConfigurationInForce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const body = `{"user":"a","ip":"10.20.3.4","event":"login"}`
	if code, _ := d.tells(body); code != http.StatusOK {
		t.Fatal(code)
	}
	d.config.Tokens = slices.Delete(slices.Clone(d.config.Tokens), 1, 2)
	d.config.Sources.Logins.Tellers = nil
	d.store.Apply(d.config.Sources)
	if code, _ := d.tells(body); code != http.StatusUnauthorized || d.whoIsAt("10.20.3.4") != "" {
		t.Errorf("it is still good: %d; %q is still there", code, d.whoIsAt("10.20.3.4"))
	}
}

func FuzzLogins(f *testing.F) {
	for _, seed := range []string{
		`{"user":"a.pupil","ip":"10.20.3.4","mac":"00:11:22:33:44:55","event":"login","time":"2026-11-20T10:14:03Z","session":"1"}`,
		`[{"user":"a","ip":"::1","event":"logout"},{}]`, `[]`, `{"user":{}}`, `{"user":"\ud800"}`, `[{"a":1}]`, `{"user":"a"`, `null`,
	} {
		f.Add([]byte(seed))
	}
	p, err := policy.Compile(policy.Spec{Groups: []policy.Group{{Name: "all"}}, DefaultGroup: "all"}, blocklist.Build(nil), true)
	if err != nil {
		f.Fatal(err)
	}
	j := judge{config: &config.Config{}, known: func(netip.Addr) *policy.Known { return nil }, policy: p, now: noon}
	f.Fuzz(func(t *testing.T, body []byte) {
		logins, wrong := parseLogins(body)
		if wrong != nil {
			if logins != nil || wrong.Detail == "" || wrong.Status != 400 && wrong.Status != 422 {
				t.Fatalf("%v and %+v", logins, wrong)
			}
			return
		}
		if len(logins) == 0 || len(logins) > maxLogins {
			t.Fatalf("%d logins", len(logins))
		}
		// Whatever is taken means the same to encoding/json.
		var want []login
		if err := json.Unmarshal(body, &want); err != nil {
			want = make([]login, 1)
			if err := json.Unmarshal(body, &want[0]); err != nil {
				t.Fatalf("taken, and encoding/json says %v", err)
			}
		}
		if diff := cmp.Diff(want, logins); diff != "" {
			t.Fatal(diff)
		}
		for _, l := range logins {
			if e, err := j.event(l); err == nil && (e.User == "" || len(e.Addrs) != 1 || e.Since.After(noon)) {
				t.Fatalf("taken: %+v", e)
			}
		}
	})
}
