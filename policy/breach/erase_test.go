package breach

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

var always = struct{ from, to time.Time }{tenPast.AddDate(-10, 0, 0), tenPast.AddDate(10, 0, 0)}

func erasure(t testing.TB, client string) Erasure {
	t.Helper()
	c, err := policy.ParseClientPattern(client)
	must(t, err)
	return Erasure{Client: c, From: always.from, To: always.to, By: "dpo", Reason: "asked for by the parents"}
}

// files returns what is in the files of a record, its log too.
func files(t testing.TB, path string) (all []byte) {
	t.Helper()
	found, err := filepath.Glob(path + "*")
	must(t, err)
	for _, f := range found {
		content, err := os.ReadFile(f)
		must(t, err)
		all = append(all, content...)
	}
	return all
}

func TestWhatIsErasedIsInNoFileAndTheChainHolds(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "secretive.pornography.example", "secretive.pornography.example", "gaming.example")
	r.ask(t, p, teacher, "gambling.example")
	r.tick(t, time.Minute)
	r.ask(t, p, pupil, "secretive.pornography.example")
	must(t, r.Tick(t.Context()))
	for _, i := range r.incidentsOf(t, Filter{Client: pupil.String()}) {
		must(t, r.CloseIncident(t.Context(), i.ID, "dsl", OutcomeNoConcern, "the tutor of secretive says so"))
	}
	if !bytes.Contains(files(t, r.path), []byte("secretive")) {
		t.Fatal("it is not in the files before")
	}
	anchor := r.Head()

	done, err := r.Erase(t.Context(), erasure(t, pupil.String()))
	must(t, err)
	if done.Incidents != 2 || done.Breaches != 2 || done.Kept != 0 {
		t.Errorf("erased %+v", done)
	}
	if bytes.Contains(files(t, r.path), []byte("secretive")) {
		t.Error("the name is still in the files")
	}
	if got := inShort(r.breaches(t, Filter{})); len(got) != 1 {
		t.Errorf("left are %v", got)
	}
	verify(t, r.path)
	if err := reader(t, r.path).Holds(t.Context(), anchor); err != nil {
		t.Errorf("the head of before: %v", err)
	}
	var acts []RecordedAct
	must(t, reader(t, r.path).Acts(t.Context(), ActFilter{What: "privacy"}, func(a RecordedAct) error { acts = append(acts, a); return nil }))
	if len(acts) != 1 || acts[0].Who != "dpo" || acts[0].Why != "asked for by the parents" || strings.Contains(acts[0].Detail, pupil.String()) ||
		!strings.Contains(acts[0].Detail, "2 incidents") {
		t.Errorf("the acts are %+v", acts)
	}

	t.Run("and what comes afterwards is recorded as new", func(t *testing.T) {
		r.ask(t, p, pupil, "secretive.pornography.example", "gaming.example", "gaming.example")
		must(t, r.Flush(t.Context()))
		if got := r.breaches(t, Filter{Client: pupil.String()}); len(got) != 2 || got[1].Count != 2 {
			t.Errorf("got %v", inShort(got))
		}
		verify(t, r.path)
		verify(t, again(t, r.copied(t)).path)
	})
}

func TestAnIncidentOfConcernIsErasedOnlyWhereThatIsAskedFor(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example", "gaming.example", "gambling.example")
	closed := map[string]string{"pornography": "police", "gaming": OutcomeNoConcern}
	for category, outcome := range closed {
		must(t, r.CloseIncident(t.Context(), r.only(t, Filter{Category: category}).ID, "dsl", outcome, ""))
	}
	e := erasure(t, pupil.String())
	done, err := r.Erase(t.Context(), e)
	must(t, err)
	if done.Incidents != 1 || done.Kept != 2 {
		t.Errorf("erased %+v", done)
	}
	verify(t, r.path)
	e.Incidents = true
	done, err = r.Erase(t.Context(), e)
	must(t, err)
	if done.Incidents != 2 || done.Kept != 0 || len(r.breaches(t, Filter{})) != 0 {
		t.Errorf("then erased %+v", done)
	}
	verify(t, r.path)
}

