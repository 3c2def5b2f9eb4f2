package daemon

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"schoolgate/config"
	"schoolgate/policy"
)

func TestListsOnTrialAreNoCategoryOfTheirOwnToPeople(t *testing.T) {
	f := &Filter{Config: &config.Config{Policy: policy.Spec{Categories: []policy.Category{
		{Name: "gambling"}, {Name: "gambling (on trial)", TrialOf: "gambling"},
	}}}}
	if diff := cmp.Diff([]string{"gambling: the category has no list"}, f.Notes()); diff != "" {
		t.Error(diff)
	}
	if want, got := "0 groups, 1 category, 0 lists with 0 entries, 0 rules", f.Summary(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
