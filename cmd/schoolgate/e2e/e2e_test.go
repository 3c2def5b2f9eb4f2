//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The clients, by the groups of the contract's example with 127 in place of 10.
const (
	pupil   = "127.20.3.4"
	teacher = "127.1.0.9"
	infant  = "127.10.0.1"
	unknown = "127.0.0.1"
)

// program is what is tested, built once.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	for _, tool := range []string{"dig", "kdig", "curl", "unbound", "dnsperf"} {
		if _, err := exec.LookPath(tool); err != nil {
			fmt.Fprintf(os.Stderr, "%s is missing: deploy/setup.sh installs what the tests need\n", tool)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "schoolgate-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "schoolgate")
	if out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// startUnbound runs an Unbound that answers every name with 192.0.2.1, but for a few; it returns its
// port.
func startUnbound(t *testing.T) int {
	t.Helper()
	return startUnboundIn(t)
}

// startUnboundIn is startUnbound by way of a command that runs another.
func startUnboundIn(t *testing.T, by ...string) int {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	conf := fmt.Sprintf(`server:
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1@%d
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  local-zone: "." redirect
  local-data: ". 3600 A 192.0.2.1"
  local-data: '. 3600 TXT "an answer"'
  local-zone: "cloaked.test-upstream.org." static
  local-data: "cloaked.test-upstream.org. 3600 CNAME www.stormfront.org."
remote-control:
  control-enable: no
`, dir, port)
	path := filepath.Join(dir, "unbound.conf")
	write(t, path, conf)
	cmd := through(by, "unbound", "-d", "-c", path)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, "unbound", func() bool {
		out, _ := through(by, "dig", "@127.0.0.1", "-p", fmt.Sprint(port), "+tries=1", "+time=1", "+short", "ready.example").Output()
		return strings.TrimSpace(string(out)) == "192.0.2.1"
	})
	return port
}

// through is a command, run by way of another unless by is empty.
func through(by []string, args ...string) *exec.Cmd {
	args = append(slices.Clone(by), args...)
	return exec.Command(args[0], args[1:]...)
}

// freePort returns a port that nobody has, over UDP or TCP, on any address. It is below those that the system gives to
// whoever asks for none, so that nobody is given it before it is used.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return port
		}
	}
	t.Fatal("there is no free port")
	return 0
}

