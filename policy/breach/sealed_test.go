package breach

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// headteacher makes a pair of keys: what seals, and what opens it.
func headteacher(t testing.TB) (*Seal, []byte) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	must(t, err)
	seal, err := NewSeal(key.Recipient().String(), "Head teacher")
	must(t, err)
	return seal, []byte("# created: today\n" + key.String() + "\n")
}

// sealedIn returns the ciphertexts of a record, oldest first.
func sealedIn(t testing.TB, path string) [][]byte {
	t.Helper()
	rows, err := raw(t, path).QueryContext(t.Context(), "SELECT ciphertext FROM sealed ORDER BY seq")
	must(t, err)
	defer rows.Close()
	var all [][]byte
	for rows.Next() {
		var one []byte
		must(t, rows.Scan(&one))
		all = append(all, one)
	}
	must(t, rows.Err())
	return all
}

func TestASealedNameIsOpenedByItsPersonAloneAndIsInClearNowhere(t *testing.T) {
	const secret = "oak-birch-elm"
	p := school(t, nil)
	seal, key := headteacher(t)
	_, other := headteacher(t)
	dir := t.TempDir()
	r := start(t, dir, newClock(), func(o *Options) { o.Seal = seal }, nil)
	first := ask(t, p, pupil, secret+".iwf.example", r.clock.Now())
	second := ask(t, p, pupil, "www."+secret+".iwf.example", r.clock.Now())
	second.Type, second.Target = 65, name(t, "cdn."+secret+".example")
	r.Record(first)
	r.Record(second)
	r.Record(first)
	must(t, r.Tick(t.Context()))
	r.ask(t, p, pupil, secret+".iwf.example", "pornography.example")

	breaches := r.breaches(t, Filter{Category: "iwf"})
	sealed := sealedIn(t, r.path)
	if len(breaches) != 2 || len(sealed) != 1 {
		t.Fatalf("%d breaches and %d seals, want 2 in 1", len(breaches), len(sealed))
	}
	at := "2026-11-20T10:10:00.000+00:00"
	want := []SealedName{
		{Incident: breaches[0].Incident, Breach: breaches[0].ID, Seq: breaches[0].Seq, Time: at, Name: secret + ".iwf.example.", Type: "A"},
		{
			Incident: breaches[1].Incident, Breach: breaches[1].ID, Seq: breaches[1].Seq, Time: at, Name: "www." + secret + ".iwf.example.",
			Type: "HTTPS", Target: "cdn." + secret + ".example.",
		},
	}
	got, err := Unseal(bytes.NewReader(sealed[0]), key)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := Unseal(bytes.NewReader(sealed[0]), other); !errors.Is(err, ErrOtherKey) {
		t.Errorf("with another key: %v", err)
	}
	if _, err := Unseal(bytes.NewReader(sealed[0]), []byte("password")); err == nil || strings.Contains(err.Error(), "password") {
		t.Errorf("with no key: %v", err)
	}
	if _, err := Unseal(bytes.NewReader(sealed[0][:len(sealed[0])-1]), key); err == nil {
		t.Error("a seal that was cut off opens")
	}
	inFiles(t, dir, secret)
	must(t, r.stop())
	inFiles(t, dir, secret)
	verify(t, r.path)
}

func TestNothingIsSealedWithoutAKeyNorWhatIsNotConfidential(t *testing.T) {
	p := school(t, nil)
	r := open(t)
	r.ask(t, p, pupil, "x.iwf.example")
	if n := count(t, r.path, "sealed"); n != 0 {
		t.Errorf("%d seals without a key", n)
	}
	seal, key := headteacher(t)
	r.Apply(Settings{Site: "winchelsea", Quiet: 10 * time.Minute, Seal: seal})
	r.ask(t, p, pupil, "www.pornography.example", "y.iwf.example")
	sealed := sealedIn(t, r.path)
	if len(sealed) != 1 {
		t.Fatalf("%d seals after a reload that brought a key, want 1", len(sealed))
	}
	names, err := Unseal(bytes.NewReader(sealed[0]), key)
	if err != nil || len(names) != 1 || names[0].Name != "y.iwf.example." {
		t.Errorf("%v, %v", names, err)
	}
	verify(t, r.path)
}

