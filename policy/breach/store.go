package breach

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	_ "modernc.org/sqlite" // the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// store is the open database: one connection that writes, and some that read. The writer owns it.
type store struct {
	path string
	file os.FileInfo // as it was opened, to notice when another takes its place
	db   *sql.DB
	conn *sql.Conn // the only one of db
	read *sql.DB
	stmt map[string]*sql.Stmt
}

// busyMillis is how long a connection waits for another one's lock.
const busyMillis = 5000

// readers is how many connections read at once: the dispatcher, the verification, the metrics.
const readers = 4

// openStore opens the database, makes it where there is none, and brings its schema up to date. The
// directory must exist. pragmas are for tests.
func openStore(ctx context.Context, path string, pragmas ...string) (_ *store, err error) {
	s := &store{path: path, stmt: map[string]*sql.Stmt{}}
	if s.file, err = createFile(path); err != nil {
		return nil, err
	}
	// FULL: in WAL mode the log is synced at each commit, so that it survives a power cut.
	s.db = openDB(path, append(pragmas, "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		"journal_size_limit(67108864)", "secure_delete(1)")...)
	s.db.SetMaxOpenConns(1)
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := migrate(ctx, s.conn, path); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.read = openDB(path, "query_only(1)")
	s.read.SetMaxOpenConns(readers)
	return s, nil
}

// createFile makes sure that there is a regular file that only its owner can read: SQLite gives the
// files beside it the same mode.
func createFile(path string) (os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is not a regular file", path)
		case info.Mode().Perm()&0o077 != 0:
			return info, os.Chmod(path, 0o600)
		}
		return info, nil
	case err != nil:
		return nil, err
	}
	defer f.Close()
	// A new file survives a power cut only once its directory is on disk too.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return nil, err
	}
	return f.Stat()
}

// openDB returns a pool; it opens the file when a connection is first needed.
func openDB(path string, pragmas ...string) *sql.DB {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	query := url.Values{"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyMillis)}, pragmas...), "mode": {"rw"}}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		panic(fmt.Sprintf("breach: the driver is not registered: %v", err)) // it is imported above
	}
	return db
}

// migrate applies the migrations that the database has not seen, each in a transaction of its own. Before, it
// copies a database that has something in it.
func migrate(ctx context.Context, conn *sql.Conn, path string) error {
	have, err := schemaVersion(ctx, conn)
	if err != nil {
		return err
	}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	if have > len(files) {
		return newerError(have, len(files))
	}
	if have > 0 && have < len(files) {
		if err := backUp(ctx, conn, fmt.Sprintf("%s%s%d", path, backupInfix, have)); err != nil {
			return fmt.Errorf("copy the record before it is brought up to date: %w", err)
		}
	}
	for i, name := range files[have:] {
		script, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		_, err = conn.ExecContext(ctx, fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", script, have+i+1))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// backupInfix stands between the name of a database and the schema of its copy.
const backupInfix = ".before-schema-"

// backUp writes a copy of the database, which an older program can be put to use with again. One of that name is
// from an attempt that failed.
func backUp(ctx context.Context, conn *sql.Conn, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := createFile(to); err != nil { // for its owner alone
		return err
	}
	if _, err := conn.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return errors.Join(err, os.Remove(to)) // half a copy is none
	}
	f, err := os.Open(to)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func schemaVersion(ctx context.Context, q querier) (version int, err error) {
	err = q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version)
	return version, err
}

func newerError(have, know int) error {
	return fmt.Errorf("written by a newer schoolgate (schema %d, this one knows %d): "+
		"install that version again, or put a backup of the file in its place", have, know)
}

// exec runs a statement on the writer's connection, prepared once. Before, it lets questions have the processor: where
// there is one alone, they would wait for as long as Go lets one goroutine run, 10 ms.
func (s *store) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	stmt, err := s.prepare(ctx, query) //nolint:sqlclosecheck // close closes it
	if err != nil {
		return nil, err
	}
	runtime.Gosched()
	return stmt.ExecContext(ctx, args...)
}

// QueryContext runs a query on the writer's connection, prepared once. Its rows must be closed before
// the same query is run again.
func (s *store) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := s.prepare(ctx, query) //nolint:sqlclosecheck // close closes it
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (s *store) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt := s.stmt[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, query)
	if err == nil {
		s.stmt[query] = stmt
	}
	return stmt, err
}

// scrub empties the log, in which deleted rows are still to be read. It waits for readers only for a moment: then
// the error is errInUse.
func (s *store) scrub(ctx context.Context) error {
	const busy = "PRAGMA busy_timeout = %d"
	if _, err := s.conn.ExecContext(ctx, fmt.Sprintf(busy, 20)); err != nil {
		return err
	}
	var held, frames, moved int
	err := s.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&held, &frames, &moved)
	_, busyErr := s.conn.ExecContext(ctx, fmt.Sprintf(busy, busyMillis))
	switch {
	case err != nil:
		return err
	case held != 0:
		return errInUse
	}
	return busyErr
}

// replaced reports whether the path no longer leads to the file that is open: what is written now
// would be lost with it.
func (s *store) replaced() bool {
	now, err := os.Stat(s.path)
	return err != nil || !os.SameFile(now, s.file)
}

func (s *store) close() error {
	var errs []error
	if s.read != nil {
		errs = append(errs, s.read.Close())
	}
	for _, stmt := range s.stmt {
		errs = append(errs, stmt.Close())
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(append(errs, s.db.Close())...)
}

// advice says what to do about an error of the database, "" where that is not known.
func advice(err error) string {
	var coded interface{ Code() int }
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "give schoolgate's user the right to write there"
	case errors.Is(err, fs.ErrNotExist):
		return "make the directory of data_dir"
	case !errors.As(err, &coded):
		return ""
	}
	switch coded.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return "make room on the disk"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return "give schoolgate's user the right to write the file and its directory, and see that the disk is not mounted read-only"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return "where the next attempt finds it so too, schoolgate moves the file aside and begins a new record"
	case sqlite3.SQLITE_IOERR:
		return "look at the disk: the system's log says more"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return "another program holds the file: stop it"
	}
	return ""
}