// waitFor waits until ready, at most half a minute.
func waitFor(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// school is the program with the contract's example as its configuration and the real lists.
type school struct {
	dir, config  string
	dns, metrics int
	cmd          *exec.Cmd
	env          []string // beside the test's own
	said         *syncBuffer
	receiver     *receiver
}

// The secret of the alerts, and of nothing else.
var secret = "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("e2e!"), 8))

func newSchool(t *testing.T) *school {
	t.Helper()
	s := &school{dir: t.TempDir(), receiver: newReceiver(t)}
	s.config = filepath.Join(s.dir, "etc", "schoolgate.yaml")
	text, err := os.ReadFile("../../../config/testdata/good/contract.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s.dns, s.metrics = freePort(t), freePort(t)
	yaml := strings.NewReplacer(
		"127.0.0.1:5300", fmt.Sprintf("127.0.0.1:%d", s.dns),
		"127.0.0.1:9053", fmt.Sprintf("127.0.0.1:%d", s.metrics),
		"127.0.0.1:5301", fmt.Sprintf("127.0.0.1:%d", startUnbound(t)),
		"http://127.0.0.1:9911", "http://"+s.receiver.addr,
		"quiet: 10m", "quiet: 3s",
		"[10.10.0.0/16]", "[127.10.0.0/16]", "[10.20.0.0/16,", "[127.20.0.0/16,", "[10.1.0.0/16]", "[127.1.0.0/16]",
	).Replace(string(text))
	if lists := realLists(t); lists == "" {
		yaml = regexp.MustCompile(`(?m)^ *- \{path: \.\./shared/.*\n|\{path: \.\./shared/[^}]*\}`).ReplaceAllString(yaml, "")
	} else {
		if err := os.MkdirAll(filepath.Join(s.dir, "shared"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(lists, filepath.Join(s.dir, "shared", "lists")); err != nil {
			t.Fatal(err)
		}
	}
	write(t, s.config, yaml)
	write(t, filepath.Join(s.dir, "etc", "hook.secret"), secret+"\n")
	write(t, filepath.Join(s.dir, "etc", "dsl.hash"), "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g\n")
	write(t, filepath.Join(s.dir, "etc", "lists", "iwf.txt"), "https://whole-iwf.example/\nhttps://shared-iwf.example/a/b.jpg\n")
	s.start(t)
	return s
}

// realLists returns where the real lists are, beside the project; "" where they are not: then the lists
// that come with schoolgate do for most tests.
func realLists(t *testing.T) string {
	t.Helper()
	lists, err := filepath.Abs("../../../../shared/lists")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(lists); err != nil {
		return ""
	}
	return lists
}

func (s *school) start(t *testing.T) {
	t.Helper()
	s.launch(t)
	s.untilReady(t)
}

// launch starts the program and does not wait for it.
func (s *school) launch(t *testing.T) {
	t.Helper()
	s.said = new(syncBuffer)
	s.cmd = exec.Command(program, "serve", "--config", s.config)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Env = s.said, s.said, append(os.Environ(), s.env...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd := s.cmd
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

func (s *school) untilReady(t *testing.T) {
	t.Helper()
	waitFor(t, "schoolgate to be ready", func() bool {
		status, _ := s.get("/readyz")
		if status != http.StatusOK && s.ended() {
			t.Fatalf("schoolgate ended: %s", s.said)
		}
		return status == http.StatusOK
	})
}

// ended reports whether the program has ended by itself.
func (s *school) ended() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}

// kill ends the program as a power cut does.
func (s *school) kill(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
}

// stop ends the program as an administrator does.
func (s *school) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Fatalf("schoolgate did not end well: %v\n%s", err, s.said)
	}
}

func (s *school) get(path string) (status int, body string) {
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", s.metrics, path))
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

func (s *school) command(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, append(args, "--config", s.config)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("schoolgate %v: %v\n%s%s", args, err, out, &stderr)
	}
	return string(out)
}

func (s *school) dig(t *testing.T, from, name, typ string, options ...string) reply {
	t.Helper()
	args := append([]string{"@127.0.0.1", "-p", fmt.Sprint(s.dns), "-b", from, "+tries=2", "+time=5", "-q", name, "-t", typ}, options...)
	out, err := exec.Command("dig", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("dig %v: %v\n%s", args, err, out)
	}
	return reply(out)
}

// reply is what dig printed.
type reply string

var (
	statusText = regexp.MustCompile(`status: (\w+)`)
	answers    = regexp.MustCompile(`ANSWER: (\d+)`)
)

func (r reply) status() string { return statusText.FindStringSubmatch(string(r))[1] }

func (r reply) answers() string { return answers.FindStringSubmatch(string(r))[1] }

// outcome is "blocked" for the blocked answer of the contract, in each of its parts, else the status
// and the number of answers.
func (r reply) outcome(edns bool) string {
	ede := strings.Contains(string(r), "; EDE: 15 (Blocked)")
	soa := regexp.MustCompile(`(?m)^\S+\s+30\s+IN\s+SOA\s`).MatchString(string(r))
	if r.status() == "NXDOMAIN" && r.answers() == "0" && soa && ede == edns {
		return "blocked"
	}
	return r.status() + " " + r.answers()
}

func TestTheContractsExampleDecidesAsTheContractSays(t *testing.T) {
	if realLists(t) == "" {
		t.Skip("the real lists are not beside the project")
	}
	s := newSchool(t)
	names := []struct {
		name                    string
		pupil, teacher, unknown bool // blocked for
		via                     string
	}{
		{"xhamster.com", true, true, true, "listed"},
		{"www.deep.XHamster.com", true, true, true, "below a listed name, in mixed case"},
		{"notxhamster.com", false, false, false, "beside a listed name"},
		{"com", false, false, false, "above a listed name"},
		{"miniclip.com", true, false, true, "gaming, which staff may"},
		{"whole-iwf.example", true, true, true, "an IWF entry without a path"},
		{"shared-iwf.example", false, false, false, "an IWF entry with a path"},
		{"iwf.testfiltering.com", true, true, true, "the self-test name"},
		{"dns.google", true, false, true, "encrypted DNS"},
		{"www.example.net", true, true, true, "a rule that blocks"},
		{"www.bbc.co.uk", false, false, false, "listed nowhere"},
		{"www.childline.org.uk", false, false, false, "a help line"},
	}
	types := []string{"A", "AAAA", "HTTPS", "TXT", "ANY", "TYPE65280"}
	flags := [][]string{nil, {"+dnssec"}, {"+cdflag"}, {"+norecurse"}, {"+noedns"}, {"+tcp"}, {"+tcp", "+dnssec", "+cdflag", "+norecurse"}}
	checked := 0
	for _, n := range names {
		for client, blocked := range map[string]bool{pupil: n.pupil, teacher: n.teacher, unknown: n.unknown} {
			for _, typ := range types {
				for _, f := range flags {
					r := s.dig(t, client, n.name, typ, f...)
					want := "blocked"
					if !blocked {
						want = map[string]string{"A": "NOERROR 1", "TXT": "NOERROR 1", "ANY": "NOERROR 1"}[typ]
						if want == "" {
							want = "NOERROR 0"
						}
					}
					if got := r.outcome(!slices.Contains(f, "+noedns")); got != want {
						t.Errorf("%s (%s) %s %v from %s: %s, want %s\n%s", n.name, n.via, typ, f, client, got, want, r)
					}
					checked++
				}
			}
		}
	}
	t.Logf("%d answers checked", checked)

	if r := s.dig(t, infant, "www.bbc.co.uk", "A"); r.outcome(true) != "NOERROR 1" {
		t.Errorf("bbc.co.uk for early years:\n%s", r)
	}
	if r := s.dig(t, infant, "museum.example", "A"); r.outcome(true) != "blocked" {
		t.Errorf("a name outside early years' list:\n%s", r)
	}
	if r := s.dig(t, pupil, "cloaked.test-upstream.org", "A"); r.outcome(true) != "blocked" {
		t.Errorf("a CNAME to a listed name:\n%s", r)
	}
	if r := s.dig(t, pupil, "printer.school.internal", "A"); r.outcome(true) != "NOERROR 1" {
		t.Errorf("a local record:\n%s", r)
	}
	for _, b := range s.breaches(t) {
		if b["severity"] == "none" || b["category"] == "encrypted_dns" {
			t.Errorf("severity none left a breach: %v", b)
		}
		if b["category"] == "iwf" && b["query"].(map[string]any)["name"] != "(confidential)" {
			t.Errorf("a confidential name in the record: %v", b)
		}
	}
	if strings.Contains(s.said.String(), "whole-iwf") {
		t.Error("a confidential name in the log")
	}
}

func (s *school) breaches(t *testing.T) []map[string]any {
	t.Helper()
	var all []map[string]any
	for lines := bufio.NewScanner(strings.NewReader(s.command(t, "breaches", "export"))); lines.Scan(); {
		var b map[string]any
		if err := json.Unmarshal(lines.Bytes(), &b); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		all = append(all, b)
	}
	return all
}

func TestOneQuestionLeadsToOneBreachOneIncidentAndOneAlert(t *testing.T) {
	s := newSchool(t)
	asked := time.Now()
	s.dig(t, pupil, "www.XHamster.com", "A")
	a := s.receiver.next(t, 5*time.Second)
	t.Logf("from the question to the alert, dig's own time with it: %v", time.Since(asked))
	b := s.breaches(t)
	if len(b) != 1 || b[0]["count"] != 1.0 || b[0]["incident"] != a.data["incident"] {
		t.Fatalf("breaches %v, alert %v", b, a.data)
	}
	if a.typ != "incident.opened" || a.data["category"] != "pornography" || a.data["severity"] != "high" || a.data["group"] != "year7" ||
		a.data["client"].(map[string]any)["ip"] != pupil || a.data["count"] != 1.0 {
		t.Errorf("alert %s %v", a.typ, a.data)
	}
	for range 499 {
		s.send(t, pupil, "www.xhamster.com")
	}
	count := 0.0
	for count < 500 {
		more := s.receiver.next(t, 15*time.Second)
		if more.typ != "incident.continued" || more.data["incident"] != a.data["incident"] {
			t.Fatalf("another incident: %s %v", more.typ, more.data)
		}
		count = more.data["count"].(float64)
	}
	if b := s.breaches(t); len(b) != 1 || b[0]["count"] != 500.0 || count != 500 {
		t.Errorf("after 500 questions: the alert says %v, the record %v", count, b)
	}
}

func TestAnAlertSurvivesAKillAndADeadReceiver(t *testing.T) {
	s := newSchool(t)
	s.receiver.refuse(true)
	s.dig(t, pupil, "www.xhamster.com", "A")
	refused := s.receiver.refusedID(t)
	s.kill(t)
	s.receiver.refuse(false)
	s.start(t)
	a := s.receiver.next(t, 60*time.Second)
	if a.id != refused {
		t.Errorf("the alert came with id %s, tried before as %s", a.id, refused)
	}
	if b := s.breaches(t); len(b) != 1 {
		t.Errorf("after the kill: %v", b)
	}
}

func TestABreachIsOnDiskATenthOfASecondAfterItWasSeen(t *testing.T) {
	s := newSchool(t)
	for i := range 5 {
		s.send(t, pupil, fmt.Sprintf("kill%d.xhamster.com", i))
		time.Sleep(100 * time.Millisecond) // the promise itself
		s.kill(t)
		if n := len(s.breaches(t)); n != i+1 {
			t.Fatalf("%d breaches after %d kills", n, i+1)
		}
		s.start(t)
	}
}

func TestABadReloadLeavesTheOldPolicyServing(t *testing.T) {
	s := newSchool(t)
	good, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	post := func() int {
		r, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/-/reload", s.metrics), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.StatusCode
	}
	write(t, s.config, strings.Replace(string(good), "block: [example.net]", "blok: [example.net]", 1))
	if status := post(); status != http.StatusUnprocessableEntity {
		t.Errorf("a bad file: status %d", status)
	}
	if status, body := s.get("/healthz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "rules[1]") {
		t.Errorf("healthz %d: %s", status, body)
	}
	if r := s.dig(t, pupil, "www.example.net", "A"); r.outcome(true) != "blocked" {
		t.Errorf("the old policy does not serve:\n%s", r)
	}
	if r := s.dig(t, pupil, "fresh.example", "A"); r.outcome(true) != "NOERROR 1" {
		t.Errorf("fresh.example:\n%s", r)
	}
	write(t, s.config, strings.Replace(string(good), "block: [example.net]", "block: [example.net, fresh.example]", 1))
	if status := post(); status != http.StatusOK {
		t.Errorf("a good file: status %d", status)
	}
	if r := s.dig(t, pupil, "fresh.example", "A"); r.outcome(true) != "blocked" {
		t.Errorf("the new policy is not in force for a cached name:\n%s", r)
	}
}

// send asks one question by hand, quicker than dig.
func (s *school) send(t *testing.T, from, name string) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	conn, err := d.DialContext(context.Background(), "udp", fmt.Sprintf("127.0.0.1:%d", s.dns))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packet := []byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		packet = append(append(packet, byte(len(label))), label...)
	}
	packet = append(packet, 0, 0, 1, 0, 1)
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
}

// receiver takes webhooks, and checks each with the verifier of the Standard Webhooks project.
type receiver struct {
	addr     string
	verifier *standardwebhooks.Webhook
	alerts   chan delivered
	refused  chan string

	mu       sync.Mutex
	refusing bool
}

type delivered struct {
	id, typ string
	data    map[string]any
	body    []byte
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{verifier: verifier, alerts: make(chan delivered, 100), refused: make(chan string, 100)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.take(t, w, req) })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return r
}

func (r *receiver) take(t *testing.T, w http.ResponseWriter, req *http.Request) {
	t.Helper()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Error(err)
		return
	}
	if err := r.verifier.Verify(body, req.Header); err != nil {
		t.Errorf("the independent verifier refuses: %v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusing {
		r.refused <- req.Header.Get("webhook-id")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var alert struct {
		Type string         `json:"type"`
		Data map[string]any `json:"data"`
	}
	if err := json.Unmarshal(body, &alert); err != nil {
		t.Error(err)
	}
	r.alerts <- delivered{req.Header.Get("webhook-id"), alert.Type, alert.Data, body}
}

func (r *receiver) refuse(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusing = yes
}

func (r *receiver) next(t *testing.T, within time.Duration) delivered {
	t.Helper()
	select {
	case a := <-r.alerts:
		return a
	case <-time.After(within):
		t.Fatalf("no alert within %v", within)
		return delivered{}
	}
}

func (r *receiver) refusedID(t *testing.T) string {
	t.Helper()
	select {
	case id := <-r.refused:
		return id
	case <-time.After(30 * time.Second):
		t.Fatal("no alert was tried")
		return ""
	}
}

// syncBuffer keeps what the program says.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
