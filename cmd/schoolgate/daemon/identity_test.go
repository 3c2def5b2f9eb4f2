package daemon

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"schoolgate/policy/breach"
)

// digFrom is dig from an address of loopback; it returns what came as text.
func (s *school) digFrom(from, name string) string {
	s.t.Helper()
	client := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}}
	r, _, err := client.Exchange(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), s.Addrs().DNS[0].String())
	if err != nil {
		s.t.Fatalf("ask for %s from %s: %v", name, from, err)
	}
	if len(r.Answer) > 0 {
		return r.Answer[0].(*dns.A).A.String()
	}
	return dns.RcodeToString[r.Rcode]
}

// identityYAML has a group for exams, into which devices come by their names.
const identityYAML = `version: 1
site: test
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0"}
data_dir: data
categories:
  gaming: {severity: low, lists: [{path: gaming.txt}]}
groups:
  pupils: {clients: [127.0.0.0/8]}
  exams: {clients: ["name:exam-*"], block: [gaming]}
default_group: pupils
`

func TestADeviceIsKnownByItsNameInTheSchoolsOwnZone(t *testing.T) {
	s := newSchool(t)
	zone := newNameserver(t, func(_ string, q, r *dns.Msg) {
		if q.Question[0].Name == "7.0.0.127.in-addr.arpa." && q.Question[0].Qtype == dns.TypePTR {
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN PTR Exam-7.school.internal.")
			r.Answer = append(r.Answer, rr)
			return
		}
		r.Rcode = dns.RcodeNameError
	})
	s.configure(identityYAML + fmt.Sprintf("zones: [{names: [127.in-addr.arpa], servers: [\"udp://%s\"]}]\n", zone.addr))
	s.start()
	if got := s.digFrom("127.0.0.7", "games.example"); got != "192.0.2.1" {
		t.Errorf("the first question, by the address: %s", got)
	}
	s.await(func() bool { return s.digFrom("127.0.0.7", "games.example") == "NXDOMAIN" })
	if got := s.digFrom("127.0.0.8", "games.example"); got != "192.0.2.1" {
		t.Errorf("another device: %s", got)
	}
	ex, err := s.explain("games.example", "127.0.0.7", "")
	if want := "1. access: 127.0.0.7 may ask, and is in group exams by its name exam-7.school.internal"; err != nil || ex.Verdict != "block" || ex.Steps[0] != want {
		t.Errorf("explain: %v, %q", err, ex.Steps)
	}
	s.stop()
	zone.mu.Lock()
	defer zone.mu.Unlock()
	for _, asked := range zone.asked {
		if !strings.HasSuffix(asked, ".0.0.127.in-addr.arpa.") {
			t.Errorf("the zone's server was asked %s", asked)
		}
	}
}

func TestALeaseFileOfAReloadMovesDevicesAtOnce(t *testing.T) {
	s := newSchool(t)
	s.configure(identityYAML)
	s.start()
	if got := s.digFrom("127.0.0.7", "games.example"); got != "192.0.2.1" {
		t.Errorf("without a lease file: %s", got)
	}
	missing := "the lease file " + s.dir + "/dhcp.leases is not there"
	s.configure(identityYAML + "identity: {leases: [dhcp.leases]}\n")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(s.Problems(), missing) {
		t.Errorf("problems: %q", s.Problems())
	}
	s.write("dhcp.leases", "0 00:11:22:33:44:55 127.0.0.7 exam-7 *\n")
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if got := s.digFrom("127.0.0.7", "games.example"); got != "NXDOMAIN" {
		t.Errorf("with a lease: %s", got)
	}
	if slices.Contains(s.Problems(), missing) {
		t.Errorf("problems: %q", s.Problems())
	}
	if got := s.status(nil).Identity; got.Devices < 1 || got.Leases != 1 {
		t.Errorf("status: %+v", got)
	}
}

const apiToken = "bSxqg4v0mEJCwYv1m8oZ0sVh6W2dQ9tL7uKcRfYxT1A="

// apiYAML is the small school with a token for /api/v1, on an address of loopback.
var apiYAML = edit(`metrics: "127.0.0.1:0"`, `metrics: "127.0.0.1:0", console: "127.0.0.1:0"`) +
	"api: {tokens: {bridge: {role: signin, secret_file: bridge.token}}}\n"

