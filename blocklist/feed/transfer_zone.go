package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"schoolgate/blocklist"
)

// serial asks for the zone's SOA record.
func (t *secondary) serial(ctx context.Context, server netip.AddrPort) (uint32, error) {
	s, err := t.ask(ctx, server, dns.TypeSOA)
	if err != nil {
		return 0, err
	}
	defer s.close()
	soa, err := s.soa()
	if err != nil {
		return 0, err
	}
	return soa.Serial, nil
}

// whole asks for the whole zone (AXFR).
func (t *secondary) whole(ctx context.Context, server netip.AddrPort) (transferred, error) {
	s, err := t.ask(ctx, server, dns.TypeAXFR)
	if err != nil {
		return transferred{}, err
	}
	defer s.close()
	soa, err := s.soa()
	if err != nil {
		return transferred{}, err
	}
	rr, err := s.record()
	if err != nil {
		return transferred{}, err
	}
	return t.readWhole(s, soa, rr)
}

// readWhole reads a zone from its second record, rr, to the SOA record that ends it (RFC 5936 §2.2).
func (t *secondary) readWhole(s *stream, soa *dns.SOA, rr dns.RR) (transferred, error) {
	if t.old != nil && !newerSerial(soa.Serial, t.old.serial) {
		return transferred{}, fmt.Errorf("the zone came with serial %d, which is not newer than %d", soa.Serial, t.old.serial)
	}
	w, err := t.writer()
	if err != nil {
		return transferred{}, err
	}
	w.put(t.soaLine(soa))
	var line []byte
	for {
		if last, ok := rr.(*dns.SOA); ok {
			if !t.isZone(last.Hdr.Name) || !bytes.Equal(t.soaLine(last), t.soaLine(soa)) {
				return transferred{}, errors.New("the zone ends with another SOA record than it begins with")
			}
			break
		}
		var ok bool
		if line, ok, err = t.appendRecord(line[:0], rr); err != nil {
			return transferred{}, err
		}
		if ok {
			w.put(line)
		}
		if rr, err = s.record(); err != nil {
			return transferred{}, err
		}
	}
	if err := s.end(); err != nil {
		return transferred{}, err
	}
	return transferred{Serial: soa.Serial, Records: w.records - 1}, w.flush()
}

// isZone reports whether a name as miekg/dns writes it is the zone's.
func (t *secondary) isZone(name string) bool {
	key, err := zoneKey(name)
	return err == nil && key == t.zone.Name
}

// zoneKey returns the key of a name as miekg/dns writes it.
func zoneKey(name string) (blocklist.Name, error) {
	var buf [255]byte
	n, err := dns.PackDomainName(name, buf[:], 0, nil, false)
	if err != nil {
		return "", err
	}
	for i, c := range buf[:n] { // length octets, below 64, stay as they are
		if 'A' <= c && c <= 'Z' {
			buf[i] = c + 'a' - 'A'
		}
	}
	return blocklist.Name(buf[:n]), nil
}

// zoneText returns a name as a zone file has it: absolute, in lower case, and a first label of "*" in
// clear, because only so is it a wildcard to blocklist.Parse.
func zoneText(n blocklist.Name) string {
	star := ""
	if strings.HasPrefix(string(n), "\x01*") {
		star, n = "*.", n.Parent()
	}
	return strings.TrimRight(star+n.String(), ".") + "."
}

// soaLine returns the line of the zone's SOA record.
func (t *secondary) soaLine(soa *dns.SOA) []byte {
	line := []byte(zoneText(t.zone.Name) + " SOA ")
	for _, name := range []string{soa.Ns, soa.Mbox} {
		key, _ := zoneKey(name) // it was unpacked: it is a name
		line = append(line, zoneText(key)+" "...)
	}
	return fmt.Appendf(line, "%d %d %d %d %d", soa.Serial, soa.Refresh, soa.Retry, soa.Expire, soa.Minttl)
}

// maxData is the most data of a record, in bytes, that is written as it is. Of longer data a SHA-256 is
// written: all that it is good for is to tell records of one name from each other, and a line must not
// be longer than blocklist.Parse takes.
const maxData = 64

// appendRecord appends the line of a record, without its end. ok is false for a record that is left
// out: it is not of the zone, or serves the zone itself.
func (t *secondary) appendRecord(dst []byte, rr dns.RR) (line []byte, ok bool, err error) {
	h := rr.Header()
	owner, err := zoneKey(h.Name)
	if err != nil {
		return dst, false, fmt.Errorf("owner of a record: %w", err)
	}
	if h.Class != dns.ClassINET || !t.zone.Name.Covers(owner) {
		return dst, false, nil
	}
	switch h.Rrtype {
	case dns.TypeNS, dns.TypeDS, dns.TypeDNSKEY, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeNSEC3, dns.TypeNSEC3PARAM,
		dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeZONEMD, dns.TypeOPT, dns.TypeTSIG:
		return dst, false, nil
	}
	dst = append(dst, zoneText(owner)...)
	if cname, ok := rr.(*dns.CNAME); ok {
		target, err := zoneKey(cname.Target)
		if err != nil {
			return dst, false, fmt.Errorf("target of a CNAME record: %w", err)
		}
		return append(append(dst, " CNAME "...), zoneText(target)...), true, nil
	}
	// Of any other type only that it is there is of use, and its data as it came tells it from others
	// (RFC 3597 §5).
	var unknown dns.RFC3597
	if err := unknown.ToRFC3597(rr); err != nil {
		return dst, false, fmt.Errorf("data of a record: %w", err)
	}
	data := unknown.Rdata // in hex
	if len(data) > 2*maxData {
		sum := sha256.Sum256([]byte(data))
		data = hex.EncodeToString(sum[:])
	}
	dst = strconv.AppendUint(append(dst, " TYPE"...), uint64(h.Rrtype), 10)
	return fmt.Appendf(dst, ` \# %d %s`, len(data)/2, data), true, nil
}
