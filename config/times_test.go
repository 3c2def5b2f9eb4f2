package config

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "30s": 30 * time.Second, "12h": 12 * time.Hour, "1d12h": 36 * time.Hour, "1.5d": 36 * time.Hour,
		"365d": 365 * 24 * time.Hour, "7y": 7 * 365 * 24 * time.Hour, "1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "100y": longest,
	} {
		got, err := ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":        `"" is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"5":       `"5" is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"1w":      `"1w" is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"1d ":     `"1d " is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"-1h":     `"-1h" is negative`,
		"101y":    `"101y" is too long (at most 100y)`,
		"1e9y":    `"1e9y" is not a duration (write it like "30s", "12h", "1d12h" or "7y")`,
		"99y400d": `"99y400d" is too long (at most 100y)`,
	} {
		if _, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("ParseDuration(%q): %v, want %s", text, err, want)
		}
	}
}
