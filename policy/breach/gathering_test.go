package breach

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

// copied is the database as it is on the disk now: what is found after a power cut.
func (r *record) copied(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "breach.db")
	_, err := raw(t, r.path).ExecContext(t.Context(), "VACUUM INTO ?", path)
	must(t, err)
	return path
}

// again runs a Log on a database as it was found.
func again(t testing.TB, path string) *record {
	t.Helper()
	r := start(t, t.TempDir(), newClock(), func(o *Options) { o.Path = path }, nil)
	r.path = path
	return r
}

// TestWhatIsGatheredIsCountedOnceWhateverComes plays events, minutes, alerts, reloads, flushes and
// crashes, and compares with a map after each.
func TestWhatIsGatheredIsCountedOnceWhateverComes(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 11))
	p := school(t, nil)
	c := newClock()
	r := start(t, t.TempDir(), c, nil, nil)
	want := map[asked]int64{}
	total := int64(0)
	for step := range 150 {
		for range random.IntN(40) {
			client := []string{"10.20.3.4", "10.20.3.5", "10.0.0.10"}[random.IntN(3)]
			e := ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", random.IntN(6)), c.Now())
			e.Client = (&Client{IP: client}).policy()
			e.Verdict.Group, _ = p.Identify(e.Client.Addr)
			r.Record(e)
			want[asked{Client: client, Name: e.Name.String() + "."}]++
			total++
		}
		switch random.IntN(12) {
		case 0:
			p = school(t, nil) // a reload
		case 1:
			must(t, r.Flush(t.Context()))
		case 2:
			must(t, r.Tick(t.Context()))
			r.queue.forget()
		case 3: // a crash
			must(t, r.Tick(t.Context()))
			path := r.copied(t)
			must(t, r.stop())
			r = start(t, t.TempDir(), c, func(o *Options) { o.Path = path }, nil)
			r.path = path
		default:
			r.tick(t, []time.Duration{0, time.Second, 20 * time.Second, time.Minute, 10 * time.Minute}[random.IntN(5)])
		}
		must(t, r.Tick(t.Context()))
		got := map[asked]int64{}
		for _, b := range r.breaches(t, Filter{}) {
			got[asked{Client: b.Client.IP, Name: b.Query.Name}] += b.Count
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("after step %d: %s", step, diff)
		}
		counted, named := int64(0), int64(0)
		for _, i := range r.incidentsOf(t, Filter{}) {
			counted += i.Count
			for _, n := range i.Names {
				named += n.Count
			}
		}
		if counted != total || named != total {
			t.Fatalf("after step %d incidents count %d, their names %d, want %d", step, counted, named, total)
		}
		verify(t, r.path)
	}
}

// repeated is a record with a number of breaches, each asked for three times, whose repeats wait.
func repeated(t testing.TB, names int) (r *record, p *policy.Policy) {
	t.Helper()
	r, p = open(t), school(t, nil)
	for range 3 {
		for i := range names {
			r.Record(ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), r.clock.Now()))
		}
		must(t, r.Tick(t.Context()))
	}
	return r, p
}

// appended returns of which breaches repeats were appended, in that order, and how many in all.
func appended(t testing.TB, path string) (breaches []int64, total int64) {
	t.Helper()
	rows, err := raw(t, path).QueryContext(t.Context(), "SELECT breach, count FROM repeat ORDER BY seq")
	must(t, err)
	_, err = collect(rows, func(rows *sql.Rows) (struct{}, error) {
		var breach, count int64
		err := rows.Scan(&breach, &count)
		breaches, total = append(breaches, breach), total+count
		return struct{}{}, err
	})
	must(t, err)
	return breaches, total
}

