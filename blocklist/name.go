package blocklist

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Name is a domain name's key: the lower-case wire form of RFC 1035 §3.1, labels with their length
// octets, ending in the zero octet of the root. At most 255 octets. "\x00" is the root, "" is no
// name. Two Names are the same domain name exactly when they are equal as strings.
type Name string

// Limits of RFC 1035 §2.3.4, and what follows from them.
const (
	maxName   = 255 // octets of a name, its final zero included
	maxLabel  = 63  // octets of a label, its length octet not counted
	maxLabels = 127 // labels of a name, the root not counted

	// maxWritten is that of a name as text: four bytes for each octet, as \DDD or in UTF-8.
	maxWritten = 4 * maxName
)

const root = "\x00"

// What is wrong with a name as text.
var (
	errNameEmpty  = errors.New("no name")
	errLabelEmpty = errors.New("empty label")
	errLabelLong  = errors.New("label longer than 63 bytes")
	errNameLong   = errors.New("name longer than 255 bytes")
	errEscape     = errors.New(`a backslash that is neither \DDD nor \X`)
	errMixed      = errors.New("escapes beside characters outside ASCII")
	errUTF8       = errors.New("neither ASCII nor UTF-8")
	errStar       = errors.New(reasonStar)
)

// textError is what is wrong with a name: a reason, and with a part of the text in words.
type textError struct{ reason, detail string }

func (e textError) Error() string { return e.detail }

// reasonOf says what is wrong with a name and none of the name, which may be confidential.
func reasonOf(err error) string {
	if e, ok := errors.AsType[textError](err); ok {
		return e.reason
	}
	return err.Error()
}

// ParseName returns the key of a name in text: letters, digits, '-' and '_', labels set apart by
// dots, with or without the final one; "." is the root. Any other byte is written as \DDD or \X
// (RFC 1035 §5.1). Characters outside ASCII are mapped as a browser maps them for a look-up
// (UTS 46, not transitional), and become punycode.
func ParseName(text string) (Name, error) {
	var buf [maxName]byte
	key, err := appendName(buf[:0], text)
	if err != nil {
		return "", fmt.Errorf("name %q: %w", text, err)
	}
	return Name(key), nil
}

// appendName appends the key of the name in text to dst. With an error it returns dst as it was.
func appendName(dst []byte, text string) ([]byte, error) {
	switch text {
	case "":
		return dst, errNameEmpty
	case ".":
		return append(dst, 0), nil
	}
	if len(text) > maxWritten { // what mapping costs grows with the square of the length
		return dst, errNameLong
	}
	if !isASCII(text) {
		mapped, err := toASCII(text)
		if err != nil {
			return dst, err
		}
		text = mapped
	}
	start, label := len(dst), len(dst) // label is where the length octet of the label being read is
	key := append(dst, 0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_':
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '.':
			if key[label] == 0 {
				return dst, errLabelEmpty
			}
			label = len(key)
			key = append(key, 0)
			continue
		case c == '\\':
			var size int
			if c, size = unescape(text[i:]); size == 0 {
				return dst, errEscape
			}
			i += size - 1
		default:
			return dst, textError{"a character that a name does not hold", fmt.Sprintf(`character %q, which a name holds only as \%03d`, c, c)}
		}
		if key[label] == maxLabel {
			return dst, errLabelLong
		}
		key[label]++
		key = append(key, c)
	}
	if key[label] != 0 { // else the text ended in a dot
		key = append(key, 0)
	}
	if len(key)-start > maxName {
		return dst, errNameLong
	}
	return key, nil
}

// unescape reads the \DDD or \X at the start of s. It returns the byte, a letter in lower case, and
// how much of s it took: 0 where it is no escape.
func unescape(s string) (c byte, size int) {
	if len(s) < 2 {
		return 0, 0
	}
	c, size = s[1], 2
	if isDigit(c) {
		if len(s) < 4 || !isDigit(s[2]) || !isDigit(s[3]) {
			return 0, 0
		}
		n := int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
		if n > 255 {
			return 0, 0
		}
		c, size = byte(n), 4
	}
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c, size
}

// lookup maps internationalised names as browsers do, but lets through underscores and the hyphens
// in third and fourth place that real host names have.
//
//nolint:gochecknoglobals // a table: built once, never written
var lookup = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))

func toASCII(text string) (string, error) {
	if strings.IndexByte(text, '\\') >= 0 {
		return "", errMixed
	}
	if !utf8.ValidString(text) {
		return "", errUTF8
	}
	mapped, err := lookup.ToASCII(text)
	if err != nil {
		return "", textError{"no internationalised name", fmt.Sprintf("no internationalised name: %q", err)}
	}
	return mapped, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// String returns the name in text, without the final dot; "." for the root, "" for no name. Bytes
// other than letters, digits, '-' and '_' are written as \DDD, a dot inside a label too, so that
// ParseName reads the same name again.
func (n Name) String() string {
	return string(appendText(make([]byte, 0, len(n)+2), []byte(n)))
}

// appendText appends a key as Name.String gives it.
func appendText(dst, key []byte) []byte {
	if string(key) == root {
		return append(dst, '.')
	}
	for i := 0; i < len(key) && key[i] != 0; {
		label := key[i+1 : min(i+1+int(key[i]), len(key))]
		if i > 0 {
			dst = append(dst, '.')
		}
		for _, c := range label {
			dst = appendPlain(dst, c)
		}
		i += len(label) + 1
	}
	return dst
}

// appendPlain appends a byte of a label, as \DDD where it is not a plain one.
func appendPlain(dst []byte, c byte) []byte {
	if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
		return append(dst, c)
	}
	return append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
}

// split returns the first label, without its length octet, and the name above it: "" where the first
// label is the root, or runs over the end because n was not made by ParseName.
func (n Name) split() (label, parent Name) {
	size := int(n[0])
	if size == 0 || size+1 > len(n) {
		return "", ""
	}
	return n[1 : size+1], n[size+1:]
}

// Parent returns the name without its first label: the root for a top-level domain, "" for the root
// and for no name.
func (n Name) Parent() Name {
	if n == "" {
		return ""
	}
	_, parent := n.split()
	return parent
}

// Covers reports whether sub is n or lies below it, on label borders: example.org covers
// www.example.org, and not notexample.org. The root covers every name.
func (n Name) Covers(sub Name) bool {
	if n == "" || !strings.HasSuffix(string(sub), string(n)) {
		return false
	}
	for len(sub) > len(n) {
		sub = sub.Parent()
	}
	return sub == n
}
