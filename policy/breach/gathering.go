package breach

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
)

const (
	// maxFlush is how many repeats one transaction appends, so that a breach need not wait for many.
	maxFlush = 2000
	// maxGathered is how many breaches may have repeats gathered before the minute is over.
	maxGathered = 100_000
	// slack is how many parts the table gathered may hold beside twice those that are needed: some 200 KB.
	slack = 50_000
)

// rewrite, as how many parts the table gathered has, has it written anew.
const rewrite = 1 << 30

// gathering is the repeats that are not yet appended. What a transaction adds, and what it takes away
// because it appends it, is one row of the table gathered. So the table's sum is what is gathered,
// whatever transaction was the last, and is read back after a crash.
type gathering struct {
	repeated []*knownBreach // those with repeats, and those that had some
	gathered int            // how many have some
	appended int            // how many of the first are to be appended next; 0: none
	minute   int64          // when they are to be appended; 0: there are none
	stored   int            // how many parts the table has
	row      parts          // what this transaction adds to it
}

// put takes repeats of a breach.
func (g *gathering) put(b *knownBreach, count, last int64) {
	if b.count == 0 {
		g.gathered++
		b.incident.repeated++
	}
	if !b.listed {
		b.listed = true
		g.repeated = append(g.repeated, b)
	}
	b.count += count
	b.last = max(b.last, last)
}

// over reports whether the gathered repeats are to be appended. A clock that went back does not put it
// off.
func (g *gathering) over(now int64) bool {
	return g.appended > 0 || len(g.repeated) > maxGathered || g.minute != 0 && (now >= g.minute || g.minute > endOfMinute(now))
}

// gather takes repeats of a breach.
func (t *turn) gather(b *knownBreach, count, last int64) {
	if t.byIncident != nil && !b.listed {
		t.byIncident[b.incident] = append(t.byIncident[b.incident], b)
	}
	t.put(b, count, last)
	t.row.add(b.seq, count, last)
	if t.minute == 0 {
		t.minute = endOfMinute(t.now)
	}
	t.add(b.incident, 0, count, last)
}

// repeats appends what was gathered, in the order of the breaches: all where a request says so, else
// when the minute is over, so many at a time. What comes in the meantime waits for the next minute.
func (t *turn) repeats(ctx context.Context, requests []request) error {
	n := maxFlush
	if slices.ContainsFunc(requests, func(r request) bool { return r.flush }) {
		n, t.appended = math.MaxInt, 0
	} else if !t.over(t.now) {
		return nil
	}
	if t.appended == 0 {
		sortBySeq(t.repeated)
		t.appended = len(t.repeated)
	}
	n = min(n, t.appended)
	for _, b := range t.repeated[:n] {
		b.listed = false
		if err := t.appendRepeats(ctx, b); err != nil {
			return err
		}
	}
	t.repeated = slices.Delete(t.repeated, 0, n)
	t.appended -= n
	if t.appended == 0 {
		t.minute = 0
	}
	if t.minute == 0 && len(t.repeated) > 0 {
		t.minute = endOfMinute(t.now)
	}
	return nil
}

