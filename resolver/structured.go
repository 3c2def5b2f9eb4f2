package resolver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"

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

// subNetworkPolicy says that the network's operator decided so (§9 of the draft). It is all that is said, of malware and
// phishing too, which have sub-errors of their own: a name on a public list of malware that is answered as if it were
// not would be known to stand on a confidential list, which goes before.
const subNetworkPolicy = 5

// explanation is the JSON of an extended error's text, as I-JSON (RFC 7493) in the draft's own names.
type explanation struct {
	Contact       []string `json:"c"`
	Justification string   `json:"j"`
	SubError      int      `json:"s"`
	Organisation  string   `json:"o,omitempty"`
	Language      string   `json:"l"`
}

// explain writes down, once, the data of the extended error that blocked answers have for who asks for a structured one;
// nil where nobody is told. It is the same whatever blocks, as the rest of the answer is.
func (s StructuredErrors) explain(site string) []byte {
	if s.Option == 0 {
		return nil
	}
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false) // nobody puts it into a page as it is, and it is to be short
	// It can't fail: there are only strings and a number.
	_ = out.Encode(explanation{[]string{s.Contact}, "Blocked by the school's filter", subNetworkPolicy, site, "en"})
	code := binary.BigEndian.AppendUint16(nil, uint16(dnswire.EDEBlocked))
	return append(code, bytes.TrimSpace(text.Bytes())...)
}

// explanation is the data of the extended error that q is to have instead of the bare one; nil for none, and where
// the option with it takes more than room octets. Over plain DNS nobody gets one: a client must not believe it
// there (§5.3 of the draft), everybody on the way could read it, and a forged question would have it sent to
// somebody else.
func (q *query) explanation(room int) []byte {
	s := q.snapshot
	if s.explanation == nil || q.ede != dnswire.EDEBlocked || !q.transport.encrypted() || 4+len(s.explanation) > room ||
		!q.msg.Has(q.in, s.Blocking.StructuredErrors.Option) {
		return nil
	}
	return s.explanation
}
