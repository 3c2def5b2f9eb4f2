//go:build e2e

package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// network is a school's network of its own: a resolver at 10.20.0.1 and devices, each with a network card that has a
// MAC of its own, in network namespaces (network_namespaces(7)) that are joined by a bridge.
type network struct {
	prefix string // of the names of the namespaces
	config string
	said   syncBuffer
}

// resolverAt is where the resolver of a network is.
const resolverAt = "10.20.0.1"

func (n *network) in(namespace string) []string {
	return []string{"ip", "netns", "exec", n.prefix + namespace}
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// newNetwork makes a network with the devices 10.20.0.LAST, whose MACs are 02:00:00:00:00:LAST.
func newNetwork(t *testing.T, devices ...int) *network {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces are for root to make")
	}
	n := &network{prefix: fmt.Sprintf("sg%d-", os.Getpid())}
	add := func(namespace string) {
		mustRun(t, "ip", "netns", "add", n.prefix+namespace)
		t.Cleanup(func() { mustRun(t, "ip", "netns", "delete", n.prefix+namespace) })
		mustRun(t, append(n.in(namespace), "ip", "link", "set", "lo", "up")...)
	}
	add("school")
	school := func(args ...string) { t.Helper(); mustRun(t, append(n.in("school"), args...)...) }
	school("ip", "link", "add", "lan", "type", "bridge")
	school("ip", "address", "add", resolverAt+"/16", "dev", "lan")
	school("ip", "link", "set", "lan", "up")
	for _, d := range devices {
		device := fmt.Sprint(d)
		add(device)
		school("ip", "link", "add", "to"+device, "type", "veth", "peer", "name", "eth0", "netns", n.prefix+device)
		school("ip", "link", "set", "to"+device, "master", "lan", "up")
		for _, args := range []string{
			fmt.Sprintf("ip link set eth0 address %s up", macOf(d)), fmt.Sprintf("ip address add 10.20.0.%d/16 dev eth0", d),
		} {
			mustRun(t, append(n.in(device), strings.Fields(args)...)...)
		}
	}
	return n
}

func macOf(device int) string { return fmt.Sprintf("02:00:00:00:00:%02x", device) }

// serve starts the program in the network, with a configuration whose rest this is.
func (n *network) serve(t *testing.T, rest string) {
	t.Helper()
	dir := t.TempDir()
	n.config = filepath.Join(dir, "schoolgate.yaml")
	write(t, n.config, fmt.Sprintf(`version: 1
site: e2e
listen: {dns: ["%s:53"], console: "127.0.0.1:8053", metrics: ""}
data_dir: ./data
upstreams: {servers: ["udp://127.0.0.1:%d"]}
categories:
  gaming: {severity: low, lists: [{path: gaming.txt}]}
  gambling: {severity: low, lists: [{path: gambling.txt}]}
`, resolverAt, startUnboundIn(t, n.in("school")...))+rest)
	write(t, filepath.Join(dir, "gaming.txt"), "games.example\n")
	write(t, filepath.Join(dir, "gambling.txt"), "bets.example\n")
	write(t, filepath.Join(dir, "signin.token"), signInToken+"\n")
	cmd := through(n.in("school"), program, "serve", "--config", n.config)
	cmd.Stdout, cmd.Stderr = &n.said, &n.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v:\n%s", err, n.said.String())
		}
	})
	waitFor(t, "the resolver", func() bool {
		out, _ := through(n.in("school"), "dig", "@"+resolverAt, "+tries=1", "+time=1", "ready.example").Output()
		return bytes.Contains(out, []byte("NOERROR"))
	})
}

// blocked reports whether a device is refused a name.
func (n *network) blocked(t *testing.T, device int, name string, options ...string) bool {
	t.Helper()
	out := mustRun(t, append(n.in(fmt.Sprint(device)), append([]string{"dig", "@" + resolverAt, "+tries=3", "+time=2", name}, options...)...)...)
	switch {
	case regexp.MustCompile(`status: NXDOMAIN[\s\S]*EDE: 15`).MatchString(out):
		return true
	case regexp.MustCompile(`status: NOERROR[\s\S]*192\.0\.2\.1`).MatchString(out):
		return false
	}
	t.Fatalf("%s asked by %d:\n%s", name, device, out)
	return false
}

