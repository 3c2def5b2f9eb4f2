// Package config reads schoolgate's configuration file.
//
// A file is read in three steps. The first makes YAML nodes of the text, which know their line and
// column (parse.go). The second reads them into structs that mirror the file, through the list of
// fields that each struct has: a field says which key it is, how its value is read and to where,
// what it is when it is not written, and what it is for (decode.go, scalar.go, times.go; file.go,
// network.go, content.go, lists.go, groups.go and alerts.go hold the fields). The JSON Schema and the
// reference are made of the same lists (describe.go), so that they cannot say anything else than the
// program does. The third step looks at what may be wrong between values that are each right
// (check*.go), and hands everything on in the terms of the packages that it is for. Those know
// nothing of YAML.
//
// Every step goes on after a problem, and every problem has its place: one run tells all.
//
// A key that this version checks and does not act upon is named in Config.NotEnforced where the file
// asks for it, so that nobody relies on it unknowingly.
package config
