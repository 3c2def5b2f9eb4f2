package identity

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// ISC dhcpd's lease file (dhcpd.leases(5)): declarations as in its configuration, of which those of leases count, and
// of several for one address the last.
//
//	lease 10.20.3.4 {
//	  starts 5 2026/11/20 08:00:00;
//	  ends 5 2026/11/20 20:00:00;
//	  binding state active;
//	  hardware ethernet 00:11:22:33:44:55;
//	  client-hostname "y7-ipad-3";
//	}
func parseISC(data []byte, all map[netip.Addr]lease) {
	t := iscTokens{text: string(data)}
	for {
		words, end := t.statement()
		switch {
		case end == iscEnd:
			return
		case end != iscOpen:
			continue
		}
		var addr netip.Addr
		if len(words) == 2 && words[0] == "lease" {
			addr, _ = netip.ParseAddr(words[1])
		}
		if !addr.IsValid() {
			if !t.skip() {
				return
			}
			continue
		}
		l, active, whole := t.lease()
		if !whole {
			return
		}
		put(all, addr, l, active)
	}
}

// lease reads what stands between the braces of a lease. whole is false where the file ends before it does.
func (t *iscTokens) lease() (l lease, active, whole bool) {
	active = true // old versions do not say
	for {
		words, end := t.statement()
		switch end {
		case iscEnd:
			return l, active, false
		case iscClose:
			return l, active, true
		case iscOpen: // what is to be done when it ends
			if !t.skip() {
				return l, active, false
			}
			continue
		case iscSemicolon:
		}
		is := func(start string, n int) bool {
			return len(words) == n && strings.Join(words[:strings.Count(start, " ")+1], " ") == start
		}
		switch {
		case is("ends", 4):
			if when, err := time.Parse("2006/01/02 15:04:05", words[2]+" "+words[3]); err == nil {
				l.ends = when
			}
		case is("ends epoch", 3):
			if seconds, err := strconv.ParseInt(words[2], 10, 64); err == nil {
				l.ends = time.Unix(seconds, 0)
			}
		case is("binding state", 3):
			active = words[2] == "active"
		case is("hardware ethernet", 3):
			l.mac = ParseMAC(words[2])
		case is("client-hostname", 2):
			l.name = deviceName(words[1])
		}
	}
}

// What ends a statement.
type iscEnding int

const (
	iscEnd iscEnding = iota // the file does
	iscSemicolon
	iscOpen
	iscClose
)

// iscTokens reads a file of dhcpd word by word.
type iscTokens struct{ text string }

// statement reads up to the next semicolon or brace.
func (t *iscTokens) statement() (words []string, end iscEnding) {
	for {
		t.text = strings.TrimLeft(t.text, " \t\r\n")
		if t.text == "" {
			return words, iscEnd
		}
		switch t.text[0] {
		case '#':
			_, t.text, _ = strings.Cut(t.text, "\n")
			continue
		case ';', '{', '}':
			end = map[byte]iscEnding{';': iscSemicolon, '{': iscOpen, '}': iscClose}[t.text[0]]
			t.text = t.text[1:]
			return words, end
		case '"':
			words = append(words, t.quoted())
			continue
		}
		n := strings.IndexAny(t.text, " \t\r\n;{}\"#")
		if n < 0 {
			n = len(t.text)
		}
		words = append(words, t.text[:n])
		t.text = t.text[n:]
	}
}

// quoted reads a string in quotes, in which a backslash takes the next character as it is.
func (t *iscTokens) quoted() string {
	var b strings.Builder
	for i := 1; i < len(t.text); i++ {
		switch t.text[i] {
		case '"':
			t.text = t.text[i+1:]
			return b.String()
		case '\\':
			if i++; i == len(t.text) {
				t.text = ""
				return ""
			}
		}
		b.WriteByte(t.text[i])
	}
	t.text = ""
	return ""
}

// skip reads up to the brace that closes the one just opened, and reports whether there is one.
func (t *iscTokens) skip() bool {
	for depth := 1; depth > 0; {
		switch _, end := t.statement(); end {
		case iscEnd:
			return false
		case iscOpen:
			depth++
		case iscClose:
			depth--
		case iscSemicolon:
		}
	}
	return true
}
