package breach

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestActsAreFoundByTimeWhoAndWhat(t *testing.T) {
	r := open(t)
	for _, a := range []Act{
		{Who: "it", What: "config.reload", Detail: "one"},
		{Who: "head", What: "exceptions.add", Why: "lesson", Detail: "two"},
		{Who: "it", What: "exceptions.remove", Detail: "three"},
	} {
		if err := r.Audit(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		r.clock.add(time.Hour)
	}
	at := func(hours int) time.Time { return tenPast.Add(time.Duration(hours) * time.Hour) }
	found := reader(t, r.path)
	for what, c := range map[string]struct {
		filter ActFilter
		want   string
	}{
		"everything":           {ActFilter{}, "one two three"},
		"from, inclusive":      {ActFilter{From: at(1)}, "two three"},
		"to, exclusive":        {ActFilter{To: at(1)}, "one"},
		"who":                  {ActFilter{Who: "it"}, "one three"},
		"a kind":               {ActFilter{What: "exceptions.add"}, "two"},
		"kinds":                {ActFilter{What: "exceptions", From: at(1), Who: "it"}, "three"},
		"no part of a kind":    {ActFilter{What: "exception"}, ""},
		"a time with nothing":  {ActFilter{From: at(9)}, ""},
		"a person who did not": {ActFilter{Who: "nobody"}, ""},
	} {
		var got []string
		err := found.Acts(t.Context(), c.filter, func(a RecordedAct) error { got = append(got, a.Detail); return nil })
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
		}
	}
}

func TestAnAnchorTellsARecordThatWasWrittenAnew(t *testing.T) {
	r := open(t)
	if err := r.Audit(t.Context(), Act{Who: "it", What: "config.reload"}); err != nil {
		t.Fatal(err)
	}
	anchor := r.Head()
	if err := r.Audit(t.Context(), Act{Who: "it", What: "config.reload"}); err != nil {
		t.Fatal(err)
	}
	found := reader(t, r.path)
	if err := found.Holds(t.Context(), anchor); err != nil {
		t.Errorf("a row that is there: %v", err)
	}
	other := anchor
	other.Hash = strings.Repeat("00", 32)
	for want, anchor := range map[string]Head{
		"the chain is broken at row 1: its hash is not the anchor's: the record was written anew, or is another one": other,
		"the chain is broken at row 9: it is missing: the record is older or another one than the anchor's":          {Seq: 9, Hash: anchor.Hash},
	} {
		var broken *BrokenError
		if err := found.Holds(t.Context(), anchor); !errors.As(err, &broken) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := found.Holds(t.Context(), Head{Seq: 1, Hash: "nonsense"}); err == nil {
		t.Error("nonsense holds")
	}
}
