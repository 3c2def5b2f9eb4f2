//go:build e2e

package e2e_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// unboundBefore runs an Unbound that forwards every question to a server on a port, and validates nothing;
// it returns its port.
func unboundBefore(t *testing.T, upstream int) int {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	path := filepath.Join(dir, "unbound.conf")
	write(t, path, fmt.Sprintf(`server:
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1@%d
  access-control: 127.0.0.0/8 allow_snoop
  do-not-query-localhost: no
  module-config: "iterator"
  num-threads: 1
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@%d
`, dir, port, upstream))
	cmd := exec.Command("unbound", "-d", "-c", path)
	var said syncBuffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, "unbound", func() bool {
		_, err := exchange(port, "udp", question("www.compare.example", 1, false), false)
		return err == nil
	})
	return port
}

// exchange asks one question and returns the answer, nil where there is none. Where that is to be expected,
// another question is sent behind it: once that one is answered, nothing more will come. Otherwise it is asked
// again after a while: of errors Unbound sends a hundred a second at most, and silence or a closed connection for the others.
func exchange(port int, network string, question []byte, mayBeSilent bool) (answer []byte, err error) {
	for range 40 {
		answer, err = exchangeOnce(port, network, question, mayBeSilent, 500*time.Millisecond)
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.EOF) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return answer, err
}

func exchangeOnce(port int, network string, question []byte, mayBeSilent bool, within time.Duration) ([]byte, error) {
	conn, err := net.Dial(network, fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(within))
	if network == "tcp" {
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)); err != nil {
			return nil, err
		}
		answer := make([]byte, 65535)
		if _, err := io.ReadFull(conn, answer[:2]); err != nil {
			return nil, err
		}
		answer = answer[:binary.BigEndian.Uint16(answer)]
		_, err := io.ReadFull(conn, answer)
		return answer, err
	}
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	if mayBeSilent {
		if _, err := conn.Write(last); err != nil {
			return nil, err
		}
	}
	answer := make([]byte, 65535)
	for {
		n, err := conn.Read(answer)
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(question, answer[:2]) {
			return answer[:n], nil
		}
		if mayBeSilent {
			return nil, nil
		}
	}
}

// last is the question behind one that may get no answer.
var last = func() []byte {
	q := question("www.compare.example", dns.TypeA, false)
	q[0], q[1] = 0xFF, 0xFF
	return q
}()

// difference is one way in which our answer to a question is not Unbound's.
type difference struct {
	asked        *asked
	cached       bool   // it is the second time
	in           string // the part of the answer
	ours, theirs string
	us, unbound  *dns.Msg // nil: no answer
}

func (d difference) String() string {
	again := ""
	if d.cached {
		again = ", asked again"
	}
	return fmt.Sprintf("%s%s\n\t%s: ours   %s\n\t%s: theirs %s", d.asked.what, again, d.in, d.ours, d.in, d.theirs)
}

// compare returns what is different of two answers, whose times to live may be seconds apart.
func compare(t *testing.T, a *asked, cached bool, ours, theirs []byte, seconds uint32) (all []difference) {
	t.Helper()
	d := difference{asked: a, cached: cached}
	add := func(in string, ours, theirs any) {
		if o, t := fmt.Sprint(ours), fmt.Sprint(theirs); o != t {
			d := d
			d.in, d.ours, d.theirs = in, o, t
			all = append(all, d)
		}
	}
	parse := func(who string, wire []byte) *dns.Msg {
		if wire == nil {
			return nil
		}
		m := new(dns.Msg)
		if err := m.Unpack(wire); err != nil {
			if a.malformed == "" || who == "us" {
				t.Errorf("%s\n\tno message from %s: %v: %x", a.what, who, err, wire)
			}
			return nil
		}
		return m
	}
	us, unbound := parse("us", ours), parse("Unbound", theirs)
	d.us, d.unbound = us, unbound
	if us == nil || unbound == nil {
		add("answered", us != nil, unbound != nil)
		return all
	}
	add("opcode", dns.OpcodeToString[us.Opcode], dns.OpcodeToString[unbound.Opcode])
	add("rcode", rcodeOf(us), rcodeOf(unbound))
	add("AA", us.Authoritative, unbound.Authoritative)
	add("TC", us.Truncated, unbound.Truncated)
	add("RD", us.RecursionDesired, unbound.RecursionDesired)
	add("RA", us.RecursionAvailable, unbound.RecursionAvailable)
	add("Z", us.Zero, unbound.Zero)
	add("AD", us.AuthenticatedData, unbound.AuthenticatedData)
	add("CD", us.CheckingDisabled, unbound.CheckingDisabled)
	add("question", questionOf(ours), questionOf(theirs))
	if us.Rcode == unbound.Rcode {
		for _, s := range []struct {
			name         string
			ours, theirs []dns.RR
		}{{"answer", us.Answer, unbound.Answer}, {"authority", us.Ns, unbound.Ns}, {"additional", us.Extra, unbound.Extra}} {
			o, t := records(s.ours), records(s.theirs)
			add(s.name, strings.Join(slices.Sorted(mapKeys(o)), " · "), strings.Join(slices.Sorted(mapKeys(t)), " · "))
			for text, ttl := range o {
				if their, both := t[text]; both && max(ttl, their)-min(ttl, their) > seconds {
					add("TTL", fmt.Sprint(text, " ", ttl), fmt.Sprint(text, " ", their))
				}
			}
		}
		add("owners", owners(us, a.name), owners(unbound, a.name))
	}
	our, their := us.IsEdns0(), unbound.IsEdns0()
	add("OPT", our != nil, their != nil)
	if our != nil && their != nil {
		add("EDNS version", our.Version(), their.Version())
		add("UDP size", our.UDPSize(), their.UDPSize())
		add("DO", our.Do(), their.Do())
		add("EDNS flags", our.Hdr.Ttl&0x7FFF, their.Hdr.Ttl&0x7FFF)
		for _, code := range options(our, their) {
			add(fmt.Sprintf("option %d", code), slices.Contains(options(our), code), slices.Contains(options(their), code))
		}
	}
	return all
}

