//go:build e2e

package e2e_test

import "testing"

// row is one row of a standard, and what schoolgate promises by it.
type row struct {
	id, promise string
	show        func(t *testing.T, s *rowSchool)
}

// allRows are the rows that are shown, in the order in which they run.
func allRows() []row {
	var rows []row
	for _, more := range [][]row{departmentRows(), safeSearchRows(), bypassRows(), depthRows(), answerRows(), lessonRows()} {
		rows = append(rows, more...)
	}
	return rows
}

// TestRows plays one school in network namespaces with real addresses: devices that ask with dig and kdig, the program
// with one realistic configuration (testdata/rows), and an internet that counts what it is asked. With -v it prints
// each command and each answer, so that it reads as a session:
//
//	sudo go test -tags e2e -v -run TestRows ./cmd/schoolgate/e2e
//
// A subtest is a row of the standards that UK schools are judged by (DfE: DFE; safe search: SS; ways round the
// filter: BYP; depth of the check: DEP; the blocked answer: DNS), or a lesson of other filters' users (L). Those that
// cannot be shown are in notShown, with the reason.
func TestRows(t *testing.T) {
	s := newRowSchool(t)
	for _, r := range allRows() {
		t.Run(r.id+" "+r.promise, func(t *testing.T) {
			for _, n := range []*internet{s.internet, s.second, s.inside} {
				n.forget()
			}
			r.show(t, s)
		})
	}
}