func TestTheLengthOfASealedNameDoesNotShow(t *testing.T) {
	p := school(t, nil)
	seal, _ := headteacher(t)
	long := strings.Repeat(strings.Repeat(`\255`, 63)+".", 3) + strings.Repeat(`\255`, 45) + ".iwf.example"
	sizes := map[int]bool{}
	for _, n := range []string{"iwf.example", "a.iwf.example", long} {
		r := start(t, t.TempDir(), newClock(), func(o *Options) { o.Seal = seal }, nil)
		e := ask(t, p, pupil, n, r.clock.Now())
		if n == long {
			e.Target = e.Name // as long as it can get
		}
		r.Record(e)
		must(t, r.Tick(t.Context()))
		for _, s := range sealedIn(t, r.path) {
			sizes[len(s)] = true
		}
	}
	if len(sizes) != 1 {
		t.Errorf("seals of one name have the sizes %v", sizes)
	}
}

func TestAFloodOfConfidentialNamesIsOneSealForEachDeviceAndTransaction(t *testing.T) {
	p := school(t, nil)
	seal, key := headteacher(t)
	r := start(t, t.TempDir(), newClock(), func(o *Options) { o.Seal = seal }, nil)
	other := netip.MustParseAddr("10.20.3.5")
	for i := range 1000 {
		r.Record(ask(t, p, pupil, fmt.Sprintf("n%d.iwf.example", i), r.clock.Now()))
		r.Record(ask(t, p, other, fmt.Sprintf("n%d.iwf.example", i), r.clock.Now()))
	}
	must(t, r.Flush(t.Context()))
	found := map[string]bool{}
	sealed := sealedIn(t, r.path)
	for _, s := range sealed {
		names, err := Unseal(bytes.NewReader(s), key)
		must(t, err)
		for _, n := range names {
			found[n.Incident+n.Name] = true
		}
	}
	if len(found) != 2000 || len(sealed) > 200 {
		t.Errorf("%d names in %d seals", len(found), len(sealed))
	}
	verify(t, r.path)
}

func TestASealThatSomebodyChangedBreaksTheChain(t *testing.T) {
	p := school(t, nil)
	seal, _ := headteacher(t)
	r := start(t, t.TempDir(), newClock(), func(o *Options) { o.Seal = seal }, nil)
	r.ask(t, p, pupil, "x.iwf.example")
	verify(t, r.path)
	for _, change := range []string{
		"UPDATE sealed SET ciphertext = zeroblob(4321)", "UPDATE sealed SET recipient = 'age1'", "UPDATE sealed SET person = 'x'", "DELETE FROM sealed",
	} {
		path := r.copied(t)
		_, err := raw(t, path).ExecContext(t.Context(), change)
		must(t, err)
		if _, err := reader(t, path).Verify(t.Context()); !errors.As(err, new(*BrokenError)) {
			t.Errorf("%s: %v", change, err)
		}
	}
}

func TestWhichKeysCanSeal(t *testing.T) {
	classic, err := age.GenerateX25519Identity()
	must(t, err)
	hybrid, err := age.GenerateHybridIdentity()
	must(t, err)
	for _, good := range []string{classic.Recipient().String(), " " + hybrid.Recipient().String() + "\n"} {
		if _, err := NewSeal(good, "Head"); err != nil {
			t.Errorf("%.12s: %v", good, err)
		}
	}
	for want, key := range map[string]string{
		"this is the secret key, which must not be here: take it out, have a new pair made, and write the line that begins with age1": classic.String(),
		"this is not the public key of an age identity: age1…, as age-keygen prints it":                                               classic.Recipient().String()[:40],
		"this is more than one line; one key is wanted":                                                                               classic.Recipient().String() + "\n" + classic.Recipient().String(),
	} {
		if _, err := NewSeal(key, "Head"); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// BenchmarkSealed is a transaction of 1,000 different confidential names of 100 devices, with and without sealing, and
// one of a single name.
func BenchmarkSealed(b *testing.B) {
	p := school(b, nil)
	seal, _ := headteacher(b)
	for _, c := range []struct {
		title          string
		seal           *Seal
		names, devices int
	}{
		{"1000 names of 100 devices, not sealed", nil, 1000, 100},
		{"1000 names of 100 devices", seal, 1000, 100},
		{"one name, not sealed", nil, 1, 1},
		{"one name", seal, 1, 1},
	} {
		b.Run(c.title, func(b *testing.B) {
			r := start(b, b.TempDir(), newClock(), func(o *Options) { o.Seal = c.seal }, nil)
			e := ask(b, p, pupil, "www.iwf.example", tenPast)
			i := 0
			for b.Loop() {
				for range c.names {
					e.Name = blocklist.Name(fmt.Sprintf("\x08%08d", i)) + name(b, "iwf.example")
					e.Client = policy.Client{Addr: netip.AddrFrom4([4]byte{10, 20, 0, byte(i % c.devices)})}
					r.Record(e)
					i++
				}
				must(b, r.Tick(b.Context()))
			}
		})
	}
}
