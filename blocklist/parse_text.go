package blocklist

import (
	"net/netip"
	"strings"
)

// readHosts reads a line of a hosts file: an address that leads nowhere, then one or several names.
func (p *parser) readHosts(line string) {
	line, _, _ = strings.Cut(line, "#")
	fields := strings.Fields(line)
	addr, err := netip.ParseAddr(fields[0])
	switch {
	case err != nil:
		p.problem("no address before the names")
		return
	case len(fields) == 1:
		p.problem("no name after the address")
		return
	}
	sink := isSink(addr)
	for _, name := range fields[1:] {
		switch {
		case isBoilerplate(name):
		case !sink:
			p.unusable(reasonTarget)
		default:
			p.host(name)
		}
	}
}

// isBoilerplate reports whether a name is one that every hosts file has for the machine itself.
func isBoilerplate(name string) bool {
	switch strings.ToLower(name) {
	case "localhost", "localhost.localdomain", "localhost4", "localhost6", "local", "broadcasthost", "loopback", "0.0.0.0",
		"ip6-localhost", "ip6-loopback", "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts":
		return true
	}
	return false
}

// readDomain reads a line that is one name, or one address.
func (p *parser) readDomain(line string) {
	line = cutComment(line)
	if strings.ContainsAny(line, " \t") {
		p.problem(reasonWords)
		return
	}
	p.host(line)
}

// readURL reads a line that is a URL, with or without its scheme. DNS sees the host of a URL only:
// an entry that names more than that is not enforceable, since its host may hold all else besides.
func (p *parser) readURL(line string) {
	line = cutComment(line)
	if strings.ContainsAny(line, " \t") {
		p.problem(reasonWords)
		return
	}
	if i := strings.Index(line, "://"); i >= 0 && isScheme(line[:i]) {
		line = line[i+len("://"):]
	} else if line = strings.TrimPrefix(line, "//"); isCosmetic(line) {
		p.problem(reasonCosmetic)
		return
	}
	rest := ""
	if i := strings.IndexAny(line, "/?#"); i >= 0 {
		line, rest = line[:i], line[i:]
	}
	rest, _, _ = strings.Cut(rest, "#")
	line = line[strings.LastIndexByte(line, '@')+1:]
	host, ok := cutPort(line)
	if !ok {
		p.problem("no host and port")
		return
	}
	if rest == "" || rest == "/" {
		p.host(host)
		return
	}
	if !isHost(host) {
		p.problem("no host before the path")
		return
	}
	p.unenforceable()
}

// isHost reports whether the host of a URL is an address, or a name with a dot in it: "n/a" is no URL.
func isHost(s string) bool {
	if _, ok := parsePrefix(s); ok {
		return true
	}
	name, err := ParseName(strings.TrimPrefix(s, "*."))
	return err == nil && name != root && name.Parent() != root
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		if ('a' > c || c > 'z') && (i == 0 || !isDigit(s[i]) && s[i] != '+' && s[i] != '-' && s[i] != '.') {
			return false
		}
	}
	return s != ""
}

// cutPort returns the host of host:port, or of [address]:port without the brackets.
func cutPort(s string) (host string, ok bool) {
	var port string
	if after, bracket := strings.CutPrefix(s, "["); bracket {
		if host, port, ok = strings.Cut(after, "]"); !ok {
			return "", false
		}
		if port == "" {
			return host, true
		}
		if port, ok = strings.CutPrefix(port, ":"); !ok {
			return "", false
		}
	} else {
		host, port, _ = strings.Cut(s, ":")
		if strings.IndexByte(port, ':') >= 0 { // an IPv6 address without its brackets
			return s, true
		}
	}
	for i := range len(port) {
		if !isDigit(port[i]) {
			return "", false
		}
	}
	return host, host != "" && len(port) <= 5
}
