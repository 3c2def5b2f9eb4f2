//go:build e2e

package e2e_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// session is one answer as dig or kdig printed it.
type session struct {
	command string // as one would type it on the device
	printed string
	name    string // of the question, as it came back
	// said is the answer on one line: status and flags, the extended error, then each record without TTL and class, and
	// of an SOA record only the primary server. "NAME" stands for the name of the question.
	said string
	// least and most are the TTLs.
	least, most int
	problem     string // an SOA record of schoolgate's own whose TTL is not its MINIMUM (RFC 2308 §5)
}

// The answers that most rows are about, as session.said has them.
const (
	blocked   = "NXDOMAIN qr rd ra | EDE 15 | authority: NAME SOA schoolgate.invalid."
	open      = "NOERROR qr rd ra | answer: NAME A 192.0.2.80"
	openAAAA  = "NOERROR qr rd ra | answer: NAME AAAA 2001:db8:80::80"
	empty     = "NOERROR qr rd ra | authority: NAME SOA schoolgate.invalid."
	noSuch    = "NXDOMAIN qr rd ra | authority: NAME SOA schoolgate.invalid."
	failed    = "SERVFAIL qr rd ra | EDE 22"
	refused18 = "REFUSED qr rd ra | EDE 18"
)

var (
	statusLine = regexp.MustCompile(`->>HEADER<<- opcode: \w+[,;] status: (\w+)`)
	flagsLine  = regexp.MustCompile(`(?i);; flags: ([a-z ]*);`)
	edeLine    = regexp.MustCompile(`;+ EDE: (\d+)(?: \([^)]*\))?(.*)`)
	section    = regexp.MustCompile(`(?i)^;; (QUESTION|ANSWER|AUTHORITY|ADDITIONAL) SECTION:`)
)

// readSession reads one answer.
func readSession(t *testing.T, command, printed string) session {
	t.Helper()
	s := session{command: command, printed: printed, least: 1 << 31}
	status, flags := statusLine.FindStringSubmatch(printed), flagsLine.FindStringSubmatch(printed)
	if status == nil || flags == nil {
		t.Fatalf("no answer: %s\n%s", command, printed)
	}
	parts := []string{strings.TrimSpace(status[1] + " " + flags[1])}
	if ede := edeLine.FindStringSubmatch(printed); ede != nil {
		parts = append(parts, "EDE "+ede[1]+strings.TrimSpace(ede[2]))
	}
	in := ""
	for line := range strings.Lines(printed) {
		line = strings.TrimSpace(line)
		switch m := section.FindStringSubmatch(line); {
		case m != nil:
			in = strings.ToLower(m[1])
		case line == "":
			in = ""
		case in == "question":
			s.name = strings.Fields(strings.TrimLeft(line, "; "))[0]
		case in != "" && !strings.HasPrefix(line, ";"):
			parts = append(parts, in+": "+s.record(t, strings.Fields(line)))
		}
	}
	s.said = strings.Join(parts, " | ")
	return s
}

// record notes the TTL of a record, and returns the rest.
func (s *session) record(t *testing.T, fields []string) string {
	t.Helper()
	ttl, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatalf("%s: no TTL in %v", s.command, fields)
	}
	s.least, s.most = min(s.least, ttl), max(s.most, ttl)
	if fields[0] == s.name {
		fields[0] = "NAME"
	}
	if fields[3] == "SOA" {
		if own := fields[4] == "schoolgate.invalid."; own && fields[len(fields)-1] != fields[1] {
			s.problem = fmt.Sprintf("an SOA record with TTL %s and MINIMUM %s", fields[1], fields[len(fields)-1])
		}
		fields = fields[:5]
	}
	return strings.Join(append(fields[:1:1], fields[3:]...), " ")
}

// dig asks from a device; the words are what dig is given behind the server.
func (s *rowSchool) dig(t *testing.T, d device, words string) session {
	t.Helper()
	return s.digAt(t, d, d.server, words)
}

// digAt is dig at another server than the device was given.
func (s *rowSchool) digAt(t *testing.T, d device, server, words string) session {
	t.Helper()
	args := append([]string{"dig", "@" + server}, strings.Fields(words)...)
	return s.show(t, d, append(args, "+tries=3", "+time=5"), strings.Join(args, " "))
}