func TestOnlyTheClientsAndOnlyOfTheTimeIsErased(t *testing.T) {
	r, p := open(t), school(t, nil)
	for range 3 {
		r.ask(t, p, pupil, "gaming.example")
		r.ask(t, p, teacher, "gambling.example")
		r.tick(t, 3*time.Hour)
	}
	for _, i := range r.incidentsOf(t, Filter{}) {
		must(t, r.CloseIncident(t.Context(), i.ID, "dsl", OutcomeNoConcern, ""))
	}
	e := erasure(t, pupil.String())
	e.From, e.To = tenPast.Add(time.Hour), tenPast.Add(4*time.Hour)
	done, err := r.Erase(t.Context(), e)
	must(t, err)
	if done.Incidents != 1 || len(r.breaches(t, Filter{Client: pupil.String()})) != 2 || len(r.breaches(t, Filter{Client: teacher.String()})) != 3 {
		t.Errorf("erased %+v", done)
	}
	done, err = r.Erase(t.Context(), erasure(t, "mac:00:11:22:33:44:55"))
	must(t, err)
	if done.Incidents != 0 {
		t.Errorf("of another client: %+v", done)
	}
	verify(t, r.path)
}

func TestRetentionDeletesWhatIsOldAndNothingElse(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example", "gaming.example", "gambling.example", "iwf.example")
	must(t, r.CloseIncident(t.Context(), r.only(t, Filter{Category: "pornography"}).ID, "dsl", "social_care", ""))
	must(t, r.NoteIncident(t.Context(), r.only(t, Filter{Category: "gaming"}).ID, "dsl", "in hand"))
	must(t, r.Audit(t.Context(), Act{Who: "it", What: "config.reload"}))
	keep := Retention{Breaches: 365 * 24 * time.Hour, Incidents: 7 * 365 * 24 * time.Hour, Audit: 2 * 365 * 24 * time.Hour}
	for _, step := range []struct {
		after     time.Duration
		want      Erased
		incidents int
	}{
		{364 * 24 * time.Hour, Erased{}, len(r.incidentsOf(t, Filter{}))},
		{2 * 24 * time.Hour, Erased{Incidents: int64(len(r.incidentsOf(t, Filter{})) - 2)}, 2},
		{24 * time.Hour, Erased{}, 2},
		{365 * 24 * time.Hour, Erased{}, 2}, // the audit
		{5 * 366 * 24 * time.Hour, Erased{Incidents: 2}, 0},
	} {
		r.tick(t, step.after)
		done, err := r.Retain(t.Context(), keep)
		must(t, err)
		if done.Incidents != step.want.Incidents || len(r.incidentsOf(t, Filter{})) != step.incidents {
			t.Errorf("after %v: deleted %+v, left are %d incidents", step.after, done, len(r.incidentsOf(t, Filter{})))
		}
		verify(t, r.path)
	}
	if n := count(t, r.path, "tally"); n != 0 {
		t.Errorf("left are %d tallies", n)
	}
	t.Run("for ever is for ever", func(t *testing.T) {
		r.ask(t, p, pupil, "gaming.example")
		r.tick(t, 100*365*24*time.Hour)
		if done, err := r.Retain(t.Context(), Retention{}); err != nil || done.Rows != 0 {
			t.Errorf("deleted %+v, %v", done, err)
		}
	})
}

func TestRetentionOfManyIsSeveralTransactions(t *testing.T) {
	r, p := open(t), school(t, nil)
	for i := range 1200 {
		client := pupil.As4()
		client[2], client[3] = byte(i/250), byte(i%250)
		r.Record(ask(t, p, netip.AddrFrom4(client), "gaming.example", r.clock.Now()))
	}
	must(t, r.Flush(t.Context()))
	r.tick(t, 48*time.Hour)
	done, err := r.Retain(t.Context(), Retention{Breaches: 24 * time.Hour})
	must(t, err)
	if done.Incidents != 1200 || len(r.incidentsOf(t, Filter{})) != 0 {
		t.Errorf("deleted %+v", done)
	}
	if n := count(t, r.path, "tombstone"); n < 2 || n > 6 {
		t.Errorf("%d tombstones", n)
	}
	verify(t, r.path)
}

