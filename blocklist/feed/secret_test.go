package feed

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	ascii "filippo.io/age/armor" //nolint:misspell // is its name

	"schoolgate/blocklist"
)

// newIdentity makes a key as age-keygen does.
func newIdentity(t *testing.T) (id *Identity, text string) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	text = "# created for a test\n# public key: " + key.Recipient().String() + "\n" + key.String() + "\n"
	id, err = ParseIdentity([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if id.String() != key.Recipient().String() {
		t.Errorf("public key %s", id)
	}
	return id, text
}

// sealed is a text encrypted to an identity.
func sealed(t *testing.T, id *Identity, text string, inASCII bool) string {
	t.Helper()
	var out bytes.Buffer
	if inASCII {
		w := ascii.NewWriter(&out)
		if _, err := w.Write([]byte(sealed(t, id, text, false))); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	w, err := id.encrypt(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// wantNoTrace fails the test where a name with that label can be found below dir.
func wantNoTrace(t *testing.T, dir, label string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.Contains(bytes.ToLower(data), []byte(label)) {
			t.Errorf("%s has it in clear", path)
		}
		if part, err := blocklist.ReadPart(bytes.NewReader(data)); err == nil { // names are packed there
			sources := make([]blocklist.Source, len(part.Lists()))
			p := blocklist.Placed{Part: part}
			for i, l := range part.Lists() {
				sources[i] = blocklist.Source{List: l}
				p.Sources = append(p.Sources, i)
			}
			if len(inSet(t, blocklist.NewSet(sources, []blocklist.Placed{p}), label+".example")) > 0 {
				t.Errorf("%s has it compiled", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

const secretText = "a.example.org\nzqxsecret.example\nb.example.org\nbad zqxsecret line\n"

func TestTheNamesOfAConfidentialListAreOnNoDiskInClear(t *testing.T) {
	id, _ := newIdentity(t)
	for _, tt := range []struct {
		what     string
		identity *Identity
		text     string
		spec     Spec
		copies   int
	}{
		{"in clear, without a key", nil, secretText, Spec{Confidential: true}, 0},
		{"in clear, with a key", id, secretText, Spec{Confidential: true}, 1},
		{"encrypted", id, sealed(t, id, secretText, false), Spec{Confidential: true}, 1},
		{"encrypted, as ASCII", id, sealed(t, id, secretText, true), Spec{Confidential: true}, 1},
		{"encrypted, of a category that is not confidential", id, sealed(t, id, secretText, false), Spec{}, 1},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s := newSite(t)
			s.options.Identity = tt.identity
			s.restart()
			specs := append(s.lists("c.example.org\n"), tt.spec)
			secret := filepath.Join(filepath.Dir(s.path), "secret.txt")
			specs[1].ID, specs[1].Path, specs[1].Category = "secret.txt", secret, 1
			check := func(what, want string) {
				t.Helper()
				s.wantAll(what, specs, "source c", want)
				if len(inSet(t, s.set, "zqxsecret.example")) != 1 {
					t.Errorf("%s: not blocked", what)
				}
				wantNoTrace(t, s.copies, "zqxsecret")
				if copies := len(s.kept("*.list.age")); copies != tt.copies {
					t.Errorf("%s: %d encrypted copies", what, copies)
				}
			}
			s.put(secret, tt.text)
			check("at first", "source ab")
			s.put(specs[0].Path, "c.example.org\n# edited\n")
			check("when another list is edited", "source ab")
			s.restart()
			check("after a restart", "source ab")
			l := s.loader.Load(t.Context(), specs, nil).Lists[1].List
			if l.Enforceable != 3 || l.Skipped != 1 || strings.Contains(l.Problems[0].Text, "zqxsecret") {
				t.Errorf("%+v", l)
			}
			s.put(secret, "<html>zqxsecret")
			check("when its source breaks", "memory ab: not a list: HTML or XML")
			if tt.copies == 1 {
				s.restart()
				check("and after a restart", "copy ab: not a list: HTML or XML")
			}
			if strings.Contains(s.log.String(), "zqxsecret") {
				t.Errorf("logged: %s", &s.log)
			}
		})
	}
}

func TestAListThatBecomesConfidentialLeavesNothingBehind(t *testing.T) {
	id, _ := newIdentity(t)
	for _, tt := range []struct {
		what     string
		identity *Identity
		after    string // once the source is gone
	}{
		{"with a key its copy is encrypted", id, "copy ab: open secret.txt: no such file or directory"},
		{"without one it is gone", nil, ": open secret.txt: no such file or directory"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s := newSite(t)
			s.options.Identity = tt.identity
			s.restart()
			secret := filepath.Join(filepath.Dir(s.path), "secret.txt")
			specs := append(s.lists("c.example.org\n"), Spec{ID: "secret.txt", Category: 1, Path: secret})
			s.put(secret, secretText)
			s.wantAll("before", specs, "source c", "source ab")
			for i := range 3 { // snapshots of other times
				s.put(specs[0].Path, "c.example.org\n"+strings.Repeat("#\n", i+1))
				s.all(specs)
			}
			if err := os.WriteFile(filepath.Join(s.copies, stem(secret)+".list.tmp"), []byte(secretText), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(secret); err != nil {
				t.Fatal(err)
			}
			specs[1].Confidential = true
			s.wantAll("after", specs, "source c", tt.after)
			wantNoTrace(t, s.copies, "zqxsecret")
			s.restart()
			s.wantAll("after a restart", specs, "source c", tt.after)
		})
	}
}

func TestAListThatIsEncryptedTakesItsNamesOffTheDisk(t *testing.T) {
	s := newSite(t)
	s.options.Identity, _ = newIdentity(t)
	s.restart()
	specs := s.lists(secretText, "c.example.org\n")
	s.wantAll("in clear", specs, "source ab", "source c")
	s.put(specs[0].Path, sealed(t, s.options.Identity, secretText, false))
	s.wantAll("encrypted", specs, "source ab", "source c")
	wantNoTrace(t, s.copies, "zqxsecret")
	s.put(specs[0].Path, secretText)
	s.wantAll("in clear again", specs, "source ab", "source c")
	if len(s.kept("*.list.age")) != 0 || len(s.kept("*.list")) != 2 {
		t.Errorf("kept: %v", s.kept("*"))
	}
}

func TestAnEncryptedListNeedsItsKey(t *testing.T) {
	id, text := newIdentity(t)
	other, otherText := newIdentity(t)
	both, err := ParseIdentity([]byte(otherText + text))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	specs := s.lists(sealed(t, id, good, false))
	with := func(identity *Identity, want string) {
		t.Helper()
		s.options.Identity = identity
		s.restart()
		s.wantAll("", specs, want)
	}
	with(nil, ": encrypted with age, and there is no key to decrypt it with: set confidential_key")
	with(other, ": encrypted with age, but not to the key of confidential_key: encrypt it to "+other.String())
	with(id, "source abcd")
	t.Run("of which there may be several", func(t *testing.T) {
		with(both, "source abcd")
		s.put(specs[0].Path, "<html>")
		with(both, "copy abcd: not a list: HTML or XML")
	})
	t.Run("and is refused where it was cut or changed", func(t *testing.T) {
		long := sealed(t, id, strings.Repeat(good, 3000), false) // of more than one of age's chunks
		for n := 0; n < len(long)-1; n += 4099 {
			s.put(specs[0].Path, long[:len(long)-1-n])
			if l := s.loader.Load(t.Context(), specs, nil).Lists[0]; l.Err == nil || l.From != FromMemory {
				t.Fatalf("%d bytes off: %+v", n+1, l)
			}
		}
	})
}

func TestAnIdentityThatIsNoneIsRefusedWithoutShowingIt(t *testing.T) {
	_, text := newIdentity(t)
	for _, bad := range []string{"", "# nothing\n", "SECRET", strings.ToLower(text), text + "more SECRET\n"} {
		if id, err := ParseIdentity([]byte(bad)); err == nil || err.Error() != "not an age identity: make one with age-keygen" {
			t.Errorf("%q: %v, %v", bad, id, err)
		}
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	if id, err := ParseIdentity([]byte(hybrid.String())); err != nil || id.String() != hybrid.Recipient().String() {
		t.Errorf("%v, %v", id, err)
	}
}
