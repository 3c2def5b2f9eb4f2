package daemon

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"schoolgate/policy/breach"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// school is a configuration in a directory of its own, with a schoolgate that may run on it.
type school struct {
	*Daemon
	t     *testing.T
	dir   string
	path  string
	log   *bytes.Buffer // read it only when nothing runs
	clock func() time.Time
	stop  func()
}

// baseYAML is a small school; lines are added to it.
const baseYAML = `version: 1
site: test
listen: {dns: ["127.0.0.1:0"], metrics: "127.0.0.1:0"}
data_dir: data
categories:
  drugs: {severity: medium, locked: true, lists: [{path: drugs.txt, required: true}]}
  gaming: {severity: low, lists: [{path: gaming.txt}]}
groups:
  pupils: {clients: [10.20.0.0/16, 127.0.0.0/8], block: [gaming]}
default_group: pupils
`

// newSchool writes the configuration and its lists; nothing runs yet.
func newSchool(t *testing.T) *school {
	t.Helper()
	s := &school{t: t, dir: t.TempDir(), log: new(bytes.Buffer)}
	s.path = filepath.Join(s.dir, "schoolgate.yaml")
	s.write("drugs.txt", "pills.example\n")
	s.write("gaming.txt", "games.example\n")
	s.configure(baseYAML)
	return s
}

// configure replaces the configuration; its upstream is one that answers every name.
func (s *school) configure(yaml string) {
	s.t.Helper()
	s.write("schoolgate.yaml", fmt.Sprintf("%supstreams: {servers: [\"udp://%s\"]}\n", yaml, upstream(s.t)))
}

func (s *school) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *school) read(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func (s *school) remove(name string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

// options are those of New.
func (s *school) options() Options {
	return Options{
		Path: s.path, Build: Build{Version: "v0", Commit: "c0", Go: "go0"},
		Logger: slog.New(slog.NewTextHandler(s.log, nil)), Now: s.clock,
	}
}

// start builds a schoolgate and runs it until the test ends, or stop is called.
func (s *school) start() {
	s.t.Helper()
	d, err := New(s.t.Context(), s.options())
	if err != nil {
		s.t.Fatalf("New: %v", err)
	}
	before := d.record.Head().Seq
	s.Daemon, s.stop = d, run(s.t, d)
	// What a start writes down is written once begin has let go of the mutex.
	s.await(func() bool { return d.record.Head().Seq > before })
	d.mu.Lock()
	defer d.mu.Unlock()
}

// run runs d until stop is called, or the test ends.
func run(t *testing.T, d *Daemon) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// await waits for something that happens soon.
func (s *school) await(happened func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("waited in vain")
		}
	}
}

// upstream answers every A question with 192.0.2.1, over UDP on loopback.
func upstream(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A 192.0.2.1")
		r.Answer = append(r.Answer, rr)
		_ = w.WriteMsg(r)
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	done := make(chan struct{})
	go func() { defer close(done); _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown(); <-done })
	return conn.LocalAddr().String()
}

// dig asks over UDP and returns the response code with the extended error, or the address.
func (s *school) dig(name string) string {
	s.t.Helper()
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA).SetEdns0(1232, false)
	r, err := dns.Exchange(q, s.Addrs().DNS[0].String())
	if err != nil {
		s.t.Fatalf("ask for %s: %v", name, err)
	}
	if len(r.Answer) > 0 {
		return r.Answer[0].(*dns.A).A.String()
	}
	out := dns.RcodeToString[r.Rcode]
	if opt := r.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if ede, ok := o.(*dns.EDNS0_EDE); ok {
				out += fmt.Sprintf(" EDE %d", ede.InfoCode)
			}
		}
	}
	return out
}

// get asks the metrics listener and returns status and body.
func (s *school) get(path string) (int, string) {
	s.t.Helper()
	return fetch(s.t, http.MethodGet, "http://"+s.Addrs().Metrics+path)
}

