package breach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

const (
	// headEvery is the least time between two writings of the head file while the record is written.
	headEvery = 5 * time.Second
	// asideAt is at which attempt in a row a damaged database is moved aside: another connection may
	// find that it is whole.
	asideAt = 2
	// asideEvery bounds how many files a disk that damages each new one leaves behind.
	asideEvery = time.Hour
	// maxReplaced is how many replacements Problems tells of; the audit has all.
	maxReplaced = 10
)

// headPath returns where the head file of a database is: breach.head beside breach.db.
func headPath(path string) string { return strings.TrimSuffix(path, ".db") + ".head" }

// readHead returns what the head file says. Where there is none, or none that can be read, as a power
// cut may leave it, nothing is known, and that is no problem: it is written again.
func (l *Log) readHead() (last link) {
	text, err := os.ReadFile(headPath(l.path))
	if errors.Is(err, fs.ErrNotExist) {
		return link{}
	}
	if err == nil {
		last, err = parseHead(string(text))
	}
	if err != nil {
		l.logger.Warn("breach record: it can't be told whether it is still the one written last", "error", err)
	}
	return last
}

func headText(at link) string { return fmt.Sprintf("%d %x\n", at.seq, at.hash) }

func parseHead(text string) (at link, err error) {
	var hash []byte
	_, err = fmt.Sscanf(text, "%d %x", &at.seq, &hash)
	copy(at.hash[:], hash)
	if err != nil || at.seq <= 0 || headText(at) != text {
		return link{}, errors.New("the head file is garbled")
	}
	return at, nil
}

// headDue returns how long until the head file is to be written.
func (l *Log) headDue() time.Duration {
	if l.router == nil || l.last == l.saved {
		return time.Hour // there is nothing to write
	}
	return time.Until(l.savedAt.Add(headEvery))
}

// saveHead writes the head file, when it is due or the record is closed. What it says has been
// committed, so it may be behind the database, never ahead of it. It is not synced: it is as good a
// while ago.
func (l *Log) saveHead(closing bool) {
	if l.router == nil || l.last == l.saved || !closing && l.headDue() > 0 {
		return
	}
	l.savedAt = time.Now()
	path := headPath(l.path)
	err := os.WriteFile(path+".new", []byte(headText(l.last)), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		l.saved = l.last
	}
	if err != nil && !l.unsaved {
		l.logger.Warn("breach record: its head can't be kept beside it", "error", err)
	}
	l.unsaved = err != nil
}

// compare tells of it when the database that was opened does not go on from the last link that is
// known, or stands for one that was moved aside, and records that. It reports whether it is so.
func (l *Log) compare(ctx context.Context, w *writer) (replaced bool, err error) {
	if l.router == nil { // a tool: the resolver has to see it, and tells people
		return false, nil
	}
	goesOn := l.last.seq == 0
	if !goesOn {
		goesOn, err = holds(ctx, w.store.conn, l.last)
	}
	if err != nil || goesOn && l.aside == "" {
		return false, err
	}
	var what string
	switch {
	case l.aside != "":
		what = fmt.Sprintf("was damaged, and a new one was begun: keep %s, which holds what was recorded before and the alerts "+
			"that were not yet delivered, and look at the disk", l.aside)
	case w.link.seq == 0:
		what = fmt.Sprintf("is gone, and a new one was begun: it had %d rows; look for it, and find out who took it away", l.last.seq)
	case w.link.seq < l.last.seq:
		what = fmt.Sprintf("was replaced by an older one: it had %d rows, and this one %d; keep both, and find out who did it",
			l.last.seq, w.link.seq)
	default:
		what = fmt.Sprintf("was replaced by another one: row %d is not the one that was written; keep both, and find out who did it",
			l.last.seq)
	}
	l.mu.Lock()
	again := slices.Contains(l.replaced, what)
	if !again && len(l.replaced) < maxReplaced {
		l.replaced = append(l.replaced, what)
	}
	l.mu.Unlock()
	if !again {
		l.logger.Error("breach record: it "+what, "seq", l.last.seq, "found", w.link.seq)
	}
	l.system("The breach record " + what + ".")

	// Only when this is on disk is the new record the one that is known.
	known, found := l.last.head(), w.link.head()
	err = w.note(ctx, l.now(), Act{
		Who: "schoolgate", What: "record.replaced", Why: "the breach record " + what,
		Detail: fmt.Sprintf("last known: seq %d, hash %s; found: seq %d, hash %s", known.Seq, known.Hash, found.Seq, found.Hash),
	})
	if err != nil {
		return true, err
	}
	l.aside = ""
	return true, nil
}

// holds reports whether the record has the row of a link.
func holds(ctx context.Context, q querier, at link) (found bool, err error) {
	err = q.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM link WHERE seq = ? AND hash = ?)", at.seq, at.hash[:]).Scan(&found)
	if err != nil || found {
		return found, err
	}
	stone, err := tombstoneOf(ctx, q, at.seq)
	return stone.covers(at.seq, at.hash[:]), err
}

// damaged reports whether an error says that the file is corrupt or no database, which no waiting
// mends.
func damaged(err error) bool {
	var coded interface{ Code() int }
	if !errors.As(err, &coded) {
		return false
	}
	code := coded.Code() & 0xff
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// asideInfix stands between the name of a database that was moved aside and the time.
const asideInfix = ".damaged-"

// moveAside gives the files of a damaged database, which is closed, another name in their directory, so
// that a new one can be begun.
func (l *Log) moveAside() error {
	const stamp = "20060102T150405Z"
	at := l.now().UTC()
	aside := l.path + asideInfix + at.Format(stamp)
	for exists(aside) || exists(aside+"-wal") || exists(aside+"-shm") {
		at = at.Add(time.Second)
		aside = l.path + asideInfix + at.Format(stamp)
	}
	// The database is last: beside a new one its log would be deleted.
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(l.path+suffix, aside+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("move the damaged record aside: %w", err)
		}
	}
	l.aside, l.movedAt = aside, time.Now()
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
