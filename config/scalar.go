package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/publicsuffix"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

type object = map[string]any

// text is a line or more for people.
func text() scalar[string] {
	return scalar[string]{
		words: "text", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (string, error) {
			s = strings.TrimSpace(s)
			if s == "" {
				return "", wrong("", "is empty")
			}
			if strings.ContainsFunc(s, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
				return "", wrong("", "holds control characters")
			}
			return s, nil
		},
	}
}

// blank also takes "", for what is off or not set.
func blank[T any](s scalar[T]) scalar[T] {
	parse := s.parse
	s.words += `, or ""`
	s.schema = object{"anyOf": []any{s.schema, object{"const": ""}}}
	s.parse = func(text string) (v T, err error) {
		if text == "" {
			return v, nil
		}
		return parse(text)
	}
	return s
}

func boolean() scalar[bool] {
	return scalar[bool]{
		words: "true or false", plain: true,
		schema: object{"enum": []any{true, false, "on", "off", "yes", "no"}},
		parse: func(s string) (bool, error) {
			switch strings.ToLower(s) {
			case "true", "on", "yes":
				return true, nil
			case "false", "off", "no":
				return false, nil
			}
			return false, wrong("on and off, yes and no do too", "%q is not true or false", s)
		},
	}
}

func integer(least, most int) scalar[int] {
	return scalar[int]{
		words: "number", plain: true,
		schema: object{"type": "integer", "minimum": least, "maximum": most},
		parse: func(s string) (int, error) {
			n, err := strconv.Atoi(strings.ReplaceAll(s, "_", ""))
			switch {
			case err != nil:
				return 0, wrong("", "%q is not a whole number", s)
			case n < least || n > most:
				return 0, wrong(fmt.Sprintf("from %d to %d", least, most), "%d is out of range", n)
			}
			return n, nil
		},
	}
}

// enum is one of a few words.
func enum(words ...string) scalar[string] {
	return scalar[string]{
		words: strings.Join(words, " | "), schema: object{"enum": words},
		parse: func(s string) (string, error) {
			for _, w := range words {
				if s == w {
					return w, nil
				}
			}
			if len(words) == 1 {
				return "", wrong("", "%q is not %s", s, words[0])
			}
			return "", wrong(nearest(s, words), "%q is none of %s", s, strings.Join(words, ", "))
		},
	}
}

func severity(words ...string) scalar[policy.Severity] {
	e := enum(words...)
	return scalar[policy.Severity]{
		words: e.words, schema: e.schema,
		parse: func(s string) (policy.Severity, error) {
			w, err := e.parse(s)
			if err != nil {
				return 0, err
			}
			severity, _ := policy.ParseSeverity(w)
			return severity, nil
		},
	}
}

// reference is a name that stands elsewhere in the file: of a group, a category, a receiver.
func reference(to string) scalar[string] {
	return scalar[string]{
		words: "name of a " + to, schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (string, error) {
			if s == "" {
				return "", wrong("", "is empty")
			}
			return s, nil
		},
	}
}

// domain is a domain name, which stands for itself and everything below it.
func domain() scalar[blocklist.Name] {
	return scalar[blocklist.Name]{
		words: "domain name", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (blocklist.Name, error) {
			if strings.ContainsAny(s, "/:") {
				return "", wrong("write the name of the host only", "%q is not a domain name", s)
			}
			n, err := blocklist.ParseName(strings.TrimPrefix(s, "*."))
			switch {
			case err != nil:
				if reason := errors.Unwrap(err); reason != nil {
					err = reason // without the name
				}
				return "", wrong("", "%q is not a domain name: %v", s, err)
			case n == "\x00":
				return "", wrong("", "the root covers every name")
			}
			return n, nil
		},
	}
}

// IsPublicSuffix reports whether everybody can register names under n.
func IsPublicSuffix(n blocklist.Name) bool { return publicSuffix(n) }

// publicSuffix reports whether everybody can register names under n: "com", "co.uk".
func publicSuffix(n blocklist.Name) bool {
	suffix, icann := publicsuffix.PublicSuffix(n.String())
	return icann && suffix == n.String()
}

// filePath is the path of a file, relative to the configuration's.
func filePath() scalar[string] {
	return scalar[string]{
		words: "path", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (string, error) {
			if s == "" || strings.ContainsRune(s, 0) {
				return "", wrong("", "%q is not a path", s)
			}
			return s, nil
		},
	}
}

// address is the address of a socket for DNS. ":53" has the zero Addr: every address of the machine.
func address() scalar[netip.AddrPort] {
	return scalar[netip.AddrPort]{
		words: "address:port", schema: object{"type": "string", "pattern": ":[0-9]+$"},
		parse: func(s string) (netip.AddrPort, error) {
			if port, ok := strings.CutPrefix(s, ":"); ok {
				if n, err := strconv.ParseUint(port, 10, 16); err == nil {
					return netip.AddrPortFrom(netip.Addr{}, uint16(n)), nil
				}
			}
			a, err := netip.ParseAddrPort(s)
			if err != nil {
				return a, wrong(`write "192.0.2.1:53", "[2001:db8::1]:53" or ":53"`, "%q is not an address and a port", s)
			}
			return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
		},
	}
}

