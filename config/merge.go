package config

import (
	"gopkg.in/yaml.v3"
)

// A file that extends another is put on top of it, node by node, before anything is made of either: mappings and
// lists add, and a single value stands as it is written first. That is an error where the second file has another one,
// unless the first says `local: may_loosen` there; what may be made stricter in any case is a graded field, of which
// loosen.go judges. All that follows sees one tree, of which each node knows its file.

// layer is what one file has at a place.
type layer struct {
	place
	node *yaml.Node
}

// under is the value of a key of the mapping that the layer is.
func (l layer) under(v *yaml.Node, key string) layer { return layer{l.key(v, key), v} }

// merger puts the nodes of one file on top of those of what it extends.
type merger struct {
	*report
}

// take returns the node of a layer, for a tree of another file.
func (m merger) take(l layer) *yaml.Node {
	l.file.origins[l.node] = origin{file: l.file}
	return l.node
}

// merge returns one tree of two files. The result is of the file on top where it is of none alone.
func merge(r *report, base, top layer) *yaml.Node {
	root := merger{r}.mapping(base, top, new(file).fields(), false)
	root.Line, root.Column = top.line, top.column
	top.file.origins[root] = origin{file: top.file}
	return root
}

// mapping merges two mappings with known keys. open says that the base lets the other write what it likes.
func (m merger) mapping(base, top layer, fields []field, open bool) *yaml.Node {
	open = open || marked(base.node)
	return m.pairs(base, top, func(key string, b, t layer) *yaml.Node {
		i := index(fields, key)
		if i < 0 {
			return m.take(b) // both are reported as unknown when the whole is read; once will do
		}
		return fields[i].kind.merge(m, b, t, open || fields[i].graded)
	})
}

// marked reports whether a mapping says local: may_loosen.
func marked(n *yaml.Node) bool {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if v := resolve(n.Content[i+1]); resolve(n.Content[i]).Value == "local" && v.Kind == yaml.ScalarNode && v.Value == mayLoosen {
			return true
		}
	}
	return false
}

// pairs merges two mappings, the base's keys first. both merges what stands under a key that both have. What is no
// mapping, or has a key twice, is left for the reader of the whole to report.
func (m merger) pairs(base, top layer, both func(key string, b, t layer) *yaml.Node) *yaml.Node {
	if base.node.Kind != yaml.MappingNode || top.node.Kind != yaml.MappingNode {
		return m.take(top)
	}
	out := &yaml.Node{Kind: yaml.MappingNode, Line: base.line, Column: base.column}
	add := func(l layer, key, value *yaml.Node) {
		l.file.origins[key] = origin{file: l.file}
		out.Content = append(out.Content, key, value)
	}
	merged := map[int]bool{}
	for i := 0; i+1 < len(base.node.Content); i += 2 {
		key, v := resolve(base.node.Content[i]), resolve(base.node.Content[i+1])
		b := base.under(v, key.Value)
		j := keyAt(top.node, key)
		if j < 0 || merged[j] {
			add(b, key, m.take(b))
			continue
		}
		merged[j] = true
		at := resolve(top.node.Content[j+1])
		add(b, key, both(key.Value, b, top.under(at, key.Value)))
	}
	for i := 0; i+1 < len(top.node.Content); i += 2 {
		if key := resolve(top.node.Content[i]); !merged[i] {
			t := top.under(resolve(top.node.Content[i+1]), key.Value)
			add(t, key, m.take(t))
		}
	}
	top.file.origins[out] = origin{file: base.file}
	return out
}

// keyAt is where a mapping has a key, or -1.
func keyAt(n, key *yaml.Node) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := resolve(n.Content[i]); k.Kind == yaml.ScalarNode && key.Kind == yaml.ScalarNode && k.Value == key.Value {
			return i
		}
	}
	return -1
}

// list puts the entries of two lists behind each other.
func (m merger) list(base, top layer) *yaml.Node {
	if base.node.Kind != yaml.SequenceNode || top.node.Kind != yaml.SequenceNode {
		return m.take(top)
	}
	out := &yaml.Node{Kind: yaml.SequenceNode, Line: base.line, Column: base.column}
	for _, l := range []layer{base, top} {
		for i, e := range l.node.Content {
			e = resolve(e)
			of, index := l.file.of(e, i)
			l.file.origins[e] = origin{of, index}
			out.Content = append(out.Content, e)
		}
	}
	top.file.origins[out] = origin{file: base.file}
	return out
}

// stands returns the base's value, and fails one of the other file that differs, unless that is open.
func (m merger) stands(base, top layer, open bool) *yaml.Node {
	switch {
	case open:
		return m.take(top)
	case !same(base.node, top.node):
		m.fail(top.place, "remove it", "%s has this too, and what that says stands", base.where())
	}
	return m.take(base)
}

// same reports whether two nodes say the same in the same words.
func same(a, b *yaml.Node) bool {
	a, b = resolve(a), resolve(b)
	if a.Kind != b.Kind || a.Value != b.Value || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

func (k oneKind[T]) merge(m merger, base, top layer, open bool) *yaml.Node {
	return m.stands(base, top, open)
}

func (k manyKind[T]) merge(m merger, base, top layer, open bool) *yaml.Node {
	if k.whole {
		return m.stands(base, top, open)
	}
	return m.list(base, top)
}

func (k mappingKind) merge(m merger, base, top layer, open bool) *yaml.Node {
	return m.mapping(base, top, k.dst.fields(), open)
}

func (k sectionsKind[T, P]) merge(m merger, base, top layer, _ bool) *yaml.Node {
	return m.list(base, top)
}

func (k namedKind[T, P]) merge(m merger, base, top layer, open bool) *yaml.Node {
	return m.pairs(base, top, func(_ string, b, t layer) *yaml.Node {
		return m.mapping(b, t, P(new(T)).fields(), open)
	})
}

func (k periods) merge(m merger, base, top layer, _ bool) *yaml.Node {
	return m.pairs(base, top, func(_ string, b, t layer) *yaml.Node { return m.list(b, t) })
}
