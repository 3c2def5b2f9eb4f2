//go:build e2e

package e2e_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// explanation says why our answers are not Unbound's in one way.
type explanation struct {
	name    string
	matches func(d difference) bool
	why     string
}

// explanations are looked through from the top; the first that matches a difference explains it.
var explanations = []explanation{
	{
		"a question that is broken is told so",
		func(d difference) bool {
			return d.in == "answered" && d.us != nil && d.us.Rcode == dns.RcodeFormatError && brokenName(d.asked)
		},
		"A client learns more from FORMERR than from silence (RFC 1035 §4.1.1), and 12 octets amplify nothing. Unbound drops it or sends the octets back.",
	},
	{
		"octets behind the message",
		func(d difference) bool {
			return d.is("rcode", "FORMERR", "NOERROR") && strings.HasPrefix(d.asked.malformed, "octets behind") || d.of("octets behind") && d.isLeft()
		},
		"What is behind the last record is no part of a query, and nobody knows what it means; BIND says FORMERR too.",
	},
	{
		"options that are malformed",
		func(d difference) bool {
			return (d.of("an option that is longer") || d.of("a cookie of three")) && (d.is("rcode", "FORMERR", "NOERROR") || d.isLeft())
		},
		"RFC 7873 §5.2.2 asks for FORMERR where a cookie has a length that there is not, RFC 6891 §6.1.2 says how long options are.",
	},
	{
		"a record besides OPT in the additional section",
		func(d difference) bool {
			return d.of("another record in the additional") || d.of("an OPT record of another name") || d.of("two OPT records")
		},
		"A query may have records there that mean something to others (RFC 8490, TSIG): they are passed over. Two OPT records, or one that has not the root's name, are FORMERR (RFC 6891 §6.1.1).",
	},
	{
		"records in the answer or authority section of a query",
		func(d difference) bool {
			return d.of("an answer in the question") || d.of("authority in the question")
		},
		"Only IXFR has them (RFC 1995 §3): FORMERR, and what the sender wrote is not sent back as if it were an answer.",
	},
	{
		"a header alone, or the number of questions is not one",
		func(d difference) bool {
			return (d.of("a header alone") || d.of("a question without its class") || d.of("no question") || d.of("two questions")) && (d.in == "question" || d.in == "RA" || strings.HasPrefix(d.in, "option"))
		},
		"FORMERR has no question where there was none that can be read (RFC 9619: one is what there may be).",
	},
	{
		"TC in a query is passed over",
		func(d difference) bool {
			return d.asked.flags&bitTC != 0 && (d.in == "rcode" && d.theirs == "FORMERR" || d.isError())
		},
		"A query that is whole is answered: RFC 1035 §4.1.1 gives TC no meaning in one.",
	},
	{
		"ANY gets one small record",
		func(d difference) bool {
			return d.asked.typ == dns.TypeANY && (d.isSection() || d.is("rcode", "NOERROR", "NXDOMAIN"))
		},
		"RFC 8482 §4.2: HINFO says that ANY is not answered in full, which is what those who amplify ask for; so no upstream is asked whether the name exists.",
	},
	{
		"zone transfers of names that are answered here",
		func(d difference) bool {
			return (d.asked.typ == dns.TypeAXFR || d.asked.typ == dns.TypeIXFR) && (d.is("rcode", "NXDOMAIN", "REFUSED") || d.is("rcode", "NOERROR", "REFUSED"))
		},
		"What is decided of a name is decided whatever the type: it does not exist, whoever wants to transfer it.",
	},
	{
		"types that are no types of records",
		func(d difference) bool {
			return meta(d.asked.typ) && (d.is("rcode", "REFUSED", "FORMERR") || d.is("rcode", "NXDOMAIN", "FORMERR") || d.is("rcode", "NOERROR", "FORMERR"))
		},
		"There is nothing wrong with the form of a question for MAILB or TSIG (RFC 6895 §3.1): it is well understood, and refused, with EDE 21.",
	},
	{
		"NOTIFY from anybody",
		func(d difference) bool {
			return d.asked.opcode() == dns.OpcodeNotify && d.is("rcode", "NOTIMP", "REFUSED")
		},
		"There is no zone here that anybody could notify of (RFC 1996 §3.11); those of lists by zone transfer are taken from their servers.",
	},
	{
		"other opcodes",
		func(d difference) bool {
			return d.asked.opcode() != dns.OpcodeQuery && (d.in == "question" || d.in == "OPT")
		},
		"What the sections of another opcode's message are is for that opcode to say (RFC 8490 §5.4 has none): NOTIMP is the header, and nothing is read.",
	},
	{
		"another version of EDNS comes first",
		func(d difference) bool {
			return d.asked.version != 0 && (d.is("rcode", "BADVERS", "REFUSED") || d.is("rcode", "BADVERS", "FORMERR") || d.in == "EDNS version" && d.ours == "0")
		},
		"RFC 6891 §6.1.3: a version that is not known is answered BADVERS, with the version that is, whatever else was asked.",
	},
	{
		"the class ANY",
		func(d difference) bool {
			return d.asked.class == dns.ClassANY && d.in == "rcode" && d.ours == "REFUSED"
		},
		"There is one class that devices use. The others are refused with EDE 21 (RFC 8914 §4.22), not guessed at.",
	},
	{
		"names of the school's own protection",
		func(d difference) bool {
			return (d.asked.below("use-application-dns.net") || d.asked.below("mask.icloud.com") || d.asked.below("mask-h2.icloud.com")) && (d.isSection() || d.in == "rcode")
		},
		"NXDOMAIN, and our own SOA record: so Firefox turns its own DNS over HTTPS off, and iCloud Private Relay says that it is not for this network.",
	},
	{
		"resolver.arpa has no names that do not exist",
		func(d difference) bool {
			return d.asked.below("resolver.arpa") && (d.is("rcode", "NOERROR", "NXDOMAIN") || d.isSection())
		},
		"RFC 9462 §6.4: a resolver that has no encrypted one to name answers NODATA, and passes nothing on of what is below.",
	},
	{
		"ids and versions of servers",
		func(d difference) bool { return d.asked.class == dns.ClassCHAOS && d.in == "rcode" },
		"Nobody but the administrator is told which version runs; NSID names the site to whoever may ask (RFC 5001).",
	},
	{
		"without RD a question is answered all the same",
		func(d difference) bool {
			return d.asked.flags&bitRD == 0 && d.us != nil && slices.Contains([]int{dns.RcodeSuccess, dns.RcodeNameError}, d.us.Rcode) && (d.isSection() || d.in == "rcode" || d.in == "TC")
		},
		"A filter that answers such questions from the cache alone would say to each pupil what the others asked for, and an answer that is late is judged like any other. Unbound names servers that a school's device cannot ask.",
	},
	{
		"RD is as it was asked",
		func(d difference) bool { return d.asked.flags&bitRD == 0 && d.is("RD", "false", "true") },
		"RFC 1035 §4.1.1: RD is copied into the response. Unbound's cache remembers that of whoever asked first.",
	},
	{
		"RA says that there is recursion",
		func(d difference) bool { return d.is("RA", "true", "false") },
		"RFC 1035 §4.1.1: it says what a server can do, and that is the same in an error and in an answer about a special name.",
	},
	{
		"Z is zero",
		func(d difference) bool { return d.is("Z", "false", "true") },
		"RFC 1035 §4.1.1: in all responses. Unbound's errors are the question turned round.",
	},
	{
		"AD is not sent back in errors",
		func(d difference) bool { return d.is("AD", "false", "true") && d.asked.flags&bitAD != 0 && d.isError() },
		"RFC 6840 §5.8: in a response it says that all was validated, which no error is. Unbound's errors are the question turned round.",
	},
	{
		"AD is what the upstream found out",
		func(d difference) bool {
			return d.is("AD", "true", "false") && (d.asked.below("secure.compare.example") || d.asked.says("authentic")) && (d.asked.do || d.asked.flags&bitAD != 0)
		},
		"The upstream is the administrator's choice, and what it validated is told to whoever asks for it (RFC 6840 §5.7, §5.8). Unbound believes itself alone, and this one validates nothing.",
	},
	{
		"AA of names that everybody answers for",
		func(d difference) bool { return d.is("AA", "false", "true") && (d.isLocal() || d.isError()) },
		"RFC 6303 §3 has such zones served as any others, and who asks a resolver looks at no AA. Here it means that the school's own records say so.",
	},
	{
		"the size that we take stands in errors too",
		func(d difference) bool {
			return d.in == "UDP size" && d.ours == "1232" && d.theirs == fmt.Sprint(d.asked.size) && d.isError()
		},
		"RFC 6891 §6.2.3: it is the sender's own. Unbound's errors have the client's.",
	},
	{
		"options are not sent back",
		func(d difference) bool {
			return strings.HasPrefix(d.in, "option") && d.ours == "false" && d.isError()
		},
		"RFC 6891 §6.1.2: each option has an answer of its own, or none. Unbound's errors have the client's options.",
	},
	{
		"a cookie",
		func(d difference) bool {
			return d.is("option 10", "true", "false") && slices.Contains(d.asked.options, 10)
		},
		"RFC 7873: a client that knows cookies gets one. Unbound has them switched off.",
	},
	{
		"the name of the server",
		func(d difference) bool {
			return d.is("option 3", "true", "false") && slices.Contains(d.asked.options, 3)
		},
		"RFC 5001: who asks learns which site answered. Unbound has it switched off.",
	},
	{
		"how long a connection may be idle",
		func(d difference) bool {
			return d.is("option 11", "true", "false") && slices.Contains(d.asked.options, 11) && d.asked.tcp
		},
		"RFC 7828 §3.3.2: a client that asks over TCP is told. Unbound has it switched off.",
	},
	{
		"an extended error",
		func(d difference) bool {
			return d.is("option 15", "true", "false") && slices.Contains([]int{dns.RcodeRefused, dns.RcodeServerFailure}, d.us.Rcode)
		},
		"RFC 8914: what failed, or is not to be had here, is said. Unbound has it switched off.",
	},
	{
		"special names have our SOA record",
		func(d difference) bool {
			return d.isLocal() && (d.in == "authority" || d.is("rcode", "NXDOMAIN", "NOERROR") && !d.asked.below("localhost"))
		},
		"The SOA record that lets a client keep it (RFC 2308 §5) is of the name asked for, as in blocked answers; the tops of these zones have no records of their own, and the reverse names of this machine lead nowhere (RFC 6303 §4.2).",
	},
	{
		"localhost",
		func(d difference) bool {
			return d.asked.below("localhost") && (d.in == "answer" || d.in == "TTL" && strings.HasSuffix(d.ours, "86400"))
		},
		"RFC 6761 §6.3: it has addresses, and no name servers; and they do not change.",
	},
	{
		"a loop of aliases",
		func(d difference) bool {
			return d.is("rcode", "NOERROR", "SERVFAIL") && strings.Contains(strings.ToLower(d.asked.name), "loop") || strings.HasPrefix(strings.ToLower(d.asked.name), "self.") && d.in == "rcode"
		},
		"A forwarder follows no aliases: what the upstream says is handed on, once each, and the client's own limit ends it.",
	},
	{
		"an alias made of a DNAME record",
		func(d difference) bool {
			return d.in == "TTL" && d.theirs[strings.LastIndexByte(d.theirs, ' ')+1:] == "0" && d.asked.below("d.compare.example")
		},
		"RFC 6672 §3.1: it lives as long as the DNAME record. Unbound makes it anew each time.",
	},
	{
		"an alias is believed to lead where the upstream says",
		func(d difference) bool {
			return d.asked.says("backwards", "two-aliases") && (d.isSection() || d.is("rcode", "NOERROR", "NXDOMAIN"))
		},
		"What the upstream says of an alias' target is handed on, once it has been judged. Unbound asks for the target itself, here to hear something else.",
	},
	{
		"a referral by a resolver",
		func(d difference) bool { return d.asked.says("lame") && d.in == "authority" },
		"It is no answer, and not kept (RFC 2308 §2.2); what it says is handed on. Unbound leaves out what is not below the name of its forward zone.",
	},
	{
		"additional records",
		func(d difference) bool { return d.in == "additional" && d.ours == "" },
		"Nobody asked for them, and nobody judged them: none is handed on.",
	},
	{
		"an SOA record is as old as the answer",
		func(d difference) bool {
			return d.in == "authority" && strings.HasPrefix(strings.ToLower(d.asked.name), "say-soa-")
		},
		"Unbound keeps each record by itself, and answers with the SOA record that it heard last; ours is that of this answer.",
	},
	{
		"a record of another class",
		func(d difference) bool { return d.asked.says("other-class") && d.in == "answer" && d.ours == "" },
		"It is not what was asked for, and left out. Unbound hands it on as one of class IN.",
	},
}

