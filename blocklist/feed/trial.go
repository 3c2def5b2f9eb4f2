package feed

import (
	"errors"
	"fmt"
	"time"
)

// trial reports whether a list is on trial, which counts for nothing unless it has content, and when
// that ends. A trial that has not begun begins with the next Load.
func (l *Loader) trial(s Spec) (on bool, ends time.Time) {
	if s.Trial <= 0 {
		return false, time.Time{}
	}
	st, now := l.state.get(keyOf(s).source()).Trials[s.TrialName], l.options.Now()
	if st.Over || l.state.isLost() {
		return false, time.Time{}
	}
	if st.Began.IsZero() {
		return true, now.Add(s.Trial)
	}
	// A clock that has gone back must not make a trial longer: where it is in doubt, the list blocks.
	const doubt = 24 * time.Hour
	ends = st.Began.Add(s.Trial)
	if now.Before(st.Began.Add(-doubt)) || !now.Before(ends) {
		return false, time.Time{}
	}
	return true, ends
}

// beginTrial notes that a list with content is on trial from now on, if it is to be and was not yet.
func (l *Loader) beginTrial(s Spec) {
	if s.Trial <= 0 {
		return
	}
	source, lost, now := keyOf(s).source(), l.state.isLost(), l.options.Now()
	if st := l.state.get(source).Trials[s.TrialName]; st.Over || !st.Began.IsZero() {
		return
	}
	l.state.changeTrial(source, s.TrialName, func(t *trialState) {
		if !t.Over && t.Began.IsZero() { // it may have been confirmed meanwhile
			t.Began, t.Over = now, lost
		}
	})
}

// Confirm ends the trial of a list for good. The next Load goes by it. The error says that the list is
// not to be on trial, is not yet or not any more, or that the decision could not be kept: it is on trial then as before.
func (l *Loader) Confirm(spec Spec) error {
	switch {
	case spec.Trial <= 0:
		return fmt.Errorf("list %s has no trial", spec.ID)
	case l.options.ReadOnly:
		return errors.New("confirm a trial: the directory of the lists is only being looked at")
	}
	source := keyOf(spec).source()
	before := l.state.get(source).Trials[spec.TrialName]
	on, _ := l.trial(spec)
	switch {
	case before.Began.IsZero() && !before.Over:
		return fmt.Errorf("list %s has not been loaded yet: there is nothing to confirm", spec.ID)
	case !on:
		return fmt.Errorf("list %s is not on trial any more", spec.ID)
	}
	l.state.changeTrial(source, spec.TrialName, func(t *trialState) { t.Over = true })
	if err := l.state.save(); err != nil {
		l.state.changeTrial(source, spec.TrialName, func(t *trialState) { *t = before })
		return fmt.Errorf("confirm the trial of list %s: %w", spec.ID, err)
	}
	return nil
}