func TestTheEndOfAMinuteIsManyTransactionsWhateverStopsThem(t *testing.T) {
	const names = 2*maxFlush + 500
	r, p := repeated(t, names)
	want := r.breaches(t, Filter{})
	r.clock.add(time.Minute)
	for before, rows := 0, 0; rows < names; before = rows {
		must(t, r.Tick(t.Context())) // the writer may do one by itself too
		if rows = count(t, r.path, "repeat"); rows == before {
			t.Fatalf("no more than %d of %d repeats are appended", rows, names)
		}
		// After a crash here all is counted once, and the rest is appended.
		crashed := again(t, r.copied(t))
		if diff := cmp.Diff(want, crashed.breaches(t, Filter{})); diff != "" {
			t.Fatalf("after %d repeats a crash changes what is recorded: %s", rows, diff)
		}
		must(t, crashed.Flush(t.Context()))
		breaches, total := appended(t, crashed.path)
		if slices.Sort(breaches); len(slices.Compact(breaches)) != names || len(breaches) != names || total != 2*names {
			t.Fatalf("after a crash %d repeats of %d breaches are appended, that count %d", len(breaches), names, total)
		}
		if n := count(t, crashed.path, "gathered"); n != 0 {
			t.Fatalf("%d rows are left", n)
		}
		verify(t, crashed.path)
		must(t, crashed.stop())
	}
	breaches, total := appended(t, r.path)
	if !slices.IsSorted(breaches) || len(breaches) != names || total != 2*names {
		t.Errorf("%d repeats that count %d, sorted %v", len(breaches), total, slices.IsSorted(breaches))
	}
	t.Run("one that comes again in between waits for the next minute", func(t *testing.T) {
		r.ask(t, p, pupil, "n0.pornography.example", "n1.pornography.example")
		if n := count(t, r.path, "repeat"); n != names {
			t.Errorf("%d repeats", n)
		}
	})
	verify(t, r.path)
}

func TestRepeatsThatComeWhileOthersAreAppendedDoNotHoldThemUp(t *testing.T) {
	const names = maxFlush + 500
	r, p := repeated(t, names)
	r.clock.add(time.Minute)
	for range 10 { // the first ones come again and again
		for i := range maxFlush {
			r.Record(ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), r.clock.Now()))
		}
		must(t, r.Tick(t.Context()))
	}
	if breaches, _ := appended(t, r.path); len(breaches) != names {
		t.Errorf("%d repeats are appended within a minute, want one for each of %d breaches", len(breaches), names)
	}
	verify(t, r.path)
}

func TestTheTableOfWhatIsGatheredStaysSmall(t *testing.T) {
	const names = 5000
	r, p := repeated(t, names)
	most := 0
	for range 15 {
		for i := range names {
			r.Record(ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), r.clock.Now()))
		}
		must(t, r.Tick(t.Context()))
		parts := 0
		must(t, reader(t, r.path).snapshot(t.Context(), func(tx *sql.Tx) (err error) {
			_, parts, err = readGathered(t.Context(), tx, 0, names+10)
			return err
		}))
		most = max(most, parts)
	}
	if most < slack || most > 2*names+slack {
		t.Errorf("it had %d parts at most, want %d to %d", most, slack, 2*names+slack)
	}
	verify(t, r.path)
	for _, b := range r.breaches(t, Filter{}) {
		if b.Count != 18 {
			t.Fatalf("%s is counted %d times", b.Query.Name, b.Count)
		}
	}
}

func TestReadersMissNothingWhileRepeatsAreAppended(t *testing.T) {
	const names = 3*maxFlush + 100
	r, _ := repeated(t, names)
	stored := reader(t, r.path)
	var reading sync.WaitGroup
	done := make(chan struct{})
	reads := 0
	reading.Go(func() {
		for {
			total := int64(0)
			err := stored.Breaches(t.Context(), Filter{}, func(b Breach) error {
				if total += b.Count; b.Count != 3 {
					return fmt.Errorf("%s is counted %d times", b.Query.Name, b.Count)
				}
				return nil
			})
			if err == nil && total != 3*names {
				err = fmt.Errorf("%d are counted", total)
			}
			if err == nil {
				_, err = stored.Verify(t.Context())
			}
			if err != nil {
				t.Error(err)
				return
			}
			reads++
			select {
			case <-done:
				return
			default:
			}
		}
	})
	r.clock.add(time.Minute)
	for count(t, r.path, "repeat") < names {
		must(t, r.Tick(t.Context()))
	}
	close(done)
	reading.Wait()
	if reads == 0 {
		t.Error("nothing was read")
	}
}