// tell sends a login to /api/v1, and returns the status and what came back.
func (s *school) tell(client *http.Client, url, login string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, url+"/api/v1/logins", strings.NewReader(login))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+apiToken)
	r.Header.Set("Content-Type", "application/json")
	w, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return w.StatusCode, string(body)
}

func TestALoginOfTheAPIIsOnTheBreachesThatFollow(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.write("bridge.token", apiToken+"\n")
	s.configure(apiYAML)
	s.start()
	client := new(http.Client)
	t.Cleanup(client.CloseIdleConnections)
	url := "http://" + s.Addrs().Console
	if code, body := s.tell(client, url, `{"user":"a.pupil","ip":"127.0.0.7","event":"login"}`); code != http.StatusOK || body != `{"taken":[0],"refused":[]}`+"\n" {
		t.Fatalf("%d %s", code, body)
	}
	if got := s.digFrom("127.0.0.7", "games.example"); got != "NXDOMAIN" {
		t.Errorf("the question: %s", got)
	}
	if st := s.status(nil); st.API.Taken != 1 || st.Identity.SignIns != 1 || st.Listen.Console != s.Addrs().Console {
		t.Errorf("status: %+v %+v", st.API, st.Identity)
	}

	// Without its token it is believed no longer, at once; with it again it is, without a restart.
	s.configure(edit(`metrics: "127.0.0.1:0"`, `metrics: "127.0.0.1:0", console: "127.0.0.1:0"`))
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if code, _ := s.tell(client, url, `{"user":"a.pupil","ip":"127.0.0.8","event":"login"}`); code != http.StatusUnauthorized {
		t.Errorf("a token that was taken away: %d", code)
	}
	if st := s.status(nil); st.Identity.SignIns != 0 {
		t.Errorf("its sign-ins: %+v", st.Identity)
	}
	s.configure(apiYAML)
	if _, err := s.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if code, _ := s.tell(client, url, `{"user":"a.pupil","ip":"127.0.0.8","event":"login"}`); code != http.StatusOK {
		t.Errorf("a token that was given back: %d", code)
	}
	s.stop()
	r, err := breach.OpenReader(filepath.Join(s.dir, "data", "breach.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var users []string
	if err := r.Breaches(t.Context(), breach.Filter{}, func(b breach.Breach) error { users = append(users, b.Client.User); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(users, []string{"a.pupil"}) {
		t.Errorf("the record's users: %q", users)
	}
	// Whose word counts is written down with each configuration, and what they said is not.
	told := 0
	for _, detail := range s.acts() {
		if strings.Contains(detail, "believes of who has signed in: API token bridge") {
			told++
		}
		if strings.Contains(detail, "a.pupil") {
			t.Errorf("the audit names a user: %s", detail)
		}
	}
	if told != 2 {
		t.Errorf("the audit says it %d times, want at the start and at one reload", told)
	}
}

func TestTheFirstTokenNeedsARestart(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	s.write("bridge.token", apiToken)
	s.configure(apiYAML)
	_, err := s.Reload(t.Context(), "test")
	if want := "api.tokens has a first token, for which listen.console is opened: restart schoolgate for that"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if got := s.Addrs().Console; got != "" {
		t.Errorf("it listens at %s", got)
	}
}

func TestOffLoopbackTheAPIIsEncrypted(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	writePair(t, s.dir, "dns.school.example", time.Now().Add(90*24*time.Hour))
	s.write("bridge.token", apiToken)
	s.configure(strings.Replace(apiYAML, `console: "127.0.0.1:0"`, `console: "0.0.0.0:0", tls: {certificate: cert.pem, key: key.pem}`, 1))
	s.start()
	_, port, _ := net.SplitHostPort(s.Addrs().Console)
	login := `{"user":"a.pupil","ip":"127.0.0.7","event":"login"}`
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(client.CloseIdleConnections)
	if code, body := s.tell(client, "https://127.0.0.1:"+port, login); code != http.StatusOK {
		t.Errorf("over HTTPS: %d %s", code, body)
	}
	if code, body := s.tell(client, "http://127.0.0.1:"+port, login); code != http.StatusBadRequest || strings.Contains(body, "taken") {
		t.Errorf("over HTTP: %d %s", code, body)
	}
	s.stop()
	if strings.Contains(s.log.String(), "TLS handshake") {
		t.Errorf("the log names who got TLS wrong:\n%s", s.log)
	}
}
