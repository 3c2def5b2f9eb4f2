//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// browser is a Chromium that asks a site's DNS over HTTPS, and nothing else, as a school's device management
// sets it up: the template, and the authority of its certificate.
type browser struct {
	home string
}

func (s *encryptedSite) newBrowser(t *testing.T) *browser {
	t.Helper()
	b := &browser{home: t.TempDir()}
	nss := filepath.Join(b.home, ".pki", "nssdb")
	if err := os.MkdirAll(nss, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-N", "-d", "sql:" + nss, "--empty-password"},
		{"-A", "-d", "sql:" + nss, "-n", "the school's authority", "-t", "C,,", "-i", s.file},
	} {
		if out, err := exec.Command("certutil", args...).CombinedOutput(); err != nil {
			t.Fatalf("certutil %v: %v\n%s", args, err, out)
		}
	}
	// The policies DnsOverHttpsMode and DnsOverHttpsTemplates end up here.
	write(t, filepath.Join(b.home, "profile", "Local State"), fmt.Sprintf(
		`{"dns_over_https": {"mode": "secure", "templates": "https://127.0.0.1:%d/dns-query"}}`, s.doh))
	return b
}

// load opens a page and returns what is shown then.
func (b *browser) load(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chromium",
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--user-data-dir="+filepath.Join(b.home, "profile"), "--dump-dom", url)
	cmd.Env = append(os.Environ(), "HOME="+b.home, "XDG_CONFIG_HOME="+b.home, "XDG_CACHE_HOME="+b.home)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium %s: %v\n%s", url, err, &said)
	}
	return string(out)
}

// needsBrowser skips a test where there is no Chromium. CI has it, for deploy/setup.sh installs it where it is to
// be had as a package.
func needsBrowser(t *testing.T) {
	t.Helper()
	if os.Getenv("SCHOOLGATE_NO_BROWSER") == "true" {
		t.Skip("this system has no package of chromium")
	}
	for _, tool := range []string{"chromium", "certutil"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing (deploy/setup.sh installs it)", tool)
		}
		t.Skipf("%s is missing (deploy/setup.sh installs it)", tool)
	}
}

func TestChromiumLoadsByDNSOverHTTPSWhatIsAllowedAndNothingElse(t *testing.T) {
	needsBrowser(t)
	s := newEncryptedSite(t)
	// An upstream for which every name is this machine: what is kept out, the filter keeps out.
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveDNS(t, &dns.Server{PacketConn: socket}, "upstream")
	s.forwardTo(t, fmt.Sprintf("servers: [\"udp://%s\"]", socket.LocalAddr()))
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.config, string(text)+`records: [{name: timetable.school.example, type: A, value: 127.0.0.1}]
blocking: {rebind_exempt: [games.example, museum.example]}
`)
	page := publish(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<p>this is the page of %s</p>", strings.Split(r.Host, ":")[0])
	})
	_, port, _ := net.SplitHostPort(page.addr)
	s.start(t)
	b := s.newBrowser(t)
	loads := func(name string) bool {
		t.Helper()
		before := page.requests()
		shown := strings.Contains(b.load(t, "http://"+name+":"+port+"/"), "this is the page of "+name)
		if asked := page.requests() > before; asked != shown {
			t.Errorf("%s: shown %v, asked for %v", name, shown, asked)
		}
		return shown
	}

	if !loads("timetable.school.example") {
		t.Errorf("a name of the school's own is not loaded")
	}
	if n := s.metric(t, `schoolgate_queries_total{group="pupils",outcome="local",transport="doh"}`); n == 0 {
		t.Error("the school's own name was not asked for over HTTPS")
	}
	if !loads("www.museum.example") {
		t.Error("an allowed name is not loaded")
	}
	if n := s.metric(t, `schoolgate_queries_total{group="pupils",outcome="allowed",transport="doh"}`); n == 0 {
		t.Error("the allowed name was not asked for over HTTPS")
	}
	if loads("www.games.example") {
		t.Error("a blocked name is loaded")
	}
	if n := s.metric(t, `schoolgate_queries_total{group="pupils",outcome="blocked",transport="doh"}`); n == 0 {
		t.Error("the blocked name was not asked for over HTTPS")
	}
	// Of a port of its own a browser asks for _PORT._https.NAME too (RFC 9460 §9.1).
	recorded := s.breachLines(t)
	for _, b := range recorded {
		if !strings.Contains(b, `www.games.example."`) || !strings.Contains(b, `"transport":"doh"`) {
			t.Errorf("in the record: %s", b)
		}
	}
	if !strings.Contains(strings.Join(recorded, "\n"), `"name":"www.games.example."`) {
		t.Errorf("the record: %v", recorded)
	}

	write(t, filepath.Join(s.dir, "etc", "gaming.txt"), "other.example\n")
	s.reload(t)
	if !loads("www.games.example") {
		t.Error("a name that is blocked no more is not loaded")
	}
	for _, outcome := range []string{"allowed", "blocked", "local"} {
		if n := s.metric(t, fmt.Sprintf(`schoolgate_queries_total{group="pupils",outcome="%s",transport="udp"}`, outcome)); n != 0 {
			t.Errorf("%v questions over UDP", n)
		}
	}
}