// older makes a database of the first schema, with what repeats wait as it had them.
func older(t *testing.T) (path string, want []asked) {
	t.Helper()
	r, p := open(t), school(t, nil)
	for range 3 {
		r.ask(t, p, pupil, "pornography.example", "www.pornography.example", "gaming.example")
	}
	want = inShort(r.breaches(t, Filter{}))
	path = r.copied(t)
	first, err := fs.ReadFile(migrations, "migrations/0001_record.sql")
	must(t, err)
	_, table, _ := strings.Cut(string(first), "CREATE TABLE gathering")
	table, _, _ = strings.Cut(table, ";")
	db := raw(t, path)
	found, _, err := readGathered(t.Context(), db, 0, 100)
	must(t, err)
	_, err = db.ExecContext(t.Context(), `DROP VIEW link; DROP TABLE sealed; DROP TABLE tombstone; DROP INDEX audit_time; DROP TABLE note; DROP TABLE tally; DROP INDEX incident_state;
		DROP INDEX incident_kind; DROP INDEX incident_category; DROP INDEX incident_group; DROP TABLE digest;
		DROP INDEX breach_group; DROP INDEX breach_category; DROP INDEX breach_severity; DROP INDEX breach_name;
		DROP INDEX incident_ip; DROP INDEX incident_mac; DROP INDEX incident_user;
		ALTER TABLE incident DROP COLUMN state; ALTER TABLE incident DROP COLUMN outcome;
		DROP TABLE gathered; CREATE TABLE gathering`+table+"; PRAGMA user_version = 1")
	must(t, err)
	for breach, s := range found {
		_, err := db.ExecContext(t.Context(), "INSERT INTO gathering VALUES (?, ?, ?)", breach, s.count, s.last)
		must(t, err)
	}
	if count(t, path, "gathering") != 3 {
		t.Fatal("no repeats wait")
	}
	return path, want
}

func TestADatabaseOfTheFirstSchemaIsTakenOver(t *testing.T) {
	path, want := older(t)
	t.Run("a reader says what to do", func(t *testing.T) {
		_, err := OpenReader(path)
		want := "open record " + path + ": schema 1, this schoolgate reads 7: start schoolgate serve once, which brings it up to date"
		if err == nil || err.Error() != want {
			t.Errorf("got %v", err)
		}
	})
	before, err := os.ReadFile(path)
	must(t, err)
	r := again(t, path)
	if diff := cmp.Diff(want, inShort(r.breaches(t, Filter{}))); diff != "" {
		t.Error("after the migration:", diff)
	}
	t.Run("and was copied before", func(t *testing.T) {
		copies := r.Copies()
		if len(copies) != 1 || filepath.Base(copies[0]) != filepath.Base(path)+".before-schema-1" {
			t.Fatalf("the copies are %q", copies)
		}
		info, err := os.Stat(copies[0])
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %v", info.Mode())
		}
		if n := count(t, copies[0], "breach"); n != 3 || info.Size() > int64(2*len(before)) {
			t.Errorf("it has %d breaches", n)
		}
		must(t, os.Chtimes(copies[0], time.Time{}, r.clock.Now()))
		r.clock.add(29 * 24 * time.Hour)
		_, err = r.Retain(t.Context(), Retention{})
		must(t, err)
		if len(r.Copies()) != 1 {
			t.Error("it was deleted too early")
		}
		r.clock.add(24 * time.Hour)
		_, err = r.Retain(t.Context(), Retention{})
		must(t, err)
		if len(r.Copies()) != 0 {
			t.Error("it was not deleted")
		}
		r.clock.add(-30 * 24 * time.Hour)
	})
	verify(t, path)
	r.tick(t, time.Minute)
	if breaches, total := appended(t, path); len(breaches) != 3 || total != 6 {
		t.Errorf("appended are %d repeats, that count %d", len(breaches), total)
	}
	if diff := cmp.Diff(want, inShort(r.breaches(t, Filter{}))); diff != "" {
		t.Error("after the minute:", diff)
	}
	verify(t, path)
	r.wantNoProblem(t)
}

func (r *record) wantNoProblem(t *testing.T) {
	t.Helper()
	if problems := r.Problems(); len(problems) > 0 {
		t.Errorf("problems are %q", problems)
	}
}

