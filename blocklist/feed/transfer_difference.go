package feed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
)

// base is what an earlier transfer wrote.
type base struct {
	serial uint32
	rest   *bufio.Reader // behind the SOA record; nil once it has been read
}

// maxZoneLine is more than the longest line that a transfer writes: two names of 255 octets, each as
// \DDD at worst, take 2040.
const maxZoneLine = 4 << 10

// readBase reads the SOA record. It returns nil where old is nil, or does not begin with the one of the
// zone: the zone is then had whole.
func readBase(old io.Reader, zone blocklist.Name) *base {
	if old == nil {
		return nil
	}
	in := bufio.NewReaderSize(old, max(maxZoneLine, 64<<10))
	line, err := in.ReadSlice('\n')
	fields := strings.Fields(string(line))
	if err != nil || len(fields) != 9 || fields[0] != zoneText(zone) || fields[1] != "SOA" {
		return nil
	}
	serial, err := strconv.ParseUint(fields[4], 10, 32)
	if err != nil {
		return nil
	}
	return &base{serial: uint32(serial), rest: in}
}

// maxDifference bounds what the records of an IXFR answer may take, in bytes of text: they are in
// memory, some 200 bytes each. The zone is had whole where they are more.
const maxDifference = 16 << 20

// errNoFit says that an IXFR answer does not follow from what is held.
var errNoFit = errors.New("the differences do not fit what is held")

// incremental asks for the differences (IXFR).
func (t *secondary) incremental(ctx context.Context, server netip.AddrPort) (transferred, error) {
	s, err := t.ask(ctx, server, dns.TypeIXFR)
	if err != nil {
		return transferred{}, err
	}
	defer s.close()
	soa, err := s.soa()
	if err != nil {
		return transferred{}, err
	}
	if !newerSerial(soa.Serial, t.old.serial) { // the SOA record is then all of the answer
		return transferred{}, errNoFit
	}
	rr, err := s.record()
	if err != nil {
		return transferred{}, err
	}
	from, ok := rr.(*dns.SOA)
	if !ok || from.Serial == soa.Serial { // the server has no differences, and sends all (RFC 1995 §4)
		return t.readWhole(s, soa, rr)
	}
	if from.Serial != t.old.serial {
		return transferred{}, errNoFit
	}
	d := difference{records: map[string]change{}}
	if err := t.readDifference(s, soa, &d); err != nil {
		return transferred{}, err
	}
	if err := s.end(); err != nil {
		return transferred{}, err
	}
	w, err := t.writer()
	if err != nil {
		return transferred{}, err
	}
	w.put(t.soaLine(soa))
	old := t.old.rest
	t.old.rest = nil
	if err := d.apply(old, w); err != nil {
		return transferred{}, err
	}
	return transferred{Serial: soa.Serial, Records: w.records - 1, Incremental: true}, w.flush()
}

// readDifference reads steps, of which the first one's SOA record has been read, to the end: each is
// the old SOA record, what is deleted, the new SOA record, what is added. The last one's new SOA record
// is soa, and soa ends the answer.
func (t *secondary) readDifference(s *stream, soa *dns.SOA, d *difference) error {
	at, adding := t.old.serial, false
	var line []byte
	for {
		rr, err := s.record()
		if err != nil {
			return err
		}
		if next, ok := rr.(*dns.SOA); ok {
			switch {
			case !t.isZone(next.Hdr.Name):
				return errNoFit
			case !adding:
				if !newerSerial(next.Serial, at) {
					return errNoFit
				}
				at = next.Serial
			case next.Serial != at:
				return errNoFit
			case at == soa.Serial:
				return nil
			}
			adding = !adding
			continue
		}
		var ok bool
		if line, ok, err = t.appendRecord(line[:0], rr); err != nil {
			return err
		}
		if ok {
			if err := d.note(line, adding); err != nil {
				return err
			}
		}
	}
}

// difference is what becomes of records, all steps of an IXFR answer taken together.
type difference struct {
	records map[string]change // by line
	size    int
}

// change is what becomes of one record.
type change struct {
	before bool // it must be in the old zone; else it must not
	after  bool // it is in the new one
	seen   bool // it was in the old one
}

// note notes that a record is added or deleted.
func (d *difference) note(line []byte, add bool) error {
	c, known := d.records[string(line)]
	if !known {
		if d.size += len(line); d.size > maxDifference {
			return errors.New("more differences than are taken")
		}
		c.before, c.after = !add, !add
	}
	if c.after == add {
		return errNoFit
	}
	c.after = add
	d.records[string(line)] = c
	return nil
}

// apply writes the new zone's records: the old one's, in their order, then what is new.
func (d *difference) apply(old *bufio.Reader, w *zoneWriter) error {
	for {
		line, err := old.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("read what is held: %w", err)
		}
		line = line[:len(line)-1]
		c, known := d.records[string(line)]
		if !known {
			w.put(line)
			continue
		}
		if !c.before {
			return errNoFit
		}
		c.seen = true
		d.records[string(line)] = c
		if c.after {
			w.put(line)
		}
	}
	var added []string
	for line, c := range d.records {
		if c.before && !c.seen {
			return errNoFit
		}
		if c.after && !c.before {
			added = append(added, line)
		}
	}
	slices.Sort(added)
	for _, line := range added {
		w.put([]byte(line))
	}
	return nil
}
