package feed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// listState is what is remembered of one source from one start to the next. What of it says how a text is
// known goes by the text's digest: it counts for nothing once the text is another.
type listState struct {
	Used time.Time `json:"used,omitzero"` // the last Load that asked for it, to a day

	// Of the last good content.
	Sum      string    `json:"sum,omitempty"` // SHA-256 of the text, in hex
	Size     int64     `json:"size,omitempty"`
	Entries  int       `json:"entries,omitempty"`
	Names    int       `json:"names,omitempty"` // bytes of its names
	Modified time.Time `json:"modified,omitzero"`
	Secret   bool      `json:"secret,omitempty"`
	Refused  bool      `json:"refused,omitempty"` // the copy is damaged: it must be written again
	Fits     []string  `json:"fits,omitempty"`    // the fits with which it was accepted
	File     *fileStat `json:"file,omitempty"`    // the file it was read from; nil where that may not show a change

	// Of asking for it: URL and Zone only.
	ETag         string    `json:"etag,omitempty"`
	LastModified string    `json:"last_modified,omitempty"`
	AskedFor     string    `json:"asked_for,omitempty"` // what ETag and LastModified hold for
	Checked      time.Time `json:"checked,omitzero"`
	Due          time.Time `json:"due,omitzero"`
	Failures     uint      `json:"failures,omitempty"` // since the last success
	Error        string    `json:"error,omitempty"`    // of the last failure; "" once there was a success

	Trials map[string]trialState `json:"trials,omitempty"` // by TrialName
}

// trialState is what is remembered of a trial.
type trialState struct {
	Began time.Time `json:"began,omitzero"`
	Over  bool      `json:"over,omitempty"` // confirmed, or its beginning is not known any more
}

// content returns what is known of a text that has been accepted as w; nil where none has.
func (s *listState) content(w *wanted) *content {
	sum, err := hex.DecodeString(s.Sum)
	if err != nil || len(sum) != sha256.Size || !slices.Contains(s.Fits, w.fit) {
		return nil
	}
	return &content{
		caption: caption{digest: digest{sum: [sha256.Size]byte(sum), size: s.Size}, entries: s.Entries, modified: s.Modified},
		way:     w.way, fit: w.fit, names: s.Names, secret: s.Secret, file: s.File,
	}
}

// accept notes that it has been.
func (s *listState) accept(c *content) {
	if c.secret { // whoever gets hold of the file must not be able to see whether a guess at the text is right
		s.Sum, s.Size, s.Names, s.Fits, s.File = "", 0, 0, nil, nil
		s.Entries, s.Modified, s.Secret = c.entries, c.modified, true
		return
	}
	if s.Sum != hex.EncodeToString(c.sum[:]) {
		s.Fits = nil
	}
	s.Sum, s.Size, s.Entries = hex.EncodeToString(c.sum[:]), c.size, c.entries
	s.Names, s.Modified, s.Secret = c.names, c.modified, c.secret
	if !slices.Contains(s.Fits, c.fit) {
		s.Fits = append(s.Fits, c.fit)
		s.Fits = s.Fits[max(0, len(s.Fits)-maxFits):]
	}
	s.File = c.file
	if c.unsettled {
		s.File = nil
	}
}

// maxFits bounds in how many ways one text is known: a configuration has one list in two or three.
const maxFits = 16

// state is what is remembered of all sources, in a file that is written when it has changed. Damage
// costs no list: without it everything is read once more. Safe for concurrent use.
type state struct {
	path     string // "": in memory only
	readOnly bool
	log      *slog.Logger
	once     sync.Once // it is read when it is first needed

	mu    sync.Mutex
	lists map[string]*listState // by stem
	saved []byte                // what the file has of them
	// lost says that the file was there and could not be used: it is not known which trials were over.
	lost bool
}

// get returns what is remembered of a source.
func (s *state) get(source string) listState {
	s.once.Do(s.read)
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lists[stem(source)]; l != nil {
		return *l
	}
	return listState{}
}