func (n *network) command(t *testing.T, args ...string) string {
	t.Helper()
	return mustRun(t, append(append(n.in("school"), program), append(args, "--config", n.config)...)...)
}

// expect checks what of two names a device gets: "gaming" is games.example and "gambling" bets.example.
func (n *network) expect(t *testing.T, what string, device int, gaming, gambling bool, options ...string) {
	t.Helper()
	if n.blocked(t, device, "games.example", options...) != gaming || n.blocked(t, device, "bets.example", options...) != gambling {
		t.Errorf("%s: games are blocked %v, bets %v, want the other way round", what,
			n.blocked(t, device, "games.example", options...), n.blocked(t, device, "bets.example", options...))
	}
}

const (
	plain, exam, teachers, head, forwarder = 2, 3, 4, 5, 9
)

func TestDevicesAreToldApartOnTheWire(t *testing.T) {
	n := newNetwork(t, plain, exam, teachers, head, forwarder)
	n.serve(t, fmt.Sprintf(`
access: {trusted_forwarders: [10.20.0.%d]}
identity: {leases: [dhcp.leases]}
groups:
  pupils: {clients: [10.20.0.0/16], block: [gaming]}
  exams: {clients: ["mac:%s", "name:exam-*"], block: [gaming, gambling]}
  staff: {clients: [10.1.0.0/16, "mac:%s"]}
  heads: {clients: ["mac:%s"], trust_identity: true}
default_group: pupils
`, forwarder, macOf(exam), macOf(teachers), macOf(head)))
	leases := filepath.Join(filepath.Dir(n.config), "dhcp.leases")

	n.expect(t, "a device of the range", plain, true, false)
	waitFor(t, "the kernel's neighbour", func() bool { return n.blocked(t, exam, "bets.example") })
	n.expect(t, "a device whose MAC is of a group that blocks more", exam, true, true)
	n.expect(t, "one whose MAC is of a group that blocks less", teachers, true, false)
	waitFor(t, "the kernel's neighbour", func() bool { return !n.blocked(t, head, "games.example") })
	n.expect(t, "one whose MAC is of a group that trusts it", head, false, false)

	if out := n.command(t, "explain", "games.example", "--client", fmt.Sprintf("10.20.0.%d", exam)); !strings.Contains(out, "is in group exams by its MAC "+macOf(exam)) {
		t.Errorf("explain:\n%s", out)
	}
	if out := n.command(t, "explain", "games.example", "--client", fmt.Sprintf("10.20.0.%d", teachers)); !strings.Contains(out,
		"is in group pupils by its address; by its MAC "+macOf(teachers)+" it would be in group staff, which does not block all that group pupils blocks") {
		t.Errorf("explain:\n%s", out)
	}
	if out := n.command(t, "status"); !strings.Contains(out, "the lease file "+leases+" is not there") || !strings.Contains(out, "known ") {
		t.Errorf("status:\n%s", out)
	}

	t.Run("options of anybody but a trusted forwarder change nothing", func(t *testing.T) {
		for _, option := range []string{"+subnet=10.1.0.7/32", "+ednsopt=65001:020000000005", "+ednsopt=65073:30323a30303a30303a30303a30303a3035"} {
			n.expect(t, option+" forged", plain, true, false, option)
			n.expect(t, option+" from the forwarder", forwarder, false, false, option)
		}
		n.expect(t, "the forwarder's own", forwarder, true, false)
	})

	t.Run("a lease moves a device", func(t *testing.T) {
		until := time.Now().Add(time.Hour).Unix()
		write(t, leases, fmt.Sprintf("%d %s 10.20.0.%d exam-7 *\n", until, macOf(plain), plain))
		waitFor(t, "the lease", func() bool { return n.blocked(t, plain, "bets.example") })
		n.expect(t, "with a lease that names it", plain, true, true)
		if out := n.command(t, "breaches", "export"); !regexp.MustCompile(fmt.Sprintf(`"ip":"10.20.0.%d","mac":"%s","name":"exam-7","user":""},"group":"exams"`, plain, macOf(plain))).MatchString(out) {
			t.Errorf("the record does not name the device:\n%s", out)
		}
		write(t, leases, fmt.Sprintf("%d %s 10.20.0.%d ipad *\n", until, macOf(plain), plain))
		waitFor(t, "the other lease", func() bool { return !n.blocked(t, plain, "bets.example") })
	})

	t.Run("another device at the same address is another", func(t *testing.T) {
		for _, args := range []string{"ip link set eth0 down", "ip link set eth0 address " + macOf(exam), "ip link set eth0 up"} {
			mustRun(t, append(n.in(fmt.Sprint(plain)), strings.Fields(args)...)...)
		}
		mustRun(t, append(n.in(fmt.Sprint(exam)), "ip", "link", "set", "eth0", "down")...)
		waitFor(t, "its MAC", func() bool { return n.blocked(t, plain, "bets.example") })
	})
}

