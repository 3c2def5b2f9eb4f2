package dnswire

import (
	"encoding/binary"
	"errors"
)

// ErrMismatch says that a message answers another question, or none.
var ErrMismatch = errors.New("DNS message is not the answer to this question")

// Header is what PutHeader writes.
type Header struct {
	ID                                  uint16
	Flags                               uint16 // FlagQR and its like, without the response code
	Rcode                               uint16 // its lower four bits
	Questions, Answers, Authority, More uint16
}

// PutHeader writes h into the first twelve octets of msg, which must have them.
func PutHeader(msg []byte, h Header) {
	binary.BigEndian.PutUint16(msg, h.ID)
	binary.BigEndian.PutUint16(msg[2:], h.Flags|h.Rcode&0xF)
	binary.BigEndian.PutUint16(msg[4:], h.Questions)
	binary.BigEndian.PutUint16(msg[6:], h.Answers)
	binary.BigEndian.PutUint16(msg[8:], h.Authority)
	binary.BigEndian.PutUint16(msg[10:], h.More)
}

// Counts returns the numbers of records in msg's answer and authority sections.
func Counts(msg []byte) (answers, authority uint16) {
	return binary.BigEndian.Uint16(msg[6:]), binary.BigEndian.Uint16(msg[8:])
}

// questionPointer is a compression pointer to the QNAME, which always stands behind the header.
const questionPointer = 0xC000 | headerLen

// AppendRecord appends a record of class IN whose owner is the QNAME.
func AppendRecord(msg []byte, typ uint16, ttl uint32, data []byte) []byte {
	msg = appendFixed(binary.BigEndian.AppendUint16(msg, questionPointer), typ, ClassIN, ttl, len(data))
	return append(msg, data...)
}

// AppendOwned appends a record of class IN with the owner written out; owner is a key.
func AppendOwned(msg []byte, owner string, typ uint16, ttl uint32, data []byte) []byte {
	msg = appendFixed(append(msg, owner...), typ, ClassIN, ttl, len(data))
	return append(msg, data...)
}

func appendFixed(msg []byte, typ, class uint16, ttl uint32, dataLen int) []byte {
	msg = binary.BigEndian.AppendUint16(msg, typ)
	msg = binary.BigEndian.AppendUint16(msg, class)
	msg = binary.BigEndian.AppendUint32(msg, ttl)
	return binary.BigEndian.AppendUint16(msg, uint16(dataLen))
}

// soaData is the RDATA of the SOA records of our own negative answers, less MINIMUM: nobody serves
// the zone, so that MNAME and RNAME are of a name that cannot exist (RFC 6761 §6.4).
var soaData = func() []byte {
	names := "\x0aschoolgate\x07invalid\x00" + "\x0ahostmaster\x0aschoolgate\x07invalid\x00"
	data := []byte(names)
	for _, v := range []uint32{1, 3600, 600, 86400} { // serial, refresh, retry, expire
		data = binary.BigEndian.AppendUint32(data, v)
	}
	return data
}()

// AppendSOA appends the SOA record that lets a negative answer of our own be kept for ttl seconds
// (RFC 2308 §5). Its owner is the QNAME.
func AppendSOA(msg []byte, ttl uint32) []byte {
	return completeSOA(AppendRecord(msg, TypeSOA, ttl, soaData), ttl)
}

// AppendSOAOf is AppendSOA with the owner written out; owner is a key.
func AppendSOAOf(msg []byte, owner string, ttl uint32) []byte {
	return completeSOA(AppendOwned(msg, owner, TypeSOA, ttl, soaData), ttl)
}

func completeSOA(msg []byte, ttl uint32) []byte {
	msg = binary.BigEndian.AppendUint32(msg, ttl) // MINIMUM
	size := len(soaData) + 4
	binary.BigEndian.PutUint16(msg[len(msg)-size-2:], uint16(size))
	return msg
}

// EDE is an extended DNS error's code (RFC 8914 §4); EDENone is none.
type EDE int32

// The codes in use.
const (
	EDENone                 EDE = -1
	EDEStale                EDE = 3
	EDECachedError          EDE = 13
	EDENotReady             EDE = 14
	EDEBlocked              EDE = 15
	EDEProhibited           EDE = 18
	EDEStaleNXDomain        EDE = 19
	EDENotSupported         EDE = 21
	EDENoReachableAuthority EDE = 22
	EDESynthesized          EDE = 29
	optLen, edeLen              = 11, 6
)