// hostPort is the address of a socket for HTTP, kept as text.
func hostPort() scalar[string] {
	return scalar[string]{
		words: "address:port", schema: object{"type": "string", "pattern": ":[0-9]+$"},
		parse: func(s string) (string, error) {
			host, port, err := net.SplitHostPort(s)
			if err == nil {
				_, err = strconv.ParseUint(port, 10, 16)
			}
			if err == nil && host != "" && host != "localhost" {
				_, err = netip.ParseAddr(host)
			}
			if err != nil {
				return "", wrong(`write "127.0.0.1:9053"`, "%q is not an address and a port", s)
			}
			return s, nil
		},
	}
}

func addr(family string) scalar[netip.Addr] {
	return scalar[netip.Addr]{
		words: family + " address", schema: object{"type": "string", "format": strings.ToLower(family)},
		parse: func(s string) (netip.Addr, error) {
			a, err := netip.ParseAddr(s)
			if err != nil || a.Is4() != (family == "IPv4") || a.Is4In6() || a.Zone() != "" {
				return netip.Addr{}, wrong("", "%q is not an %s address", s, family)
			}
			return a, nil
		},
	}
}

// prefix is an address or a range of them.
type prefix struct {
	netip.Prefix        // masked
	text         string // as written
	loose        bool   // bits behind the mask were set
}

func parsePrefix(s string) (prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return prefix{}, wrong(`write "10.20.0.0/16" or "10.20.3.4"`, "%q is not an address or a range of them", s)
		}
		a = a.Unmap()
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return prefix{}, wrong("write the IPv4 range", "%q is IPv4 inside IPv6", s)
	}
	return prefix{p.Masked(), s, p != p.Masked()}, nil
}

func addressRange() scalar[prefix] {
	return scalar[prefix]{words: "address or range", schema: object{"type": "string", "minLength": 1}, parse: parsePrefix}
}

// webURL is an absolute http or https URL without a password in it.
func webURL() scalar[*url.URL] {
	return scalar[*url.URL]{
		words: "URL", schema: object{"type": "string", "format": "uri"},
		parse: func(s string) (*url.URL, error) {
			// The parser's own error repeats the text, and with it what is secret in it.
			u, err := url.Parse(s)
			switch {
			case err != nil || u.Host == "":
				return nil, wrong("write https://host/path", "is not a URL")
			case u.Scheme != "https" && u.Scheme != "http":
				return nil, wrong("write https://host/path", "is a URL of neither https nor http")
			case u.User != nil:
				return nil, wrong("a secret is never written in clear", "holds a user name or password")
			}
			return u, nil
		},
	}
}

// mailAddress is an address of mail, without the name that may stand with it.
func mailAddress() scalar[string] {
	return scalar[string]{
		words: "mail address", schema: object{"type": "string", "pattern": "@"},
		parse: func(s string) (string, error) {
			a, err := mail.ParseAddress(s)
			if err != nil || strings.ContainsFunc(a.Address, func(c rune) bool { return c <= ' ' || c > '~' || c == '<' || c == '>' || c == '"' }) {
				return "", wrong("write dsl@school.example", "%q is not a mail address", s)
			}
			return a.Address, nil
		},
	}
}

// submission is the port to which mail is handed in (RFC 6409).
const submission = "587"

// mailServer is a host, and a port if it is not the one for submission.
func mailServer() scalar[string] {
	return scalar[string]{
		words: "host:port", schema: object{"type": "string", "minLength": 1},
		parse: func(s string) (string, error) {
			host, port, err := net.SplitHostPort(s)
			if err != nil {
				host, port = strings.Trim(s, "[]"), submission
			}
			_, notPort := strconv.ParseUint(port, 10, 16)
			_, notAddress := netip.ParseAddr(host)
			if u, err := url.Parse("//" + net.JoinHostPort(host, port)); notPort != nil || err != nil || u.Hostname() != host || notAddress != nil && strings.ContainsAny(host, ":/ \t") || host == "" {
				return "", wrong("write smtp.school.example:587", "%q is not a mail server", s)
			}
			return net.JoinHostPort(host, port), nil
		},
	}
}

// baseURL is what paths are added to, without a final slash.
func baseURL() scalar[string] {
	web := webURL()
	return scalar[string]{
		words: web.words, schema: web.schema,
		parse: func(s string) (string, error) {
			u, err := web.parse(s)
			switch {
			case err != nil:
				return "", err
			case u.RawQuery != "" || u.Fragment != "":
				return "", wrong("paths are added to it", "ends in a query or fragment")
			}
			return strings.TrimRight(s, "/"), nil
		},
	}
}

// loopback reports whether a URL stays on this machine.
func loopback(u *url.URL) bool {
	if u.Hostname() == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && a.Unmap().IsLoopback()
}

var hexDigest = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

func sha256Digest() scalar[string] {
	return scalar[string]{
		words: "SHA-256 in hexadecimal", schema: object{"type": "string", "pattern": hexDigest.String()},
		parse: func(s string) (string, error) {
			if !hexDigest.MatchString(s) {
				return "", wrong("64 hexadecimal digits", "%q is not a SHA-256", s)
			}
			return strings.ToLower(s), nil
		},
	}
}
