package policy

import "schoolgate/blocklist"

// IsSpecial reports whether a name is one of step 4 of the package comment, or below one: no question for it
// comes as far as the rules.
func IsSpecial(n blocklist.Name) bool {
	for ; n != ""; n = n.Parent() {
		if _, special := specials[n.String()]; special {
			return true
		}
	}
	return false
}
