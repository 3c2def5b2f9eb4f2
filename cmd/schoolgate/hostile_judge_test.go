package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/html"
)

// inertText fails a text that does something on a terminal: other controls than the ends of lines and tabs, what is
// invisible, and what turns the direction of writing around.
func inertText(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is not UTF-8", what)
	}
	for i, r := range text {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)) {
			t.Errorf("%s holds %U: %q", what, r, text[max(0, i-40):min(len(text), i+40)])
			return
		}
	}
}

// decode reads one document of JSON with nothing behind it.
func decode(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Errorf("%v: %s", err, text)
	}
}

// inertCSV reads a table, none of whose cells may be taken for a formula.
func inertCSV(t *testing.T, what, text string) [][]string {
	t.Helper()
	inertText(t, what, text)
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for _, row := range rows {
		for _, c := range row {
			if first, _ := utf8.DecodeRuneInString(c); c != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) || strings.ContainsAny(c, "\r\n\t") {
				t.Errorf("%s: the cell %q", what, c)
			}
		}
	}
	return rows
}

// The elements and attributes that our own pages are made of, and where they lead.
const (
	ownElements = "html head meta title style body header main footer section h1 h2 h3 p span strong em small ul ol li dl dt dd " +
		"table caption thead tbody tr th td form label textarea button a div figure figcaption svg g rect text line path desc defs pattern"
	ownLinks = "mailto:it@school.example tel:08001111"
)

// inertHTML fails a page with an element, an attribute or a link that is none of ours, as a browser reads it.
func inertHTML(t *testing.T, what, text string, links ...string) *html.Node {
	t.Helper()
	inertText(t, what, text)
	page, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	elements := strings.Fields(ownElements)
	links = append(links, strings.Fields(ownLinks)...)
	for n := range page.Descendants() {
		if n.Type == html.CommentNode || n.Type == html.ElementNode && !slices.Contains(elements, n.Data) {
			t.Errorf("%s: there is a <%s>", what, n.Data)
		}
		for _, a := range n.Attr {
			isLink := a.Key == "href" && !slices.Contains(links, a.Val) || a.Key == "action" && a.Val != "/.schoolgate/request"
			if isLink || strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "srcset" || a.Key == "formaction" || a.Namespace != "" {
				t.Errorf("%s: <%s> has %s=%q", what, n.Data, a.Key, a.Val)
			}
			if a.Key == "style" && strings.ContainsAny(a.Val, `\("`) {
				t.Errorf("%s: <%s> has the style %q", what, n.Data, a.Val)
			}
		}
	}
	return page
}

// shown is the text of a page, but for its style.
func shown(page *html.Node) string {
	var b strings.Builder
	for n := range page.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data)
		}
	}
	return b.String()
}

// inertLog fails a log with a line that is not ours, or a name that devices chose.
func inertLog(t *testing.T, log string, isJSON bool) {
	t.Helper()
	inertText(t, "the log", log)
	if log == "" {
		t.Error("there is no log")
	}
	for line := range strings.Lines(log) {
		if isJSON {
			var fields map[string]any
			decode(t, line, &fields)
			if fields["time"] == nil || fields["level"] == nil || fields["msg"] == nil {
				t.Errorf("a line of the log is %s", line)
			}
		} else if !strings.HasPrefix(line, "time=") || !strings.Contains(line, " level=") {
			t.Errorf("a line of the log is %s", line)
		}
		for _, never := range []string{"bad.example", "script", "evil", "calc"} {
			if strings.Contains(line, never) {
				t.Errorf("the log says %q: %s", never, line)
			}
		}
	}
}

// A line of the log may hold what a server or a device said: it stays one line, and harmless.
func TestAHostileTextInTheLogIsInert(t *testing.T) {
	t.Parallel()
	for _, journal := range []string{"", "8:1"} {
		for _, label := range append(hostileLabels(), hostileUsers()...) {
			var out bytes.Buffer
			log := logger(&invocation{stderr: &inert{to: &out}, env: func(string) string { return journal }})
			log.Warn("said", "error", label, slog.Group("g", "x", label))
			inertText(t, "the log", out.String())
			if lines := strings.Count(out.String(), "\n"); lines != 1 {
				t.Errorf("%q makes %d lines of the log", label, lines)
			}
			if journal != "" {
				var fields struct{ Error string }
				decode(t, out.String(), &fields)
				if want := strings.ToValidUTF8(label, "\ufffd"); utf8.ValidString(label) && fields.Error != want {
					t.Errorf("%q is logged as %q", label, fields.Error)
				}
			}
		}
	}
}

// A character whose octets are written one by one, as buffers cut them, is the same character.
func TestACharacterThatIsCutIsEscapedAllTheSame(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := &inert{to: &out}
	for _, c := range []byte("ä\u009b\u202e\U000e0041\xff\xc3x\U0001f600\n") {
		if n, err := w.Write([]byte{c}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := out.String(), "ä\\u009b\\u202e\\udb40\\udc41\ufffd\ufffdx\U0001f600\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// metrics reads what Prometheus reads, as it does, and what is said about health.
func (s *hostileSchool) metrics() {
	t := s.t
	url := "http://" + s.Addrs().Metrics
	const want = `# HELP schoolgate_config_info The configuration in force; always 1.
# TYPE schoolgate_config_info gauge
schoolgate_config_info{hash=%q,site="winchelsea <b> & *x* \""} 1
`
	hash := s.Filter().Config.Hash
	if err := testutil.ScrapeAndCompare(url+"/metrics", strings.NewReader(fmt.Sprintf(want, hash)), "schoolgate_config_info"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		r, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		text := string(body)
		for _, never := range []string{"bad.example", "<script", "evil.example", "calc"} {
			if strings.Contains(text, never) {
				t.Errorf("%s says %q", path, never)
			}
		}
		if path != "/metrics" {
			inertText(t, path, text)
		}
	}
}

// blockPages opens the block page for names and paths that mean harm, octet by octet as no browser would, and asks for them.
func (s *hostileSchool) blockPages() {
	for _, label := range append(hostileLabels(), "www") {
		for _, host := range []string{label + ".bad.example", presented(label)} {
			for _, request := range []string{
				"GET /" + label + "?x=" + label + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: " + host + "\r\nReferer: " + label + "\r\nCookie: " + label + "\r\nConnection: close\r\n\r\n",
			} {
				s.blockPage(host, request)
			}
		}
	}
}

func (s *hostileSchool) blockPage(host, request string) {
	t := s.t
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addrs().Page[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Errorf("%q: %v", request, err)
		return
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	switch r.StatusCode {
	case http.StatusOK, http.StatusForbidden:
		page := inertHTML(t, fmt.Sprintf("block page of %q", host), string(body))
		if r.StatusCode == http.StatusForbidden && !strings.Contains(shown(page), ".bad.example. It is not available") {
			t.Errorf("%q: the page says %s", host, shown(page))
		}
	case http.StatusBadRequest: // net/http takes no such request
		inertText(t, "block page", string(body))
		if r.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%q: the answer is %s", host, r.Header)
		}
	default:
		t.Errorf("%q: status %d", host, r.StatusCode)
	}
}
