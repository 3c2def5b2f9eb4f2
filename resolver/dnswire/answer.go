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

func (r record) ttlOffset() int { return r.Data - 6 }

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

// Answer is a checked response of an upstream, cut to what is handed on: the answer section, and
// the authority section where the answer is negative or DNSSEC records were asked for. The additional
// section goes: nothing in it was asked for, so nothing in it may come past the policy.
type Answer struct {
	// Msg is the message, its header's counts set right. It is a part of what was parsed.
	Msg []byte
	// Rcode is the whole response code, with the bits of the OPT record.
	Rcode uint16
	// TC says that the answer did not fit.
	TC bool
	// Negative says that there is no record of the type asked for: NXDOMAIN or NODATA (RFC 2308).
	Negative bool
	// SOA says that a negative answer has the SOA record without which it may not be kept.
	SOA bool
	// TTLs are the offsets of the times to live in Msg. Those of a negative answer's SOA record have
	// been lowered to its MINIMUM.
	TTLs []uint16
}

// ParseAnswer checks that msg is a well-formed response to the question (the key of its name, type
// and class), whatever the case of its letters, and cuts it. It changes msg. With keepAuthority the
// authority section is kept for positive answers too.
//
// An id or question that is another's gives ErrMismatch: the message is not for us, and the right
// one may still come.
func ParseAnswer(msg []byte, id uint16, name []byte, typ, class uint16, keepAuthority bool) (Answer, error) {
	var a Answer
	if len(msg) < headerLen || len(msg) > 65535 {
		return a, ErrMismatch
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	if binary.BigEndian.Uint16(msg) != id || flags&FlagQR == 0 || flags&opcodeMask != 0 ||
		binary.BigEndian.Uint16(msg[4:]) != 1 {
		return a, ErrMismatch
	}
	var buf [MaxName]byte
	n, off, err := plainName(&buf, msg, headerLen)
	if err != nil || off+4 > len(msg) || !bytes.Equal(buf[:n], name) ||
		binary.BigEndian.Uint16(msg[off:]) != typ || binary.BigEndian.Uint16(msg[off+2:]) != class {
		return a, ErrMismatch
	}
	off += 4
	a.Rcode = flags & 0xF
	a.TC = flags&FlagTC != 0
	if a.TC {
		return a, nil // asked again over TCP; what came is of no use
	}

	counts := [3]int{}
	for i := range counts {
		counts[i] = int(binary.BigEndian.Uint16(msg[6+2*i:]))
	}
	a.TTLs = make([]uint16, 0, min(counts[0]+counts[1], 64))
	a.Negative = true
	var ends [2]int
	for section := range 2 {
		for range counts[section] {
			rr, err := parseRecord(msg, off)
			if err != nil || !validData(msg, rr) {
				return a, ErrFormat
			}
			if section == 0 && (rr.Type == typ || typ == TypeANY) {
				a.Negative = false
			}
			if section == 1 && rr.Type == TypeSOA && a.Negative {
				a.SOA = true
				minimum := binary.BigEndian.Uint32(msg[rr.End-4:])
				binary.BigEndian.PutUint32(msg[rr.ttlOffset():], min(rr.TTL, minimum))
			}
			a.TTLs = append(a.TTLs, uint16(rr.ttlOffset()))
			off = rr.End
		}
		ends[section] = off
	}
	for range counts[2] {
		rr, err := parseRecord(msg, off)
		if err != nil {
			return a, ErrFormat
		}
		if rr.Type == TypeOPT {
			a.Rcode |= uint16(rr.TTL>>24) << 4
		}
		off = rr.End
	}
	if a.Rcode == RcodeNXDomain {
		a.Negative = true
	}

	end, kept := ends[1], counts[0]+counts[1]
	if !a.Negative && !keepAuthority {
		end, kept = ends[0], counts[0]
		binary.BigEndian.PutUint16(msg[8:], 0)
	}
	binary.BigEndian.PutUint16(msg[10:], 0)
	a.Msg, a.TTLs = msg[:end], a.TTLs[:kept]
	return a, nil
}

// validData checks the RDATA of the types whose form a client may trip over, and whose names the
// policy reads.
func validData(msg []byte, rr record) bool {
	data := msg[rr.Data:rr.End]
	nameAt := func(skip, behind int) bool {
		if len(data) < skip {
			return false
		}
		end, err := skipName(msg[:rr.End], rr.Data+skip)
		return err == nil && end+behind == rr.End
	}
	switch rr.Type {
	case TypeA:
		return len(data) == 4
	case TypeAAAA:
		return len(data) == 16
	case TypeCNAME, TypeDNAME, TypeNS, TypePTR:
		return nameAt(0, 0)
	case TypeMX:
		return nameAt(2, 0)
	case TypeSRV:
		return nameAt(6, 0)
	case TypeSOA:
		end, err := skipName(msg[:rr.End], rr.Data)
		if err != nil {
			return false
		}
		end, err = skipName(msg[:rr.End], end)
		return err == nil && end+20 == rr.End
	case TypeSVCB, TypeHTTPS:
		return validSVCB(msg, rr)
	case TypeOPT:
		return false // belongs in the additional section
	}
	return true
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
	off, err := skipName(msg[:rr.End], rr.Data+2)
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
