package breach

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"
	"weak"

	"schoolgate/policy"
)

const (
	// rest is how long an incident is without a breach before it rests, in milliseconds.
	rest = int64(time.Hour / time.Millisecond)
	// maxOpen bounds the incidents in memory.
	maxOpen = 100_000
	// maxCrowd is how many open incidents a shared client may have by name in one category: a tunnel
	// asks for a new name at every packet, and each incident is an alert.
	maxCrowd = 100
	// maxNames is how many names an alert lists, maxCounted how many breaches they are taken from.
	maxNames, maxCounted = 50, 10_000
)

// incident is one that is open. Times are Unix milliseconds.
type incident struct {
	seq  int64
	id   string
	key  incidentKey
	site string
	// client is that of the key, with its name once that is known.
	client policy.Client
	// attribution is that of the newest breach that was attributed, with the highest severity so far.
	attribution policy.Attribution
	severity    policy.Severity             // as it is stored
	judged      weak.Pointer[policy.Policy] // by which it was attributed; weak: it may be replaced

	count, first, last int64
	told, toldAt       int64 // the count in the last alert, 0 before the first, and when that was
	due                int64 // when to tell of what has not been told; 0: there is nothing

	tried          attempts
	rising, raised bool // its severity is to go up a step, and has gone up

	tally *tally // of the hour and category of its newest breach; nil: none yet

	resting, touched bool
	repeated         int // how many of its breaches have repeats that are not yet appended
}

// incidentKey is what the breaches of one incident have in common.
type incidentKey struct {
	client   policy.Client // without its name, which may be found out only when it has asked something
	category string
	title    string
	name     string // of a shared client, else ""
}

// rested reports whether a breach at that time is no longer of this incident. A clock that went back
// by as much as an hour also begins another.
func (i *incident) rested(at int64) bool {
	return i.resting || at-i.last >= rest || i.last-at >= rest
}

// nextLook returns when the incident is to be looked at, as far as is known now.
func (i *incident) nextLook() int64 {
	if i.due != 0 {
		return min(i.due, i.last+rest)
	}
	return i.last + rest
}

// incident returns the open incident of an event, and opens it where there is none.
func (t *turn) incident(ctx context.Context, e *pending, a policy.Attribution, name string) (*incident, error) {
	base := incidentKey{client: nameless(e.Client), category: a.Category, title: a.Title}
	key := base
	if a.Shared {
		key.name = name
	}
	found := t.open[key]
	if found == nil && a.Shared && t.crowd[base] >= maxCrowd {
		key = base
		found = t.open[key]
	}
	if found != nil && found.rested(e.Time.UnixMilli()) {
		if err := t.rest(ctx, found); err != nil {
			return nil, err
		}
		found = nil
	}
	if found == nil {
		if err := t.makeRoom(ctx); err != nil {
			return nil, err
		}
		return t.openIncident(ctx, key, e, a)
	}
	if found.client.Name == "" {
		found.client.Name = e.Client.Name
	}
	a.Severity = max(a.Severity, found.attribution.Severity)
	t.bySeverity[found.attribution.Severity]--
	t.bySeverity[a.Severity]++
	found.attribution, found.judged = a, weak.Make(e.Policy)
	return found, nil
}

func (t *turn) openIncident(ctx context.Context, key incidentKey, e *pending, a policy.Attribution) (*incident, error) {
	i := &incident{
		id: t.ids.next(time.UnixMilli(t.now)), key: key, site: t.Site, client: e.Client,
		attribution: a, severity: a.Severity, judged: weak.Make(e.Policy),
		first: e.Time.UnixMilli(), last: e.Time.UnixMilli(),
	}
	r := incidentRow{
		id: i.id, first: i.first, site: i.site, category: a.Category, title: a.Title, group: a.Group, action: a.Action,
		confidential: flag(a.Confidential), shared: flag(a.Shared), client: clientOf(e.Client),
		severity: a.Severity.String(), last: i.last,
	}
	if key.name != "" && !a.Confidential {
		r.name = withDot(key.name)
	}
	if a.AlertToSet {
		receivers, err := json.Marshal(append([]string{}, a.AlertTo...)) // [] and not null
		if err != nil {
			return nil, err
		}
		r.alertTo = string(receivers)
	}
	salt := newSalt()
	next := t.link.next(&r, salt)
	_, err := t.store.exec(ctx, "INSERT INTO incident VALUES ("+placeholders(23)+")", next.seq, r.id, r.first, r.site,
		r.category, r.title, r.group, r.action, r.confidential, r.shared, r.alertTo,
		r.client.IP, r.client.MAC, r.client.Name, r.client.User, r.name, salt, next.hash[:], r.severity, r.count, r.last, StateNew, "")
	if err != nil {
		return nil, err
	}
	i.seq, t.link, i.due = next.seq, next, t.now
	t.hold(i)
	_, err = t.store.exec(ctx, "INSERT INTO watching VALUES (?, 0, 0)", i.seq)
	return i, err
}

// hold takes an incident among the open ones.
func (w *writer) hold(i *incident) {
	w.open[i.key] = i
	w.bySeverity[i.attribution.Severity]++
	w.next = min(w.next, i.nextLook())
	if i.key.name != "" {
		w.crowd[i.key.base()]++
	}
}

func (k incidentKey) base() incidentKey {
	k.name = ""
	return k
}

