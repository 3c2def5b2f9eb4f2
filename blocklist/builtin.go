package blocklist

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strings"
)

// The starter lists are well-known names, few and sure: enough that a first start filters something,
// no replacement for a list that somebody keeps up to date.
//
//go:embed builtin/*.txt
var builtinFiles embed.FS

// Builtins returns the names of schoolgate's own lists, sorted: what stands behind "builtin:".
func Builtins() []string {
	files, err := builtinFiles.ReadDir("builtin")
	if err != nil {
		panic(err) // the folder was there when the program was compiled
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(f.Name(), ".txt")
	}
	slices.Sort(names)
	return names
}

// Builtin returns one of schoolgate's own lists, without the entries that cover one of the site's own
// zones.
func Builtin(name string, own ...Name) (*List, error) {
	if !slices.Contains(Builtins(), name) {
		return nil, fmt.Errorf("no built-in list %q (there are %s)", name, strings.Join(Builtins(), ", "))
	}
	text, err := builtinFiles.ReadFile("builtin/" + name + ".txt")
	if err != nil {
		return nil, fmt.Errorf("built-in list %q: %w", name, err)
	}
	list, err := Parse(bytes.NewReader(text), Options{Format: FormatDomains, Own: own})
	if err != nil {
		return nil, fmt.Errorf("built-in list %q: %w", name, err)
	}
	return list, nil
}
