package daemon

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// metric returns the value of a series of /metrics, "" where there is none.
func (s *school) metric(series string) string {
	s.t.Helper()
	_, body := s.get("/metrics")
	for line := range strings.Lines(body) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	problems, err := testutil.GatherAndLint(s.telemetry.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
}

func TestSeriesOfClosedSetsExistFromTheStart(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.age("drugs.txt", "gaming.txt")
	s.write("gaming.txt", "games.example\nexample.org/path\n")
	s.start()
	got := map[string]string{}
	for _, series := range []string{
		`schoolgate_list_entries{category="drugs",enforceable="yes",list="drugs.txt"}`,
		`schoolgate_list_entries{category="drugs",enforceable="no",list="drugs.txt"}`,
		`schoolgate_list_entries{category="iwf",enforceable="yes",list="builtin:iwf"}`,
		`schoolgate_list_age_seconds{category="iwf",list="builtin:iwf"}`,
		`schoolgate_list_update_failures_total{category="drugs",list="drugs.txt"}`,
		`schoolgate_list_update_failures_total{category="iwf",list="builtin:iwf"}`,
		`schoolgate_config_last_reload_successful`,
		`schoolgate_config_info{hash="` + s.Filter().Config.Hash + `",site="test"}`,
		`schoolgate_build_info{commit="c0",goversion="go0",version="v0"}`,
		`schoolgate_queries_total{group="pupils",outcome="blocked",transport="udp"}`,
		`schoolgate_breaches_total{action="block",category="gaming",group="pupils",severity="low"}`,
		`schoolgate_incidents_open{severity="critical"}`,
		`schoolgate_records_dropped_total{kind="breach"}`,
	} {
		got[strings.TrimPrefix(series, "schoolgate_")] = s.metric(series)
	}
	want := map[string]string{
		`list_entries{category="drugs",enforceable="yes",list="drugs.txt"}`:              "1",
		`list_entries{category="drugs",enforceable="no",list="drugs.txt"}`:               "0",
		`list_entries{category="iwf",enforceable="yes",list="builtin:iwf"}`:              "1",
		`list_age_seconds{category="iwf",list="builtin:iwf"}`:                            "0",
		`list_update_failures_total{category="drugs",list="drugs.txt"}`:                  "0",
		`list_update_failures_total{category="iwf",list="builtin:iwf"}`:                  "0",
		`config_last_reload_successful`:                                                  "1",
		`config_info{hash="` + s.Filter().Config.Hash + `",site="test"}`:                 "1",
		`build_info{commit="c0",goversion="go0",version="v0"}`:                           "1",
		`queries_total{group="pupils",outcome="blocked",transport="udp"}`:                "0",
		`breaches_total{action="block",category="gaming",group="pupils",severity="low"}`: "0",
		`incidents_open{severity="critical"}`:                                            "0",
		`records_dropped_total{kind="breach"}`:                                           "0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if age := s.metric(`schoolgate_list_age_seconds{category="drugs",list="drugs.txt"}`); !strings.HasPrefix(age, "360") {
		t.Errorf("a list of an hour ago is %s s old", age)
	}
}

func TestAReloadOverHTTPIsForThisMachine(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	for _, c := range []struct {
		name, method, peer, header string
		want                       string
	}{
		{"from this machine", http.MethodPost, "127.0.0.1:1", "", "200 reloaded"},
		{"over IPv6", http.MethodPost, "[::1]:1", "", "200 reloaded"},
		{"over a mapped address", http.MethodPost, "[::ffff:127.0.0.1]:1", "", "200 reloaded"},
		{"from another machine", http.MethodPost, "10.0.0.1:1", "", "403 a reload is taken from this machine only"},
		{"from a web page", http.MethodPost, "127.0.0.1:1", "Origin", "403 a reload is not taken from a web page"},
		{"from a web page that hides itself", http.MethodPost, "127.0.0.1:1", "Sec-Fetch-Site", "403 a reload is not taken from a web page"},
		{"with GET", http.MethodGet, "127.0.0.1:1", "", "405 Method Not Allowed"},
	} {
		req := httptest.NewRequestWithContext(t.Context(), c.method, "/-/reload", nil)
		req.RemoteAddr = c.peer
		if c.header != "" {
			req.Header.Set(c.header, "null")
		}
		w := httptest.NewRecorder()
		s.telemetryHandler().ServeHTTP(w, req)
		first, _, _ := strings.Cut(w.Body.String(), "\n")
		if got := w.Result().Status[:3] + " " + first; got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	s.configure("version: 2\n")
	code, body := fetch(t, http.MethodPost, "http://"+s.Addrs().Metrics+"/-/reload")
	if code != 422 || strings.Count(body, "\n") < 2 || !strings.Contains(body, "schoolgate.yaml:1:10: version: ") {
		t.Errorf("refused: %d %q", code, body)
	}
}
