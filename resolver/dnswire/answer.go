package dnswire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// record is one resource record as offsets into its message.
type record struct {
	Type  uint16
	Class uint16
	TTL   uint32
	Data  int // where RDATA begins
	End   int // behind RDATA
}

func parseRecord(msg []byte, off int) (record, error) {
	off, err := skipName(msg, off)
	if err != nil || off+10 > len(msg) {
		return record{}, ErrFormat
	}
	rr := record{
		Type:  binary.BigEndian.Uint16(msg[off:]),
		Class: binary.BigEndian.Uint16(msg[off+2:]),
		TTL:   binary.BigEndian.Uint32(msg[off+4:]),
		Data:  off + 10,
	}
	rr.End = rr.Data + int(binary.BigEndian.Uint16(msg[off+8:]))
	if rr.End > len(msg) {
		return record{}, ErrFormat
	}
	return rr, nil
}

// Answer is a response of an upstream as it is handed on: written anew, so that its every octet has been
// looked at and nothing in it means something else when a time to live is changed.
type Answer struct {
	// Msg is the message: the question in lower case, and of the records what was asked for (see
	// ParseAnswer). Owners and targets have the upstream's case.
	Msg []byte
	// Rcode is the whole response code, with the bits of the OPT record.
	Rcode uint16
	// TC says that the answer did not fit; there is no Msg then.
	TC bool
	// EDNS says that the response has an OPT record: whoever sent it knows EDNS.
	EDNS bool
	// Cookies are the data of the first COOKIE option, as they came: a part of the message that was read; nil
	// where there is none. They are not looked for where TC is set.
	Cookies []byte
	// Negative says that there is no record of the type asked for: NXDOMAIN or NODATA (RFC 2308).
	Negative bool
	// SOA says that a negative answer has the SOA record without which it may not be kept.
	SOA bool
	// TTLs are the offsets of the times to live in Msg. Those of a negative answer's SOA record have
	// been lowered to its MINIMUM.
	TTLs []uint16
}