// What somebody may do to hide that a row was deleted by hand.
func TestATombstoneThatNoActNamesShows(t *testing.T) {
	for what, script := range map[string]string{
		"a row is deleted and given a tombstone": `INSERT INTO tombstone SELECT seq, seq, hash, (SELECT max(audit) FROM tombstone) FROM breach WHERE seq = (SELECT max(seq) FROM breach);
			DELETE FROM repeat WHERE breach = (SELECT max(seq) FROM breach); DELETE FROM breach WHERE seq = (SELECT max(seq) FROM breach)`,
		"with an act that says nothing of it": `INSERT INTO tombstone SELECT seq, seq, hash, 1 FROM breach WHERE seq = (SELECT max(seq) FROM breach);
			DELETE FROM repeat WHERE breach = (SELECT max(seq) FROM breach); DELETE FROM breach WHERE seq = (SELECT max(seq) FROM breach)`,
		"with no act":                "INSERT INTO tombstone VALUES (1000, 1001, zeroblob(32), 99999)",
		"a tombstone is made longer": "UPDATE tombstone SET last = last + 1",
		"one is moved":               "UPDATE tombstone SET first = first - 1",
		"one has another hash":       "UPDATE tombstone SET hash = zeroblob(32)",
		"one has no hash":            "UPDATE tombstone SET hash = zeroblob(0)",
		"one is taken away":          "DELETE FROM tombstone",
		"a row comes back": `INSERT INTO audit SELECT (SELECT first FROM tombstone ORDER BY last - first DESC LIMIT 1), time, what, who, why, detail, salt, hash
			FROM audit LIMIT 1`,
	} {
		t.Run(what, func(t *testing.T) {
			r, p := open(t), school(t, nil)
			r.ask(t, p, pupil, "pornography.example", "gaming.example", "gaming.example")
			r.ask(t, p, teacher, "gambling.example", "gambling.example")
			must(t, r.CloseIncident(t.Context(), r.only(t, Filter{Category: "gaming"}).ID, "dsl", OutcomeNoConcern, ""))
			_, err := r.Erase(t.Context(), erasure(t, pupil.String()))
			must(t, err)
			path := r.copied(t)
			verify(t, path)
			db := raw(t, path)
			_, err = db.ExecContext(t.Context(), "PRAGMA foreign_keys = 0; "+script)
			must(t, err)
			if verifies(t, reader(t, path)) {
				t.Error("it was not seen")
			}
		})
	}
}

// Whatever is erased in whatever order, what is left is what would be there without it.
func TestErasingAtRandomLeavesTheRest(t *testing.T) {
	r, p := open(t), school(t, nil)
	random := rand.New(rand.NewPCG(7, 7))
	clients := []string{"10.20.0.1", "10.20.0.2", "10.20.0.3", "10.1.0.1"}
	names := []string{"pornography.example", "www.pornography.example", "gaming.example", "gambling.example"}
	for range 60 {
		for range random.IntN(12) {
			r.Record(ask(t, p, netip.MustParseAddr(clients[random.IntN(len(clients))]), names[random.IntN(len(names))], r.clock.Now()))
		}
		r.tick(t, time.Duration(random.IntN(50))*time.Minute)
		if random.IntN(4) > 0 {
			continue
		}
		must(t, r.Flush(t.Context()))
		client := clients[random.IntN(len(clients))]
		e := erasure(t, client)
		e.Incidents = random.IntN(2) == 0
		e.From = r.clock.Now().Add(-time.Duration(random.IntN(300)) * time.Minute)
		e.To = r.clock.Now().Add(-time.Duration(random.IntN(100)) * time.Minute)
		if open := r.incidentsOf(t, Filter{State: StateOpen}); len(open) > 0 {
			must(t, r.CloseIncident(t.Context(), open[random.IntN(len(open))].ID, "dsl", OutcomeNoConcern, ""))
		}
		gone := map[string]bool{}
		for _, i := range r.incidentsOf(t, Filter{Client: client}) {
			first, last := parsed(t, i.First), parsed(t, i.Last)
			if last.Before(e.From) || !first.Before(e.To) || !e.Incidents && i.Outcome != OutcomeNoConcern {
				continue
			}
			gone[i.ID] = true
		}
		want := slices.DeleteFunc(r.breaches(t, Filter{}), func(b Breach) bool { return gone[b.Incident] })
		done, err := r.Erase(t.Context(), e)
		must(t, err)
		if done.Incidents != int64(len(gone)) {
			t.Errorf("erased %d incidents, want %d", done.Incidents, len(gone))
		}
		if diff := cmp.Diff(want, r.breaches(t, Filter{})); diff != "" {
			t.Fatal(diff)
		}
		verify(t, r.path)
	}
}

func TestAReaderHoldsUpOnlyTheOverwriting(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "gaming.example")
	tx, err := reader(t, r.path).db.BeginTx(t.Context(), nil)
	must(t, err)
	var n int
	must(t, tx.QueryRowContext(t.Context(), "SELECT count(*) FROM breach").Scan(&n))
	e := erasure(t, pupil.String())
	e.Incidents = true
	done, err := r.Erase(t.Context(), e)
	if !errors.Is(err, errInUse) || done.Incidents != 1 {
		t.Errorf("erased %+v, %v", done, err)
	}
	must(t, tx.Rollback())
	must(t, r.scrub(t.Context()))
}

func parsed(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	must(t, err)
	return at
}
