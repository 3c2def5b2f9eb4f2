package breach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"schoolgate/policy"
)

// What is done about an incident, and the states that come of it.
const (
	// StateNew is that of an incident about which nothing has been done.
	StateNew = "new"
	// StateSeen says that a person has looked at it.
	StateSeen = "seen"
	// StateInHand says that a person has written a note: it is being dealt with.
	StateInHand = "in_hand"
	// StateOpen selects, in a Filter, all that are not closed.
	StateOpen = "open"
	// StateClosed says that a person has closed it, with an outcome.
	StateClosed = "closed"
)

// Outcomes are those with which an incident can be closed, in the order of the contract.
func Outcomes() []string {
	return []string{OutcomeNoConcern, "spoken_to", "parents_told", "social_care", "police", "ceop", "iwf", "lado", "other"}
}

// OutcomeNoConcern is the outcome that keeps an incident from nobody's right to have it erased.
const OutcomeNoConcern = "no_concern"

// The kinds of rows of the table note.
const (
	noteSeen   = "seen"
	noteText   = "note"
	noteClosed = "closed"
	noteRaised = "raised"
)

// maxNote is how long a note's text may be, maxBy the name of who writes it, in bytes.
const maxNote, maxBy = 10_000, 200

// ErrNoIncident says that there is no incident of that ID.
var ErrNoIncident = errors.New("no such incident")

// Note is something that was done about an incident, as readers have it.
type Note struct {
	Seq  int64  `json:"seq"`
	Time string `json:"time"` // RFC 3339 with milliseconds and offset
	// What is "seen", "note", "closed" or "raised": its severity rose because it was tried again and again.
	What     string `json:"what"`
	By       string `json:"by"` // "schoolgate" where it was nobody
	Text     string `json:"text"`
	Outcome  string `json:"outcome,omitempty"`  // of "closed"
	Severity string `json:"severity,omitempty"` // of "raised"
}

// SeeIncident notes that a person has looked at an incident, which is new no more. Of one that was seen before nothing
// is written. The error wraps ErrNoIncident where there is none of that ID.
func (l *Log) SeeIncident(ctx context.Context, id, by string) error {
	return l.register(ctx, id, &noteRow{what: noteSeen, who: by})
}

// NoteIncident appends a note to an incident, which is in hand from then on unless it is closed. The error wraps
// ErrNoIncident where there is none of that ID.
func (l *Log) NoteIncident(ctx context.Context, id, by, text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("a note needs a text")
	}
	return l.register(ctx, id, &noteRow{what: noteText, who: by, text: text})
}

// CloseIncident closes an incident with one of Outcomes; a text is needed for "other". What comes after it opens another
// incident. One that was closed may be closed again, with another outcome. The error wraps ErrNoIncident where
// there is none of that ID.
func (l *Log) CloseIncident(ctx context.Context, id, by, outcome, text string) error {
	switch {
	case !slices.Contains(Outcomes(), outcome):
		return fmt.Errorf("%q is not an outcome (use one of %s)", outcome, strings.Join(Outcomes(), ", "))
	case outcome == "other" && strings.TrimSpace(text) == "":
		return errors.New("the outcome other needs a text that says which")
	}
	return l.register(ctx, id, &noteRow{what: noteClosed, outcome: outcome, who: by, text: text})
}

// register checks and stores what was done.
func (l *Log) register(ctx context.Context, id string, n *noteRow) error {
	if err := n.check(); err != nil {
		return err
	}
	return l.request(ctx, request{do: func(ctx context.Context, t *turn) error { return t.register(ctx, id, *n) }})
}

// check refuses what nobody should have written, and takes the blanks away.
func (n *noteRow) check() error {
	n.who, n.text = strings.TrimSpace(n.who), strings.TrimSpace(n.text)
	switch {
	case n.who == "":
		return errors.New("who does it? a name is needed")
	case len(n.who) > maxBy:
		return fmt.Errorf("the name of who does it is longer than %d bytes", maxBy)
	case len(n.text) > maxNote:
		return fmt.Errorf("the text is longer than %d bytes", maxNote)
	case !utf8.ValidString(n.who + n.text):
		return errors.New("the text is not UTF-8")
	}
	return nil
}

