package config

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

func TestPublishedSchemaAndReferenceAreThoseOfTheProgram(t *testing.T) {
	t.Parallel()
	for path, write := range map[string]func(io.Writer) error{
		"../deploy/schoolgate.schema.json": Schema,
		"../deploy/docs/configuration.md":  Reference,
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, path, b.String())
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	var b bytes.Buffer
	if err := Schema(&b); err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schoolgate.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schoolgate.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plain makes of a YAML node what an editor hands to a schema: YAML 1.2, in which on, 12:10 and
// 2026-09-02 are text.
func plain(t *testing.T, n *yaml.Node) any {
	t.Helper()
	n = resolve(n)
	switch n.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = plain(t, n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		l := []any{}
		for _, c := range n.Content {
			l = append(l, plain(t, c))
		}
		return l
	case yaml.ScalarNode, yaml.DocumentNode, yaml.AliasNode:
	}
	switch n.ShortTag() {
	case "!!bool", "!!int", "!!float", "!!null":
		var v any
		if err := n.Decode(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	return n.Value
}

func parsed(t *testing.T, data []byte) any {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	return plain(t, doc.Content[0])
}

func TestSchemaTakesWhatLoads(t *testing.T) {
	t.Parallel()
	schema := compiledSchema(t)
	files := append(yamlFiles(t, "testdata/good"), "default.yaml", "starter.yaml", "../deploy/schoolgate.example.yaml")
	for _, path := range files {
		if filepath.Base(path) == "spellings.yaml" {
			continue // Yes, a number as text: more than an editor should let pass
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(parsed(t, data)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSchemaRefusesWhatItCanSee(t *testing.T) {
	t.Parallel()
	schema := compiledSchema(t)
	seen := 0
	for _, path := range yamlFiles(t, "testdata/bad") {
		kind, _, _ := strings.Cut(filepath.Base(path), "_")
		switch kind {
		case "key", "type", "version", "value", "duration":
		default:
			continue
		}
		seen++
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		err = schema.Validate(parsed(t, data))
		switch filepath.Base(path) {
		case "type_boolean_quoted.yaml", "duration_out_of_range.yaml", "duration_absurd.yaml":
			continue // a schema sees neither quotes nor how long a duration is
		}
		if err == nil {
			t.Errorf("%s is valid by the schema", path)
		}
	}
	if seen < 15 {
		t.Errorf("only %d files were tried", seen)
	}
}

// walk calls f for each field of the table with its path.
func walk(prefix string, fields []field, f func(path string, field field)) {
	for _, e := range fields {
		f(prefix+e.key, e)
		if s := e.kind.shape(); s.fields != nil {
			walk(prefix+e.key+s.below+".", s.fields, f)
		}
	}
}

func TestEveryFieldIsDescribedAndItsDefaultIsRight(t *testing.T) {
	t.Parallel()
	count := 0
	walk("", new(file).fields(), func(path string, f field) {
		count++
		if f.doc == "" || strings.HasSuffix(f.doc, ".") {
			t.Errorf("%s: the text is %q, want some without a stop at its end", path, f.doc)
		}
		if f.need && f.def != "" {
			t.Errorf("%s: is required and has a default", path)
		}
		if f.def == "" {
			return
		}
		r := &report{file: path}
		f.kind.read(r, parseDefault(f.def), place{path: path})
		if len(r.errors) > 0 {
			t.Errorf("default: %v", r.errors)
		}
		if len(r.later) > 0 {
			t.Errorf("the default of %s asks for what there is not: %v", path, r.later)
		}
	})
	if count < 100 {
		t.Errorf("only %d fields", count)
	}
}

func TestEveryKeyOfTheContractIsInTheTable(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	walk("", new(file).fields(), func(path string, _ field) { known[path] = true })
	data, err := os.ReadFile("testdata/good/contract.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	var visit func(prefix string, v any)
	visit = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, inner := range v {
				path := prefix + key
				switch prefix {
				case "categories.", "groups.", "calendar.periods.", "alerts.receivers.":
					path = prefix + "NAME"
				default:
					seen++
					if !known[path] {
						t.Errorf("the table has no %s", path)
					}
				}
				visit(path+".", inner)
			}
		case []any:
			for _, inner := range v {
				visit(strings.TrimSuffix(prefix, ".")+"[].", inner)
			}
		}
	}
	visit("", parsed(t, data))
	if seen < 100 {
		t.Errorf("only %d keys were seen", seen)
	}
}

// The example is of use as it is, and with its alerts once the secret exists.
func TestExampleLoads(t *testing.T) {
	t.Parallel()
	const path = "../deploy/schoolgate.example.yaml"
	cfg, err := loadAt(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) != 1 || cfg.Warnings[0].Path != "alerts" {
		t.Errorf("warnings %v, want one that no one is alerted", cfg.Warnings)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := uncomment(t, string(data), "# alerts:")
	if err := compiledSchema(t).Validate(parsed(t, []byte(text))); err != nil {
		t.Error(err)
	}
	cfg, err = load(&report{file: "example.yaml"}, []byte(text), secrets(t), fakeMachine())
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Warnings) > 0 || len(cfg.Alerts.Receivers) != 3 || len(cfg.Alerts.Routes) != 3 {
		t.Errorf("warnings %v, %d receivers, %d routes", cfg.Warnings, len(cfg.Alerts.Receivers), len(cfg.Alerts.Routes))
	}
}

// uncomment takes the comment signs of a block away that begins with a line.
func uncomment(t *testing.T, text, first string) string {
	t.Helper()
	before, after, found := strings.Cut(text, "\n"+first)
	if !found {
		t.Fatalf("there is no %q", first)
	}
	lines := strings.Split(first+after, "\n")
	for i, l := range lines {
		if !strings.HasPrefix(l, "#") {
			break
		}
		lines[i] = strings.TrimPrefix(l[1:], " ")
	}
	return before + "\n" + strings.Join(lines, "\n")
}
