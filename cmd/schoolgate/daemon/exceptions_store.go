package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"schoolgate/blocklist"
	"schoolgate/policy"
)

// The store of exceptions is a file in the data directory, and a copy of it: damage to a disk takes one of the two, not both. An exception that allows and is lost is a name that is
// blocked again, which is safe; one that blocks and is lost would open something. So of a store that can't be
// read in full all that blocks is kept, from the file or from the copy, and where neither says what blocked,
// nothing is let through.
const (
	exceptionsFile    = "exceptions.json"
	exceptionsCopy    = "exceptions.copy.json"
	exceptionsVersion = 1
)

// storedExceptions is the content of the store.
type storedExceptions struct {
	Version int `json:"version"`
	// Hash is the SHA-256 of Exceptions, lower-case hexadecimal.
	Hash       string          `json:"hash"`
	Exceptions json.RawMessage `json:"exceptions"`
}

// readExceptions returns the exceptions of a data directory. What is wrong with them is in their problem.
func readExceptions(dir string) *exceptions {
	all, err := readExceptionsFile(filepath.Join(dir, exceptionsFile))
	if err == nil {
		return &exceptions{all: all}
	}
	copied, copyErr := readExceptionsFile(filepath.Join(dir, exceptionsCopy))
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && errors.Is(copyErr, fs.ErrNotExist) {
		return &exceptions{} // there never was one
	}
	if missing {
		err = errors.New("it is missing, and its copy is there")
	}
	x := &exceptions{}
	switch {
	case copyErr == nil:
		x.all = onlyBlocks(copied)
	case all != nil: // a newer version's, as far as it is understood
		x.all = onlyBlocks(all)
	case copied != nil:
		x.all = onlyBlocks(copied)
	default:
		x.lost = true
	}
	advice := fmt.Sprintf("put the file back from a backup; or move %s and %s away, and all exceptions end", exceptionsFile, exceptionsCopy)
	if x.lost {
		x.problem = fmt.Sprintf("the exceptions in %s can't be read, nor their copy, so that nobody knows what they blocked, and questions are answered SERVFAIL: %v (%s)",
			filepath.Join(dir, exceptionsFile), err, advice)
	} else {
		x.problem = fmt.Sprintf("the exceptions in %s can't be read: %v; those that block hold on, those that allow don't, and none can be added (%s)",
			filepath.Join(dir, exceptionsFile), err, advice)
	}
	return x
}

// readExceptionsFile reads one of the two files. With a *newerExceptions comes what is understood of them, not
// nil.
func readExceptionsFile(path string) ([]Exception, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var stored storedExceptions
	if err := json.Unmarshal(data, &stored); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if stored.Version > exceptionsVersion {
		newer := &newerExceptions{stored.Version}
		all := []Exception{}
		var entries []json.RawMessage
		if json.Unmarshal(stored.Exceptions, &entries) != nil {
			return nil, newer
		}
		for _, entry := range entries {
			var e Exception
			if json.Unmarshal(entry, &e) != nil {
				return nil, newer
			}
			if _, err := e.rule(); err == nil {
				all = append(all, e)
			} else if e.Action != "allow" {
				return nil, newer // it may block something
			}
		}
		return all, newer
	}
	if stored.Version != exceptionsVersion || hashOf(stored.Exceptions) != stored.Hash {
		return nil, errors.New("it is damaged: its checksum is wrong")
	}
	var all []Exception
	if err := json.Unmarshal(stored.Exceptions, &all); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	for i := range all {
		if _, err := all[i].rule(); err != nil {
			return nil, fmt.Errorf("it is damaged: exception %q: %w", all[i].ID, err)
		}
		if all[i].ID == "" {
			return nil, errors.New("it is damaged: an exception has no id")
		}
	}
	return all, nil
}

// newerExceptions says that a store was written by a later schoolgate.
type newerExceptions struct{ version int }

func (e *newerExceptions) Error() string {
	return fmt.Sprintf("it is of version %d, and this schoolgate reads version %d", e.version, exceptionsVersion)
}

// onlyBlocks returns the exceptions that block.
func onlyBlocks(all []Exception) []Exception {
	var out []Exception
	for _, e := range all {
		if e.Action != "allow" {
			out = append(out, e)
		}
	}
	return out
}

// write stores the exceptions. A power cut leaves those before or these, whole.
func (x *exceptions) write(dir string) error {
	all := x.all
	if all == nil {
		all = []Exception{}
	}
	list, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("store the exceptions: %w", err)
	}
	var data bytes.Buffer
	enc := json.NewEncoder(&data)
	enc.SetEscapeHTML(false) // or the list would not be what was hashed
	if err := enc.Encode(storedExceptions{exceptionsVersion, hashOf(list), list}); err != nil {
		return fmt.Errorf("store the exceptions: %w", err)
	}
	// The file last: where that fails what counts is as before, and the copy blocks what it blocked, at least.
	if err := writeWhole(data.Bytes(), filepath.Join(dir, exceptionsCopy), filepath.Join(dir, exceptionsFile)); err != nil {
		return fmt.Errorf("store the exceptions: %w", err)
	}
	return nil
}

// complete gives a new exception what is not for its author to say: its id, and when it was added.
func (e *Exception) complete(now time.Time) {
	e.ID, e.Added, e.Until, e.EndTold = newExceptionID(), now.UTC().Truncate(time.Second), e.Until.UTC(), false
	var names []string // as they are compared, each once; what is none is for Check to say
	for _, text := range e.Names {
		if name, err := blocklist.ParseName(text); err == nil {
			text = name.String()
		}
		if !slices.Contains(names, text) {
			names = append(names, text)
		}
	}
	e.Names = names
	if client, err := policy.ParseClientPattern(e.Client); err == nil {
		e.Client = client.String()
	}
}
