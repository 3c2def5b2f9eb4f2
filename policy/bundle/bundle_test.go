package bundle

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"schoolgate/policy/breach"
)

// hostile is what a device, or a person, may call itself to make mischief in whatever shows it.
const hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'>&amp;\x1b[2J\u202egpj.exe\u2069\u0085{{.Style}}=HYPERLINK(\"http://evil.example\")"

// theCase is one with everything, and hostile texts wherever devices and people write.
func theCase() *breach.Case {
	at := func(s string) string { return "2026-11-20T10:" + s + ".000+00:00" }
	breachOf := func(seq int64, name, time string, count int64) breach.Breach {
		return breach.Breach{
			ID: fmt.Sprintf("01JD3V5M8ZAAAAAAAAAAAAAA%02d", seq), Seq: seq, Time: time, Site: "winchelsea",
			Client: breach.Client{IP: "10.20.3.4", MAC: "00:11:22:33:44:55", Name: hostile, User: hostile}, Group: "year7",
			Query: breach.Query{Name: name, Type: "A", Transport: "udp"}, Category: "gambling", Categories: []string{"gambling"},
			Severity: "high", Action: "block", Rule: breach.Rule{List: "=cmd", Entry: "+1", Via: "name"}, Count: count, Last: at("24:58"),
			Incident: "01JD3V5M8ZAAAAAAAAAAAAAAAA",
		}
	}
	names := []string{`\061cmd\124\047\032calc\047\033A0.example.`, "@sum.example.", "-1.example.", `\060script\062alert\0401\041\060\047script\062.example.`}
	w := &breach.Whole{
		Incident: breach.Incident{
			ID: "01JD3V5M8ZAAAAAAAAAAAAAAAA", State: "closed", Severity: "high", Category: "gambling", Title: "Gambling" + hostile, Group: "year7",
			Action: "block", Client: breach.Client{IP: "10.20.3.4", MAC: "00:11:22:33:44:55", Name: hostile, User: hostile}, Count: 9,
			First: at("10:03"), Last: at("24:58"), Outcome: "parents_told",
			Notes: []breach.Note{
				{Seq: 9, Time: at("40:00"), What: "note", By: hostile, Text: hostile + "\nsecond line"},
				{Seq: 10, Time: at("50:00"), What: "closed", By: "dsl", Outcome: "parents_told"},
			},
		},
		DistinctNames: 4, LooksLike: breach.LooksLike{Kind: breach.LooksUnclear, Why: []string{hostile}}, TimelineLeftOut: 2,
		Questions: []breach.Question{{Time: at("10:00"), Name: names[3], Type: "A", Outcome: "allowed"}},
	}
	for i, n := range names {
		b := breachOf(int64(i+2), n, at(fmt.Sprintf("%02d:00", 11+i)), int64(i+1))
		w.Timeline = append(w.Timeline, breach.Entry{Breach: b, Repeats: []breach.Repeat{}})
		w.Names = append(w.Names, breach.NameCount{Name: strings.TrimSuffix(n, "."), Count: int64(i + 1)})
		w.Around = append(w.Around, b)
	}
	return &breach.Case{
		Whole: w,
		Acts:  []breach.RecordedAct{{Seq: 11, Time: at("55:00"), Who: hostile, What: "incidents.export", Why: hostile, Detail: "incident 01JD3V5M8ZAAAAAAAAAAAAAAAA"}},
		Links: []breach.Link{{Seq: 1, Kind: "incident", Previous: strings.Repeat("0", 64), Salt: "00", Hash: strings.Repeat("a", 64)}},
		Head:  breach.Head{Seq: 12, Hash: strings.Repeat("b", 64)},
	}
}

// unpacked returns the files of a bundle.
func unpacked(t testing.TB, c *breach.Case) (all []byte, files map[string][]byte) {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c, Options{Site: "winchelsea", Version: "v1"}); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if files[f.Name], err = limited(in, 1<<20); err != nil {
			t.Fatal(err)
		}
		in.Close()
	}
	return b.Bytes(), files
}

func TestTheSameCaseGivesTheSameBytesAndEveryFileHasItsChecksum(t *testing.T) {
	first, files := unpacked(t, theCase())
	if again, _ := unpacked(t, theCase()); !bytes.Equal(first, again) {
		t.Error("the same case gives other bytes")
	}
	summed := map[string]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(files["SHA256SUMS"])); lines.Scan(); {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		if sum != fmt.Sprintf("%x", sha256.Sum256(files[name])) || files[name] == nil {
			t.Errorf("%s has another checksum", name)
		}
		summed[name] = true
	}
	var names []string
	for n := range files {
		if n != "SHA256SUMS" && !summed[n] {
			t.Errorf("%s has no checksum", n)
		}
		names = append(names, n)
	}
	if len(names) != 12 {
		t.Errorf("the files are %q", names)
	}
}

