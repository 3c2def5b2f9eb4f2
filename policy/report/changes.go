package report

import (
	"slices"
	"strings"
	"time"
)

// Changes are what was done to the filter in the period.
type Changes struct {
	List   []Change // none for governors
	More   int      // how many are not in List
	Counts []ChangeCount
}

// Change is one of them, in words.
type Change struct {
	Time        time.Time
	Who         string
	What        string
	Why, Detail string
}

// ChangeCount is how many there were of a kind.
type ChangeCount struct {
	What  string
	Count Figure
}

// changeWords say what each kind of act is. One that is not here is named as it stands in the record.
var changeWords = map[string]string{
	"config.start":      "schoolgate was started",
	"config.reload":     "The configuration was changed",
	"config.refused":    "A change of the configuration was refused, and the one before stayed in force",
	"locked.weakened":   "schoolgate was started with less in a locked category than before",
	"lists.update":      "Lists were brought up to date",
	"lists.refused":     "New lists were refused, and those before stayed in force",
	"lists.confirm":     "The trial of a list was ended: it blocks from then on",
	"exceptions.add":    "An exception was made",
	"exceptions.remove": "An exception was taken back",
	"exceptions.end":    "An exception came to its end",
	"record.replaced":   "The record was replaced or put back to an older state",
	"incident.export":   "An incident was handed out",
	"privacy.export":    "What is kept of one child was handed out",
	"privacy.erase":     "What is kept of one child was erased",
	"retention.record":  "What is kept no longer was deleted",
	"report.made":       "A report was made",
}

// changes fills what was changed and tested.
func (r *Report) changes(a *acts) {
	counts := map[string]int64{}
	for _, act := range a.all {
		kind, _, _ := strings.Cut(act.What, ".")
		what, known := changeWords[act.What]
		if !known {
			what = act.What
		}
		switch {
		case act.What == "unblock.request":
			continue
		case kind == "selftest":
			r.SelfTests = append(r.SelfTests, Change{Time: act.at.In(r.in.Zone), Who: who(act.Who), What: act.What, Why: act.Why, Detail: r.detail(&act)})
			continue
		}
		counts[what]++
		if isRoutine(act.What) || r.in.Governors {
			continue
		}
		if len(r.Changes.List) == maxChanges {
			r.Changes.More++
			continue
		}
		r.Changes.List = append(r.Changes.List, Change{Time: act.at.In(r.in.Zone), Who: who(act.Who), What: what, Why: act.Why, Detail: r.detail(&act)})
	}
	for what, n := range counts {
		r.Changes.Counts = append(r.Changes.Counts, ChangeCount{what, Figure{N: n}})
	}
	slices.SortFunc(r.Changes.Counts, func(a, b ChangeCount) int { return strings.Compare(a.What, b.What) })
}

// isRoutine says of a kind of act that nobody decided it, or that it changes nothing: those are counted, not listed.
func isRoutine(what string) bool {
	switch what {
	case "config.start", "lists.update", "exceptions.end", "retention.record", "report.made":
		return true
	}
	return false
}

// who is somebody as people know them.
func who(by string) string {
	switch by {
	case "SIGHUP", "control socket", "start", "metrics listener":
		return "IT, on the machine"
	}
	return by
}

// detail is what is known of a change beside its kind. What is for machines, the hashes of configurations, is left out,
// and so is the id of an exception.
func (r *Report) detail(a *act) string {
	detail := a.Detail
	switch a.What {
	case "config.reload", "config.refused":
		return "" // it is for IT, who has it in audit list
	case "selftest.passed", "selftest.failed":
		detail, _, _ = strings.Cut(detail, "; configuration ")
	case "exceptions.add", "exceptions.remove":
		if m := allowForm.FindStringSubmatch(detail); m != nil {
			return "allows " + m[1] + " for " + m[2] + " until " + r.moment(m[3])
		}
		if _, rest, found := strings.Cut(detail, ": "); found {
			return rest
		}
	}
	return detail
}