// ParseAnswer checks that msg is a well-formed response to the question (the key of its name, type
// and class IN), whatever the case of its letters, and writes anew what is handed on:
//
//   - of the answer section, the records asked for of the QNAME, or of the name to which its CNAME and DNAME
//     records lead, and those, in their order: nothing else was asked for;
//   - of the authority section, where the answer is negative or keepAuthority is set, the records that
//     say so: SOA, NS, and those of DNSSEC;
//   - of the additional section nothing.
//
// A server that does not understand a query may say so without the question (RFC 6891 §7): then there is
// no Msg either.
//
// ErrMismatch says that the message answers another question: the right one may still come. Of the
// message nothing changes but the case of its question, which is that of name then: so what is compressed to
// it does not come out in the case in which it happened to be asked (see MixCase).
func ParseAnswer(msg []byte, id uint16, name []byte, typ uint16, keepAuthority bool) (Answer, error) {
	var a Answer
	if len(msg) < headerLen || len(msg) > maxMessage {
		return a, ErrMismatch
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	if binary.BigEndian.Uint16(msg) != id || flags&FlagQR == 0 || flags&opcodeMask != 0 {
		return a, ErrMismatch
	}
	if notUnderstood(msg) {
		return Answer{Rcode: flags & 0xF}, nil
	}
	if binary.BigEndian.Uint16(msg[4:]) != 1 {
		return a, ErrMismatch
	}
	var buf [MaxName]byte
	n, off, err := plainName(&buf, msg, headerLen)
	if err != nil || off+4 > len(msg) || !bytes.Equal(buf[:n], name) ||
		binary.BigEndian.Uint16(msg[off:]) != typ || binary.BigEndian.Uint16(msg[off+2:]) != ClassIN {
		return a, ErrMismatch
	}
	copy(msg[headerLen:], name)
	off += 4
	a.Rcode = flags & 0xF
	a.TC = flags&FlagTC != 0
	if a.TC {
		return a, nil // asked again over TCP; what came is of no use
	}

	w := newWriter(msg, name, typ)
	a.Negative = true
	if off, err = w.answers(off, int(binary.BigEndian.Uint16(msg[6:])), &a, typ, keepAuthority); err != nil {
		return a, err
	}
	answers := w.count
	if a.Rcode == RcodeNXDomain {
		a.Negative = true
	}
	if off, err = w.authority(off, int(binary.BigEndian.Uint16(msg[8:])), &a, keepAuthority); err != nil {
		return a, err
	}
	for range binary.BigEndian.Uint16(msg[10:]) {
		rr, err := parseRecord(msg, off)
		if err != nil {
			return a, ErrFormat
		}
		if rr.Type == TypeOPT {
			a.EDNS = true
			a.Rcode |= uint16(rr.TTL>>24) << 4
			if a.Cookies == nil {
				a.Cookies = cookiesIn(msg[rr.Data:rr.End])
			}
		}
		off = rr.End
	}
	if len(w.out) > maxMessage {
		return a, ErrFormat
	}
	PutHeader(w.out, Header{
		ID: id, Flags: flags &^ 0xF, Rcode: a.Rcode & 0xF, Questions: 1, Answers: answers, Authority: w.count - answers,
	})
	a.Msg, a.TTLs = w.out, w.ttls
	return a, nil
}

const maxMessage = 65535

// writer writes the records of msg anew.
type writer struct {
	msg   []byte
	out   []byte
	ttls  []uint16
	count uint16
	// names are the offsets in out of names that stand there in full, for pointers: the QNAME with each
	// name above it, and the owners and targets since, at most maxNames.
	names []uint16
	// derived says that there is a DNAME record: the CNAME record with it is made of the name in the case in
	// which it was asked.
	derived bool
	// stripECH leaves the keys of Encrypted Client Hello out.
	stripECH bool
}

// maxNames bounds the search for a name that stands in the message already: the 127 labels of a QNAME,
// and some more.
const maxNames = 150

// maxPointer is behind the last offset that a compression pointer can name (RFC 1035 §4.1.4).
const maxPointer = 1 << 14

func newWriter(msg, name []byte, typ uint16) *writer {
	w := &writer{msg: msg, out: make([]byte, headerLen, len(msg)+64)}
	w.out = append(w.out, name...)
	w.out = binary.BigEndian.AppendUint16(w.out, typ)
	w.out = binary.BigEndian.AppendUint16(w.out, ClassIN)
	for off := headerLen; w.out[off] != 0; off += int(w.out[off]) + 1 {
		w.names = append(w.names, uint16(off)) // each name above the QNAME too
	}
	return w
}

// record writes a record whose owner is at owner in the message that is read.
func (w *writer) record(owner int, rr record, ttl uint32) error {
	if err := w.name(owner); err != nil {
		return err
	}
	w.out = appendFixed(w.out, rr.Type, rr.Class, ttl, 0)
	start := len(w.out)
	if start > maxMessage {
		return ErrFormat
	}
	w.ttls = append(w.ttls, uint16(start-6))
	out, err := w.data(w.out, rr)
	if err != nil || len(out)-start > maxMessage {
		return ErrFormat
	}
	w.out = out
	binary.BigEndian.PutUint16(w.out[start-2:], uint16(len(w.out)-start))
	w.count++
	return nil
}

// name writes the name at off, as a pointer where it stands in out already.
func (w *writer) name(off int) error {
	start := len(w.out)
	var err error
	if w.out, _, err = appendRaw(w.out, w.msg, off); err != nil {
		return ErrFormat
	}
	written := w.out[start:]
	if len(written) == 1 {
		return nil // the root: a pointer would be longer
	}
	for _, at := range w.names {
		if sameName(w.out[at:start], written) {
			w.out = binary.BigEndian.AppendUint16(w.out[:start], 0xC000|at)
			return nil
		}
	}
	w.remember(start)
	return nil
}

// remember takes note that a name stands in full at off.
func (w *writer) remember(off int) {
	if len(w.names) < maxNames && off < maxPointer {
		w.names = append(w.names, uint16(off))
	}
}

// sameName reports whether the uncompressed name at the start of in is name, whatever the case.
func sameName(in, name []byte) bool {
	if len(in) < len(name) {
		return false
	}
	for i, b := range name {
		if lower[in[i]] != lower[b] {
			return false
		}
	}
	return true
}

// layout says where names are in the RDATA of a type: behind before octets, so many of them, and then
// exactly after octets. RFC 3597 §4 names the types in which they may be compressed.
type layout struct{ before, names, after int }

func layoutOf(typ uint16) (layout, bool) {
	switch typ {
	case TypeNS, TypeCNAME, TypePTR, TypeDNAME, 3, 4, 7, 8, 9: // MD, MF, MB, MG, MR
		return layout{names: 1}, true
	case 14, 17: // MINFO, RP
		return layout{names: 2}, true
	case TypeMX, 18, 21, 36: // AFSDB, RT, KX
		return layout{before: 2, names: 1}, true
	case 26: // PX
		return layout{before: 2, names: 2}, true
	case TypeSRV:
		return layout{before: 6, names: 1}, true
	case TypeSOA:
		return layout{names: 2, after: 20}, true
	}
	return layout{}, false
}

// data appends the RDATA of a record, its names in full, and checks its form. With dst nil it only
// checks.
func (w *writer) data(dst []byte, rr record) ([]byte, error) {
	data := w.msg[rr.Data:rr.End]
	if l, ok := layoutOf(rr.Type); ok {
		if len(data) < l.before {
			return nil, ErrFormat
		}
		dst = append(dst, data[:l.before]...)
		off := rr.Data + l.before
		for range l.names {
			start := len(dst)
			var err error
			if dst, off, err = appendRaw(dst, w.msg[:rr.End], off); err != nil {
				return nil, ErrFormat
			}
			if rr.Type == TypeCNAME && w.derived {
				for i, b := range dst[start:] {
					dst[start+i] = lower[b]
				}
			}
			if rr.Type == TypeCNAME && start > 0 {
				w.remember(start) // the next owner, as a rule
			}
		}
		if off+l.after != rr.End {
			return nil, ErrFormat
		}
		return append(dst, w.msg[off:rr.End]...), nil
	}
	ok := true
	switch rr.Type {
	case TypeA:
		ok = len(data) == 4
	case TypeAAAA:
		ok = len(data) == 16
	case TypeSVCB, TypeHTTPS:
		if ok = validSVCB(w.msg, rr); ok && w.stripECH {
			return appendWithoutECH(dst, w.msg, rr), nil
		}
	case typeNAPTR:
		ok = plainNAPTR(data)
	case TypeOPT:
		ok = false // belongs in the additional section
	}
	if !ok {
		return nil, ErrFormat
	}
	return append(dst, data...), nil
}

const typeNAPTR uint16 = 35

// plainNAPTR reports whether the name at the end of a NAPTR record's RDATA is whole and uncompressed
// (RFC 3403 §4.1).
func plainNAPTR(data []byte) bool {
	off := 4
	for range 3 {
		if off >= len(data) {
			return false
		}
		off += int(data[off]) + 1
	}
	var buf [MaxName]byte
	_, end, err := plainName(&buf, data, off)
	return err == nil && end == len(data)
}

// Target is a kind of thing that an answer leads to.
type Target uint8

// The kinds.
const (
	TargetCNAME Target = iota
	TargetDNAME
	TargetSVCB
	TargetAddress
)

// Targets calls yield for every name and every address to which the records of a's answer section
// lead: CNAME, DNAME, SVCB and HTTPS targets (those that are not "." alone), A and AAAA records and
// the address hints of SVCB and HTTPS (RFC 9460 §7.3). name is a key, valid during the call. It stops
// where yield returns false. msg must be Answer.Msg.
func Targets(msg []byte, yield func(kind Target, name []byte, addr netip.Addr) bool) {
	off, err := skipName(msg, headerLen)
	if err != nil {
		return
	}
	off += 4
	var buf [MaxName]byte
	for range binary.BigEndian.Uint16(msg[6:]) {
		rr, err := parseRecord(msg, off)
		if err != nil {
			return
		}
		off = rr.End
		data := msg[rr.Data:rr.End]
		kind, at := TargetCNAME, rr.Data
		switch rr.Type {
		case TypeA, TypeAAAA:
			addr, _ := netip.AddrFromSlice(data)
			if !yield(TargetAddress, nil, addr.Unmap()) {
				return
			}
			continue
		case TypeCNAME:
		case TypeDNAME:
			kind = TargetDNAME
		case TypeSVCB, TypeHTTPS:
			kind, at = TargetSVCB, rr.Data+2
			if !svcbHints(msg, rr, func(a netip.Addr) bool { return yield(TargetAddress, nil, a) }) {
				return
			}
		default:
			continue
		}
		name, _, err := AppendName(buf[:0], msg[:rr.End], at)
		if err != nil || (kind == TargetSVCB && len(name) == 1) {
			continue
		}
		if !yield(kind, name, netip.Addr{}) {
			return
		}
	}
}

// Addresses calls yield for each record of one type, A or AAAA, of msg's answer section, whatever its owner,
// with its time to live in seconds. msg must be Answer.Msg; data is a part of it.
func Addresses(msg []byte, typ uint16, yield func(ttl uint32, data []byte)) {
	off, err := skipName(msg, headerLen)
	if err != nil {
		return
	}
	off += 4
	for range binary.BigEndian.Uint16(msg[6:]) {
		rr, err := parseRecord(msg, off)
		if err != nil {
			return
		}
		if off = rr.End; rr.Type == typ {
			yield(rr.TTL, msg[rr.Data:rr.End])
		}
	}
}

const (
	svcbIPv4Hint = 4
	svcbIPv6Hint = 6
)

// svcbParams calls yield for each SvcParam. It reports whether the RDATA is well-formed as far as
// it was read (RFC 9460 §2.2).
func svcbParams(msg []byte, rr record, yield func(key uint16, value []byte) bool) bool {
	if rr.End-rr.Data < 3 {
		return false
	}
	var buf [MaxName]byte
	_, off, err := plainName(&buf, msg[:rr.End], rr.Data+2) // RFC 9460 §2.2: never compressed
	if err != nil {
		return false
	}
	data := msg[off:rr.End]
	for len(data) >= 4 {
		size := 4 + int(binary.BigEndian.Uint16(data[2:]))
		if size > len(data) {
			return false
		}
		if !yield(binary.BigEndian.Uint16(data), data[4:size]) {
			return true
		}
		data = data[size:]
	}
	return len(data) == 0
}

func validSVCB(msg []byte, rr record) bool {
	ok := true
	return svcbParams(msg, rr, func(key uint16, value []byte) bool {
		switch key {
		case svcbIPv4Hint:
			ok = len(value) > 0 && len(value)%4 == 0
		case svcbIPv6Hint:
			ok = len(value) > 0 && len(value)%16 == 0
		}
		return ok
	}) && ok
}

func svcbHints(msg []byte, rr record, yield func(netip.Addr) bool) bool {
	more := true
	svcbParams(msg, rr, func(key uint16, value []byte) bool {
		size := 4
		switch key {
		case svcbIPv4Hint:
		case svcbIPv6Hint:
			size = 16
		default:
			return true
		}
		for ; more && len(value) >= size; value = value[size:] {
			addr, _ := netip.AddrFromSlice(value[:size])
			more = yield(addr.Unmap())
		}
		return more
	})
	return more
}