func fetch(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body.String()
}

// acts returns the audited acts, oldest first: who, what and detail. Hashes are cut to six digits.
func (s *school) acts() []string {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "data", "breach.db")+"?mode=ro")
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(s.t.Context(), "SELECT who, what, detail FROM audit ORDER BY seq")
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var who, what, detail string
		if err := rows.Scan(&who, &what, &detail); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, who+" | "+what+" | "+longHash.ReplaceAllString(detail, "$1"))
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return out
}

var longHash = regexp.MustCompile(`\b([0-9a-f]{6})[0-9a-f]{58}\b`)

func TestStartServesAndStopKeepsEveryBreach(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	got := map[string]string{}
	for _, name := range []string{"pills.example", "www.games.example", "www.example.org"} {
		got[name] = s.dig(name)
	}
	want := map[string]string{
		"pills.example": "NXDOMAIN EDE 15", "www.games.example": "NXDOMAIN EDE 15", "www.example.org": "192.0.2.1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	for path, want := range map[string]string{"/readyz": "200 ready\n", "/healthz": "200 ok\n"} {
		if code, body := s.get(path); fmt.Sprintf("%d %s", code, body) != want {
			t.Errorf("%s: got %d %q, want %q", path, code, body, want)
		}
	}
	s.stop()

	r, err := breach.OpenReader(filepath.Join(s.dir, "data", "breach.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var names []string
	err = r.Breaches(t.Context(), breach.Filter{}, func(b breach.Breach) error {
		names = append(names, b.Query.Name+" "+b.Category)
		return nil
	})
	if diff := cmp.Diff(2, len(names)); err != nil || diff != "" {
		t.Errorf("breaches after the stop: %v %v", names, err)
	}
}

func TestTheDataDirectoryIsPrivateAndOfOneProcess(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	// A process that was killed left its socket behind.
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(s.dir, "data", controlFile)})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	s.start()
	for name, want := range map[string]os.FileMode{
		"data": 0o700 | os.ModeDir, "data/" + controlFile: 0o600 | os.ModeSocket, "data/lock": 0o600, "data/" + acceptedFile: 0o600,
	} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: got %v %v, want mode %v", name, info, err, want)
		}
	}
	_, err = New(t.Context(), s.options())
	want := fmt.Sprintf("the data directory is in use: %s is held by process %d; stop that one, or give this one its own data_dir",
		filepath.Join(s.dir, "data"), os.Getpid())
	if !errors.Is(err, ErrInUse) || err.Error() != want {
		t.Errorf("a second one: got %v\nwant %s", err, want)
	}
	s.stop()
	s.start() // the lock went with the process
}

func TestAStartThatFailsLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := newSchool(t)
	s.configure(strings.Replace(baseYAML, `metrics: "127.0.0.1:0"`, fmt.Sprintf("metrics: %q", taken.Addr()), 1))
	if _, err := New(t.Context(), s.options()); err == nil || !strings.Contains(err.Error(), "listen.metrics: ") {
		t.Errorf("got %v, want an error of listen.metrics", err)
	}
	s.configure(baseYAML)
	s.start() // neither the lock nor the record is still held
}

func TestAQuestionOfItsOwnLeavesNoBreach(t *testing.T) {
	t.Parallel()
	s := newSchool(t)
	s.start()
	if err := s.askSelf(t.Context(), time.Second); err != nil {
		t.Errorf("askSelf: %v", err)
	}
	q := new(dns.Msg).SetQuestion("games.example.", dns.TypeA)
	packet, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	before := s.record.Head()
	if _, err := s.Ask(t.Context(), packet, netip.MustParseAddrPort("10.20.0.1:53"), "udp", true); err != nil {
		t.Fatal(err)
	}
	if err := s.record.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := s.record.Head(); after != before {
		t.Errorf("the record grew from %v to %v", before, after)
	}
}
