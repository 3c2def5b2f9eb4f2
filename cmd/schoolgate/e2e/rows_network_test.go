//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// device is one of the machines that ask: it has a network namespace, a network card and an address of its own.
type device struct {
	name   string // of its namespace, and as the sessions show it
	addr   string
	server string // the address of the resolver that it was given
	mac    string // "" for one of the kernel's choice
}

// The devices. Where a device is decides what it may: see groups in testdata/rows/schoolgate.yaml.
var (
	year7     = device{name: "year7", addr: "10.20.3.4", server: schoolAt}
	classmate = device{name: "classmate", addr: "10.20.3.5", server: schoolAt}
	tablet    = device{name: "tablet", addr: "2001:db8:20::7", server: "2001:db8:20::53"} // of year 7, with IPv6 alone
	infants   = device{name: "early-years", addr: "10.10.0.1", server: schoolAt}
	sixth     = device{name: "sixth-form", addr: "10.30.0.4", server: schoolAt}
	staff     = device{name: "staff", addr: "10.1.0.9", server: schoolAt, mac: "02:00:00:00:00:09"}
	borrowed  = device{name: "borrowed", addr: "10.1.0.77", server: schoolAt, mac: "00:11:22:33:44:55"} // year 7's, on the staff's network
	guest     = device{name: "guest", addr: "172.16.5.5", server: "172.16.0.53"}
	stranger  = device{name: "unknown", addr: "10.99.0.7", server: schoolAt} // in nobody's range
	outsider  = device{name: "outsider", addr: "203.0.113.7", server: schoolAt}
	atHome    = device{name: "at-home", addr: "198.51.100.7", server: schoolAt}
	router    = device{name: "router", addr: "10.0.0.11", server: schoolAt} // a trusted forwarder
	dc        = device{name: "dc", addr: "10.0.0.10", server: schoolAt}     // the domain controller
)

// schoolAt is where the resolver is, and branchAt a second one without encrypted listeners.
const (
	schoolAt = "10.0.0.53"
	branchAt = "10.0.0.54"
)

func allDevices() []device {
	return []device{year7, classmate, tablet, infants, sixth, staff, borrowed, guest, stranger, outsider, atHome, router, dc}
}

// rowSchool is one school in network namespaces (network_namespaces(7)): the resolver's, one for each device, and the
// internet's, where its upstreams are.
type rowSchool struct {
	prefix    string // of the names of the namespaces
	dir       string
	config    string
	internet  *internet // what both upstreams serve
	second    *internet // of them, the backup line's
	inside    *internet // the domain controller's DNS
	authority string    // file of the authority of its certificate
	said      syncBuffer
}

func newRowSchool(t *testing.T) *rowSchool {
	t.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("CI") == "true":
		t.Fatal("network namespaces are for root to make, and CI must not pass the rows over")
	default:
		t.Skip("network namespaces are for root to make: run the tests as root to see the rows")
	}
	s := &rowSchool{prefix: fmt.Sprintf("rows%d-", os.Getpid()), dir: t.TempDir()}
	s.addNamespace(t, "school")
	s.ip(t, "school",
		"link add lan type bridge", "address add "+schoolAt+"/8 dev lan", "address add "+branchAt+"/8 dev lan", "address add 172.16.0.53/12 dev lan",
		"address add 2001:db8:20::53/48 dev lan nodad", "link set lan up")
	for i, d := range allDevices() {
		s.addNamespace(t, d.name)
		card := fmt.Sprintf("card%d", i)
		s.ip(t, "school", "link add "+card+" type veth peer name eth0 netns "+s.prefix+d.name, "link set "+card+" master lan up")
		if d.mac != "" {
			s.ip(t, d.name, "link set eth0 address "+d.mac)
		}
		if strings.Contains(d.addr, ":") {
			s.ip(t, d.name, "link set eth0 up", "address add "+d.addr+"/48 dev eth0 nodad")
			continue
		}
		s.ip(t, d.name, "link set eth0 up", "address add "+d.addr+"/32 dev eth0", "route add "+d.server+" dev eth0 src "+d.addr)
		if d.server != branchAt {
			s.ip(t, d.name, "route add "+branchAt+" dev eth0 src "+d.addr)
		}
		if d == outsider || d == atHome { // no network of the school's own
			s.ip(t, "school", "route add "+d.addr+" dev lan src "+schoolAt)
		}
	}
	s.addNamespace(t, "internet")
	s.ip(t, "school", "link add wan type veth peer name eth0 netns "+s.prefix+"internet", "address add 192.0.2.1/24 dev wan", "link set wan up")
	s.ip(t, "internet", "link set eth0 up", "address add 192.0.2.53/24 dev eth0", "address add 192.0.2.54/24 dev eth0")

	s.internet, s.second, s.inside = newInternet(t, internetZone), newInternet(t, internetZone), newInternet(t, insideZone)
	s.internet.serve(t, s.prefix+"internet", "192.0.2.53:53")
	s.second.serve(t, s.prefix+"internet", "192.0.2.54:53")
	s.inside.serve(t, s.prefix+dc.name, dc.addr+":53")
	s.configure(t)
	s.serve(t, s.config, schoolAt, &s.said)
	return s
}

// addNamespace makes a network namespace that goes with the test.
func (s *rowSchool) addNamespace(t *testing.T, name string) {
	t.Helper()
	mustRun(t, "ip", "netns", "add", s.prefix+name)
	t.Cleanup(func() { mustRun(t, "ip", "netns", "delete", s.prefix+name) })
	s.ip(t, name, "link set lo up")
}

