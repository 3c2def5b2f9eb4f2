package blocklist

import (
	"net/netip"
	"strings"
)

// readAdblock reads a rule of an ad blocker's list. Of that language DNS can follow one sentence
// whole, ||name^: block this host and those below it. Most rules of a list for browsers say something
// else, and must not be taken for more than they say.
func (p *parser) readAdblock(line string) {
	switch {
	case line[0] == '[' && line[len(line)-1] == ']': // [Adblock Plus 2.0]
		return
	case strings.HasPrefix(line, "@@"):
		p.exception()
		return
	case isCosmetic(line):
		p.unusable(reasonCosmetic)
		return
	case line[0] == '/' && strings.LastIndexByte(line, '/') > 0:
		p.unusable("regular expression")
		return
	}
	pattern, modifiers, modified := strings.Cut(line, "$")
	name, start := strings.CutPrefix(pattern, "||")
	name, end := strings.CutSuffix(name, "^")
	switch {
	case !start:
		p.problem(reasonRule)
	case !end || strings.IndexByte(name, '/') >= 0:
		p.unusable(reasonRule)
	case modified && !blocksAll(modifiers):
		p.unusable("modifier other than important, all and document")
	default:
		p.host(name)
	}
}

// isCosmetic reports whether a line is a rule on what a page shows: example.org##.banner.
func isCosmetic(line string) bool {
	for _, mark := range []string{"##", "#@", "#?#", "#$", "#%#", "$$"} {
		if strings.Contains(line, mark) {
			return true
		}
	}
	return false
}

// blocksAll reports whether a rule with these modifiers still blocks everything of its host.
func blocksAll(modifiers string) bool {
	for m := range strings.SplitSeq(modifiers, ",") {
		switch m {
		case "important", "all", "document", "doc":
		default:
			return false
		}
	}
	return true
}

// readDnsmasq reads a line of a dnsmasq configuration: address=/a/b/0.0.0.0 answers for the names
// itself, server=/a/ and local=/a/ with no server behind keep them from every upstream.
func (p *parser) readDnsmasq(line string) {
	line = cutComment(line)
	option, value, _ := strings.Cut(line, "=")
	option, value = strings.TrimSpace(option), strings.TrimSpace(value)
	if option != "address" && option != "server" && option != "local" {
		p.problem("no address=, server= or local=")
		return
	}
	last := strings.LastIndexByte(value, '/')
	if last < 1 || value[0] != '/' {
		p.problem("no name between slashes")
		return
	}
	names, target := value[1:last], value[last+1:]
	switch {
	case target == "":
	case option == "address":
		// "#" stands for 0.0.0.0 and ::.
		if addr, err := netip.ParseAddr(target); target != "#" && (err != nil || !isSink(addr)) {
			p.unusable(reasonTarget)
			return
		}
	case target == "#": // back to the ordinary servers
		p.exception()
		return
	default:
		p.unusable("forwards to a server instead of blocking")
		return
	}
	for name := range strings.SplitSeq(names, "/") {
		if name == "#" {
			p.problem("covers every name")
			continue
		}
		p.host(name)
	}
}

// readUnbound reads a line of an Unbound configuration. Of a local-zone the type says whether it
// blocks. What a local-data line answers does not matter beside the zone it belongs to.
func (p *parser) readUnbound(line string) {
	option, value, _ := strings.Cut(cutComment(line), ":")
	switch strings.TrimSpace(option) {
	case "server", "local-data", "local-data-ptr":
		return
	case "local-zone":
	default:
		p.problem("no local-zone")
		return
	}
	name, kind := cutQuoted(strings.TrimSpace(value))
	switch kind {
	case "deny", "refuse", "static", "redirect", "inform_deny", "inform_redirect",
		"always_refuse", "always_nxdomain", "always_nodata", "always_deny", "always_null":
		p.host(name)
	default:
		p.unusable("local-zone of a type that does not block")
	}
}

// cutQuoted returns the first word of s, without its quotes, and the rest.
func cutQuoted(s string) (word, rest string) {
	if s != "" && (s[0] == '"' || s[0] == '\'') {
		word, rest, _ = strings.Cut(s[1:], s[:1])
	} else if i := strings.IndexAny(s, " \t"); i >= 0 {
		word, rest = s[:i], s[i:]
	} else {
		word = s
	}
	rest = strings.TrimSpace(rest)
	return word, strings.Trim(rest, `"'`)
}

// cutComment takes off a comment that begins after white space: '#' also stands inside values.
func cutComment(line string) string {
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && (line[i-1] == ' ' || line[i-1] == '\t') {
			return strings.TrimSpace(line[:i])
		}
	}
	return line
}