// repeatsOf appends what was gathered of one incident.
func (t *turn) repeatsOf(ctx context.Context, i *incident) error {
	if i.repeated == 0 {
		return nil
	}
	if t.byIncident == nil {
		t.byIncident = map[*incident][]*knownBreach{}
		for _, b := range t.repeated {
			t.byIncident[b.incident] = append(t.byIncident[b.incident], b)
		}
	}
	of := t.byIncident[i]
	sortBySeq(of)
	for _, b := range of {
		if err := t.appendRepeats(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// appendRepeats appends what was gathered of one breach, where anything was.
func (t *turn) appendRepeats(ctx context.Context, b *knownBreach) error {
	if b.count == 0 {
		return nil
	}
	r := repeatRow{b.seq, b.count, b.last}
	next := t.link.next(&r, nil)
	_, err := t.store.exec(ctx, "INSERT INTO repeat VALUES (?, ?, ?, ?, ?)", next.seq, r.breach, r.count, r.last, next.hash[:])
	if err != nil {
		return err
	}
	t.link = next
	t.row.add(b.seq, -b.count, b.last)
	b.count, b.last = 0, 0
	t.gathered--
	b.incident.repeated--
	return nil
}

// storeGathered stores what this transaction adds to what is gathered. When the table has become more
// than twice as long as it need be, it is written anew.
func (t *turn) storeGathered(ctx context.Context) error {
	var err error
	if anew := t.gathered == 0 || t.stored+t.row.n > 2*t.gathered+slack; anew && t.stored > 0 {
		_, err = t.store.exec(ctx, "DELETE FROM gathered")
		t.stored = 0
	} else if !anew {
		return t.storeRow(ctx)
	}
	t.row.reset()
	if err != nil || t.gathered == 0 {
		return err
	}
	sortBySeq(t.repeated[:t.appended])
	sortBySeq(t.repeated[t.appended:])
	for _, b := range t.repeated {
		if b.count == 0 {
			continue
		}
		if t.row.add(b.seq, b.count, b.last); t.row.n == maxFlush {
			if err := t.storeRow(ctx); err != nil {
				return err
			}
		}
	}
	return t.storeRow(ctx)
}

func (t *turn) storeRow(ctx context.Context) error {
	if t.row.n == 0 {
		return nil
	}
	_, err := t.store.exec(ctx, "INSERT INTO gathered (low, high, repeats) VALUES (?, ?, ?)", t.row.low, t.row.high, t.row.bytes)
	t.stored += t.row.n
	t.row.reset()
	return err
}

func sortBySeq(all []*knownBreach) {
	slices.SortFunc(all, func(a, b *knownBreach) int { return cmp.Compare(a.seq, b.seq) })
}

// parts is the repeats of a row of the table gathered: for each part the seq of the breach, a count to be
// added, which may be negative, and the time of the last in Unix milliseconds, each as a varint of
// encoding/binary; seq and time as the difference from the part before.
type parts struct {
	bytes     []byte
	n         int
	low, high int64 // the seqs are from low to high
	seq, last int64 // of the newest part
}

func (p *parts) add(seq, count, last int64) {
	if p.n == 0 {
		p.low, p.high = seq, seq
	}
	p.n++
	p.low, p.high = min(p.low, seq), max(p.high, seq)
	p.bytes = binary.AppendVarint(p.bytes, seq-p.seq)
	p.bytes = binary.AppendVarint(p.bytes, count)
	p.bytes = binary.AppendVarint(p.bytes, last-p.last)
	p.seq, p.last = seq, last
}

func (p *parts) reset() { *p = parts{bytes: p.bytes[:0]} }

// sum is what the parts about one breach come to.
type sum struct{ count, last int64 }

// sums are what is gathered, by the seq of the breach.
type sums map[int64]sum

// damagedError says that what is gathered can't be read, or can't be so.
type damagedError struct{ number int64 }

func (e *damagedError) Error() string {
	return fmt.Sprintf("the repeats that wait to be appended are damaged: row %d of the table gathered is not what was written", e.number)
}

// readGathered adds up what is gathered of the breaches from low to high, and returns how many parts it
// was. Its error may be a *damagedError; the sums are then those of what can be read.
func readGathered(ctx context.Context, q multiQuerier, low, high int64) (sums, int, error) {
	rows, err := q.QueryContext(ctx, "SELECT number, low, high, repeats FROM gathered WHERE low <= ? AND high >= ?", high, low)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	var found sums
	var bad *damagedError
	n := 0
	for rows.Next() {
		var number, lowest, highest int64
		var repeats sql.RawBytes
		if err := rows.Scan(&number, &lowest, &highest, &repeats); err != nil {
			return nil, 0, err
		}
		if found == nil {
			found = sums{}
		}
		for at, seq, last := repeats, int64(0), int64(0); len(at) > 0; n++ {
			var part [3]int64
			for i := range part {
				value, size := binary.Varint(at)
				if size <= 0 {
					bad = &damagedError{number}
				}
				part[i], at = value, at[max(0, size):]
			}
			seq, last = seq+part[0], last+part[2]
			if seq < lowest || seq > highest {
				bad = &damagedError{number}
			}
			if bad != nil && bad.number == number {
				break
			}
			if seq >= low && seq <= high {
				s := found[seq]
				found[seq] = sum{s.count + part[1], max(s.last, last)}
			}
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, 0, err
	}
	if bad != nil {
		return found, n, bad
	}
	return found, n, nil
}
