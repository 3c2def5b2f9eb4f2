package dnswire

import "encoding/binary"

// DeniesAllBelow reports whether msg, an Answer.Msg, says that its QNAME does not exist, nor anything below it
// (RFC 8020), and the upstream calls that validated. Where the name is the end of a chain of aliases it is
// said of another name than the QNAME. Where an NSEC record stands at the QNAME itself the server made it for
// this name alone (RFC 9824): to who checks, it proves nothing of those below.
func DeniesAllBelow(msg []byte) bool {
	if len(msg) < headerLen {
		return false
	}
	answers, authority := Counts(msg)
	flags := binary.BigEndian.Uint16(msg[2:])
	if flags&0xF != RcodeNXDomain || flags&FlagAD == 0 || answers != 0 {
		return false
	}
	off, err := skipName(msg, headerLen)
	if err != nil || msg[headerLen] == 0 {
		return false
	}
	off += 4
	for range authority {
		rr, err := parseRecord(msg, off)
		if err != nil || rr.Type == typeNSEC && binary.BigEndian.Uint16(msg[off:]) == questionPointer {
			return false
		}
		off = rr.End
	}
	return true
}

// AppendDenial appends the denial msg, of which DeniesAllBelow is true, as the answer to the question for a
// name at or below its own: the same records, which prove it of that name as well. NSEC and NSEC3 records
// that cover a name cover what is below it, and the names of wildcards that do not exist either are the same.
// It returns false where msg is malformed.
func AppendDenial(dst, msg, name []byte, typ uint16) ([]byte, bool) {
	w := newWriter(msg, name, typ)
	off, err := skipName(msg, headerLen)
	if err != nil {
		return dst, false
	}
	_, authority := Counts(msg)
	if _, err := w.authority(off+4, int(authority), &Answer{Negative: true}, true); err != nil {
		return dst, false
	}
	flags := binary.BigEndian.Uint16(msg[2:])
	PutHeader(w.out, Header{Flags: flags &^ 0xF, Rcode: flags & 0xF, Questions: 1, Authority: w.count})
	return append(dst, w.out...), true
}
