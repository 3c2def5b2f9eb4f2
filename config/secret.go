package config

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
)

// Secret is the key that a receiver's alerts are signed with, decoded. However it is printed, the
// key does not show.
type Secret []byte

const hidden = "(secret)"

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText keeps it out of JSON, YAML and the like.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue keeps it out of logs.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// parseSecret reads "whsec_" and the base64 of 24 to 64 bytes, with blanks around it. Its errors
// say nothing of what the text is.
func parseSecret(text string) (Secret, error) {
	const hint = "whsec_ and base64 of 24 to 64 random bytes"
	coded, ok := strings.CutPrefix(strings.TrimSpace(text), "whsec_")
	if !ok {
		return nil, wrong(hint, "does not begin with whsec_")
	}
	key, err := base64.StdEncoding.DecodeString(coded)
	if err != nil {
		return nil, wrong(hint, "is not base64 after whsec_")
	}
	if len(key) < 24 || len(key) > 64 {
		return nil, wrong(hint, "has %d bytes", len(key))
	}
	return key, nil
}

// parseTSIG reads the key of a transfer. Its errors say nothing of what the text is.
func parseTSIG(text string) ([]byte, error) {
	const hint = "base64, as tsig-keygen writes it"
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	switch {
	case err != nil:
		return nil, wrong(hint, "is not base64")
	case len(key) < 16:
		return nil, wrong(hint, "has %d bytes, fewer than 16", len(key))
	}
	return key, nil
}
