package daemon

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"schoolgate/blocklist"
	"schoolgate/config"
	"schoolgate/policy"
)

// Exception is a rule for a time: the JSON of the store, of the control socket and of `exceptions list`.
type Exception struct {
	ID     string   `json:"id"`
	Action string   `json:"action"` // "allow" or "block"
	Names  []string `json:"names"`  // each stands for all below it too
	// Group or Client say for whom it is; where both are "": for everybody. Client is as
	// policy.ParseClientPattern reads it.
	Group  string    `json:"group"`
	Client string    `json:"client"`
	Until  time.Time `json:"until"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Added  time.Time `json:"added"`
	// EndTold says that its end has been audited.
	EndTold bool `json:"end_told,omitempty"`
}

// The bounds of exceptions.
const (
	// MaxExceptions is how many can be in force at a time.
	MaxExceptions = 1000
	maxNames      = 100          // of one
	maxWords      = 500          // bytes of By, of Reason
	maxLength     = 366 * oneDay // what lasts longer is a rule
	keepEnded     = 7 * oneDay   // so that explain can say what was, and list show it
	oneDay        = 24 * time.Hour
	maxKept       = 2 * MaxExceptions // those that have ended included
)

// errUse marks what the caller got wrong.
type errUse struct{ error }

func (e errUse) Unwrap() error { return e.error }

// IsWrongUse reports whether an error about an exception is one of what was asked for, not of what is.
func IsWrongUse(err error) bool { return errors.As(err, new(errUse)) }

func wrongUse(format string, args ...any) error { return errUse{fmt.Errorf(format, args...)} }

// rule returns what the policy makes of an exception, or what is wrong with it by itself.
func (e *Exception) rule() (policy.Rule, error) {
	r := policy.Rule{
		ID: e.ID, Allow: e.Action == "allow", Reason: e.Reason, By: e.By, Added: e.Added, Expires: e.Until,
		Severity: policy.SeverityLow,
	}
	switch {
	case e.Action != "allow" && e.Action != "block":
		return r, wrongUse("%q is neither allow nor block", e.Action)
	case len(e.Names) == 0:
		return r, wrongUse("there is no name")
	case len(e.Names) > maxNames:
		return r, wrongUse("%d names: one exception can have %d", len(e.Names), maxNames)
	case e.Group != "" && e.Client != "":
		return r, wrongUse("it is for a group or for a client, not for both")
	case e.Until.IsZero():
		return r, wrongUse("until when?")
	}
	if err := errors.Join(checkWords("by", e.By), checkWords("reason", e.Reason)); err != nil {
		return r, errUse{err}
	}
	for _, text := range e.Names {
		name, err := blocklist.ParseName(text)
		switch {
		case err != nil:
			return r, errUse{err}
		case name.Parent() == "":
			return r, wrongUse("the root covers every name")
		}
		r.Names = append(r.Names, name)
	}
	if e.Group != "" {
		r.Groups = []string{e.Group}
	}
	if e.Client != "" {
		client, err := policy.ParseClientPattern(e.Client)
		if err != nil {
			return r, errUse{err}
		}
		r.Client = &client
	}
	return r, nil
}

// checkWords looks at what a person has to say.
func checkWords(what, text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return fmt.Errorf("%s is empty", what)
	case len(text) > maxWords:
		return fmt.Errorf("%s is longer than %d bytes", what, maxWords)
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("%s holds control characters", what)
	}
	return nil
}

// CheckRemoval says what is wrong with the words about a removal; the reason may be "".
func CheckRemoval(by, reason string) error {
	err := checkWords("by", by)
	if err == nil && reason != "" {
		err = checkWords("reason", reason)
	}
	if err != nil {
		return errUse{err}
	}
	return nil
}

// inForce reports whether an exception has not ended.
func (e *Exception) inForce(now time.Time) bool { return now.Before(e.Until) }

// scope is for whom it is, for people.
func (e *Exception) scope() string {
	switch {
	case e.Client != "":
		return e.Client
	case e.Group != "":
		return "group " + e.Group
	}
	return "everybody"
}

// describe is the exception as the audit has it. The names of confidential lists stay out of it.
func (e *Exception) describe(f *Filter) string {
	names := slices.Clone(e.Names)
	for i, text := range names {
		if name, err := blocklist.ParseName(text); err == nil && f.isConfidential(name) {
			names[i] = "(confidential)"
		}
	}
	return fmt.Sprintf("exception %s: %s %s for %s until %s", e.ID, e.Action, strings.Join(names, ", "), e.scope(), f.timestamp(e.Until))
}

// exceptions are all that there are at one time, oldest first, those that have ended lately included. It
// does not change.
type exceptions struct {
	all []Exception
	// problem is what is wrong with the store; "" for nothing. It can't be changed then.
	problem string
	// lost says that exceptions that block may be among what could not be read: nothing is let through
	// before that is known.
	lost bool
}

// rules are what the policy makes of the exceptions. Those for a group that a configuration does not have are
// left out.
func (x *exceptions) rules(cfg *config.Config) []policy.Rule {
	var rules []policy.Rule
	for i := range x.all {
		e := &x.all[i]
		if r, err := e.rule(); err == nil && hasGroup(cfg, e.Group) {
			rules = append(rules, r)
		}
	}
	return rules
}

// hasGroup reports whether a configuration has a group; it always has "", everybody.
func hasGroup(cfg *config.Config, group string) bool {
	return group == "" || slices.ContainsFunc(cfg.Policy.Groups, func(g policy.Group) bool { return g.Name == group })
}

// Check says what is wrong with an exception before it is added, whatever others there are.
func (e *Exception) Check(cfg *config.Config, now time.Time) error {
	_, err := e.rule()
	switch {
	case err != nil:
		return err
	case !e.inForce(now):
		return wrongUse("until %s: that is past", e.Until.Format(time.RFC3339))
	case e.Until.After(now.Add(maxLength)):
		return wrongUse("until %s: an exception lasts a year at most; what lasts is a rule of the configuration", e.Until.Format(time.RFC3339))
	case !hasGroup(cfg, e.Group):
		return wrongUse("there is no group %q", e.Group)
	}
	return nil
}

// with returns the exceptions and one more, or why it can't be.
func (x *exceptions) with(e Exception, cfg *config.Config, now time.Time) (*exceptions, error) {
	if err := e.Check(cfg, now); err != nil {
		return nil, err
	}
	if x.problem != "" {
		return nil, errors.New(x.problem)
	}
	rule, err := e.rule()
	if err != nil {
		return nil, err
	}
	inForce := 0
	for i := range x.all {
		other := &x.all[i]
		if !other.inForce(now) {
			continue
		}
		inForce++
		if other.Action == e.Action || other.Group != e.Group || !sameClient(other.Client, e.Client) {
			continue
		}
		of, err := other.rule()
		if err != nil {
			continue
		}
		for _, n := range rule.Names {
			if slices.Contains(of.Names, n) {
				return nil, fmt.Errorf("%v is subject to exception %s, the opposite, for %s until %s: remove that one first",
					n, other.ID, e.scope(), other.Until.In(cfg.Timezone).Format(time.RFC3339))
			}
		}
	}
	if inForce >= MaxExceptions {
		return nil, fmt.Errorf("%d exceptions are in force, and there can be no more: remove some, or write rules", inForce)
	}
	return &exceptions{all: append(slices.Clone(x.all), e)}, nil
}

// sameClient compares the clients of two exceptions by what they mean.
func sameClient(a, b string) bool {
	p, errP := policy.ParseClientPattern(a)
	q, errQ := policy.ParseClientPattern(b)
	return a == b || errP == nil && errQ == nil && p == q
}

// without returns the exceptions without one that is in force, and that one.
func (x *exceptions) without(id string, now time.Time) (*exceptions, Exception, error) {
	i := slices.IndexFunc(x.all, func(e Exception) bool { return e.ID == strings.ToLower(id) })
	switch {
	case x.problem != "":
		return nil, Exception{}, errors.New(x.problem)
	case i < 0:
		return nil, Exception{}, fmt.Errorf("there is no exception %s (exceptions list shows those there are)", id)
	case !x.all[i].inForce(now):
		return nil, Exception{}, fmt.Errorf("exception %s has ended already", id)
	}
	return &exceptions{all: slices.Delete(slices.Clone(x.all), i, i+1)}, x.all[i], nil
}

// settle returns the exceptions with the ends noted that have come since the last time, and those that have
// ended. What ended long ago goes. It returns x itself where nothing has changed.
func (x *exceptions) settle(now time.Time) (next *exceptions, ended []Exception) {
	next = &exceptions{problem: x.problem, lost: x.lost}
	for _, e := range x.all {
		switch {
		case e.inForce(now):
		case !e.EndTold:
			e.EndTold = true
			ended = append(ended, e)
		case now.After(e.Until.Add(keepEnded)):
			continue
		}
		next.all = append(next.all, e)
	}
	for i := 0; len(next.all) > maxKept; { // oldest first
		if next.all[i].inForce(now) {
			i++
		} else {
			next.all = slices.Delete(next.all, i, i+1)
		}
	}
	if ended == nil && len(next.all) == len(x.all) {
		return x, nil
	}
	return next, ended
}

// nextEnd is when the next one ends, or is to be forgotten; the zero time for never.
func (x *exceptions) nextEnd() (next time.Time) {
	for _, e := range x.all {
		at := e.Until
		if e.EndTold {
			at = at.Add(keepEnded)
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

// newExceptionID makes a name for an exception that people can read to each other: no letter is taken for
// another (Crockford's alphabet).
func newExceptionID() string {
	var random [5]byte
	_, _ = rand.Read(random[:]) // it never fails
	return base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").EncodeToString(random[:])
}