// change changes what is remembered of a source.
func (s *state) change(source string, change func(*listState)) {
	s.once.Do(s.read)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := listState{}
	if old := s.lists[stem(source)]; old != nil {
		l = *old
		l.Fits, l.Trials = slices.Clone(l.Fits), maps.Clone(l.Trials)
	}
	change(&l)
	s.lists[stem(source)] = &l
}

func (s *state) changeTrial(source, name string, change func(*trialState)) {
	s.change(source, func(l *listState) {
		t := l.Trials[name]
		change(&t)
		if l.Trials == nil {
			l.Trials = map[string]trialState{}
		}
		l.Trials[name] = t
	})
}

// forget drops the sources that no Load has asked for since a time, and returns their stems.
func (s *state) forget(since time.Time) map[string]bool {
	s.once.Do(s.read)
	s.mu.Lock()
	defer s.mu.Unlock()
	forgotten := map[string]bool{}
	for stem, l := range s.lists {
		if l.Used.Before(since) {
			forgotten[stem] = true
			delete(s.lists, stem)
		}
	}
	return forgotten
}

// adopt has a source that nothing is remembered of, as its copy is there, count as used now.
func (s *state) adopt(stem string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lists[stem] == nil {
		s.lists[stem] = &listState{Used: now}
	}
}

// isLost reports whether the trials that are over are not known.
func (s *state) isLost() bool {
	s.once.Do(s.read)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

const stateVersion = 1

// stateFile is the file's form.
type stateFile struct {
	Version int             `json:"version"`
	SHA256  string          `json:"sha256"` // of Lists, as it is written
	Lists   json.RawMessage `json:"lists"`
}

func (s *state) read() {
	s.lists = map[string]*listState{}
	if s.path == "" {
		return
	}
	data, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) && !keepsLists(filepath.Dir(s.path)) {
		return
	}
	var file stateFile
	if err == nil {
		file, err = decodeState(data)
	}
	lists := map[string]*listState{}
	if err == nil {
		err = json.Unmarshal(file.Lists, &lists)
	}
	if err != nil {
		s.lost = true
		s.log.Warn("state of the lists not used: lists are read again, and trials count as ended", "file", s.path, "error", err)
		return
	}
	maps.Copy(s.lists, lists) // which is nil where the file has null
	maps.DeleteFunc(s.lists, func(_ string, l *listState) bool { return l == nil })
	s.saved = file.Lists
}

// keepsLists reports whether a directory has copies or snapshots: then there was a state too.
func keepsLists(dir string) bool {
	files, _ := os.ReadDir(dir) // what cannot be read has none that will be
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		name := f.Name()
		return strings.HasSuffix(name, snapshotFile) || strings.HasSuffix(name, clearCopy) || strings.HasSuffix(name, secretCopy)
	})
}

func decodeState(data []byte) (file stateFile, err error) {
	if err := json.Unmarshal(data, &file); err != nil {
		return file, fmt.Errorf("is damaged: %w", err)
	}
	sum := sha256.Sum256(file.Lists)
	switch {
	case file.Version > stateVersion:
		return file, fmt.Errorf("is of version %d, and this program knows %d", file.Version, stateVersion)
	case file.Version != stateVersion || file.SHA256 != hex.EncodeToString(sum[:]):
		return file, errors.New("is damaged: its checksum is another")
	}
	return file, nil
}

// save writes the file, if it would be another.
func (s *state) save() error {
	s.once.Do(s.read)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" || s.readOnly {
		return nil
	}
	lists, err := json.Marshal(s.lists)
	if err != nil || bytes.Equal(lists, s.saved) {
		return err
	}
	if len(s.lists) == 0 && s.saved == nil && !keepsLists(filepath.Dir(s.path)) {
		return nil // beside what is kept of lists there is always a state: that it is missing says something
	}
	sum := sha256.Sum256(lists)
	data, err := json.Marshal(stateFile{Version: stateVersion, SHA256: hex.EncodeToString(sum[:]), Lists: lists})
	if err != nil {
		return err
	}
	err = writeFile(s.path, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
	if err == nil {
		s.saved, s.lost = lists, false
	}
	return err
}

func statePath(dir string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "state.json")
}
