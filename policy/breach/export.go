package breach

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"strconv"
	"strings"
)

// WriteLine writes a document as one line of JSON that is safe on a terminal, see Escaped.
func WriteLine(w io.Writer, v any) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false) // no page is made of it
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(Escaped(line.Bytes()))
	return err
}

// WriteJSONL returns a function that writes a breach as one line of JSON, for Reader.Breaches.
func WriteJSONL(w io.Writer) func(Breach) error {
	return func(b Breach) error { return WriteLine(w, b) }
}

// CSVWriter writes breaches as CSV (RFC 4180) with a header, safe to be opened in a spreadsheet.
type CSVWriter struct{ csv *csv.Writer }

// NewCSVWriter returns a CSVWriter, which writes the header first. Flush it at the end.
func NewCSVWriter(w io.Writer) (*CSVWriter, error) {
	c := &CSVWriter{csv.NewWriter(w)}
	return c, c.csv.Write([]string{
		"id", "seq", "time", "site", "client_ip", "client_mac", "client_name", "client_user", "group",
		"query_name", "query_type", "transport", "category", "categories", "severity", "action",
		"list", "entry", "via", "count", "last", "incident",
	})
}

// Write writes one breach. Its categories are one cell, separated by spaces.
func (c *CSVWriter) Write(b Breach) error {
	cells := []string{
		b.ID, strconv.FormatInt(b.Seq, 10), b.Time, b.Site, b.Client.IP, b.Client.MAC, b.Client.Name, b.Client.User, b.Group,
		b.Query.Name, b.Query.Type, b.Query.Transport, b.Category, strings.Join(b.Categories, " "), b.Severity, b.Action,
		b.Rule.List, b.Rule.Entry, b.Rule.Via, strconv.FormatInt(b.Count, 10), b.Last, b.Incident,
	}
	for i, cell := range cells {
		cells[i] = Inert(cell)
	}
	return c.csv.Write(cells)
}

// Flush writes what is still buffered and returns the first error of all writing.
func (c *CSVWriter) Flush() error {
	c.csv.Flush()
	return c.csv.Error()
}
