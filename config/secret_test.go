package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

const keysText = `
version: 1
confidential_key: {secret_env: AGE_KEY}
categories:
  gaming: {lists: [{zone: {name: rpz.example, servers: [192.0.2.1], tsig: {name: key, secret_env: TSIG_KEY}}}]}
groups: {everyone: {block: [gaming]}}
default_group: everyone
`

func TestSecretsNeverPrint(t *testing.T) {
	t.Parallel()
	key := []byte(secretKey)
	secret := Secret(key)
	coded := base64.StdEncoding.EncodeToString(secret)
	encoded, err := json.Marshal(map[string]any{"secret": secret, "in": struct{ S Secret }{secret}})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := loadAt(t, "testdata/good/spellings.yaml")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := json.Marshal(map[string]any{"a": cfg, "b": *cfg})
	if err != nil {
		t.Fatal(err)
	}
	lists, err := load(&report{file: "f"}, []byte(keysText), t.TempDir(), fakeMachine())
	if err != nil {
		t.Fatal(err)
	}
	if lists.Identity == nil || !bytes.Equal(lists.Lists[2].Zone.TSIG.Secret, secret) {
		t.Error("the keys of lists are lost")
	}
	printed := []string{string(encoded), string(whole), fmt.Sprintf("%+v %#v", lists, *lists), fmt.Sprintf("%+v", lists.Lists[2].Zone)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		printed = append(printed, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, &secret), fmt.Sprintf(verb, struct{ S Secret }{secret}),
			fmt.Sprintf(verb, cfg), fmt.Sprintf(verb, *cfg))
	}
	if !bytes.Equal(cfg.Alerts.Receivers[0].Secrets[0], secret) {
		t.Error("the key of the secret in the environment is lost")
	}
	for _, text := range []string{"whsec_" + coded[:8], "whsec_" + coded + "!", coded, "whsec_" + strings.Repeat("QUFB", 30)} {
		m := fakeMachine()
		m.getenv = func(string) string { return text }
		data, err := os.ReadFile("testdata/good/spellings.yaml")
		if err != nil {
			t.Fatal(err)
		}
		_, err = load(&report{file: "f"}, data, "testdata/good", m)
		if err == nil {
			t.Fatal("a bad secret was taken")
		}
		printed = append(printed, err.Error())
	}
	for _, p := range printed {
		for _, leak := range []string{secretKey[:6], coded[:6], strings.Trim(fmt.Sprintf("%d", key), "[]")[:11], hex.EncodeToString(key)[:12], "QUFB", "AGE-SECRET"} {
			if strings.Contains(p, leak) {
				t.Errorf("%q shows the secret: %q", p, leak)
			}
		}
	}
}
