package breach

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFilter(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example", "gaming.example")
	r.clock.add(time.Hour)
	r.ask(t, p, pupil2, "pornography.example", "gambling.example")
	r.clock.add(time.Hour)
	r.ask(t, p, teacher, "pornography.example")
	at := func(hours int) time.Time { return tenPast.Add(time.Duration(hours) * time.Hour) }

	for what, c := range map[string]struct {
		filter    Filter
		breaches  []string // client, name
		incidents int
	}{
		"everything": {Filter{}, []string{
			"10.20.3.4 pornography", "10.20.3.4 gaming", "10.20.3.5 pornography", "10.20.3.5 gambling", "10.1.0.9 pornography",
		}, 5},
		"a group":               {Filter{Group: "staff"}, []string{"10.1.0.9 pornography"}, 1},
		"a category":            {Filter{Category: "gaming"}, []string{"10.20.3.4 gaming"}, 1},
		"a severity":            {Filter{Severity: "medium"}, []string{"10.20.3.5 gambling"}, 1},
		"a client":              {Filter{Client: "10.20.3.5"}, []string{"10.20.3.5 pornography", "10.20.3.5 gambling"}, 2},
		"from, inclusive":       {Filter{From: at(2)}, []string{"10.1.0.9 pornography"}, 1},
		"to, exclusive":         {Filter{To: at(1)}, []string{"10.20.3.4 pornography", "10.20.3.4 gaming"}, 2},
		"from and to":           {Filter{From: at(1), To: at(2)}, []string{"10.20.3.5 pornography", "10.20.3.5 gambling"}, 2},
		"a client and category": {Filter{Client: "10.20.3.4", Category: "gaming"}, []string{"10.20.3.4 gaming"}, 1},
		"nobody":                {Filter{Client: "10.20.3.9"}, nil, 0},
		"the day after":         {Filter{From: at(24)}, nil, 0},
	} {
		t.Run(what, func(t *testing.T) {
			var got []string
			for _, b := range r.breaches(t, c.filter) {
				got = append(got, b.Client.IP+" "+strings.TrimSuffix(b.Query.Name, ".example."))
			}
			if diff := cmp.Diff(c.breaches, got); diff != "" {
				t.Error(diff)
			}
			if got := len(r.incidentsOf(t, c.filter)); got != c.incidents {
				t.Errorf("%d incidents, want %d", got, c.incidents)
			}
		})
	}
	t.Run("times are in the zone that is asked for", func(t *testing.T) {
		london, err := time.LoadLocation("Europe/London")
		must(t, err)
		r.clock.add(200 * 24 * time.Hour)
		r.ask(t, p, pupil, "gambling.example")
		got := r.breaches(t, Filter{Category: "gambling", Client: "10.20.3.4", Zone: london})
		if len(got) != 1 || got[0].Time != "2027-06-08T13:10:00.000+01:00" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestIncidentsAreReadWhole(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example", "www.pornography.example", "pornography.example")
	got := r.incidentsOf(t, Filter{})
	if len(got) != 1 || !ulid.MatchString(got[0].ID) {
		t.Fatalf("got %+v", got)
	}
	want := []Incident{{
		ID: got[0].ID, State: "new", Severity: "high", Category: "pornography", Title: "Pornography", Group: "year7", Action: "block", Client: Client{IP: "10.20.3.4"}, Count: 3,
		First: "2026-11-20T10:10:00.000+00:00", Last: "2026-11-20T10:10:00.000+00:00",
		Names: []NameCount{{"pornography.example", 2}, {"www.pornography.example", 1}}, Notes: []Note{},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMoreThanAPageIsReadOnceAndInOrder(t *testing.T) {
	r, p := open(t), school(t, nil)
	const rows = 2*page + 10
	for i := range rows {
		r.Record(ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), tenPast))
	}
	r.tick(t, 0)
	got := r.breaches(t, Filter{})
	if len(got) != rows {
		t.Fatalf("%d breaches, want %d", len(got), rows)
	}
	for i, b := range got {
		if b.Seq != int64(i+2) {
			t.Fatalf("breach %d has seq %d", i, b.Seq)
		}
	}
	t.Run("an error of the consumer ends it", func(t *testing.T) {
		enough, n := errors.New("enough"), 0
		err := reader(t, r.path).Breaches(t.Context(), Filter{}, func(Breach) error {
			n++
			return enough
		})
		if !errors.Is(err, enough) || n != 1 {
			t.Errorf("%d breaches, %v", n, err)
		}
	})
}

func TestOpenReader(t *testing.T) {
	t.Run("there is none", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "breach.db")
		if _, err := OpenReader(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Error("it made one")
		}
	})
	t.Run("of a newer program", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "breach.db")
		must(t, os.WriteFile(path, nil, 0o600))
		files, err := fs.Glob(migrations, "migrations/*.sql")
		must(t, err)
		_, err = raw(t, path).ExecContext(t.Context(), fmt.Sprintf("PRAGMA user_version = %d", len(files)+1))
		must(t, err)
		_, err = OpenReader(path)
		want := fmt.Sprintf("open record %s: written by a newer schoolgate (schema %d, this one knows %d): "+
			"install that version again, or put a backup of the file in its place", path, len(files)+1, len(files))
		if err == nil || err.Error() != want {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it can't write", func(t *testing.T) {
		r := open(t)
		if _, err := reader(t, r.path).db.ExecContext(t.Context(), "DELETE FROM head"); err == nil {
			t.Error("it did")
		}
	})
	t.Run("beside a resolver that writes, and after it", func(t *testing.T) {
		r, p := open(t), school(t, nil)
		stored := reader(t, r.path)
		n := 0
		read := func() {
			t.Helper()
			before := n
			must(t, stored.Breaches(t.Context(), Filter{}, func(Breach) error { n++; return nil }))
			n -= before
		}
		for i := range 3 {
			r.ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i))
			if read(); n != i+1 {
				t.Errorf("%d breaches, want %d", n, i+1)
			}
		}
		must(t, r.stop())
		if read(); n != 3 {
			t.Errorf("%d breaches afterwards", n)
		}
	})
}