func TestHostileTextsAreInertInEveryFile(t *testing.T) {
	_, files := unpacked(t, theCase())
	for name, content := range files {
		for _, r := range string(content) {
			if unicode.IsControl(r) && r != '\n' {
				t.Errorf("%s holds the control character %U", name, r)
			}
			if unicode.Is(unicode.Bidi_Control, r) {
				t.Errorf("%s holds %U, which turns the direction of writing around", name, r)
			}
		}
	}
	cells, err := csv.NewReader(bytes.NewReader(files["breaches.csv"])).ReadAll()
	if err != nil || len(cells) != 5 {
		t.Fatalf("%d rows: %v", len(cells), err)
	}
	for _, row := range cells[1:] {
		for _, c := range row {
			if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
				t.Errorf("the cell %q begins a formula", c)
			}
		}
	}
	var whole breach.Whole
	if err := json.Unmarshal(files["incident.json"], &whole); err != nil || whole.Client.Name != hostile {
		t.Errorf("incident.json does not hold what was written down: %v", err)
	}

	page, err := html.Parse(bytes.NewReader(files["incident.html"]))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for tag := range strings.FieldsSeq("html head meta title style body header main footer h1 h2 p span strong ul li dl dt dd table thead tbody tr th td") {
		known[tag] = true
	}
	for n := range page.Descendants() {
		if n.Type == html.ElementNode && !known[n.Data] {
			t.Errorf("the page has an element %s", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "href" || a.Key == "src" {
				t.Errorf("the page has an attribute %s", a.Key)
			}
		}
	}
	if !strings.Contains(string(files["incident.html"]), "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the page does not show what was written")
	}
}

func TestThePageSpeaksPlainly(t *testing.T) {
	_, files := unpacked(t, theCase())
	page := string(files["incident.html"])
	for _, want := range []string{
		"A device asked 9 times for 4 different names in the category", "between Fri 20 Nov 2026, 10:10:03 and Fri 20 Nov 2026, 10:24:58.",
		"It was not given the address", "closed it: parents told", "3 times, the last at 10:24:58", "And 2 more: breaches.csv",
		"It can’t be told whether it was somebody or a device by itself", "12:" + strings.Repeat("b", 64),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	for _, never := range []string{"NXDOMAIN", "DNS name", "visited", "pupil", "http://", "https://", "<no value>"} {
		if strings.Contains(strings.ReplaceAll(page, "http://evil.example", ""), never) {
			t.Errorf("it says %q", never)
		}
	}
	if readme := string(files["README.txt"]); !strings.Contains(readme, "schoolgate audit verify --anchor 12:bbbb") || strings.Contains(readme, "SEALED") {
		t.Errorf("README.txt is\n%s", readme)
	}
}

func TestSealedNamesAreOpenedOutOfTheBundleAndNowhereElse(t *testing.T) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, `{"incident":"01JD3V5M8ZAAAAAAAAAAAAAAAA","seq":2,"name":"secret.example."}`)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	c := theCase()
	c.Confidential, c.Whole.Names, c.Whole.DistinctNames = true, []breach.NameCount{}, 0
	c.Sealed = []breach.Sealed{{Seq: 3, First: 2, Last: 2, Recipient: key.Recipient().String(), Person: "Head teacher", Ciphertext: sealed.Bytes()}}
	all, files := unpacked(t, c)
	if !strings.Contains(string(files["README.txt"]), "age -d -i KEYFILE sealed/FILE.age") || !strings.Contains(string(files["README.txt"]), "Head teacher, key age1") {
		t.Errorf("README.txt does not say who opens it\n%s", files["README.txt"])
	}
	if !strings.Contains(string(files["incident.html"]), "Head teacher can open them") {
		t.Error("the page does not say who opens it")
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"bundle.zip": all, "3.age": files["sealed/3.age"]} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		seals, err := Seals(path)
		if err != nil || len(seals) != 1 {
			t.Fatalf("%s: %d seals, %v", name, len(seals), err)
		}
		names, err := breach.Unseal(bytes.NewReader(seals[0].Content), []byte(key.String()))
		if diff := cmp.Diff([]breach.SealedName{{Incident: c.ID, Seq: 2, Name: "secret.example."}}, names); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	for name, content := range map[string]string{"empty": "", "a text": "something else", "half a zip": string(all[:100])} {
		path := filepath.Join(dir, "other")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Seals(path); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := Seals(dir); err == nil {
		t.Error("a directory is taken")
	}
}

var keep = flag.String("keep", "", "a directory in which the page is kept, to be looked at")

// TestThePageCanBeLookedAt writes the page, when asked to, for somebody who wants to see it.
func TestThePageCanBeLookedAt(t *testing.T) {
	if *keep == "" {
		t.Skip("-keep DIRECTORY says where")
	}
	_, files := unpacked(t, theCase())
	if err := os.WriteFile(filepath.Join(*keep, "incident.html"), files["incident.html"], 0o600); err != nil {
		t.Fatal(err)
	}
}
