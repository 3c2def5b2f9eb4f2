package blocklist

import (
	"net/netip"
	"slices"
	"strings"
)

// zone is where a reader of a zone file (RFC 1035 §5.1) stands.
type zone struct {
	// origin is what relative names are relative to, and apex the zone's own name, which is no part
	// of a trigger. Both are the root until $ORIGIN or the SOA record says better: in a file with
	// neither, every name is a trigger as it stands.
	origin, apex         Name
	originSet, apexKnown bool

	owner   Name // of the last record, whole, its "*" taken off
	wild    bool // that one began with "*"
	hasLast bool

	depth  int // of parentheses
	tokens []string
	blank  bool // the record began with white space: it has the owner of the one before
	line   int  // where the record began
	text   string

	// The last trigger taken: local data of several types is still one entry.
	taken     Name
	takenWild bool
}

// maxTokens bounds a record, so that a parenthesis that is never closed costs a few records and not
// the rest of the file.
const maxTokens = 64

// readRPZ reads a line of a response policy zone.
func (p *parser) readRPZ(line string) {
	z := &p.zone
	if z.depth == 0 {
		z.tokens, z.line, z.text = z.tokens[:0], p.line, line
		z.blank = line != "" && (line[0] == ' ' || line[0] == '\t')
		if line != "" && (line[0] == ';' || line[0] == '#') && p.isComment(line) { // '#': not by the RFC
			return
		}
	}
	z.tokenize(line)
	switch {
	case len(z.tokens) > maxTokens:
		z.depth = 0
		p.zoneProblem("parenthesis that is not closed")
	case z.depth == 0 && len(z.tokens) > 0:
		p.readRecord(z.tokens)
	}
}

// endZone notes a record that the end of the file cut off.
func (p *parser) endZone() {
	if p.zone.depth > 0 {
		p.zoneProblem("parenthesis that is not closed")
	}
}

// zoneProblem is problem for the record, which may have begun some lines above.
func (p *parser) zoneProblem(reason string) {
	line, text := p.line, p.text
	p.line, p.text = p.zone.line, p.zone.text
	p.problem(reason)
	p.line, p.text = line, text
}

// tokenize adds the words of a line to the record's.
func (z *zone) tokenize(line string) {
	for i := 0; i < len(line); {
		switch line[i] {
		case ' ', '\t':
			i++
		case ';':
			return
		case '(':
			z.depth++
			i++
		case ')':
			z.depth = max(z.depth-1, 0)
			i++
		default:
			end := tokenEnd(line, i)
			z.tokens = append(z.tokens, line[i:end])
			i = end
		}
	}
}

// tokenEnd returns where the word that begins at line[i] ends. A quoted one has its quotes.
func tokenEnd(line string, i int) int {
	quoted := line[i] == '"'
	for j := i; j < len(line); j++ {
		switch c := line[j]; {
		case c == '\\':
			j++
		case quoted:
			if c == '"' && j > i {
				return j + 1
			}
		case strings.IndexByte(" \t;()", c) >= 0:
			return j
		}
	}
	return len(line)
}

// readRecord reads a whole record, or a directive.
func (p *parser) readRecord(tokens []string) {
	z := &p.zone
	if strings.HasPrefix(tokens[0], "$") && !z.blank {
		p.readDirective(tokens)
		return
	}
	if !z.blank {
		owner, wild, err := z.resolve(tokens[0])
		if err != nil {
			z.hasLast = false
			p.zoneProblem(reasonOf(err))
			return
		}
		z.owner, z.wild, z.hasLast = owner, wild, true
		tokens = tokens[1:]
	}
	for len(tokens) > 0 && (isTTL(tokens[0]) || isClass(tokens[0])) { // RFC 1035: in either order
		tokens = tokens[1:]
	}
	switch {
	case len(tokens) == 0 || !isType(tokens[0]):
		p.zoneProblem("no record type")
	case !z.hasLast:
		p.zoneProblem("no owner name")
	default:
		p.readTrigger(strings.ToUpper(tokens[0]), tokens[1:])
	}
}

func (p *parser) readDirective(tokens []string) {
	z := &p.zone
	switch strings.ToUpper(tokens[0]) {
	case "$TTL":
	case "$ORIGIN":
		if len(tokens) < 2 {
			p.zoneProblem("$ORIGIN without a name")
			return
		}
		origin, _, err := z.resolve(tokens[1])
		if err != nil {
			p.zoneProblem(reasonOf(err))
			return
		}
		z.origin, z.originSet = origin, true
		if !z.apexKnown {
			z.apex, z.apexKnown = origin, true
		}
	default:
		p.zoneProblem("a directive that is not followed")
	}
}

// resolve returns the whole name for one as it stands in the file, and whether it began with "*",
// which is taken off.
func (z *zone) resolve(text string) (name Name, wild bool, err error) {
	switch text {
	case "@":
		return z.origin, false, nil
	case "*":
		return z.origin, true, nil
	case "*.":
		return root, true, nil
	}
	text, wild = strings.CutPrefix(text, "*.")
	var buf [2 * maxName]byte
	key, err := appendName(buf[:0], text)
	switch {
	case err != nil && strings.IndexByte(text, '*') >= 0:
		return "", false, errStar
	case err != nil:
		return "", false, err
	}
	if !isAbsolute(text) {
		key = append(key[:len(key)-1], z.origin...)
	}
	if len(key) > maxName {
		return "", false, errNameLong
	}
	return Name(key), wild, nil
}