// kdig asks over encrypted DNS, and checks the certificate for the name of the server.
func (s *rowSchool) kdig(t *testing.T, d device, server, words string) session {
	t.Helper()
	args := append([]string{"kdig", "@" + schoolAt, "+tls-ca=" + s.authority, "+tls-hostname=" + server, "+timeout=5"}, strings.Fields(words)...)
	return s.show(t, d, args, strings.Join(args, " "))
}

// show runs a command on a device that prints one answer, and shows both.
func (s *rowSchool) show(t *testing.T, d device, args []string, command string) session {
	t.Helper()
	printed := mustRun(t, append(s.in(d.name), args...)...)
	t.Logf("%s$ %s\n%s", d.name, command, strings.TrimSpace(printed))
	return readSession(t, d.name+"$ "+command, printed)
}

// digs asks many questions with one dig, each a name and a type, and shows the answers on a line each.
func (s *rowSchool) digs(t *testing.T, d device, options string, questions ...string) []session {
	t.Helper()
	args := append([]string{"dig", "@" + d.server, "+tries=3", "+time=5"}, strings.Fields(options)...)
	for _, q := range questions {
		name, typ, _ := strings.Cut(q, " ")
		args = append(args, "-q", name, "-t", typ)
		args = append(args, strings.Fields(options)...) // options before the first name count for that one alone
	}
	printed := mustRun(t, append(s.in(d.name), args...)...)
	answers := strings.Split(printed, ";; Got answer:")[1:]
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions:\n%s", len(answers), len(questions), printed)
	}
	var sessions []session
	for i, q := range questions {
		one := readSession(t, fmt.Sprintf("%s$ dig @%s %s", d.name, d.server, strings.TrimSpace(q+" "+options)), answers[i])
		t.Logf("%s\n%s", one.command, one.said)
		sessions = append(sessions, one)
	}
	return sessions
}

// expect asks from a device, and checks all of the answer, and that nobody is to keep it for longer than the
// configuration says.
func (s *rowSchool) expect(t *testing.T, d device, words, want string) session {
	t.Helper()
	got := s.dig(t, d, words)
	got.check(t, want)
	return got
}

// check compares a session with what it ought to be. The time to keep it is cut short by the bell at the end of a
// period, so it is an upper bound.
func (s session) check(t *testing.T, want string) {
	t.Helper()
	want = forOptions(want, s.command)
	most := 300 // cache.client_ttl
	if strings.Contains(want, "SOA schoolgate.invalid.") && !strings.Contains(want, "answer:") || strings.Contains(want, "EDE 15") {
		most = 30 // blocking.ttl
	}
	switch {
	case s.said != want:
		t.Errorf("%s\n got %s\nwant %s", s.command, s.said, want)
	case s.most > most || s.least < 1:
		t.Errorf("%s\nTTLs from %d to %d, want 1 to %d:\n%s", s.command, s.least, s.most, most, s.printed)
	case s.problem != "":
		t.Errorf("%s\n%s", s.command, s.problem)
	}
}

// forOptions is an answer as it must be where dig was given options that show in it.
func forOptions(want, command string) string {
	words := strings.Fields(command)
	status, rest, _ := strings.Cut(want, " | ")
	if slices.Contains(words, "+norec") {
		status = strings.Replace(status, " rd", "", 1)
	}
	if slices.Contains(words, "+cd") {
		status += " cd"
	}
	if slices.Contains(words, "+noedns") {
		rest = regexp.MustCompile(`^EDE \d+( \| )?`).ReplaceAllString(rest, "")
	}
	return strings.TrimSuffix(status+" | "+rest, " | ")
}

// notAsked checks that the upstreams have heard nothing of names.
func (s *rowSchool) notAsked(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if n := s.internet.questions(name) + s.second.questions(name); n != 0 {
			t.Errorf("the upstreams were asked %d times for %s", n, name)
		}
	}
}

// breaches checks what the record says of a device and a name.
func (s *rowSchool) breaches(t *testing.T, d device, name, want string) {
	t.Helper()
	if !strings.HasPrefix(name, "(") {
		name += "."
	}
	b := s.breach(t, d, name)
	got := strings.TrimSpace(fmt.Sprintf("%s %s %s %s via %s", b.Group, b.Category, b.Severity, b.Action, b.Rule.Via))
	if b.Count == 0 {
		got = "none"
	}
	if got != want {
		t.Errorf("the breach of %s for %s: %s, want %s", d.name, name, got, want)
	}
}
