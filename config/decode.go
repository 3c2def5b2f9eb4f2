package config

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// field is one key of a mapping. Each section lists its fields in one place, its method fields, and
// everything follows from that list: which keys are known, how they are read and to where, what
// they are without being written, the JSON Schema and the reference.
type field struct {
	key  string
	kind kind
	// def is the value of a key that is not written, as YAML; "" where it has none.
	def string
	// need says that the key must be written.
	need bool
	// later says that this version checks the key and does not act upon it.
	later bool
	// graded says that a file which extends another may write the key too, for not every other value is a weaker
	// one: loosen.go judges.
	graded bool
	// doc is for people, in the schema and the reference. Markdown, sentences without a final stop
	// where there is one only.
	doc string
}

// kind reads one sort of value to where it was bound.
type kind interface {
	read(r *report, n *yaml.Node, at place)
	shape() shape
	// merge puts the value of one file on top of that of the file which it extends. open says that it may be another.
	merge(m merger, base, top layer, open bool) *yaml.Node
}

// shape is what the schema and the reference say of a kind.
type shape struct {
	words  string         // "duration", "list of names"
	schema map[string]any // JSON Schema, but for the properties of fields
	fields []field        // of a section, or of each section inside a list or a mapping
	below  string         // what stands in a path between the key and those fields: "[]", ".NAME"
}

// value is a scalar and where it stands.
type value[T any] struct {
	place
	v T
}

// scalar is a sort of scalar value.
type scalar[T any] struct {
	words  string
	schema map[string]any
	plain  bool // quotes make it something else
	parse  func(text string) (T, error)
}

func (s scalar[T]) read(r *report, n *yaml.Node, at place) (value[T], bool) {
	v := value[T]{place: at}
	if !is(r, n, at, yaml.ScalarNode, s.words) {
		return v, false
	}
	if s.plain && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		r.fail(at, "write it without quotes", "%q is text, want %s", n.Value, s.words)
		return v, false
	}
	var err error
	if v.v, err = s.parse(n.Value); err != nil {
		var f failure
		if !errors.As(err, &f) {
			f.what = err.Error()
		}
		r.fail(at, f.hint, "%s", f.what)
		return v, false
	}
	return v, true
}

// one binds a scalar. What can't be read leaves dst with its place only.
func one[T any](dst *value[T], s scalar[T]) kind { return oneKind[T]{dst, s} }

type oneKind[T any] struct {
	dst *value[T]
	scalar[T]
}

func (k oneKind[T]) read(r *report, n *yaml.Node, at place) { *k.dst, _ = k.scalar.read(r, n, at) }
func (k oneKind[T]) shape() shape                           { return shape{words: k.words, schema: k.schema} }

// many binds a list of scalars. What can't be read is left out of dst.
func many[T any](dst *values[T], s scalar[T]) kind { return manyKind[T]{dst: dst, scalar: s} }

// undivided is many for a list that means something as a whole: a file that extends another adds nothing to it.
func undivided[T any](dst *values[T], s scalar[T]) kind {
	return manyKind[T]{dst: dst, scalar: s, whole: true}
}

// values is a list of scalars and where it stands.
type values[T any] struct {
	place
	all []value[T]
}

type manyKind[T any] struct {
	dst *values[T]
	scalar[T]
	whole bool
}

func (k manyKind[T]) read(r *report, n *yaml.Node, at place) {
	*k.dst = values[T]{place: at}
	if !is(r, n, at, yaml.SequenceNode, "a list") {
		return
	}
	for i, e := range n.Content {
		if v, ok := k.scalar.read(r, resolve(e), at.item(e, i)); ok {
			k.dst.all = append(k.dst.all, v)
		}
	}
}

func (k manyKind[T]) shape() shape {
	return shape{words: "list: " + k.words, schema: map[string]any{"type": "array", "items": k.schema}}
}

// either binds a scalar, or a list of them, which means something as a whole.
func either[T any](dst *values[T], s scalar[T]) kind { return eitherKind[T]{manyKind[T]{dst, s, true}} }

type eitherKind[T any] struct{ manyKind[T] }

