package alert

import (
	"bytes"
	"encoding/json"
	"io"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// fuzzLetters runs check on letters of which every text is the fuzzer's.
func fuzzLetters(f *testing.F, check func(t *testing.T, l Letter)) {
	f.Helper()
	f.Add("Pornography", "y7-ipad-3", "www.example.org", int64(3), true)
	f.Add(hostile, hostile, hostile, int64(1), false)
	f.Add("<!channel>", "@here", `\060\033channel\062`, int64(2), true)
	f.Add("\u202egnp.exe\u2066", "<script>alert(1)</script>", strings.Repeat("a", 5000), int64(0), false)
	f.Add("\r\nBcc: all@school.example\r\n\r\n", "=?utf-8?q?x?=", "--=_6d73675f31--", int64(-1), true)
	f.Add("\xff\xfe\x00", "javascript:alert(1)", "\U000e0041\ufe0f\u034f", int64(9), false)
	f.Fuzz(func(t *testing.T, title, device, name string, count int64, continued bool) {
		n := notice(func(n *breach.Notice) {
			n.Site, n.Attribution.Group, n.Attribution.Category, n.Attribution.Title = title, title, title, title
			n.Attribution.Action, n.Attribution.Shared = device, continued
			n.Client = policy.Client{Addr: pupil, MAC: device, Name: device, User: device}
			n.Count, n.Names = count, nil
			for range 40 {
				n.Names = append(n.Names, breach.NameCount{Name: name, Count: count})
			}
			if continued {
				n.Kind = breach.IncidentContinued
			}
		})
		check(t, letter(incidentBody(n, "https://console.example", true), time.UTC))
	})
}

// texts calls found for each text in JSON, with the key that it stands under.
func texts(t *testing.T, body []byte, most int, found func(key, text string)) {
	t.Helper()
	if len(body) > most {
		t.Errorf("it has %d bytes", len(body))
	}
	var v any
	must(t, json.Unmarshal(body, &v))
	var walk func(key string, v any)
	walk = func(key string, v any) {
		switch v := v.(type) {
		case string:
			if s := unfit(v); s != "" {
				t.Errorf("%s holds %s: %q", key, s, v)
			}
			found(key, v)
		case []any:
			for _, e := range v {
				walk(key, e)
			}
		case map[string]any:
			for k, e := range v {
				walk(k, e)
			}
		}
	}
	walk("", v)
}

// unfit says what in a text is not fit to be shown, "" where all is.
func unfit(s string) string {
	if !utf8.ValidString(s) {
		return "what is not UTF-8"
	}
	for _, c := range s {
		switch {
		case unicode.IsControl(c) && c != '\n':
			return "a control character"
		case unicode.Is(unicode.Cf, c), c == '\u2028', c == '\u2029':
			return "what is invisible or turns the direction"
		}
	}
	return ""
}

func FuzzSlack(f *testing.F) {
	entity := regexp.MustCompile(`&(amp|lt|gt);`)
	fuzzLetters(f, func(t *testing.T, l Letter) {
		texts(t, form(t, TypeSlack, l), 40_000, func(key, text string) {
			if strings.ContainsAny(text, "<>") {
				t.Errorf("%s can be a mention or a link: %q", key, text)
			}
			if key == "type" && !slices.Contains([]string{"rich_text", "rich_text_section", "rich_text_list", "text", "link"}, text) {
				t.Errorf("there is a %s", text)
			}
			if key == "url" && text != l.URL {
				t.Errorf("there is a link to %q", text)
			}
		})
		if got := slackText(l.Title); strings.ContainsAny(entity.ReplaceAllString(got, ""), "<>&*_~`") {
			t.Errorf("markup is left in %q", got)
		}
	})
}

func FuzzTeams(f *testing.F) {
	escaped := regexp.MustCompile(`\\.`)
	fuzzLetters(f, func(t *testing.T, l Letter) {
		texts(t, form(t, TypeTeams, l), 28_000, func(key, text string) {
			if strings.ContainsAny(text, "<>") {
				t.Errorf("%s can be a mention: %q", key, text)
			}
			if key == "type" && text == "TextBlock" {
				t.Error("there is a block with Markdown")
			}
			if key == "url" && text != l.URL {
				t.Errorf("there is a link to %q", text)
			}
		})
		if got := escaped.ReplaceAllString(markdownText(l.Title), ""); strings.ContainsAny(got, "\\`*_{}[]()#+-.!|~<>&") {
			t.Errorf("markup is left in %q", got)
		}
	})
}

func FuzzGoogleChat(f *testing.F) {
	tag := regexp.MustCompile(`</?[bi]>|<br>`)
	entity := regexp.MustCompile(`&(amp|lt|gt|#34|#39);`)
	fuzzLetters(f, func(t *testing.T, l Letter) {
		texts(t, form(t, TypeGoogleChat, l), 32_000, func(key, text string) {
			if key == "text" && strings.ContainsAny(entity.ReplaceAllString(tag.ReplaceAllString(text, ""), ""), "<>&") ||
				key != "text" && strings.ContainsAny(text, "<>") {
				t.Errorf("%s can be markup: %q", key, text)
			}
			if key == "url" && text != l.URL {
				t.Errorf("there is a link to %q", text)
			}
		})
		if got := googleChatText(l.Title); strings.ContainsAny(got, "<>*_~`") {
			t.Errorf("markup is left in %q", got)
		}
	})
}

func FuzzAlertmanager(f *testing.F) {
	fuzzLetters(f, func(t *testing.T, l Letter) {
		body := form(t, TypeAlertmanager, l)
		texts(t, body, 20_000, func(string, string) {})
		var alerts []alertmanagerAlert
		must(t, json.Unmarshal(body, &alerts))
		if len(alerts) != 1 || alerts[0].Labels["alertname"] != "SchoolgateIncident" || !alerts[0].EndsAt.After(tenPast) {
			t.Errorf("it is %+v", alerts)
		}
		for label := range alerts[0].Labels {
			if !slices.Contains([]string{"alertname", "incident", "severity", "category", "group", "action", "site"}, label) {
				t.Errorf("there is a label %s", label)
			}
		}
	})
}

func FuzzMail(f *testing.F) {
	fuzzLetters(f, func(t *testing.T, l Letter) {
		m, err := newMail(&mailbox, l.Title, l, l.Client.Name, "", "")
		must(t, err)
		data := m.bytes()
		if bytes.Contains(bytes.ReplaceAll(data, []byte("\r\n"), nil), []byte("\n")) {
			t.Error("a line does not end in CRLF")
		}
		for line := range bytes.SplitSeq(data, []byte("\r\n")) {
			if len(line) > 998 {
				t.Errorf("a line has %d bytes", len(line))
			}
		}
		read, err := mail.ReadMessage(bytes.NewReader(data))
		must(t, err)
		for name := range read.Header {
			if !slices.Contains([]string{
				"From", "To", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Importance", "Auto-Submitted",
				"X-Auto-Response-Suppress", "Mime-Version", "Content-Type",
			}, name) {
				t.Errorf("there is a header %s", name)
			}
		}
		to, err := read.Header.AddressList("To")
		if err != nil || len(to) != 2 {
			t.Errorf("it goes to %v, %v", to, err)
		}
		parts := partsOf(t, read)
		if len(parts) != 2 {
			t.Fatalf("it has %d parts", len(parts))
		}
		for kind, text := range parts {
			if s := unfit(strings.ReplaceAll(text, "\r\n", "\n")); s != "" {
				t.Errorf("%s holds %s", kind, s)
			}
		}
		inertPage(t, parts["text/html"], l.URL)
	})
}

// inertPage fails a page with an element or a link that is not the built-in one's.
func inertPage(t *testing.T, page, url string) {
	t.Helper()
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF { //nolint:errorlint // the tokenizer returns it as it is
				t.Error(z.Err())
			}
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			tag := z.Token()
			if !slices.Contains([]string{"html", "head", "meta", "title", "style", "body", "div", "p", "h1", "a", "table", "tr", "td"}, tag.Data) {
				t.Errorf("there is an element %s", tag.Data)
			}
			for _, a := range tag.Attr {
				if a.Key == "href" && a.Val != url || strings.HasPrefix(a.Key, "on") || a.Key == "src" {
					t.Errorf("%s has %s=%q", tag.Data, a.Key, a.Val)
				}
			}
		case html.TextToken, html.EndTagToken, html.CommentToken, html.DoctypeToken:
		}
	}
}
