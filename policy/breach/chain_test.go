package breach

import (
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// filled is a stopped record with rows of every kind, and repeats that were not yet appended when the
// machine died.
func filled(t testing.TB) (path string) {
	t.Helper()
	r, p := open(t), school(t, nil)
	for range 2 {
		r.ask(t, p, pupil, "pornography.example", "www.pornography.example", "gaming.example")
		r.ask(t, p, teacher, "gambling.example", "iwf.example")
		r.ask(t, p, controller, "pornography.example", "iwf.example")
	}
	if err := r.Audit(t.Context(), Act{Who: "head@school.example", What: "test", Why: "to see", Detail: "nothing"}); err != nil {
		t.Fatal(err)
	}
	seen, closed := r.only(t, Filter{Category: "gaming"}).ID, r.only(t, Filter{Category: "gambling"}).ID
	must(t, r.SeeIncident(t.Context(), seen, "dsl"))
	must(t, r.NoteIncident(t.Context(), seen, "dsl", "talked to the tutor"))
	must(t, r.CloseIncident(t.Context(), closed, "dsl", "police", ""))
	r.tick(t, time.Minute)
	r.ask(t, p, pupil, "pornography.example", "gaming.example")
	if err := r.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, path := raw(t, r.path), r.path+".copy"
	if _, err := db.ExecContext(t.Context(), "VACUUM INTO ?", path); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"incident", "breach", "repeat", "note", "audit", "gathered"} {
		if count(t, path, table) == 0 {
			t.Fatalf("there is nothing in %s", table)
		}
	}
	verify(t, path)
	return path
}

// chained are the tables of the record with the first of the columns that are personal, and whether
// their rows have links.
var chained = []struct{ table, personal string }{
	{"incident", "client_ip"}, {"breach", "client_ip"}, {"repeat", "hash"}, {"note", "who"}, {"audit", "who"}, {"head", ""},
}