func (k eitherKind[T]) read(r *report, n *yaml.Node, at place) {
	if n.Kind == yaml.SequenceNode {
		k.manyKind.read(r, n, at)
		return
	}
	*k.dst = values[T]{place: at}
	if v, ok := k.scalar.read(r, n, at); ok {
		k.dst.all = []value[T]{v}
	}
}

func (k eitherKind[T]) shape() shape {
	return shape{
		words:  k.words + ", or a list",
		schema: map[string]any{"anyOf": []any{k.schema, map[string]any{"type": "array", "items": k.schema}}},
	}
}

// section is a mapping with known keys. Types embed place to be one.
type section interface {
	fields() []field
	stand(at place)
}

func (p *place) stand(at place) { *p = at }

// short is a section that can also be written as one scalar.
type short interface {
	short(text string) error
	shortSchema() map[string]any
}

// mapping binds a section.
func mapping(dst section) kind { return mappingKind{dst} }

type mappingKind struct{ dst section }

func (k mappingKind) read(r *report, n *yaml.Node, at place) {
	k.dst.stand(at)
	if s, ok := k.dst.(short); ok && n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
		var f failure
		if err := s.short(n.Value); errors.As(err, &f) {
			r.fail(at, f.hint, "%s", f.what)
		}
		n = &yaml.Node{Kind: yaml.MappingNode} // for the defaults
	}
	readFields(r, n, at, k.dst.fields())
}

func (k mappingKind) shape() shape {
	s := shape{words: "mapping", fields: k.dst.fields()}
	if sh, ok := k.dst.(short); ok {
		s.words, s.schema = "mapping or text", sh.shortSchema()
	}
	return s
}

// sectionOf is what a *T must be for T to be the element of a list or mapping.
type sectionOf[T any] interface {
	*T
	section
}

// sections binds a list of sections.
func sections[T any, P sectionOf[T]](dst *[]T) kind { return sectionsKind[T, P]{dst} }

type sectionsKind[T any, P sectionOf[T]] struct{ dst *[]T }

func (k sectionsKind[T, P]) read(r *report, n *yaml.Node, at place) {
	if !is(r, n, at, yaml.SequenceNode, "a list") {
		return
	}
	*k.dst = make([]T, len(n.Content))
	for i, e := range n.Content {
		mapping(P(&(*k.dst)[i])).read(r, resolve(e), at.item(e, i))
	}
}

func (k sectionsKind[T, P]) shape() shape {
	s := mapping(P(new(T))).shape()
	return shape{words: "list", schema: s.schema, fields: s.fields, below: "[]"}
}

// namedSection is a section that stands under a name of the user's own.
type namedSection[T any] interface {
	sectionOf[T]
	setName(name string)
}

// named binds a mapping from names to sections, in the order of the file.
func named[T any, P namedSection[T]](dst *[]T) kind { return namedKind[T, P]{dst} }

// name is embedded by a section that stands under one.
type name struct {
	place
	name string
}

func (n *name) setName(s string) { n.name = s }

type namedKind[T any, P namedSection[T]] struct{ dst *[]T }

// nameRule keeps names fit for metrics, paths, file names and shells alike.
const nameRule = `^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`

var nameForm = regexp.MustCompile(nameRule)

func (k namedKind[T, P]) read(r *report, n *yaml.Node, at place) {
	for key, n := range names(r, n, at) {
		var e T
		P(&e).setName(key.Value)
		mapping(P(&e)).read(r, n, at.key(n, key.Value))
		*k.dst = append(*k.dst, e)
	}
}

// names yields the pairs of a mapping by name, and fails keys that are none.
func names(r *report, n *yaml.Node, at place) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if !is(r, n, at, yaml.MappingNode, "a mapping") {
			return
		}
		for key, v := range pairs(r, n, at) {
			if !nameForm.MatchString(key.Value) {
				r.fail(at.key(key, key.Value), "letters, digits, - and _, at most 63", "%q is not a name", key.Value)
			} else if !yield(key, v) {
				return
			}
		}
	}
}

func (k namedKind[T, P]) shape() shape {
	return shape{words: "mapping by name", fields: P(new(T)).fields(), below: ".NAME"}
}