func rcodeOf(m *dns.Msg) string {
	if m.Rcode == dns.RcodeBadVers {
		return "BADVERS" // the library calls it by its name in TSIG
	}
	return dns.RcodeToString[m.Rcode]
}

func mapKeys(m map[string]uint32) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// questionOf is the question of a message, octet by octet.
func questionOf(wire []byte) string {
	if len(wire) < 12 || binary.BigEndian.Uint16(wire[4:]) != 1 {
		return "none"
	}
	_, off, err := dns.UnpackDomainName(wire, 12)
	if err != nil || off+4 > len(wire) {
		return "broken"
	}
	return fmt.Sprintf("%q", wire[12:off+4])
}

// records are a section's, in lower case where case does not matter, with their times to live.
func records(section []dns.RR) map[string]uint32 {
	all := make(map[string]uint32)
	for _, rr := range section {
		if rr.Header().Rrtype == dns.TypeOPT {
			continue
		}
		ttl := rr.Header().Ttl
		rr = dns.Copy(rr)
		rr.Header().Ttl = 0
		text := strings.Join(strings.Fields(rr.String()), " ")
		switch rr.Header().Rrtype {
		case dns.TypeTXT, dns.TypeCAA, dns.TypeNAPTR, dns.TypeHINFO:
			owner, rest, _ := strings.Cut(text, " ")
			text = strings.ToLower(owner) + " " + rest
		default:
			text = strings.ToLower(text)
		}
		all[text] = ttl
	}
	return all
}

// owners reports whether the records of the QNAME have it as the client wrote it.
func owners(m *dns.Msg, name string) string {
	asWritten := true
	for _, rr := range m.Answer {
		if strings.EqualFold(rr.Header().Name, name) && rr.Header().Name != name {
			asWritten = false
		}
	}
	return fmt.Sprintf("as asked for: %v", asWritten)
}

func options(opts ...*dns.OPT) []uint16 {
	codes := []uint16{}
	for _, opt := range opts {
		for _, o := range opt.Option {
			codes = append(codes, o.Option())
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// TestAThousandQuestionsGetTheAnswersThatUnboundGives asks both, each with an upstream of its own that serves
// the same zone, first while they know nothing and then again. Where they are not of one mind, the table of
// compare_table_test.go must say why.
func TestAThousandQuestionsGetTheAnswersThatUnboundGives(t *testing.T) {
	z := newZone(t)
	s := newSite(t, "cache: {client_ttl: 1d, negative_ttl: 1h, prefetch: false}\ngroups: {everybody: {}}\ndefault_group: everybody\n")
	s.forwardTo(t, fmt.Sprintf(`servers: ["udp://127.0.0.1:%d"]`, z.serve(t)))
	s.start(t)
	z.strange.Store(0)
	theirUpstream := zone{records: z.records}
	unbound := unboundBefore(t, theirUpstream.serve(t))

	all := z.questions(t, 1000)
	if len(all) != 1000 {
		t.Fatalf("%d questions", len(all))
	}
	began := time.Now()
	explained := make(map[string]int)
	answered, alike, unexplained := 0, 0, 0
	for _, a := range all {
		network := "udp"
		if a.tcp {
			network = "tcp"
		}
		mayBeSilent := a.malformed != "" && !a.tcp
		for _, cached := range []bool{false, true} {
			ours, err := exchangeOnce(s.dns, network, a.wire, mayBeSilent, 20*time.Second)
			if err != nil {
				t.Errorf("%s: ours: %v", a.what, err)
			}
			theirs, err := exchange(unbound, network, a.wire, mayBeSilent)
			if err != nil {
				t.Errorf("%s: theirs: %v", a.what, err)
			}
			answered++
			differences := compare(t, a, cached, ours, theirs, uint32(time.Since(began)/time.Second)+1)
			if len(differences) == 0 {
				alike++
			}
			for _, d := range differences {
				i := slices.IndexFunc(explanations, func(e explanation) bool { return e.matches(d) })
				if i >= 0 {
					explained[explanations[i].name]++
					continue
				}
				if unexplained++; unexplained <= 50 || os.Getenv("COMPARE_ALL") != "" {
					t.Errorf("unexplained: %s", d)
				}
			}
		}
	}
	if unexplained > 50 {
		t.Errorf("unexplained in all: %d", unexplained)
	}
	for _, e := range explanations {
		if explained[e.name] == 0 {
			t.Errorf("the table explains %q, and there is no such difference", e.name)
		}
	}
	if n := z.strange.Load(); n != 0 {
		t.Errorf("%d questions of another class, or other than questions, came to our upstream", n)
	}
	names := make([]string, 0, len(explained))
	for name := range explained {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(explained[b], explained[a]) })
	for _, name := range names {
		t.Logf("%4d × %s", explained[name], name)
	}
	t.Logf("%d of %d answers are alike in every way, in %v", alike, answered, time.Since(began))
}