// columns returns the names of a table's columns.
func columns(t testing.TB, db *sql.DB, table string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT name FROM pragma_table_info(?) ORDER BY cid", table)
	if err != nil {
		t.Fatal(err)
	}
	names, err := collect(rows, func(rows *sql.Rows) (name string, err error) {
		err = rows.Scan(&name)
		return name, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// values returns all rows of a table, oldest first.
func values(t testing.TB, db *sql.DB, table string, columns int) [][]any {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table+" ORDER BY seq")
	if err != nil {
		t.Fatal(err)
	}
	all, err := collect(rows, func(rows *sql.Rows) ([]any, error) {
		row, pointers := make([]any, columns), make([]any, columns)
		for i := range row {
			pointers[i] = &row[i]
		}
		err := rows.Scan(pointers...)
		return row, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestTheChainIsAsDocumented computes the chain from the package comment and the order of the columns
// in the schema alone.
func TestTheChainIsAsDocumented(t *testing.T) {
	path := filled(t)
	db := raw(t, path)
	type link struct {
		kind              string
		content, personal [][]byte
		salt, hash        []byte
	}
	links := map[int64]link{}
	bytesOf := func(v any) []byte {
		switch v := v.(type) {
		case int64:
			return binary.BigEndian.AppendUint64(nil, uint64(v))
		case string:
			return []byte(v)
		}
		t.Fatalf("a column is a %T", v)
		return nil
	}
	for _, c := range chained[:5] {
		names := columns(t, db, c.table)
		for _, row := range values(t, db, c.table, len(names)) {
			l, at := link{kind: c.table}, 1
			for ; names[at] != c.personal; at++ {
				l.content = append(l.content, bytesOf(row[at]))
			}
			for ; names[at] != "salt" && names[at] != "hash"; at++ {
				l.personal = append(l.personal, bytesOf(row[at]))
			}
			if names[at] == "salt" {
				l.salt = row[at].([]byte)
				at++
			}
			l.hash = row[at].([]byte)
			if _, twice := links[row[0].(int64)]; twice {
				t.Fatalf("row %d is there twice", row[0])
			}
			links[row[0].(int64)] = l
		}
	}

	field := func(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }
	previous := make([]byte, 32)
	for seq := int64(1); seq <= int64(len(links)); seq++ {
		l, ok := links[seq]
		if !ok {
			t.Fatalf("row %d is missing", seq)
		}
		if (len(l.salt) == saltSize) == (l.kind == "repeat") {
			t.Errorf("row %d, a %s, has a salt of %d bytes", seq, l.kind, len(l.salt))
		}
		var content []byte
		for _, c := range l.content {
			content = append(content, field(c)...)
		}
		personal := slices.Clone(l.salt)
		for _, p := range l.personal {
			personal = append(personal, field(p)...)
		}
		contentHash, personalHash := sha256.Sum256(content), sha256.Sum256(personal)
		hash := sha256.Sum256(slices.Concat(previous, binary.BigEndian.AppendUint64(nil, uint64(seq)),
			field([]byte(l.kind)), contentHash[:], personalHash[:]))
		if diff := cmp.Diff(hash[:], l.hash); diff != "" {
			t.Fatalf("row %d, a %s: %s", seq, l.kind, diff)
		}
		previous = hash[:]
	}
	want := Head{Seq: int64(len(links)), Hash: hex.EncodeToString(previous)}
	if diff := cmp.Diff(want, verify(t, path)); diff != "" {
		t.Error(diff)
	}
}

// altered are the ways to change a value by one byte or number.
func altered(v any, everyByte bool, random *rand.Rand) (others []any) {
	switch v := v.(type) {
	case int64:
		return []any{v + 1000, v - 1}
	case string:
		if v == "" {
			return []any{"x"}
		}
		for i := range v {
			if everyByte || i == random.IntN(len(v)) || i == len(v)-1 {
				b := []byte(v)
				b[i] ^= 1
				others = append(others, string(b))
			}
		}
		return append(others, v[:len(v)-1], v+" ")
	case []byte:
		for i := range v {
			if everyByte || i == random.IntN(len(v)) || i == len(v)-1 {
				b := slices.Clone(v)
				b[i] ^= 0x80
				others = append(others, b)
			}
		}
		return append(others, v[:len(v)-1], append(slices.Clone(v), 0))
	}
	panic(fmt.Sprintf("a column is a %T", v))
}

func TestEveryColumnOfTheRecordIsProtected(t *testing.T) {
	path := filled(t)
	db, record := raw(t, path), reader(t, path)
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range chained {
		names := columns(t, db, c.table)
		for nth, row := range values(t, db, c.table, len(names)) {
			for i, column := range names {
				if column == "one" { // which a constraint protects
					continue
				}
				others, where := altered(row[i], nth == 0 && c.table == "breach", random), "seq = ?2"
				if column == "seq" {
					others, where = []any{row[i].(int64) + 1000}, "seq IN (?2, ?2 + 1000)"
				}
				change := func(to any) {
					t.Helper()
					result, err := db.ExecContext(t.Context(), fmt.Sprintf("UPDATE %s SET %s = ?1 WHERE %s", c.table, column, where),
						to, row[slices.Index(names, "seq")])
					if err != nil {
						t.Fatal(err)
					}
					if n, err := result.RowsAffected(); err != nil || n != 1 {
						t.Fatalf("%s.%s was not changed: %d rows, %v", c.table, column, n, err)
					}
				}
				for _, other := range others {
					if change(other); verifies(t, record) {
						t.Errorf("%s.%s of row %d was changed from %q to %q unseen", c.table, column, nth, row[i], other)
					}
					change(row[i])
				}
			}
		}
	}
	if !verifies(t, record) {
		t.Fatal("the test did not put back what it changed")
	}
}

// verifies reports whether the chain holds. A hash or salt of another length, or a severity that is
// none, is no reason to fail otherwise than by saying so.
func verifies(t *testing.T, r *Reader) bool {
	t.Helper()
	_, err := r.Verify(t.Context())
	if err != nil && !isBroken(err) {
		t.Fatal(err)
	}
	return err == nil
}

func TestRowsTakenOutOrPutInShow(t *testing.T) {
	for what, script := range map[string]string{
		"a row in the middle is deleted":      "DELETE FROM audit",
		"the newest row is cut off":           "DELETE FROM repeat WHERE seq = (SELECT seq FROM head)",
		"the newest row and head are cut off": "DELETE FROM repeat WHERE seq = (SELECT seq FROM head); UPDATE head SET seq = seq - 1",
		"everything is deleted":               "DELETE FROM audit; DELETE FROM repeat; DELETE FROM gathered; DELETE FROM breach; DELETE FROM incident",
		"a row is put on top":                 "INSERT INTO audit SELECT (SELECT seq + 1 FROM head), time, what, who, why, detail, salt, hash FROM audit",
		"a row is put below the first":        "INSERT INTO audit SELECT -7, time, what, who, why, detail, salt, hash FROM audit",
		"a row is there in two tables":        "INSERT INTO repeat SELECT 2, breach, count, last, hash FROM repeat LIMIT 1",
		"the head is deleted":                 "DELETE FROM head",
		"repeats that wait are deleted":       "DELETE FROM gathered",
		"repeats that wait are changed":       "UPDATE gathered SET repeats = CAST(repeats || repeats AS BLOB)",
		"two rows change places": `UPDATE breach SET seq = -1 WHERE seq = 2; UPDATE breach SET seq = 2 WHERE seq = 3;
			UPDATE breach SET seq = 3 WHERE seq = -1`,
	} {
		t.Run(what, func(t *testing.T) {
			path := filled(t)
			if _, err := raw(t, path).ExecContext(t.Context(), script); err != nil {
				t.Fatal(err)
			}
			if verifies(t, reader(t, path)) {
				t.Error("it was not seen")
			}
		})
	}
}

func TestABrokenChainIsFoundAtStart(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	r, p := start(t, dir, c, nil, nil), school(t, nil)
	r.ask(t, p, pupil, "pornography.example")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := raw(t, r.path).ExecContext(t.Context(), "UPDATE breach SET client_ip = '10.20.3.5'"); err != nil {
		t.Fatal(err)
	}

	r = start(t, dir, c, nil, nil)
	message := <-r.system
	if !strings.HasPrefix(message, "The chain of the breach record is broken") {
		t.Errorf("people are told %q", message)
	}
	want := "breach record: the chain is broken at row 2: it does not match its hash: keep a copy of " + r.path + ", and find out who changed it"
	for len(r.Problems()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if diff := cmp.Diff([]string{want}, r.Problems()); diff != "" {
		t.Error(diff)
	}
	r.ask(t, p, pupil2, "pornography.example")
	if got := r.breaches(t, Filter{}); len(got) != 2 {
		t.Errorf("it does not go on recording: %+v", got)
	}
	if _, err := reader(t, r.path).Verify(t.Context()); !isBroken(err) || !strings.Contains(err.Error(), "at row 2:") {
		t.Errorf("afterwards: %v", err)
	}
}

func TestAuditIsOfTheSameChain(t *testing.T) {
	r, p := open(t), school(t, nil)
	r.ask(t, p, pupil, "pornography.example")
	if err := r.Audit(t.Context(), Act{Who: "it@school.example", What: "config.reload", Why: "new list", Detail: "12 groups"}); err != nil {
		t.Fatal(err)
	}
	if got := verify(t, r.path); got.Seq != 3 || got != r.Head() {
		t.Errorf("the head is %+v", got)
	}
}

func TestVerifyWhileWriting(t *testing.T) {
	r, p := open(t), school(t, nil)
	for i := range page + page/10 {
		r.Record(ask(t, p, pupil, fmt.Sprintf("n%d.pornography.example", i), tenPast))
	}
	r.tick(t, 0)
	for i := range 10 {
		r.Record(ask(t, p, pupil2, fmt.Sprintf("n%d.pornography.example", i), tenPast))
		r.Record(ask(t, p, pupil, "n1.pornography.example", tenPast))
		if head := verify(t, r.path); head.Seq < page {
			t.Fatalf("verified up to %d only", head.Seq)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	r, p := open(b), school(b, nil)
	const rows = 20_000
	for i := range rows {
		r.Record(ask(b, p, pupil, fmt.Sprintf("n%d.pornography.example", i), tenPast))
	}
	if err := r.Tick(b.Context()); err != nil {
		b.Fatal(err)
	}
	stored := reader(b, r.path)
	for b.Loop() {
		if _, err := stored.Verify(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "rows/s")
}
