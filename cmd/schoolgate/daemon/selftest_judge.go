package daemon

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// reply is what came back on the wire.
type reply struct {
	err     error // nothing came, or nothing that can be read
	rcode   dnsmessage.RCode
	ede     map[uint16]bool // extended errors (RFC 8914)
	cname   string          // where the name leads, "" for nowhere
	address []netip.Addr
}

const (
	optionEDE  = 15 // RFC 8914 §2
	edeBlocked = 15 // RFC 8914 §4.16
)

// packQuestion makes a question for the IPv4 addresses of a name, with EDNS.
func packQuestion(name string) ([]byte, error) {
	n, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, err
	}
	opt := dnsmessage.Resource{Body: &dnsmessage.OPTResource{}}
	if err := opt.Header.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err != nil {
		return nil, err
	}
	m := dnsmessage.Message{
		Header:      dnsmessage.Header{ID: 1, RecursionDesired: true},
		Questions:   []dnsmessage.Question{{Name: n, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Additionals: []dnsmessage.Resource{opt},
	}
	return m.Pack()
}

func readReply(packet []byte) (r reply) {
	var m dnsmessage.Message
	if r.err = m.Unpack(packet); r.err != nil {
		return r
	}
	r.rcode, r.ede = m.RCode, map[uint16]bool{}
	for _, rr := range m.Answers {
		switch body := rr.Body.(type) {
		case *dnsmessage.CNAMEResource:
			if r.cname == "" {
				r.cname = body.CNAME.String()
			}
		case *dnsmessage.AResource:
			r.address = append(r.address, netip.AddrFrom4(body.A))
		}
	}
	for _, rr := range m.Additionals {
		if opt, ok := rr.Body.(*dnsmessage.OPTResource); ok {
			for _, o := range opt.Options {
				if o.Code == optionEDE && len(o.Data) >= 2 {
					r.ede[binary.BigEndian.Uint16(o.Data)] = true
				}
			}
		}
	}
	return r
}

func (r reply) blocked() bool { return r.err == nil && r.ede[edeBlocked] }

// shown says in a few words what came.
func (r reply) shown() string {
	switch {
	case r.err != nil:
		return r.err.Error()
	case r.blocked():
		return "blocked"
	case r.cname != "":
		return "answered by way of " + r.cname
	case len(r.address) > 0:
		return "answered " + r.address[0].String()
	case r.rcode == dnsmessage.RCodeSuccess:
		return "answered, with no address"
	}
	return strings.TrimPrefix(r.rcode.String(), "RCode")
}

// judgeBlocked wants the blocked answer that the configuration says (blocking.answer).
func judgeBlocked(r reply, answer string) (result, why string) {
	if !r.blocked() {
		return CheckFailed, "not blocked: " + r.shown()
	}
	for _, a := range r.address {
		ours := answer == "page" || answer == "zero" && a.IsUnspecified()
		if r.cname != "" || !ours {
			return CheckFailed, "said to be blocked, and answered " + a.String()
		}
	}
	return CheckOK, ""
}

// judgeAbsent wants a name that leads nowhere: it does not exist, or has nothing, or is blocked.
func judgeAbsent(r reply) (result, why string) {
	if r.err == nil && len(r.address) == 0 && r.cname == "" && (r.rcode == dnsmessage.RCodeNameError || r.rcode == dnsmessage.RCodeSuccess || r.blocked()) {
		return CheckOK, ""
	}
	return CheckFailed, "not shut: " + r.shown()
}

// judgeSafe wants a name that leads to its safe form. Where that can't be had, SERVFAIL is shut.
func judgeSafe(r reply, host string) (result, why string) {
	switch {
	case r.err == nil && strings.EqualFold(strings.TrimSuffix(r.cname, "."), strings.TrimSuffix(host, ".")):
		return CheckOK, ""
	case r.err != nil || r.rcode == dnsmessage.RCodeServerFailure && len(r.address) == 0:
		return CheckOK, "not reachable, and shut"
	case r.blocked():
		return CheckOK, "blocked"
	}
	return CheckFailed, "not in its safe form: " + r.shown()
}

// judgeOpen wants a name that is not blocked.
func judgeOpen(r reply) (result, why string) {
	switch {
	case r.blocked():
		return CheckFailed, "blocked"
	case r.err != nil || r.rcode == dnsmessage.RCodeServerFailure:
		return CheckNotTested, "no answer"
	}
	return CheckOK, ""
}
