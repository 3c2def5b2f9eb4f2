package feed

import (
	"slices"
	"time"
)

const (
	defaultRefresh = 24 * time.Hour
	firstRetry     = time.Minute      // doubled with each failure, up to the refresh
	missingRetry   = 30 * time.Second // of a required list without content, however often it failed
	jitter         = 0.1              // of the refresh, either way: schools that start at eight don't all ask at eight
)

// Next returns when something is due: a fetch, or the end of a trial. Zero: never.
func (l *Loader) Next(specs []Spec) time.Time {
	var next time.Time
	note := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	for _, s := range specs {
		if keyOf(s).isFetched() {
			note(l.due([]Spec{s}, l.options.Now()))
		}
		if on, ends := l.trial(s); on && !l.state.get(keyOf(s).source()).Trials[s.TrialName].Began.IsZero() {
			note(ends)
		}
	}
	return next
}

// refresh is how often to ask for a source: as often as the most eager Spec of it says.
func refresh(specs []Spec) time.Duration {
	every := time.Duration(0)
	for _, s := range specs {
		of := s.Refresh
		if of <= 0 {
			of = defaultRefresh
		}
		if every == 0 || of < every {
			every = of
		}
	}
	return every
}

// due returns when to ask for a source, the Specs of which are given: now where that is past, not known, or
// further away than it can be. A new process asks at once for what failed or is missing: what kept it from being had
// may be what the restart has mended.
func (l *Loader) due(specs []Spec, now time.Time) time.Time {
	source := keyOf(specs[0]).source()
	st := l.state.get(source)
	if _, asked := l.asked.Load(source); !asked && (st.Error != "" || !l.hasCopy(source)) {
		return now
	}
	due, furthest := st.Due, now.Add(time.Duration((1+jitter)*float64(refresh(specs))))
	if l.isMissing(specs) {
		furthest = now.Add(missingRetry)
		if soon := st.Checked.Add(missingRetry); soon.Before(due) {
			due = soon
		}
	}
	if due.Before(now) || due.After(furthest) {
		return now
	}
	return due
}

// retry is how long to wait after some failures of a source, one after the other.
func (l *Loader) retry(specs []Spec, failures uint) time.Duration {
	if l.isMissing(specs) {
		return min(missingRetry, refresh(specs))
	}
	return min(firstRetry<<min(max(failures, 1)-1, 20), refresh(specs))
}

// isMissing reports whether a source without content keeps something from serving.
func (l *Loader) isMissing(specs []Spec) bool {
	required := func(s Spec) bool { return s.Required }
	return slices.ContainsFunc(specs, required) && !l.hasCopy(keyOf(specs[0]).source())
}

// hasCopy reports whether there is content for a source that is fetched.
func (l *Loader) hasCopy(source string) bool {
	stored, err := l.copies.open(source, false)
	if err != nil {
		return false
	}
	_ = stored.file.Close()
	return !l.state.get(source).Refused
}