// AppendOPT appends an OPT record (RFC 6891 §6.1) that says how much we take over UDP, with the
// upper bits of rcode, the DO bit and, unless it is EDENone, an extended error.
func AppendOPT(msg []byte, udpSize, rcode uint16, do bool, ede EDE) []byte {
	ttl := uint32(rcode>>4) << 24
	if do {
		ttl |= 1 << 15
	}
	size := 0
	if ede != EDENone {
		size = edeLen
	}
	msg = appendFixed(append(msg, 0), TypeOPT, udpSize, ttl, size)
	if ede != EDENone {
		msg = binary.BigEndian.AppendUint16(msg, OptionEDE)
		msg = binary.BigEndian.AppendUint16(msg, 2)
		msg = binary.BigEndian.AppendUint16(msg, uint16(ede))
	}
	return msg
}

// AppendOption adds an option to the OPT record that begins at opt and ends msg.
func AppendOption(msg []byte, opt int, code uint16, data []byte) []byte {
	msg = binary.BigEndian.AppendUint16(msg, code)
	msg = binary.BigEndian.AppendUint16(msg, uint16(len(data)))
	msg = append(msg, data...)
	binary.BigEndian.PutUint16(msg[opt+optLen-2:], uint16(len(msg)-opt-optLen))
	return msg
}

// AppendPadding fills msg up to the next multiple of block octets (RFC 7830), or to most where that is
// less, with an option of the OPT record that begins at opt and ends msg. Where not even an empty one
// fits, msg stays as it is.
func AppendPadding(msg []byte, opt, block, most int) []byte {
	const header = 4
	size := min((len(msg)+header+block-1)/block*block, most)
	if size < len(msg)+header {
		return msg
	}
	return AppendOption(msg, opt, OptionPadding, make([]byte, size-len(msg)-header))
}

// AppendQuery appends a query for a forwarder to send: recursion desired, an OPT record with our
// UDP size and the DO bit, no client subnet (RFC 7871 §11.1: a pupil's address is nobody's business).
// AD asks to be told what was validated (RFC 6840 §5.7). With a udpSize of 0 there is no OPT record, for
// servers that do not know it. AppendQueryOptions adds to what it made.
func AppendQuery(msg []byte, id uint16, name []byte, typ, class, udpSize uint16, do, cd bool) []byte {
	flags := FlagRD | FlagAD
	if cd {
		flags |= FlagCD
	}
	start := len(msg)
	msg = append(msg, make([]byte, headerLen)...)
	h := Header{ID: id, Flags: flags, Questions: 1}
	if udpSize > 0 {
		h.More = 1
	}
	PutHeader(msg[start:], h)
	msg = append(msg, name...)
	msg = binary.BigEndian.AppendUint16(msg, typ)
	msg = binary.BigEndian.AppendUint16(msg, class)
	if udpSize == 0 {
		return msg
	}
	return AppendOPT(msg, udpSize, 0, do, EDENone)
}

// AgeTTL lowers the time to live at an offset of msg by elapsed seconds, to at least 0 and at most limit.
func AgeTTL(msg []byte, offset uint16, elapsed, limit uint32) {
	ttl := binary.BigEndian.Uint32(msg[offset:])
	ttl -= min(ttl, elapsed)
	binary.BigEndian.PutUint32(msg[offset:], min(ttl, limit))
}

// SmallestTTL returns how many seconds a response may be kept: the smallest time to live of its answer
// and authority sections, of an SOA record MINIMUM too (RFC 2308 §5). Without a record, or where msg is
// malformed, it is 0.
func SmallestTTL(msg []byte) uint32 {
	if len(msg) < headerLen {
		return 0
	}
	off := headerLen
	for range binary.BigEndian.Uint16(msg[4:]) {
		end, err := skipName(msg, off)
		if err != nil {
			return 0
		}
		off = end + 4
	}
	answers, authority := Counts(msg)
	smallest, none := uint32(0), true
	for range int(answers) + int(authority) {
		rr, err := parseRecord(msg, off)
		if err != nil {
			return 0
		}
		ttl := rr.TTL
		if rr.Type == TypeSOA && rr.End-rr.Data >= 4 {
			ttl = min(ttl, binary.BigEndian.Uint32(msg[rr.End-4:]))
		}
		if none || ttl < smallest {
			smallest, none = ttl, false
		}
		off = rr.End
	}
	return smallest
}

// BoundTTLs brings each time to live in msg between least and most, and returns the smallest then.
// One with the top bit set counts as 0 (RFC 2181 §8). Without any it returns most.
func BoundTTLs(msg []byte, offsets []uint16, least, most uint32) (smallest uint32) {
	smallest = most
	for _, o := range offsets {
		ttl := binary.BigEndian.Uint32(msg[o:])
		if ttl >= 1<<31 {
			ttl = 0
		}
		ttl = min(max(ttl, least), most)
		binary.BigEndian.PutUint32(msg[o:], ttl)
		smallest = min(smallest, ttl)
	}
	return smallest
}