// add counts breaches or repeats in an incident.
func (t *turn) add(i *incident, breaches, count, last int64) {
	i.count += count
	i.last = max(i.last, last)
	t.count(i, breaches, count, last)
	if !i.raised && i.tried.add(t.Escalation, count, last) {
		i.rising = true
	}
	if !i.touched {
		i.touched = true
		t.touched = append(t.touched, i)
	}
	if i.due == 0 {
		i.due = i.endOfQuiet(t.now, t.Quiet.Milliseconds())
		t.next = min(t.next, i.due)
	}
}

// endOfQuiet returns the first end of a quiet time after the moment: quiet times follow each other from
// the last alert on.
func (i *incident) endOfQuiet(moment, quiet int64) int64 {
	if quiet <= 0 {
		return moment
	}
	return i.toldAt + (max(0, moment-i.toldAt)/quiet+1)*quiet
}

// incidents raises what was tried again and again, tells of what is due, rests what had no breach for an hour,
// and stores what changed.
func (t *turn) incidents(ctx context.Context) error {
	for _, i := range t.touched {
		if i.rising && !i.resting {
			if err := t.raise(ctx, i); err != nil {
				return err
			}
		}
	}
	if t.due() {
		if err := t.look(ctx); err != nil {
			return err
		}
	}
	for n, i := range t.touched {
		if n%yieldEvery == yieldEvery-1 {
			time.Sleep(breath)
		}
		i.touched = false
		if _, err := t.store.exec(ctx, "UPDATE incident SET count = ?, last = ? WHERE seq = ?", i.count, i.last, i.seq); err != nil {
			return err
		}
		if i.severity == i.attribution.Severity { // most often; it is in an index, which costs as much as the rest
			continue
		}
		i.severity = i.attribution.Severity
		if _, err := t.store.exec(ctx, "UPDATE incident SET severity = ? WHERE seq = ?", i.severity.String(), i.seq); err != nil {
			return err
		}
	}
	return nil
}

// look goes through all open incidents for what is due.
func (t *turn) look(ctx context.Context) error {
	var due []*incident
	t.next = t.now + rest
	for _, i := range t.open {
		i.due = min(i.due, t.now+t.Quiet.Milliseconds()) // the clock may have gone back
		if i.rested(t.now) || i.due != 0 && i.due <= t.now {
			due = append(due, i)
		} else {
			t.next = min(t.next, i.nextLook())
		}
	}
	slices.SortFunc(due, func(a, b *incident) int { return cmp.Compare(a.seq, b.seq) })
	for _, i := range due {
		var err error
		if i.rested(t.now) {
			err = t.rest(ctx, i)
		} else {
			err = t.tell(ctx, i)
			t.next = min(t.next, i.nextLook())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rest ends an incident, telling first of what has not been told.
func (t *turn) rest(ctx context.Context, i *incident) error {
	if i.count > i.told {
		if err := t.tell(ctx, i); err != nil {
			return err
		}
	}
	i.resting = true
	delete(t.open, i.key)
	t.bySeverity[i.attribution.Severity]--
	if i.key.name != "" {
		base := i.key.base()
		if t.crowd[base]--; t.crowd[base] == 0 {
			delete(t.crowd, base)
		}
	}
	_, err := t.store.exec(ctx, "DELETE FROM watching WHERE incident = ?", i.seq)
	return err
}

// makeRoom rests a tenth of the open incidents, those longest without a breach, when there are too many.
func (t *turn) makeRoom(ctx context.Context) error {
	if len(t.open) < t.maxOpen {
		return nil
	}
	oldest := make([]*incident, 0, len(t.open))
	for _, i := range t.open {
		oldest = append(oldest, i)
	}
	slices.SortFunc(oldest, func(a, b *incident) int { return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.seq, b.seq)) })
	for _, i := range oldest[:(t.maxOpen+9)/10] {
		if err := t.rest(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// tell puts the alerts that an incident calls for into the outbox.
func (t *turn) tell(ctx context.Context, i *incident) error {
	if t.router == nil {
		return nil
	}
	// What was gathered is appended first, so that the chain in the alert covers all that it counts.
	if err := t.storeBreaches(ctx); err != nil {
		return err
	}
	if err := t.repeatsOf(ctx, i); err != nil {
		return err
	}
	kind := IncidentContinued
	if i.told == 0 {
		kind = IncidentOpened
	}
	n := Notice{
		Kind: kind, Time: time.UnixMilli(t.now), Incident: i.id, Site: i.site,
		Attribution: i.attribution, Client: i.client, Count: i.count,
		First: time.UnixMilli(i.first), Last: time.UnixMilli(i.last), Chain: t.link.head(),
	}
	if !i.attribution.Confidential {
		var err error
		if n.Names, err = incidentNames(ctx, t.store, i.seq, nil); err != nil {
			return err
		}
	}
	alerts := t.router.Route(n)
	for _, a := range alerts {
		if err := t.enqueue(ctx, a); err != nil {
			return err
		}
	}
	// Who is told of it first, when it has grown graver, is told that it was opened.
	if len(alerts) > 0 || i.told > 0 {
		i.told = i.count
	}
	i.toldAt, i.due = t.now, 0
	_, err := t.store.exec(ctx, "UPDATE watching SET told = ?, told_at = ? WHERE incident = ?", i.told, i.toldAt, i.seq)
	return err
}

func nameless(c policy.Client) policy.Client {
	c.Name = ""
	return c
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
