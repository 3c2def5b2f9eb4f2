package blocklist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unsafe"
)

// Options are what Parse has to know besides the list's bytes.
type Options struct {
	// Format is the list's format; "" has it found out from the content.
	Format Format
	// Addresses makes entries that are addresses block the answers that hold them.
	Addresses bool
	// Own are the site's own zones: an entry that covers one is skipped.
	Own []Name
}

const (
	headSize = 256 << 10 // what detect may look at
	maxLine  = 64 << 10  // longer lines are skipped: no format has them
)

// Parse reads a list. Lines that it cannot use are counted in the List, never an error; the error is
// the reader's, or wraps ErrNotList or ErrEmpty, and holds none of the list's content. A list with
// nothing but unenforceable entries is a list.
//
// The public suffix list keeps entries out that would block half the net: one that is a suffix of
// its ICANN part (co.uk) is skipped, like a top-level domain; one of its private part (github.io) is
// taken, with a warning.
func Parse(r io.Reader, o Options) (*List, error) {
	in := bufio.NewReaderSize(r, headSize)
	head, err := in.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read: %w", err)
	}
	if err := sniff(head); err != nil {
		return nil, err
	}
	format := o.Format
	if format == "" {
		if format, err = detect(head); err != nil {
			return nil, err
		}
	}
	p := newParser(format, o)
	if err := p.readAll(in); err != nil {
		return nil, err
	}
	l := p.list
	if l.Enforceable+l.Unenforceable == 0 {
		return nil, emptyError(l, head, o.Format)
	}
	return l, nil
}

// emptyError says what the lines were, where none was usable.
func emptyError(l *List, head []byte, told Format) error {
	hint := ""
	if told != "" {
		if f, err := detect(head); err == nil && f != told {
			hint = fmt.Sprintf(", but looks like %s", f)
		}
	}
	return fmt.Errorf("%w: read as %s%s, %d skipped, %d exceptions", ErrEmpty, l.Format, hint, l.Skipped, l.Exceptions)
}

// parser reads one list, line by line.
type parser struct {
	list      *List
	addresses bool
	own       map[Name]kind // the site's zones: blockSelf; the names above them: blockBelow

	line int    // of the text
	text string // the line being read
	// recognised counts entries that are well formed, taken or not. It is what detect compares: a
	// list for browsers of which DNS can use little is still one, and its example.org##.banner must
	// not be read as a name with a comment.
	recognised int
	declared   Problem // the comment in which the list says how many entries it has
	entries    int     // what that comment says
	zone       zone    // RPZ only
	below      []byte  // room for publicSuffix
}

func newParser(format Format, o Options) *parser {
	p := &parser{list: &List{Format: format}, addresses: o.Addresses, zone: zone{origin: root, apex: root}}
	if len(o.Own) > 0 {
		p.own = make(map[Name]kind, 2*len(o.Own))
	}
	for _, n := range o.Own {
		p.own[n] |= blockSelf
		for up := n.Parent(); up != ""; up = up.Parent() {
			p.own[up] |= blockBelow
		}
	}
	return p
}

// readAll reads every line of a list.
func (p *parser) readAll(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		if len(line) == 0 && errors.Is(err, io.EOF) {
			break
		}
		p.line++
		long := len(line) > maxLine
		if long {
			line = bytes.Clone(line[:maxLine])
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read line %d: %w", p.line, err)
		}
		if bytes.IndexByte(line, 0) >= 0 {
			return fmt.Errorf("%w: binary data in line %d", ErrNotList, p.line)
		}
		if isHTML(line) {
			return fmt.Errorf("%w: HTML in line %d", ErrNotList, p.line)
		}
		if long {
			p.text = string(line)
			p.problem("line longer than 64 KiB")
			continue
		}
		p.read(p.lineText(line))
	}
	p.endZone()
	p.checkDeclared()
	return nil
}