// ip runs commands of ip(8) in a namespace.
func (s *rowSchool) ip(t *testing.T, namespace string, commands ...string) {
	t.Helper()
	cmd := exec.Command("ip", "-n", s.prefix+namespace, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip in %s: %v\n%s\n%s", namespace, err, out, strings.Join(commands, "\n"))
	}
}

func (s *rowSchool) in(namespace string) []string {
	return []string{"ip", "netns", "exec", s.prefix + namespace}
}

// inNamespace runs open in a network namespace: what it opens stays there.
func inNamespace(t *testing.T, namespace string, open func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		file, err := os.Open("/run/netns/" + namespace)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			_ = file.Close()
		}
		if err == nil {
			err = open()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("in namespace %s: %v", namespace, err)
	}
}

// configure lays the configuration out with its lists, secrets and certificate.
func (s *rowSchool) configure(t *testing.T) {
	t.Helper()
	if err := os.CopyFS(s.dir, os.DirFS("testdata/rows")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(s.dir, "lists", "iwf.txt"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(s.dir, "hook.secret"), secret+"\n")
	ca := newAuthority(t, filepath.Join(s.dir, "ca.pem"))
	s.authority = ca.file
	ca.certify(t, s.dir, "dns", []string{certifiedName, "y7.dns.school.example"}, net.ParseIP(schoolAt))
	s.config = filepath.Join(s.dir, "schoolgate.yaml")
}

// serve starts the program with a configuration in the school's namespace, and waits until it answers at addr.
func (s *rowSchool) serve(t *testing.T, config, addr string, said *syncBuffer) {
	t.Helper()
	cmd := through(s.in("school"), program, "serve", "--config", config)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v:\n%s", err, said)
		}
	})
	waitFor(t, "the resolver", func() bool {
		out, _ := through(s.in("school"), "dig", "@"+addr, "+tries=1", "+time=1", "ready.example").Output()
		return strings.Contains(string(out), "NOERROR")
	})
}

// try runs a command of schoolgate, which may say no: it returns all that it printed, and its exit code.
func (s *rowSchool) try(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	line := append(s.in("school"), program)
	cmd := exec.CommandContext(ctx, line[0], append(append(line[1:], args...), "--config", s.config)...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	short := func(b *bytes.Buffer) string { return strings.ReplaceAll(b.String(), s.dir+"/", "") }
	return short(&out), short(&said), cmd.ProcessState.ExitCode()
}

// command is try where it must not say no, and shows it.
func (s *rowSchool) command(t *testing.T, args ...string) string {
	t.Helper()
	out, said, code := s.try(t, args...)
	t.Logf("school# schoolgate %s\n%s%s", strings.Join(args, " "), out, said)
	if code != 0 {
		t.Errorf("schoolgate %s: exit code %d", strings.Join(args, " "), code)
	}
	return out
}

// reload has the configuration read again with each old text replaced by a new one, until the test ends; a pair for
// which there is no old text is a mistake of the test.
func (s *rowSchool) reload(t *testing.T, oldnew ...string) {
	t.Helper()
	good, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := string(good)
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(changed, oldnew[i]) {
			t.Fatalf("the configuration has no %q", oldnew[i])
		}
		changed = strings.Replace(changed, oldnew[i], oldnew[i+1], 1)
	}
	s.takeFile(t, s.config, changed)
	t.Cleanup(func() { s.takeFile(t, s.config, string(good)) })
}

// takeFile writes a file of the configuration, and has it read.
func (s *rowSchool) takeFile(t *testing.T, path, text string) {
	t.Helper()
	write(t, path, text)
	out := mustRun(t, append(s.in("school"), "curl", "--silent", "--show-error", "--write-out", "%{http_code}", "--request", "POST", "http://127.0.0.1:9053/-/reload")...)
	if !strings.HasSuffix(out, "200") {
		t.Fatalf("reload: %s", out)
	}
}

// breached is a breach as `breaches list --json` has it.
type breached struct {
	Client                            struct{ IP, MAC, Name string }
	Group, Category, Severity, Action string
	Query                             struct{ Name, Type, Transport string }
	Rule                              struct{ List, Entry, Via string }
	Count                             int
}

// breach is the newest breach of a device for a name, by `breaches list --json`; the zero breached where there is none.
func (s *rowSchool) breach(t *testing.T, d device, name string) (found breached) {
	t.Helper()
	said, why, code := s.try(t, "breaches", "list", "--json", "--client", d.addr)
	if code != 0 {
		t.Fatalf("breaches list: %s", why)
	}
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(said), &all); err != nil {
		t.Fatalf("breaches list --json: %v in %s", err, said)
	}
	for _, text := range all {
		var b breached
		if err := json.Unmarshal(text, &b); err != nil {
			t.Fatalf("breaches list --json: %v in %s", err, text)
		}
		if b.Query.Name == name {
			t.Logf("school# schoolgate breaches list --json --client %s\n%s", d.addr, text)
			found = b
		}
	}
	return found
}

// explained is what `explain --json` says.
type explained struct {
	Verdict, Group, Category string
	Rule                     struct{ List, Entry, Via, Reason, By string }
	Steps                    []string
	ChangesAt                string `json:"changes_at"`
}

// explain judges a name as asked by a device; at a time where one is given.
func (s *rowSchool) explain(t *testing.T, d device, name string, at ...string) (ex explained) {
	t.Helper()
	args := []string{"explain", name, "--json", "--client", d.addr}
	for _, a := range at {
		args = append(args, "--at", a)
	}
	said := s.command(t, args...)
	if err := json.Unmarshal([]byte(said), &ex); err != nil {
		t.Fatalf("explain --json: %v in %s", err, said)
	}
	return ex
}
