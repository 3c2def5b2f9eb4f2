package querylog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite" // the driver "sqlite", too
	sqlite3 "modernc.org/sqlite/lib"
)

// CountsPath is where the hourly counts are in a data directory.
func CountsPath(dataDir string) string { return filepath.Join(dataDir, "counts.db") }

// countsVersion is that of the table, in the database's user_version.
const countsVersion = 1

const countsTable = `CREATE TABLE counted (
	hour INTEGER NOT NULL, -- its beginning, Unix seconds
	group_name TEXT NOT NULL, outcome TEXT NOT NULL, category TEXT NOT NULL, count INTEGER NOT NULL,
	PRIMARY KEY (hour, group_name, outcome, category)) WITHOUT ROWID`

// countStore is the database of hourly counts. It is opened when it is needed, and again after an error.
type countStore struct {
	path string
	db   *sql.DB
}

// add adds to what is stored, all or nothing.
func (s *countStore) add(ctx context.Context, counts map[hourly]uint64) (err error) {
	if err := s.open(ctx); err != nil {
		return s.failed(err)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return s.failed(err)
	}
	for k, n := range counts {
		_, err = tx.ExecContext(ctx, `INSERT INTO counted VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET count = count + excluded.count`, k.hour, k.group, k.outcome, k.category, int64(n))
		if err != nil {
			return s.failed(errors.Join(err, tx.Rollback()))
		}
	}
	if err := tx.Commit(); err != nil {
		return s.failed(err)
	}
	return nil
}

// expire deletes what is of hours before a time.
func (s *countStore) expire(ctx context.Context, before time.Time) (int64, error) {
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err := s.open(ctx); err != nil {
		return 0, s.failed(err)
	}
	result, err := s.db.ExecContext(ctx, "DELETE FROM counted WHERE hour <= ?", before.Add(-time.Hour).Unix())
	if err != nil {
		return 0, s.failed(err)
	}
	return result.RowsAffected()
}

// read yields what there is of hours between two times in Unix seconds, to excluded.
func (s *countStore) read(ctx context.Context, first, last int64, yield func(hourly, int64) error) (err error) {
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := s.connect("query_only(1)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if version, err := versionOf(ctx, db); err != nil || version != countsVersion {
		return errors.Join(fmt.Errorf("query log: %s has version %d, this schoolgate reads %d", s.path, version, countsVersion), err)
	}
	rows, err := db.QueryContext(ctx, `SELECT hour, group_name, outcome, category, count FROM counted
		WHERE hour >= ? AND hour < ? ORDER BY hour, group_name, outcome, category`, first, last)
	if err != nil {
		return fmt.Errorf("query log: read counts: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h hourly
		var n int64
		if err := rows.Scan(&h.hour, &h.group, &h.outcome, &h.category, &n); err != nil {
			return fmt.Errorf("query log: read counts: %w", err)
		}
		if err := yield(h, n); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("query log: read counts: %w", err)
	}
	return nil
}

// open opens the database, and makes it where there is none.
func (s *countStore) open(ctx context.Context) error {
	if s.db != nil {
		return nil
	}
	// SQLite gives the files beside it the same mode.
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	// NORMAL: a power cut may take the last minutes, and leaves it whole.
	if s.db, err = s.connect("journal_mode(WAL)", "synchronous(NORMAL)", "journal_size_limit(1048576)"); err != nil {
		return err
	}
	switch version, err := versionOf(ctx, s.db); {
	case err != nil:
		return err
	case version == 0:
		_, err := s.db.ExecContext(ctx, fmt.Sprintf("BEGIN; %s; PRAGMA user_version = %d; COMMIT", countsTable, countsVersion))
		return err
	case version != countsVersion:
		return fmt.Errorf("%s has version %d, this schoolgate writes %d", s.path, version, countsVersion)
	}
	return nil
}

func (s *countStore) connect(pragmas ...string) (*sql.DB, error) {
	path, err := filepath.Abs(s.path)
	if err != nil {
		return nil, err
	}
	query := url.Values{"_pragma": append([]string{"busy_timeout(2000)"}, pragmas...), "mode": {"rw"}}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func versionOf(ctx context.Context, db *sql.DB) (version int, err error) {
	err = db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}

// failed closes the database, to be opened again at the next turn. One that is damaged does not mend by that: it is
// moved aside, and the next turn begins another.
func (s *countStore) failed(err error) error {
	_ = s.close() // the error at hand says more
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			aside := s.path + ".damaged"
			err = errors.Join(fmt.Errorf("damaged, moved to %s: %w", aside, err), os.Rename(s.path, aside))
			for _, more := range []string{"-wal", "-shm"} {
				if moveErr := os.Rename(s.path+more, aside+more); moveErr != nil && !errors.Is(moveErr, fs.ErrNotExist) {
					err = errors.Join(err, moveErr)
				}
			}
		}
	}
	return err
}

func (s *countStore) close() error {
	if s.db == nil {
		return nil
	}
	err := s.db.Close()
	s.db = nil
	return err
}