func (d difference) is(in, ours, theirs string) bool {
	return d.in == in && d.ours == ours && d.theirs == theirs
}

// of reports whether the question was malformed in a way.
func (d difference) of(malformed string) bool { return strings.HasPrefix(d.asked.malformed, malformed) }

func (d difference) isSection() bool {
	return slices.Contains([]string{"answer", "authority", "additional"}, d.in)
}

// isError reports whether one of the answers is not about the name.
func (d difference) isError() bool {
	return d.unbound != nil && !slices.Contains([]int{dns.RcodeSuccess, dns.RcodeNameError}, d.unbound.Rcode)
}

// isLeft reports whether it is a consequence of another response code.
func (d difference) isLeft() bool { return d.in == "RA" || d.in == "OPT" || d.in == "question" }

// isLocal reports whether both answer for the name themselves (RFC 6761, RFC 6303, RFC 7686, RFC 8375).
func (d difference) isLocal() bool {
	return slices.ContainsFunc([]string{
		"localhost", "invalid", "test", "onion", "home.arpa", "10.in-addr.arpa", "127.in-addr.arpa", "20.172.in-addr.arpa", "2.0.192.in-addr.arpa", "8.e.f.ip6.arpa",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
	}, d.asked.below)
}

// brokenName reports whether the question's name or what follows it cannot be read.
func brokenName(a *asked) bool {
	return slices.Contains([]string{"a name that breaks off", "a compressed name", "a label of a kind that there is not", "a name of more than 255 octets"}, a.malformed)
}

// meta reports whether a type is a question's alone.
func meta(typ uint16) bool { return typ >= 128 && typ < 255 || typ == 41 || typ == 0 }