const signInToken = "bSxqg4v0mEJCwYv1m8oZ0sVh6W2dQ9tL7uKcRfYxT1A="

// tell tells /api/v1 of logins with curl, as devices.md shows it, and returns what it prints and its exit code.
func (n *network) tell(logins string, options ...string) (out string, code int) {
	args := append(n.in("school"), "curl", "--silent", "--fail-with-body", "http://127.0.0.1:8053/api/v1/logins", "--json", logins, "--oauth2-bearer", signInToken)
	cmd := through(nil, append(args, options...)...)
	text, _ := cmd.CombinedOutput()
	return string(text), cmd.ProcessState.ExitCode()
}

func TestALoginThatIsToldWithCurlIsOnTheRecord(t *testing.T) {
	n := newNetwork(t, plain, exam)
	n.serve(t, `
api: {tokens: {portal: {role: signin, secret_file: signin.token}}}
groups:
  pupils: {clients: [10.20.0.0/24], block: [gaming]}
  terminals: {clients: [10.20.0.3/32], block: [gaming], shared: true}
default_group: pupils
`)
	out, code := n.tell(`[{"user":"a.pupil","ip":"10.20.0.2","event":"login"},{"user":"b.pupil","ip":"10.20.0.3","event":"login"},{"user":"c.pupil","ip":"192.0.2.1","event":"login"}]`)
	want := `{"taken":[0],"refused":[{"index":1,"reason":"ip: 10.20.0.3 is of a group that says shared: there are many people behind it"},` +
		`{"index":2,"reason":"ip: 192.0.2.1 is not in access.allow"}]}` + "\n"
	if code != 0 || out != want {
		t.Errorf("curl, %d: %s\nwant %s", code, out, want)
	}
	for _, device := range []int{plain, exam} {
		if !n.blocked(t, device, "games.example") {
			t.Errorf("device %d is not blocked", device)
		}
	}
	waitFor(t, "the record", func() bool { return strings.Count(n.command(t, "breaches", "export"), "\n") == 2 })
	record := n.command(t, "breaches", "export")
	for device, user := range map[int]string{plain: "a.pupil", exam: ""} {
		if !regexp.MustCompile(fmt.Sprintf(`"ip":"10.20.0.%d","mac":"[^"]*","name":"","user":"%s"`, device, user)).MatchString(record) {
			t.Errorf("device %d is not that of %q:\n%s", device, user, record)
		}
	}

	for what, c := range map[string]struct {
		logins, want string
		options      []string
	}{
		"a wrong token": {`{}`, `"status":401`, []string{"--oauth2-bearer", "wrong"}},
		"a web page":    {`{}`, `"status":421`, []string{"--header", "Host: evil.example"}},
		"a wrong key":   {`{"name":"a"}`, `unknown key \"name\"`, nil},
		"no address":    {`{"user":"a","event":"login"}`, `ip: \"\" is not an address`, nil},
	} {
		if out, code := n.tell(c.logins, c.options...); code != 22 || !strings.Contains(out, c.want) {
			t.Errorf("%s: curl says %d: %s", what, code, out)
		}
	}
	if out := n.command(t, "status"); !regexp.MustCompile(`API +http://127.0.0.1:8053/api/v1\n[\s\S]*1 sign-in\nAPI refused +3 logins of 4, and 1 request with a token that is none of api.tokens`).MatchString(out) {
		t.Errorf("status:\n%s", out)
	}
	if _, code := n.tell(`{"user":"a.pupil","ip":"10.20.0.2","event":"logout"}`); code != 0 || !strings.Contains(n.command(t, "status"), "0 sign-ins") {
		t.Error("the logout is not in force")
	}
}