func TestTheMigrationKeepsEveryNumber(t *testing.T) {
	path, _ := older(t)
	want := sums{1: {1 << 40, -5}, 1 << 50: {1, 1 << 60}, 77: {127, 0}, 128: {128, 1<<62 - 1}}
	db := raw(t, path)
	_, err := db.ExecContext(t.Context(), "PRAGMA foreign_keys = 0; DELETE FROM gathering")
	must(t, err)
	for breach, s := range want {
		_, err := db.ExecContext(t.Context(), "INSERT INTO gathering VALUES (?, ?, ?)", breach, s.count, s.last)
		must(t, err)
	}
	must(t, db.Close())
	s, err := openStore(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { must(t, s.close()) })
	got, n, err := readGathered(t.Context(), s.conn, 0, 1<<62)
	must(t, err)
	want[1] = sum{1 << 40, 0} // a sum's last is never before 1970
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sum{})); diff != "" || n != len(want) {
		t.Error(n, diff)
	}
}

func TestGatheredRepeatsThatWereDamaged(t *testing.T) {
	for what, script := range map[string]string{
		"cut off":                 "UPDATE gathered SET repeats = substr(repeats, 1, length(repeats) - 1)",
		"no numbers":              "UPDATE gathered SET repeats = x'ffffffffffffffffffffffff'",
		"outside of their bounds": "UPDATE gathered SET low = low + 1",
	} {
		t.Run(what, func(t *testing.T) {
			path := filled(t)
			_, err := raw(t, path).ExecContext(t.Context(), script)
			must(t, err)
			wantErr := "the repeats that wait to be appended are damaged: row 1 of the table gathered is not what was written"
			_, err = reader(t, path).Verify(t.Context())
			if !isBroken(err) || !strings.HasSuffix(err.Error(), wantErr) {
				t.Errorf("Verify: %v", err)
			}
			err = reader(t, path).Breaches(t.Context(), Filter{}, func(Breach) error { return nil })
			if err == nil || err.Error() != "read breaches: "+wantErr {
				t.Errorf("Breaches: %v", err)
			}
			err = reader(t, path).Incidents(t.Context(), Filter{}, func(Incident) error { return nil })
			if err == nil || err.Error() != "read incidents: "+wantErr {
				t.Errorf("Incidents: %v", err)
			}

			r := again(t, path) // recording goes on
			r.ask(t, school(t, nil), pupil, "pornography.example")
			must(t, reader(t, path).Breaches(t.Context(), Filter{}, func(Breach) error { return nil }))
			if _, err := reader(t, path).Verify(t.Context()); !isBroken(err) {
				t.Errorf("afterwards: %v", err)
			}
			eventually(t, "it is said", func() bool { return len(r.Problems()) == 1 })
			r.wantProblem(t, "the chain is broken")
		})
	}
}

func TestWaitingRepeatsOfWhatIsNoBreachShow(t *testing.T) {
	for what, add := range map[string][3]int64{
		"of none":         {9999, 1, tenPast.UnixMilli()},
		"of an incident":  {1, 1, tenPast.UnixMilli()},
		"fewer than none": {2, -100, tenPast.UnixMilli()},
		"one more":        {2, 1, tenPast.UnixMilli()},
	} {
		t.Run(what, func(t *testing.T) {
			path := filled(t)
			var p parts
			p.add(add[0], add[1], add[2])
			_, err := raw(t, path).ExecContext(t.Context(), "INSERT INTO gathered (low, high, repeats) VALUES (?, ?, ?)", p.low, p.high, p.bytes)
			must(t, err)
			if _, err := reader(t, path).Verify(t.Context()); !isBroken(err) {
				t.Errorf("got %v", err)
			}
			r := again(t, path)
			r.tick(t, time.Minute) // recording goes on
			r.ask(t, school(t, nil), pupil2, "pornography.example")
		})
	}
}

