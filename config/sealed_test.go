package config

import (
	"strings"
	"testing"

	"filippo.io/age"
)

func TestWhoOpensConfidentialNames(t *testing.T) {
	t.Parallel()
	listKey, err := age.ParseX25519Identity(ageKey[strings.Index(ageKey, "AGE-") : len(ageKey)-1])
	if err != nil {
		t.Fatal(err)
	}
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	public := key.Recipient().String()
	m := fakeMachine()
	m.getenv = func(string) string { return ageKey }
	for _, c := range []struct{ name, text, want string }{
		{"nobody", "", ""},
		{"a person with a public key", "sealed: {to: " + public + ", person: Head teacher}", ""},
		{"a key without a person", "sealed: {to: " + public + "}", "f:4:9: sealed.person: is required"},
		{"a person without a key", "sealed: {person: Head teacher}", "f:4:9: sealed.to: is required"},
		{
			"the secret key, of which the message says nothing", "sealed: {to: " + key.String() + ", person: Head teacher}",
			"f:4:14: sealed.to: this is the secret key, which must not be here: take it out, have a new pair made, and write the line that begins with age1",
		},
		{
			"no key", "sealed: {to: age1x, person: Head teacher}",
			"f:4:14: sealed.to: this is not the public key of an age identity: age1…, as age-keygen prints it",
		},
		{
			"the key to the lists, which this machine has", "sealed: {to: " + listKey.Recipient().String() + ", person: Head teacher}\nconfidential_key: {secret_env: KEY}",
			"f:4:14: sealed.to: this machine has the secret key to it: confidential_key (have the person make a pair with age-keygen, on a machine of their own)",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg, err := load(&report{file: "f"}, []byte("version: 1\ngroups: {everyone: {}}\ndefault_group: everyone\n"+c.text+"\n"), t.TempDir(), m)
			switch {
			case c.want != "" && (err == nil || err.Error() != c.want):
				t.Errorf("%v, want %s", err, c.want)
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want == "" && (c.text == "") != (cfg.Record.Seal == nil):
				t.Errorf("sealed to %v", cfg.Record.Seal)
			case c.want == "" && c.text != "" && cfg.Record.Seal.String() != "Head teacher ("+public+")":
				t.Errorf("sealed to %v", cfg.Record.Seal)
			}
		})
	}
}
