package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
)

// Schema writes the JSON Schema (draft 2020-12) of the configuration, for editors. It knows less
// than Load: not whether a name that is referred to exists.
func Schema(w io.Writer) error {
	schema := sectionSchema(new(file).fields())
	// A file that extends another need not have what that has.
	schema["if"] = object{"not": object{"required": []string{"extends"}}}
	schema["then"] = object{"required": schema["required"]}
	schema["required"] = []string{"version"}
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "schoolgate configuration"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		return fmt.Errorf("encode schema: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

func sectionSchema(fields []field) object {
	properties, required := object{}, []string{}
	for _, f := range fields {
		properties[f.key] = f.schema()
		if f.need {
			required = append(required, f.key)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

func (f field) schema() object {
	s := f.kind.shape()
	schema := maps.Clone(s.schema)
	if s.fields != nil {
		schema = sectionSchema(s.fields)
		if s.schema != nil {
			schema = object{"anyOf": []any{schema, s.schema}}
		}
		if strings.HasSuffix(s.below, "[]") {
			schema = object{"type": "array", "items": schema}
		}
		if strings.HasPrefix(s.below, ".NAME") {
			schema = object{"type": "object", "propertyNames": object{"pattern": nameRule}, "additionalProperties": schema}
		}
	}
	schema["description"] = f.sentence()
	if f.def != "" && f.def != "{}" {
		var def any
		if err := parseDefault(f.def).Decode(&def); err == nil {
			schema["default"] = def
		}
	}
	return schema
}

// sentence is the field's text, with what this version leaves out.
func (f field) sentence() string {
	s := f.doc + "."
	if f.later {
		s += " Checked, and not enforced by this version."
	}
	return s
}

// Reference writes what each key is, in Markdown.
func Reference(w io.Writer) error {
	var b strings.Builder
	b.WriteString(`# The configuration file, key by key

Strict YAML in UTF-8: an unknown key is an error. Booleans are true/false, on/off or yes/no. Durations are
` + "`30s`, `12h`, `7d`, `1y`" + `, or combined. Paths are relative to the file. NAME stands for a name of your own
(letters, digits, - and _), [] for each entry of a list. A key without a default need not be written,
unless it says "required". ` + "`deploy/schoolgate.example.yaml`" + ` shows all of it at work.

This page is generated from the program by ` + "`go test ./config -update`" + `.
`)
	top := new(file).fields()
	b.WriteString("\n## Top level\n\n")
	table(&b, "", top, false)
	for _, f := range top {
		if s := f.kind.shape(); s.fields != nil {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", f.key, f.sentence())
			table(&b, f.key+s.below+".", s.fields, true)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func table(b *strings.Builder, prefix string, fields []field, deep bool) {
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	rows(b, prefix, fields, deep)
}

func rows(b *strings.Builder, prefix string, fields []field, deep bool) {
	cell := strings.NewReplacer("|", `\|`).Replace
	for _, f := range fields {
		s := f.kind.shape()
		def := ""
		switch {
		case f.need:
			def = "required"
		case f.def != "" && f.def != "{}":
			def = "`" + f.def + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", prefix+f.key, cell(s.words), cell(def), cell(f.sentence()))
		if deep && s.fields != nil {
			rows(b, prefix+f.key+s.below+".", s.fields, deep)
		}
	}
}