// lineText returns a line as a string, until the next one is read: none of the formats keeps any of it
// but RPZ, whose records go on over lines.
func (p *parser) lineText(line []byte) string {
	if p.list.Format == FormatRPZ {
		return string(line)
	}
	return unsafe.String(unsafe.SliceData(line), len(line)) //nolint:gosec // a copy of each line is half the garbage of a start
}

// read reads one line, its end included.
func (p *parser) read(line string) {
	line = strings.TrimPrefix(line, "\xef\xbb\xbf") // byte order mark: also where files were joined
	p.text = strings.TrimRight(line, "\r\n")
	if p.list.Format == FormatRPZ { // the only one in which white space at the front says something
		p.readRPZ(p.text)
		return
	}
	line = strings.TrimSpace(p.text)
	if line == "" || p.isComment(line) {
		return
	}
	switch p.list.Format {
	case FormatHosts:
		p.readHosts(line)
	case FormatDomains, FormatWildcard:
		p.readDomain(line)
	case FormatAdblock:
		p.readAdblock(line)
	case FormatDnsmasq:
		p.readDnsmasq(line)
	case FormatUnbound:
		p.readUnbound(line)
	case FormatURLs:
		p.readURL(line)
	case FormatRPZ: // above
	}
}

// isComment reports whether a line is one, and notes how many entries it says the list has.
func (p *parser) isComment(line string) bool {
	switch line[0] {
	case ';', '!':
	case '#':
		// In adblock, ##, #@#, #?#, #$# and #%# begin rules on what a page shows.
		if p.list.Format == FormatAdblock && len(line) > 1 && strings.IndexByte("#@?$%", line[1]) >= 0 {
			return false
		}
	default:
		return false
	}
	key, value, ok := strings.Cut(strings.Trim(line, "#!; \t"), ":")
	if !ok || p.entries > 0 {
		return true
	}
	switch strings.ToLower(strings.TrimSpace(key)) {
	case "entries", "number of entries", "number of domains", "number of unique domains":
		n, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(value), ",", ""))
		if err == nil {
			p.entries, p.declared = n, Problem{Line: p.line, Text: printable(line)}
		}
	}
	return true
}

// checkDeclared warns of a list that is shorter than it says: half a download looks like a list.
func (p *parser) checkDeclared() {
	l := p.list
	got := l.Enforceable + l.Unenforceable + l.Exceptions + l.Skipped
	if got < p.entries-p.entries/10 {
		p.declared.Reason = fmt.Sprintf("says that it has %d entries, and has %d: cut off?", p.entries, got)
		l.Warnings = append(l.Warnings, p.declared)
	}
}

// maxText is how much of a line a Problem shows.
const maxText = 120

// printable returns the start of s for people: at most maxText bytes of printable ASCII.
func printable(s string) string {
	var b []byte
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '\\':
			b = append(b, `\\`...)
		case ' ' <= c && c <= '~':
			b = append(b, c)
		default:
			b = append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		}
		if len(b) > maxText {
			return string(b[:maxText-3]) + "..."
		}
	}
	return string(b)
}

// problem notes that an entry of the present line was not taken.
func (p *parser) problem(reason string) {
	p.list.Skipped++
	if len(p.list.Problems) < maxProblems {
		p.list.Problems = append(p.list.Problems, Problem{Line: p.line, Reason: reason, Text: printable(p.text)})
	}
}

// unusable is problem for an entry that is well formed all the same.
func (p *parser) unusable(reason string) {
	p.recognised++
	p.problem(reason)
}

// warning notes that an entry of the present line was taken, and deserves a look.
func (p *parser) warning(reason string) {
	if len(p.list.Warnings) < maxProblems {
		p.list.Warnings = append(p.list.Warnings, Problem{Line: p.line, Reason: reason, Text: printable(p.text)})
	}
}

// exception counts an entry that lets a name through, and has no effect.
func (p *parser) exception() {
	p.recognised++
	p.list.Exceptions++
}

// unenforceable counts an entry that DNS cannot act on.
func (p *parser) unenforceable() {
	p.recognised++
	p.list.Unenforceable++
}