// hostile is a breach with in each text what could do harm where it is read.
func hostile() Breach {
	return Breach{
		ID: "01JD3V5M7Q8R9S0T1V2W3X4Y5Z", Seq: 1, Time: "2026-11-20T10:14:03.218+00:00", Site: "=1+1",
		Client:   Client{IP: "10.20.3.4", Name: "@SUM(A1)\n\x1b[2J\u202e\U000e0041", User: "\tx\u009b\x7f\u200b", MAC: "\r"},
		Group:    "+1",
		Query:    Query{Name: "-cmd.example.", Type: "A", Transport: "udp"},
		Category: "a,b\"c", Categories: []string{"=x", "y"}, Severity: "high", Action: "block",
		Rule: Rule{List: "<script>&", Entry: "\xff", Via: "name"}, Count: 1, Last: "\u2028",
	}
}

func TestCSV(t *testing.T) {
	var out bytes.Buffer
	w, err := NewCSVWriter(&out)
	must(t, err)
	must(t, w.Write(hostile()))
	must(t, w.Flush())
	got, err := csv.NewReader(&out).ReadAll()
	must(t, err)
	want := [][]string{
		{
			"id", "seq", "time", "site", "client_ip", "client_mac", "client_name", "client_user", "group", "query_name",
			"query_type", "transport", "category", "categories", "severity", "action", "list", "entry", "via", "count", "last", "incident",
		},
		{
			"01JD3V5M7Q8R9S0T1V2W3X4Y5Z", "1", "2026-11-20T10:14:03.218+00:00", "'=1+1", "10.20.3.4", "'\ufffd",
			"'@SUM(A1)\ufffd\ufffd[2J\ufffd\ufffd", "'\ufffdx\ufffd\ufffd\ufffd", "'+1", "'-cmd.example.", "A", "udp", "a,b\"c", "'=x y", "high", "block",
			"<script>&", "\ufffd", "name", "1", "\ufffd", "",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestJSONL(t *testing.T) {
	var out bytes.Buffer
	write := WriteJSONL(&out)
	must(t, write(hostile()))
	must(t, write(Breach{ID: "x", Categories: []string{}}))
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 3 || lines[2] != "" {
		t.Fatalf("it is not two lines: %q", out.String())
	}
	var got Breach
	must(t, json.Unmarshal([]byte(lines[0]), &got))
	want := hostile()
	want.Rule.Entry = "\ufffd"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	const empty = `{"id":"x","seq":0,"time":"","site":"","client":{"ip":"","mac":"","name":"","user":""},"group":"",` +
		`"query":{"name":"","type":"","transport":""},"category":"","categories":[],"severity":"","action":"",` +
		`"rule":{"list":"","entry":"","via":""},"count":0,"last":"","incident":""}`
	if diff := cmp.Diff(empty, lines[1]); diff != "" {
		t.Error("the fields are not those of the contract, in its order:", diff)
	}
	if i := strings.IndexFunc(out.String(), func(r rune) bool { return r != '\n' && unfit(r) }); i >= 0 {
		t.Errorf("what steers a terminal stands at %d: %q", i, out.String())
	}
}
