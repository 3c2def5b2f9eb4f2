package feed

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"

	"schoolgate/blocklist"
)

// sampleBytes is how much of a list Sample reads: names enough, and little beside a list of millions.
const sampleBytes = 64 << 10

// Sample returns the first names of a list, n at most, as its text has them: of the copy that is in force, else of
// its file. What is compiled keeps no names, and so can be checked against these. own is as for Load. Of a
// confidential list there are none.
func (l *Loader) Sample(s Spec, own []blocklist.Name, n int) (names []blocklist.Name, err error) {
	if s.Confidential {
		return nil, errors.New("a confidential list")
	}
	if s.Locked {
		own = nil
	}
	var list *blocklist.List
	if s.Builtin != "" {
		list, err = blocklist.Builtin(s.Builtin, own...)
	} else {
		list, err = l.head(keyOf(s), own)
	}
	if err != nil {
		return nil, err
	}
	for name := range list.Names() {
		if len(names) == n {
			break
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// head reads the first lines of a list.
func (l *Loader) head(key loadKey, own []blocklist.Name) (*blocklist.List, error) {
	var text textFile
	stored, err := l.copies.open(key.source(), false)
	if err == nil {
		text = stored.textFile
	} else if key.path != "" {
		text.identity = l.options.Identity
		text.file, _, err = openRegular(key.path)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = errors.New("there is no copy of it")
	}
	if err != nil {
		return nil, err
	}
	defer text.file.Close()
	in, _, _, err := text.open()
	if err != nil {
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(in, sampleBytes))
	if err != nil {
		return nil, err
	}
	if len(head) == sampleBytes { // the last line may be half of one
		head = head[:bytes.LastIndexByte(head, '\n')+1]
	}
	return blocklist.Parse(bytes.NewReader(head), blocklist.Options{Format: key.format, Addresses: key.addresses, Own: own})
}