func FuzzParts(f *testing.F) {
	var p parts
	p.add(3, 1, 1000)
	p.add(2, -1, 999)
	f.Add(p.bytes, int64(2), int64(3))
	f.Add([]byte{0xff}, int64(0), int64(0))
	path := filepath.Join(f.TempDir(), "breach.db")
	s, err := openStore(f.Context(), path)
	must(f, err)
	f.Cleanup(func() { must(f, s.close()) })
	f.Fuzz(func(t *testing.T, repeats []byte, low, high int64) {
		_, err := s.conn.ExecContext(t.Context(), "DELETE FROM gathered; INSERT INTO gathered VALUES (1, ?, ?, ?)", low, high, append([]byte{}, repeats...))
		must(t, err)
		found, n, err := readGathered(context.Background(), s.conn, low, high)
		if err != nil && !errors.As(err, new(*damagedError)) {
			t.Fatal(err)
		}
		if n > len(repeats)/3 || len(found) > n {
			t.Errorf("%d bytes are %d parts about %d breaches", len(repeats), n, len(found))
		}
	})
}

// What the queue remembers of a breach, and what the writer knows of it by its name, must not differ.
func TestARepeatIsOfTheNewestBreach(t *testing.T) {
	severe := func(e policy.Event) policy.Event {
		e.Verdict.Severity = policy.SeverityCritical
		return e
	}
	for what, between := range map[string]func(r *record){
		"remembered": func(*record) {},
		"forgotten":  func(r *record) { r.queue.forget() },
	} {
		t.Run(what, func(t *testing.T) {
			r, p := open(t), school(t, nil)
			record := func(events ...policy.Event) {
				t.Helper()
				for _, e := range events {
					r.Record(e)
				}
				must(t, r.Tick(t.Context()))
				between(r)
			}
			e := ask(t, p, pupil, "gaming.example", tenPast)
			record(e)
			record(e)
			record(severe(e)) // another breach takes the place of the first
			record(e, severe(e))
			record(e)
			want := []asked{{"10.20.3.4", "gaming.example.", 2}, {"10.20.3.4", "gaming.example.", 4}}
			if diff := cmp.Diff(want, inShort(r.breaches(t, Filter{}))); diff != "" {
				t.Error(diff)
			}
			r.clock.add(2 * time.Hour) // the incident rests: a breach of another one
			e.Time = r.clock.Now()
			record(e)
			record(e)
			want = append(want, asked{"10.20.3.4", "gaming.example.", 2})
			if diff := cmp.Diff(want, inShort(r.breaches(t, Filter{}))); diff != "" {
				t.Error("after two hours:", diff)
			}
			if got := r.incidentsOf(t, Filter{}); len(got) != 2 {
				t.Errorf("%d incidents", len(got))
			}
			verify(t, r.path)
		})
	}
}

func TestBreachesThatAreAskedForStayKnown(t *testing.T) {
	r := start(t, t.TempDir(), newClock(), nil, func(l *Log) { l.writer.known.Resize(4) })
	p := school(t, nil)
	r.ask(t, p, pupil, "a.pornography.example")
	for i := range 6 { // each minute it is asked for, and another name comes once
		r.clock.add(time.Minute)
		r.ask(t, p, pupil, "a.pornography.example", fmt.Sprintf("n%d.pornography.example", i))
	}
	r.queue.forget()
	r.ask(t, p, pupil, "gaming.example")
	r.ask(t, p, pupil, "a.pornography.example")
	if got := inShort(r.breaches(t, Filter{})); len(got) != 8 || got[0].Count != 8 {
		t.Errorf("got %v", got)
	}
}

func TestAnAlertCountsOnlyWhatItsChainCovers(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil2, "pornography.example")
	r.ask(t, p, pupil, "pornography.example")
	r.ask(t, p, pupil, "pornography.example")
	r.router.take()
	r.Apply(Settings{Site: "winchelsea"}) // from now on all is told at once
	// Within the minute: the incident of one rests and is told of, and then there is a repeat of the other.
	r.Record(ask(t, p, pupil, "pornography.example", tenPast.Add(2*time.Hour)))
	r.ask(t, p, pupil2, "pornography.example")
	if _, total := appended(t, r.path); total != 2 {
		t.Errorf("appended are repeats that count %d, want those of both incidents", total)
	}
	want := []told{{IncidentContinued, 2}, {IncidentContinued, 2}, {IncidentOpened, 1}}
	if diff := cmp.Diff(want, sorted(r.told(), func(a, b told) int { return strings.Compare(a.Kind, b.Kind) })); diff != "" {
		t.Error(diff)
	}
	verify(t, r.path)
}
