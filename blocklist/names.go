package blocklist

import (
	"iter"
	"runtime"
)

// names are the entries of a list as they were read: each its kind, the length of its path, and the
// path. They lie in chunks, so that a list of millions need not be copied to grow; the large ones
// outside the collector's heap, so that Release is at once.
type names struct {
	chunks   [][]byte
	count    int
	size     int // bytes of all entries
	released bool
	cleanup  runtime.Cleanup
	outside  *outside
}

// outside are the chunks outside the heap, apart from names so that a cleanup can hold them.
type outside struct{ chunks [][]byte }

func (o *outside) free() {
	for _, c := range o.chunks {
		free(c)
	}
	o.chunks = nil
}

const (
	chunkSize = 4 << 20 // of a chunk outside the heap
	heapChunk = 256 << 10
)

// A path is a name from the top-level domain down: its labels, each behind its length octet, without
// the root's. So a name's path is the beginning of the path of every name below it, and of no other.

// appendPath appends the path of a key.
func appendPath(dst, key []byte) []byte {
	var starts [maxLabels]uint8
	for i := labelStarts(key, &starts) - 1; i >= 0; i-- {
		dst = append(dst, key[starts[i]:][:key[starts[i]]+1]...)
	}
	return dst
}

// pathName returns the name of a path.
func pathName(path []byte) Name {
	var buf [maxName]byte
	at := len(path)
	for rest := path; len(rest) > 0; {
		size := int(rest[0]) + 1
		at -= size
		copy(buf[at:], rest[:size])
		rest = rest[size:]
	}
	return Name(buf[:len(path)+1])
}

// add adds an entry. key is a name's key, which is copied.
func (ns *names) add(k kind, key []byte) {
	size := len(key) + 1 // the path is without the root's octet
	last := len(ns.chunks) - 1
	if last < 0 || len(ns.chunks[last])+size > cap(ns.chunks[last]) {
		if last < 0 || !ns.grow(size) {
			ns.chunk()
		}
		last = len(ns.chunks) - 1
	}
	c := append(ns.chunks[last], byte(k), byte(len(key)-1))
	ns.chunks[last] = appendPath(c, key)
	ns.count++
	ns.size += size
}

// grow makes the first chunk longer, as long as it is a small one.
func (ns *names) grow(size int) bool {
	if len(ns.chunks) > 1 || cap(ns.chunks[0]) >= heapChunk {
		return false
	}
	longer := make([]byte, len(ns.chunks[0]), min(2*cap(ns.chunks[0])+size, heapChunk+maxName+1))
	copy(longer, ns.chunks[0])
	ns.chunks[0] = longer
	return true
}

// chunk adds a chunk.
func (ns *names) chunk() {
	if len(ns.chunks) == 0 {
		ns.chunks = append(ns.chunks, make([]byte, 0, 1<<10))
		return
	}
	c, isOutside := allocate(chunkSize)
	if isOutside {
		if ns.outside == nil {
			ns.outside = new(outside)
			ns.cleanup = runtime.AddCleanup(ns, (*outside).free, ns.outside)
		}
		ns.outside.chunks = append(ns.outside.chunks, c)
	}
	ns.chunks = append(ns.chunks, c[:0])
}

// all returns each entry's kind and path. The path is the list's own: read only, and not to be kept.
func (ns *names) all() iter.Seq2[kind, []byte] {
	return func(yield func(kind, []byte) bool) {
		for _, chunk := range ns.chunks {
			for k, path := range entriesOf(chunk) {
				if !yield(k, path) {
					return
				}
			}
		}
		runtime.KeepAlive(ns)
	}
}

// entriesOf returns each entry of a chunk.
func entriesOf(chunk []byte) iter.Seq2[kind, []byte] {
	return func(yield func(kind, []byte) bool) {
		for len(chunk) > 0 {
			end := 2 + int(chunk[1])
			if !yield(kind(chunk[0]), chunk[2:end]) {
				return
			}
			chunk = chunk[end:]
		}
	}
}

func (ns *names) release() {
	ns.released, ns.chunks = true, nil
	if ns.outside != nil {
		ns.cleanup.Stop()
		ns.outside.free()
		ns.outside = nil
	}
}
