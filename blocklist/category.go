package blocklist

import (
	"iter"
	"math/bits"
)

// MaxCategories is how many categories a Set can tell apart.
const MaxCategories = 64

// Category is the index of a category, below MaxCategories.
type Category uint8

// Categories is a set of categories: bit i stands for Category i.
type Categories uint64

// Has reports whether c is in the set.
func (cs Categories) Has(c Category) bool { return cs&(1<<c) != 0 }

// With returns the set with c added.
func (cs Categories) With(c Category) Categories { return cs | 1<<c }

// All returns the categories of the set, lowest first.
func (cs Categories) All() iter.Seq[Category] {
	return func(yield func(Category) bool) {
		for rest := cs; rest != 0; rest &= rest - 1 {
			if !yield(Category(bits.TrailingZeros64(uint64(rest)))) {
				return
			}
		}
	}
}
