package alert

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxShown is how many characters of one name, or of another text from a device, people are shown.
const maxShown = 120

// clean makes a text fit to be shown to people within a line, whatever it holds: no control characters or
// line breaks, nothing invisible, nothing that turns the direction of what follows, at most n characters.
func clean(s string, n int) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case unicode.Is(unicode.Cf, c), c == '\u034f', unicode.Is(unicode.Variation_Selector, c):
			return -1 // invisible, or an override of direction
		case unicode.IsSpace(c), unicode.IsControl(c), c == '\u2028', c == '\u2029':
			return ' '
		case c == utf8.RuneError, unicode.Is(unicode.Co, c), !unicode.IsGraphic(c):
			return '�'
		}
		return c
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > n {
		s = string([]rune(s)[:n-1]) + "…"
	}
	return s
}

// shownName is a name that was asked for as people are shown it: nothing that a mail program or a chat makes
// a link of, so that nobody opens it by accident.
func shownName(name string) string { return strings.ReplaceAll(clean(name, maxShown), ".", "[.]") }

// shownText is a text that a device or a person chose for itself, as people are shown it: no link either.
func shownText(s string) string {
	s = strings.ReplaceAll(clean(s, maxShown), "://", "[:]//")
	for _, www := range []string{"www.", "WWW.", "Www."} {
		s = strings.ReplaceAll(s, www, www[:3]+"[.]")
	}
	return s
}

// noAngles takes what mentions and links of chats begin and end with.
func noAngles(s string) string { return strings.NewReplacer("<", "‹", ">", "›").Replace(s) }
