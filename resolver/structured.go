package resolver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"

	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// StructuredErrors lets a program that blocks nothing itself, such as a browser, tell its user who blocked a name
// and whom to ask (draft-ietf-dnsop-structured-dns-error): the text of the extended error is JSON then.
type StructuredErrors struct {
	// Option is the code of the EDNS option, without data, by which a client asks for that; 0: nobody is told.
	Option uint16
	// Contact is whom to ask, a URI with the scheme tel or mailto.
	Contact string
}

// FreeOption reports whether a code can be that of StructuredErrors: it has no meaning here yet.
func FreeOption(code uint16) bool { return !dnswire.Known(code) }

// The sub-errors in use (§9 of the draft).
const (
	subMalware       = 1
	subPhishing      = 2
	subNetworkPolicy = 5
)

// explanation is the JSON of an extended error's text, as I-JSON (RFC 7493) in the draft's own names.
type explanation struct {
	Contact       []string `json:"c"`
	Justification string   `json:"j"`
	SubError      int      `json:"s"`
	Organisation  string   `json:"o,omitempty"`
	Language      string   `json:"l"`
}

// explanations are the data of the extended errors that blocked answers have for who asks for structured ones.
type explanations struct {
	option uint16
	policy []byte   // what blocks has no category, or one like any other
	of     [][]byte // by category
}

// newExplanations writes them down once, so that a query only copies; nil where nobody is told. A confidential
// category has the explanation that any other has, whatever it is called: nobody can tell from it what is on a
// confidential list. The justification names none, for the same reason.
func newExplanations(s StructuredErrors, p *policy.Policy) *explanations {
	if s.Option == 0 {
		return nil
	}
	data := func(sub int) []byte {
		var text bytes.Buffer
		out := json.NewEncoder(&text)
		out.SetEscapeHTML(false) // nobody puts it into a page as it is, and it is to be short
		// It can't fail: there are only strings and a number.
		_ = out.Encode(explanation{[]string{s.Contact}, "Blocked by the school's filter", sub, p.Site(), "en"})
		code := binary.BigEndian.AppendUint16(nil, uint16(dnswire.EDEBlocked))
		return append(code, bytes.TrimSpace(text.Bytes())...)
	}
	x := &explanations{option: s.Option, policy: data(subNetworkPolicy)}
	malware, phishing := data(subMalware), data(subPhishing)
	for _, c := range p.Categories() {
		switch {
		case c.Confidential:
			x.of = append(x.of, x.policy)
		case c.Name == "malware":
			x.of = append(x.of, malware)
		case c.Name == "phishing":
			x.of = append(x.of, phishing)
		default:
			x.of = append(x.of, x.policy)
		}
	}
	return x
}

// explanation is the data of the extended error that q is to have instead of the bare one; nil for none, and where
// the option with it takes more than room octets. Over plain DNS nobody gets one: a client must not believe it
// there (§5.3 of the draft), everybody on the way could read it, and a forged question would have it sent to
// somebody else.
func (q *query) explanation(room int) []byte {
	x := q.snapshot.explanations
	if x == nil || q.ede != dnswire.EDEBlocked || !q.transport.encrypted() || !q.msg.Has(q.in, x.option) {
		return nil
	}
	data := x.policy
	if c := int(q.verdict.Category); c >= 0 {
		data = x.of[c]
	}
	if 4+len(data) > room {
		return nil
	}
	return data
}
