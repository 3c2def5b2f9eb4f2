package breach

import "context"

// tallies is how much was tried in each hour, kept beside the record for reports: so that a year of breaches
// need not be read for its sums.
type tallies struct {
	byKey map[tallyKey]*tally
	dirty []*tally // those that this transaction adds to
}

type tallyKey struct {
	hour                    int64 // hours since 1970 in UTC
	group, category, action string
}

// tally is what this transaction adds to a row of the table tally.
type tally struct {
	key             tallyKey
	breaches, count int64
}

// maxTallies bounds those in memory: some hours of some groups and categories.
const maxTallies = 10_000

const hourMillis = 3_600_000

// count adds to the tally of an incident's hour.
func (t *turn) count(i *incident, breaches, count, last int64) {
	a := &i.attribution
	key := tallyKey{last / hourMillis, a.Group, a.Category, a.Action}
	if i.tally == nil || i.tally.key != key {
		i.tally = t.tallyOf(key)
	}
	if i.tally.count == 0 {
		t.dirty = append(t.dirty, i.tally)
	}
	i.tally.breaches += breaches
	i.tally.count += count
}

func (t *tallies) tallyOf(key tallyKey) *tally {
	found := t.byKey[key]
	if found == nil {
		if t.byKey == nil || len(t.byKey) >= maxTallies && len(t.dirty) == 0 {
			t.byKey = map[tallyKey]*tally{}
		}
		found = &tally{key: key}
		t.byKey[key] = found
	}
	return found
}

// storeTallies stores what this transaction adds.
func (t *turn) storeTallies(ctx context.Context) error {
	for _, c := range t.dirty {
		_, err := t.store.exec(ctx, `INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET breaches = breaches + excluded.breaches, count = count + excluded.count`,
			c.key.hour, c.key.group, c.key.category, c.key.action, c.breaches, c.count)
		if err != nil {
			return err
		}
		c.breaches, c.count = 0, 0
	}
	t.dirty = t.dirty[:0]
	return nil
}
