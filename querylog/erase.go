package querylog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Erase takes a client's questions between two times, to excluded, out of the files of a data directory in which
// no schoolgate runs; where one does, Log.Erase. Client and times are as for Reader.Export. It returns how
// many there were. Each file that has some is written anew beside the old one, without them, and takes its
// place: after an error, a question is either still there or gone. What is damaged in such a file can't be searched, and is
// left out of it as well.
func Erase(ctx context.Context, dataDir, client string, from, to time.Time) (n int, err error) {
	all, err := days(Dir(dataDir))
	if err != nil {
		return 0, err
	}
	first, last := bounds(from, to)
	wanted := parseWho(client)
	for _, d := range all {
		if d.date.UnixMilli() >= last || d.date.Add(dayTime).UnixMilli() <= first {
			continue
		}
		erased, err := d.erase(ctx, wanted, first, last)
		n += erased
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// erase takes what is selected out of a day's file.
func (d day) erase(ctx context.Context, wanted who, first, last int64) (n int, err error) {
	f, s, err := d.open()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	rewrite := rewriter{pack: newPacker(), wanted: wanted, first: first, last: last}
	beside, err := createBeside(d.path)
	if err != nil {
		return 0, err
	}
	defer func() {
		if beside != nil {
			err = errors.Join(err, beside.Close(), os.Remove(beside.Name()))
		}
	}()
	changed := s.gaps > 0
	for _, b := range s.blocks {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		body, err := b.body(f)
		if err != nil {
			return 0, fmt.Errorf("query log: %s: %w", d.path, err)
		}
		block, erased, err := rewrite.block(b.header, body)
		if err != nil && !errors.Is(err, errBlock) {
			return 0, fmt.Errorf("query log: %s: %w", d.path, err)
		}
		n += erased
		changed = changed || erased > 0 || err != nil
		if _, err := beside.Write(block); err != nil {
			return 0, fmt.Errorf("query log: %w", err)
		}
	}
	if !changed {
		return 0, nil
	}
	if err := errors.Join(beside.Sync(), beside.Close()); err != nil {
		return 0, errors.Join(fmt.Errorf("query log: %w", err), os.Remove(beside.Name()))
	}
	name := beside.Name()
	beside = nil
	if err := os.Rename(name, d.path); err != nil {
		return 0, errors.Join(fmt.Errorf("query log: %w", err), os.Remove(name))
	}
	return n, syncDir(filepath.Dir(d.path))
}

// rewriter takes a client's questions between two times out of blocks.
type rewriter struct {
	pack        *packer
	unpacker    unpacker
	wanted      who
	first, last int64
}

// block returns a block as it is to be, nothing where nothing is left of it, and how many questions it had. The error
// is an errBlock, and there is no block, where it can't be read.
func (r *rewriter) block(h header, body []byte) (block []byte, n int, err error) {
	unchanged := func() []byte { return append(h.append(make([]byte, 0, h.size())), body...) }
	if !h.overlaps(r.first, r.last) {
		return unchanged(), 0, nil
	}
	its, err := r.unpacker.unpack(h, body, r.wanted.is)
	if err != nil {
		return nil, 0, err
	}
	if len(its) == 0 {
		return unchanged(), 0, nil
	}
	questions, err := r.unpacker.unpack(h, body, nil)
	if err != nil {
		return nil, 0, err
	}
	left := questions[:0]
	for _, q := range questions {
		if !r.wanted.is(q.client) || q.at < r.first || q.at >= r.last {
			left = append(left, q)
		}
	}
	switch n = len(questions) - len(left); {
	case n == 0:
		return unchanged(), 0, nil
	case len(left) == 0:
		return nil, n, nil
	}
	return r.pack.pack(left), n, nil
}

// createBeside makes a new file beside another one, with the preface in it.
func createBeside(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("query log: %w", err)
	}
	if _, err := f.WriteString(preface); err != nil {
		return nil, errors.Join(fmt.Errorf("query log: %w", err), f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// syncDir makes names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("query log: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("query log: %w", err)
	}
	return nil
}