// register appends what was done about an incident, and what follows from it.
func (t *turn) register(ctx context.Context, id string, n noteRow) error {
	seq, state, err := t.registered(ctx, id)
	switch n.incident = seq; {
	case err != nil:
		return err
	case n.what == noteSeen && state != StateNew:
		return nil
	}
	if n.what == noteClosed {
		if i := t.bySeq(n.incident); i != nil {
			if err := t.rest(ctx, i); err != nil {
				return err
			}
		}
	}
	if err := t.note(ctx, &n); err != nil {
		return err
	}
	if _, err := t.store.exec(ctx, "UPDATE incident SET state = ? WHERE seq = ?", n.follows(state), n.incident); err != nil {
		return err
	}
	if n.what == noteClosed {
		_, err = t.store.exec(ctx, "UPDATE incident SET outcome = ? WHERE seq = ?", n.outcome, n.incident)
	}
	return err
}

// follows returns the state of an incident after a note.
func (n *noteRow) follows(state string) string {
	switch {
	case n.what == noteClosed:
		return StateClosed
	case n.what == noteText && state != StateClosed:
		return StateInHand
	case n.what == noteSeen && state == StateNew:
		return StateSeen
	}
	return state
}

// bySeq returns an open incident, or nil.
func (w *writer) bySeq(seq int64) *incident {
	for _, i := range w.open {
		if i.seq == seq {
			return i
		}
	}
	return nil
}

// note appends a row of the table note.
func (t *turn) note(ctx context.Context, n *noteRow) error {
	if err := t.storeBreaches(ctx); err != nil { // they are numbered before it
		return err
	}
	n.time = t.now
	salt := newSalt()
	next := t.link.next(n, salt)
	_, err := t.store.exec(ctx, "INSERT INTO note VALUES ("+placeholders(10)+")", next.seq, n.time, n.incident, n.what,
		n.outcome, n.severity, n.who, n.text, salt, next.hash[:])
	if err != nil {
		return fmt.Errorf("store note: %w", err)
	}
	t.link = next
	return nil
}

// Escalation says when an incident grows graver by itself: its severity goes up one step, once, when it was
// tried Count times within a span. The zero value is never.
type Escalation struct {
	Count  int // 0, or from 2 to MaxEscalation
	Within time.Duration
}

// MaxEscalation bounds Escalation.Count.
const MaxEscalation = 1000

// attempts is when the newest attempts of an incident were, for its escalation: at most Count of them, in Unix
// milliseconds.
type attempts []int64

// add takes an attempt that came count times up to a moment, and reports whether there were that many within
// the span.
func (a *attempts) add(e Escalation, count, last int64) bool {
	if e.Count == 0 {
		return false
	}
	for range min(count, int64(e.Count)) {
		*a = append(*a, last)
	}
	if extra := len(*a) - e.Count; extra >= 0 {
		*a = slices.Delete(*a, 0, extra)
		return last-(*a)[0] <= e.Within.Milliseconds()
	}
	return false
}

// raise takes an incident's severity up one step, and has it told at once.
func (t *turn) raise(ctx context.Context, i *incident) error {
	i.rising, i.raised, i.tried = false, true, nil
	to := i.attribution.Severity + 1
	if to > policy.SeverityCritical {
		return nil
	}
	t.bySeverity[i.attribution.Severity]--
	t.bySeverity[to]++
	i.attribution.Severity = to
	i.due = t.now
	t.next = t.now
	return t.note(ctx, &noteRow{
		incident: i.seq, what: noteRaised, severity: to.String(), who: "schoolgate",
		text: fmt.Sprintf("tried %d times within %v", t.Escalation.Count, t.Escalation.Within),
	})
}
