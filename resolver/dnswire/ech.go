package dnswire

import (
	"encoding/binary"
)

const (
	svcbMandatory = 0
	svcbECH       = 5
)

// StripECH writes an answer anew without the keys of Encrypted Client Hello (SvcParamKey 5, RFC 9460 §14.3.2 and
// draft-ietf-tls-svcb-ech): the record stays as good as it was but for them. Signatures over what was
// changed are left out, and AD is cleared. It returns nil where msg has no such key. msg must be Answer.Msg, and
// is only read; ttls are as Answer.TTLs.
func StripECH(msg []byte) (stripped []byte, ttls []uint16) {
	off, err := skipName(msg, headerLen)
	if err != nil {
		return nil, nil
	}
	off += 4
	if !hasECH(msg, off) {
		return nil, nil
	}
	w := newWriter(msg, msg[headerLen:off-4], binary.BigEndian.Uint16(msg[off-4:]))
	w.stripECH = true
	answers, authority := Counts(msg)
	kept := uint16(0)
	for i := range int(answers) + int(authority) {
		owner := off
		rr, err := parseRecord(msg, off)
		if err != nil {
			return nil, nil
		}
		off = rr.End
		if rr.Type == typeRRSIG && rr.End-rr.Data >= 2 && isSVCB(binary.BigEndian.Uint16(msg[rr.Data:])) {
			continue
		}
		if err := w.record(owner, rr, rr.TTL); err != nil {
			return nil, nil
		}
		if i < int(answers) {
			kept++
		}
	}
	PutHeader(w.out, Header{
		ID: binary.BigEndian.Uint16(msg), Flags: binary.BigEndian.Uint16(msg[2:]) &^ (FlagAD | 0xF), Rcode: binary.BigEndian.Uint16(msg[2:]) & 0xF,
		Questions: 1, Answers: kept, Authority: w.count - kept,
	})
	return w.out, w.ttls
}

func isSVCB(typ uint16) bool { return typ == TypeSVCB || typ == TypeHTTPS }

// hasECH reports whether a record of the answer section, which begins at off, has the keys.
func hasECH(msg []byte, off int) (has bool) {
	for range binary.BigEndian.Uint16(msg[6:]) {
		rr, err := parseRecord(msg, off)
		if err != nil {
			return false
		}
		off = rr.End
		if isSVCB(rr.Type) {
			svcbParams(msg, rr, func(key uint16, _ []byte) bool {
				has = has || key == svcbECH
				return true
			})
		}
	}
	return has
}

// appendWithoutECH appends the RDATA of an SVCB or HTTPS record less the keys, and less what says that a
// client must understand them.
func appendWithoutECH(dst, msg []byte, rr record) []byte {
	var buf [MaxName]byte
	_, params, err := plainName(&buf, msg[:rr.End], rr.Data+2)
	if err != nil {
		return dst // it has been found valid
	}
	dst = append(dst, msg[rr.Data:params]...)
	svcbParams(msg, rr, func(key uint16, value []byte) bool {
		switch key {
		case svcbECH:
			return true
		case svcbMandatory:
			var others []byte
			for ; len(value) >= 2; value = value[2:] {
				if binary.BigEndian.Uint16(value) != svcbECH {
					others = append(others, value[:2]...)
				}
			}
			if len(others) == 0 {
				return true
			}
			value = others
		}
		dst = binary.BigEndian.AppendUint16(dst, key)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(value)))
		dst = append(dst, value...)
		return true
	})
	return dst
}