// readFields reads the mapping n by its known keys, and what it leaves out by the defaults.
func readFields(r *report, n *yaml.Node, at place, fields []field) {
	if !is(r, n, at, yaml.MappingNode, "a mapping") {
		return
	}
	written := map[string]bool{}
	for key, v := range pairs(r, n, at) {
		i := index(fields, key.Value)
		if i < 0 {
			known := make([]string, len(fields))
			for i, f := range fields {
				known[i] = f.key
			}
			r.failKey(at, at.key(key, key.Value), key.Value, known)
			continue
		}
		written[key.Value] = true
		p := at.key(v, key.Value)
		if fields[i].later && p.written() && asks(v) {
			r.notYet(p)
		}
		fields[i].kind.read(r, v, p)
	}
	for _, f := range fields {
		switch {
		case written[f.key]:
		case f.need:
			r.fail(at.below(f.key), "", "is required")
		case f.def != "":
			f.kind.read(r, parseDefault(f.def), place{path: at.below(f.key).path})
		}
	}
}

func index(fields []field, key string) int {
	for i, f := range fields {
		if f.key == key {
			return i
		}
	}
	return -1
}

// parseDefault reads a default of the table. A test reads them all.
func parseDefault(text string) *yaml.Node {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		panic(fmt.Sprintf("default %q: %v", text, err))
	}
	return n.Content[0]
}

// asks reports whether a value wants something: not off, zero or empty.
func asks(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.ScalarNode:
		switch strings.ToLower(n.Value) {
		case "", "0", "0s", "off", "no", "false", "null", "~":
			return false
		}
		return true
	case yaml.SequenceNode:
		return len(n.Content) > 0
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			if asks(resolve(n.Content[i])) {
				return true
			}
		}
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return false
}

// pairs yields the keys and values of a mapping, each key once, and reports what is wrong with it.
func pairs(r *report, n *yaml.Node, at place) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		first := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, v := resolve(n.Content[i]), resolve(n.Content[i+1])
			p := at.key(key, key.Value)
			switch line, again := first[key.Value]; {
			case key.Kind != yaml.ScalarNode:
				r.fail(place{key.Line, key.Column, at.path, at.key(key, "").file}, "", "a key must be plain text")
			case key.ShortTag() == "!!merge":
				r.fail(p, "write the keys out; groups have inherit", "merge keys are not supported")
			case again:
				r.fail(p, fmt.Sprintf("first on line %d", line), "is written twice")
			default:
				first[key.Value] = key.Line
				if !yield(key, v) {
					return
				}
			}
		}
	}
}

// is reports whether n is of the wanted kind, and fails what is not.
func is(r *report, n *yaml.Node, at place, want yaml.Kind, words string) bool {
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		r.fail(at, "leave it out", "the tag %s is not supported", n.Tag)
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		something := map[yaml.Kind]string{yaml.ScalarNode: "one", yaml.SequenceNode: "[]", yaml.MappingNode: "{}"}
		r.fail(at, "write "+something[want]+", or leave the key out", "has no value")
	case n.Kind == want:
		return true
	default:
		hint := ""
		if want == yaml.SequenceNode && n.Kind == yaml.ScalarNode && len(n.Value) < 60 {
			hint = "write [" + n.Value + "]"
		}
		r.fail(at, hint, "is %s, want %s", kindWords(n.Kind), words)
	}
	return false
}

func kindWords(k yaml.Kind) string {
	switch k {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return "a single value"
}

// resolve follows an alias. checkAliases has made sure that it ends.
func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// key is the place of n under the key of the mapping at p; that of a default stays a default.
func (p place) key(n *yaml.Node, key string) place { return p.below(key).at(n) }

func (p place) item(n *yaml.Node, i int) place {
	n = resolve(n)
	_, own := p.file.of(n, i)
	p.path += "[" + strconv.Itoa(own) + "]"
	return p.at(n)
}

// below is the place of the mapping at p with the path of a key in it.
func (p place) below(key string) place {
	if !plainKey.MatchString(key) {
		key = strconv.Quote(key)
	}
	if p.path != "" {
		key = p.path + "." + key
	}
	p.path = key
	return p
}

func (p place) at(n *yaml.Node) place {
	if p.line > 0 {
		p.line, p.column = n.Line, n.Column
		p.file, _ = p.file.of(n, 0)
	}
	return p
}
