package blocklist

import (
	"cmp"
	"math/bits"
	"slices"
)

// codeLengths returns the lengths in bits of a Huffman code for symbols that occur that often, none
// longer than limit: 0 for what does not occur, at least 1 else. Equal weights give equal codes.
func codeLengths(weights []uint64, limit int) []uint8 {
	lengths := make([]uint8, len(weights))
	scaled := slices.Clone(weights)
	for huffman(scaled, lengths) > limit {
		for i, w := range scaled {
			if w > 0 {
				scaled[i] = w/2 + 1 // flatter, and so less deep
			}
		}
	}
	return lengths
}

// huffman fills in the lengths of a code, and returns the longest.
func huffman(weights []uint64, lengths []uint8) (longest int) {
	type node struct {
		weight uint64
		parent int
	}
	var order []int // the symbols that occur, rarest first
	for i, w := range weights {
		lengths[i] = 0
		if w > 0 {
			order = append(order, i)
		}
	}
	if len(order) == 1 {
		lengths[order[0]] = 1
		return 1
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(weights[a], weights[b]) })
	nodes := make([]node, 0, 2*len(order))
	for _, i := range order {
		nodes = append(nodes, node{weight: weights[i]})
	}
	// Leaves and inner nodes are two queues, each already in order (van Leeuwen 1976).
	leaf, inner := 0, len(order)
	next := func() int {
		if leaf < len(order) && (inner == len(nodes) || nodes[leaf].weight <= nodes[inner].weight) {
			leaf++
			return leaf - 1
		}
		inner++
		return inner - 1
	}
	for range len(order) - 1 {
		a, b := next(), next()
		nodes[a].parent, nodes[b].parent = len(nodes), len(nodes)
		nodes = append(nodes, node{weight: nodes[a].weight + nodes[b].weight})
	}
	depth := make([]int, len(nodes))
	for n := len(nodes) - 2; n >= 0; n-- {
		depth[n] = depth[nodes[n].parent] + 1
		if n < len(order) {
			lengths[order[n]] = uint8(min(depth[n], 255))
			longest = max(longest, depth[n])
		}
	}
	return longest
}

// codeword is a symbol's code: its first bit is the lowest. Length 0 is none.
type codeword struct {
	bits   uint32
	length uint8
}

// codewords returns the canonical code of these lengths, which are at most 32. ok is false where no
// code has them.
func codewords(lengths []uint8) (words []codeword, ok bool) {
	var count [34]uint64
	for _, l := range lengths {
		if l > 32 {
			return nil, false
		}
		count[l]++
	}
	count[0] = 0
	var next [34]uint64
	for l := 1; l <= 32; l++ {
		next[l] = (next[l-1] + count[l-1]) << 1
		if next[l]+count[l] > 1<<l { // Kraft
			return nil, false
		}
	}
	words = make([]codeword, len(lengths))
	for i, l := range lengths {
		if l > 0 {
			words[i] = codeword{bits: bits.Reverse32(uint32(next[l])) >> (32 - l), length: l}
			next[l]++
		}
	}
	return words, true
}
