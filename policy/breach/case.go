package breach

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// Case is an incident with all the evidence of it, as it leaves the record for a case system or the police.
type Case struct {
	*Whole
	Acts   []RecordedAct // who looked at it and took it out, oldest first
	Sealed []Sealed      // its names, where the category is confidential and somebody's key is there
	Links  []Link        // its rows of the chain, in order
	Head   Head          // the newest link when it was read
}

// Sealed are names that were sealed in one transaction.
type Sealed struct {
	Seq        int64
	First      int64 // seqs of the first and
	Last       int64 // the last breach that it may have names of
	Recipient  string
	Person     string
	Ciphertext []byte // a file as age makes it
}

// Link is a row's place in the chain, with all that it needs to be computed again but what the row says.
type Link struct {
	Seq      int64  `json:"seq"`
	Kind     string `json:"kind"`     // the table
	Previous string `json:"previous"` // the hash of the row before, lower-case hexadecimal as all of these
	Salt     string `json:"salt"`     // "" of a repeat
	Hash     string `json:"hash"`
}

// maxCase is how many breaches the timeline of a Case may have.
const maxCase = 200_000

// Case reads an incident with all the evidence of it, as it stood at one moment. The error wraps ErrNoIncident where
// there is none of that ID.
func (r *Reader) Case(ctx context.Context, id string, o WholeOptions) (*Case, error) {
	o.MaxTimeline = maxCase
	c := &Case{}
	err := r.snapshot(ctx, func(tx *sql.Tx) error {
		var seq int64
		var err error
		if c.Whole, seq, err = readWhole(ctx, tx, id, o); err != nil {
			return err
		}
		if c.Acts, err = readActsOf(ctx, tx, c.ID, Filter{Zone: o.Zone}); err != nil {
			return err
		}
		if c.Sealed, err = readSealed(ctx, tx, seq); err != nil {
			return err
		}
		if c.Links, err = readLinks(ctx, tx, seq, c.Acts); err != nil {
			return err
		}
		var hash []byte
		err = tx.QueryRowContext(ctx, "SELECT seq, hash FROM head").Scan(&c.Head.Seq, &hash)
		c.Head.Hash = hex.EncodeToString(hash)
		return err
	})
	if err == nil {
		err = c.ask(ctx, o)
	}
	if err != nil {
		return nil, fmt.Errorf("incident %q: %w", id, err)
	}
	return c, nil
}

// readActsOf returns the acts that say the ID of an incident.
func readActsOf(ctx context.Context, tx *sql.Tx, id string, f Filter) ([]RecordedAct, error) {
	rows, err := tx.QueryContext(ctx, actColumns+" WHERE what LIKE 'incidents.%' AND instr(detail, ?) > 0 ORDER BY seq", id)
	if err != nil {
		return nil, err
	}
	return collect(rows, f.scanAct)
}

func readSealed(ctx context.Context, tx *sql.Tx, incident int64) ([]Sealed, error) {
	rows, err := tx.QueryContext(ctx, "SELECT seq, first, last, recipient, person, ciphertext FROM sealed WHERE incident = ? ORDER BY seq", incident)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(rows *sql.Rows) (s Sealed, err error) {
		err = rows.Scan(&s.Seq, &s.First, &s.Last, &s.Recipient, &s.Person, &s.Ciphertext)
		return s, err
	})
}

// readLinks returns the rows of the chain that say something of an incident, in order.
func readLinks(ctx context.Context, tx *sql.Tx, incident int64, acts []RecordedAct) ([]Link, error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, 'incident', salt, hash FROM incident WHERE seq = ?1
		UNION ALL SELECT seq, 'breach', salt, hash FROM breach WHERE incident = ?1
		UNION ALL SELECT r.seq, 'repeat', x'', r.hash FROM breach b CROSS JOIN repeat r ON r.breach = b.seq WHERE b.incident = ?1
		UNION ALL SELECT seq, 'note', salt, hash FROM note WHERE incident = ?1
		UNION ALL SELECT seq, 'sealed', salt, hash FROM sealed WHERE incident = ?1`, incident)
	if err != nil {
		return nil, err
	}
	links, err := collect(rows, scanLink)
	if err != nil {
		return nil, err
	}
	for _, a := range acts {
		rows, err := tx.QueryContext(ctx, "SELECT seq, 'audit', salt, hash FROM audit WHERE seq = ?", a.Seq)
		if err != nil {
			return nil, err
		}
		of, err := collect(rows, scanLink)
		if err != nil {
			return nil, err
		}
		links = append(links, of...)
	}
	slices.SortFunc(links, func(a, b Link) int { return cmp.Compare(a.Seq, b.Seq) })
	before, err := tx.PrepareContext(ctx, "SELECT hash FROM link WHERE seq = ?")
	if err != nil {
		return nil, err
	}
	defer before.Close()
	for i := range links {
		l := &links[i]
		if i > 0 && links[i-1].Seq == l.Seq-1 {
			l.Previous = links[i-1].Hash
			continue
		}
		hash := make([]byte, 32) // that before row 1
		if err := before.QueryRowContext(ctx, l.Seq-1).Scan(&hash); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		l.Previous = hex.EncodeToString(hash)
	}
	return links, nil
}

func scanLink(rows *sql.Rows) (l Link, err error) {
	var salt, hash []byte
	err = rows.Scan(&l.Seq, &l.Kind, &salt, &hash)
	l.Salt, l.Hash = hex.EncodeToString(salt), hex.EncodeToString(hash)
	return l, err
}
