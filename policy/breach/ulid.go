package breach

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// crockford is the alphabet of a ULID: base 32 without I, L, O and U, ascending in ASCII.
const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ulids makes ULIDs (github.com/ulid/spec): 48 bits of Unix milliseconds and 80 random bits, as 26
// characters that sort by time. Each is greater than the one before, also within a millisecond and
// when the clock goes back: then the random part counts on. Not safe for concurrent use.
type ulids struct {
	high, low uint64 // the last one, as a number of 128 bits
}

func (u *ulids) next(now time.Time) string {
	var random [10]byte
	rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	high := uint64(now.UnixMilli())<<16 | uint64(binary.BigEndian.Uint16(random[:]))
	if high>>16 > u.high>>16 {
		u.high, u.low = high, binary.BigEndian.Uint64(random[2:])
	} else if u.low++; u.low == 0 {
		u.high++
	}

	var text [26]byte
	high, low := u.high, u.low
	for i := len(text) - 1; i >= 0; i-- {
		text[i] = crockford[low&31]
		low = low>>5 | high<<59
		high >>= 5
	}
	return string(text[:])
}
