package clients

import (
	"math"
	"math/bits"
)

// Sketch tells about how many different things it has seen, give or take an eighth, and nothing of what they were
// (HyperLogLog, Flajolet et al. 2007). The zero value has seen none.
type Sketch [sketchSize]uint8

const (
	sketchBits = 6
	sketchSize = 1 << sketchBits
)

// Add notes a thing by its hash, all of whose bits count.
func (s *Sketch) Add(hash uint64) {
	hash ^= hash >> 32
	hash *= 0x9e3779b97f4a7c15 // so that weak low bits do no harm
	hash ^= hash >> 29
	place := hash >> (64 - sketchBits)
	s[place] = max(s[place], uint8(bits.TrailingZeros64(hash|1<<(64-sketchBits)))+1)
}

// Merge adds what another has seen.
func (s *Sketch) Merge(other *Sketch) {
	for i := range s {
		s[i] = max(s[i], other[i])
	}
}

// Count is about how many different things were added.
func (s *Sketch) Count() int {
	sum, empty := 0.0, 0
	for _, rank := range s {
		sum += math.Ldexp(1, -int(rank))
		if rank == 0 {
			empty++
		}
	}
	const alpha = 0.709 // of 64 places
	estimate := alpha * sketchSize * sketchSize / sum
	if empty > 0 && estimate <= 2.5*sketchSize {
		estimate = sketchSize * math.Log(float64(sketchSize)/float64(empty))
	}
	return int(math.Round(estimate))
}