// isAbsolute reports whether a name ends in a dot that no backslash makes part of its last label.
func isAbsolute(text string) bool {
	rest, ok := strings.CutSuffix(text, ".")
	slashes := len(rest) - len(strings.TrimRight(rest, `\`))
	return ok && slashes%2 == 0
}

// readTrigger takes the record of a trigger: what it says is to be done for a name.
func (p *parser) readTrigger(typ string, data []string) {
	z := &p.zone
	if typ == "SOA" {
		z.apex, z.apexKnown = z.owner, true
		if !z.originSet {
			z.origin = z.apex
		}
		return
	}
	if !z.apex.Covers(z.owner) {
		p.zoneProblem("outside of the zone")
		return
	}
	trigger := z.owner[:len(z.owner)-len(z.apex)] + root
	switch {
	case trigger == root && !z.wild: // the zone's own records
		return
	case isOtherTrigger(trigger):
		p.readOtherTrigger(trigger, typ, data)
		return
	}
	k := blockSelf
	switch typ {
	case "CNAME":
		if len(data) == 0 {
			p.zoneProblem("CNAME without a target")
			return
		}
		if z.passes(trigger, data[0]) {
			k = passSelf
		}
	case "NS", "DS", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "CDS", "CDNSKEY", "ZONEMD":
		return // these serve the zone, and say nothing of the trigger
	}
	if z.taken == trigger && z.takenWild == z.wild {
		return
	}
	z.taken, z.takenWild = trigger, z.wild
	if z.wild {
		k <<= 1 // below, not itself
	}
	line, text := p.line, p.text
	p.line, p.text = z.line, z.text
	p.accept(k, []byte(trigger))
	p.line, p.text = line, text
}

// passes reports whether a CNAME to target lets the trigger through. Before there was rpz-passthru
// that was said by a CNAME to the name itself.
func (z *zone) passes(trigger Name, target string) bool {
	name, wild, err := z.resolve(target)
	if err != nil {
		return false
	}
	return name == passthru && !wild || name == trigger && wild == z.wild
}

const passthru Name = "\x0crpz-passthru\x00"

// isOtherTrigger reports whether a trigger is an address, a client, or a name server.
func isOtherTrigger(trigger Name) bool {
	switch string(trigger.top()) {
	case rpzIP, "\x0drpz-client-ip\x00", "\x0brpz-nsdname\x00", "\x08rpz-nsip\x00":
		return true
	}
	return false
}

// rpzIP is below what the triggers are that are addresses in answers.
const rpzIP = "\x06rpz-ip\x00"

// top returns the last label of a name by itself.
func (n Name) top() Name {
	for n != root && n.Parent() != root {
		n = n.Parent()
	}
	return n
}

// readOtherTrigger takes a trigger that is no name. Of those only an address in the answer can be enforced by who does
// not ask the name servers itself; and it is an entry like any other address, so that none is let through by another.
func (p *parser) readOtherTrigger(trigger Name, typ string, data []string) {
	z := &p.zone
	if trigger.top() != rpzIP || typ == "CNAME" && len(data) > 0 && z.passes(trigger, data[0]) {
		p.unenforceable()
		return
	}
	if z.taken == trigger { // local data of several types
		return
	}
	z.taken, z.takenWild = trigger, z.wild
	line, text := p.line, p.text
	p.line, p.text = z.line, z.text
	if prefix, ok := triggerPrefix(trigger); ok && !z.wild {
		p.address(prefix)
	} else {
		p.problem("no address range in front of rpz-ip")
	}
	p.line, p.text = line, text
}

// triggerPrefix reads the range of addresses of a trigger: its length, then the parts of the address from the last to
// the first, where "zz" stands for as many zeros as are left out of an IPv6 address.
func triggerPrefix(trigger Name) (netip.Prefix, bool) {
	var parts []string
	for ; trigger != root && trigger != rpzIP; trigger = trigger.Parent() {
		label, _ := trigger.split()
		parts = append(parts, string(label))
	}
	if len(parts) < 2 {
		return netip.Prefix{}, false
	}
	length := parts[0]
	slices.Reverse(parts[1:])
	text := strings.Join(parts[1:], ".")
	if len(parts) != 5 || slices.Contains(parts, "zz") { // IPv4 has four parts and no gap
		text = strings.Replace(":"+strings.Join(parts[1:], ":")+":", ":zz:", "::", 1)
		if !strings.HasPrefix(text, "::") {
			text = text[1:]
		}
		if !strings.HasSuffix(text, "::") {
			text = text[:len(text)-1]
		}
	}
	prefix, err := netip.ParsePrefix(text + "/" + length)
	return prefix.Masked(), err == nil
}

// isTTL reports whether a word is a time to live: seconds, or BIND's 1h30m.
func isTTL(s string) bool {
	if !isDigit(s[0]) {
		return false
	}
	return strings.Trim(strings.ToLower(s), "0123456789smhdw") == ""
}

func isClass(s string) bool {
	switch strings.ToUpper(s) {
	case "IN", "CH", "HS", "CS":
		return true
	}
	return false
}

// isType reports whether a word is a record type that a policy zone may hold.
func isType(s string) bool {
	s = strings.ToUpper(s)
	switch s {
	case "A", "AAAA", "CNAME", "TXT", "SOA", "NS", "PTR", "MX", "SRV", "DNAME", "HTTPS", "SVCB", "CAA", "NAPTR", "SPF", "LOC",
		"HINFO", "RP", "SSHFP", "TLSA", "URI", "DS", "DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "CDS", "CDNSKEY", "ZONEMD":
		return true
	}
	number, ok := strings.CutPrefix(s, "TYPE") // RFC 3597
	return ok && number != "" && isNumber([]byte(number))
}
