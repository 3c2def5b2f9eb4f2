package dnswire

import "encoding/binary"

const headerLen = 12

// The record types, classes and response codes that the resolver treats in a way of their own.
const (
	TypeA     uint16 = 1
	TypeNS    uint16 = 2
	TypeCNAME uint16 = 5
	TypeSOA   uint16 = 6
	TypePTR   uint16 = 12
	TypeHINFO uint16 = 13
	TypeMX    uint16 = 15
	TypeAAAA  uint16 = 28
	TypeSRV   uint16 = 33
	TypeDNAME uint16 = 39
	TypeOPT   uint16 = 41
	TypeSVCB  uint16 = 64
	TypeHTTPS uint16 = 65
	TypeTKEY  uint16 = 249
	TypeANY   uint16 = 255

	TypeRESINFO uint16 = 261

	ClassIN uint16 = 1

	RcodeSuccess  uint16 = 0
	RcodeFormErr  uint16 = 1
	RcodeServFail uint16 = 2
	RcodeNXDomain uint16 = 3
	RcodeNotImp   uint16 = 4
	RcodeRefused  uint16 = 5
	RcodeBadVers  uint16 = 16

	RcodeBadCookie uint16 = 23
)

// The bits of a header's second word (RFC 1035 §4.1.1, RFC 4035 §3).
const (
	FlagQR uint16 = 1 << 15
	FlagAA uint16 = 1 << 10
	FlagTC uint16 = 1 << 9
	FlagRD uint16 = 1 << 8
	FlagRA uint16 = 1 << 7
	FlagAD uint16 = 1 << 5
	FlagCD uint16 = 1 << 4

	opcodeMask   uint16 = 0xF << 11
	opcodeNotify uint16 = 4 << 11
)

// Query is what the resolver needs to know of a query. It holds a copy of the name only, so that it
// stays true when the packet's bytes are reused.
type Query struct {
	ID    uint16
	Flags uint16 // the header's second word
	Type  uint16
	Class uint16
	// QuestionEnd is the offset behind the question in the packet; 0 where there is no question.
	QuestionEnd int
	// EDNS says that there is an OPT record; UDPSize and DO are of it (RFC 6891 §6.1).
	EDNS    bool
	DO      bool
	UDPSize uint16
	// Padding, Keepalive and NSID say that these options were there (RFC 7830, RFC 7828, RFC 5001).
	Padding   bool
	Keepalive bool
	NSID      bool
	// The first COOKIE option's data (RFC 7873) are CookieLen octets of the packet at CookieAt; 0 where
	// there is none. They are 8, the client's cookie, or 16 to 40, the server's behind it.
	CookieAt, CookieLen int
	// The first option that names the client's network (RFC 7871) and the first that names its MAC, as dnsmasq
	// writes them; 0 where there is none. Whether to believe them is not for the packet to say. SubnetAt and
	// DeviceAt are where their data begin, DeviceCode is which of its forms the second has.
	SubnetAt, SubnetLen int
	DeviceAt, DeviceLen int
	DeviceCode          uint16

	name     [MaxName]byte
	nameLen  int
	hops     [MaxHops]Marker
	hopCount int
}

// Name is the QNAME's key. It is of the Query: a caller that keeps it copies it.
func (q *Query) Name() []byte { return q.name[:q.nameLen] }

// Status is what Parse makes of a packet.
type Status uint8

// The statuses.
const (
	StatusOK     Status = iota
	StatusIgnore        // no query at all: not to be answered
	StatusCookie        // no question, but a cookie: asks for nothing else (RFC 7873 §5.4)
	StatusFormErr
	StatusNotImp
	StatusBadVers
)

// Parse reads a query. Every status but StatusIgnore has a response; where QuestionEnd is not 0, that
// response repeats the question. A query must have one question, or none and a cookie, no answer and no
// authority, at most one OPT record, and not an octet behind its last record.
func (q *Query) Parse(msg []byte) Status {
	q.QuestionEnd, q.nameLen, q.EDNS, q.DO, q.UDPSize, q.Type, q.Class = 0, 0, false, false, 0, 0, 0
	q.Padding, q.Keepalive, q.NSID, q.CookieAt, q.CookieLen = false, false, false, 0, 0
	q.SubnetAt, q.SubnetLen, q.DeviceAt, q.DeviceLen = 0, 0, 0, 0
	q.hopCount = 0
	if len(msg) < headerLen {
		return StatusIgnore
	}
	q.ID = binary.BigEndian.Uint16(msg)
	q.Flags = binary.BigEndian.Uint16(msg[2:])
	if q.Flags&FlagQR != 0 {
		return StatusIgnore
	}
	if q.Flags&opcodeMask != 0 {
		return StatusNotImp
	}
	additional := int(binary.BigEndian.Uint16(msg[10:]))
	switch binary.BigEndian.Uint64(msg[4:]) >> 16 { // the numbers of questions, answers and authority records
	case 1 << 32:
	case 0:
		return q.parseCookieOnly(msg, additional)
	default:
		return StatusFormErr
	}
	n, off, err := plainName(&q.name, msg, headerLen)
	if err != nil || off+4 > len(msg) {
		return StatusFormErr
	}
	q.nameLen = n
	q.Type = binary.BigEndian.Uint16(msg[off:])
	q.Class = binary.BigEndian.Uint16(msg[off+2:])
	q.QuestionEnd = off + 4
	return q.parseAdditional(msg, q.QuestionEnd, additional)
}

func (q *Query) parseCookieOnly(msg []byte, additional int) Status {
	status := q.parseAdditional(msg, headerLen, additional)
	switch {
	case status != StatusOK:
		return status
	case q.CookieLen == 0:
		return StatusFormErr
	}
	return StatusCookie
}

func (q *Query) parseAdditional(msg []byte, off, count int) Status {
	version := byte(0)
	for range count {
		rr, err := parseRecord(msg, off)
		if err != nil {
			return StatusFormErr
		}
		if rr.Type == TypeOPT {
			if q.EDNS || msg[off] != 0 {
				return StatusFormErr
			}
			q.EDNS = true // its response has one, too, whatever is wrong with the options
			q.UDPSize = rr.Class
			version = byte(rr.TTL >> 16)
			q.DO = rr.TTL&(1<<15) != 0
			// What the options of another version are like is not known.
			if version == 0 && !q.parseOptions(msg, rr.Data, rr.End) {
				return StatusFormErr
			}
		}
		off = rr.End
	}
	switch {
	case off != len(msg) || q.Type == TypeOPT:
		return StatusFormErr
	case version != 0:
		return StatusBadVers
	}
	return StatusOK
}

// ParseNotify reads the question of a packet for which Parse said StatusNotImp, and reports whether it
// is a NOTIFY for the SOA record of a zone (RFC 1996 §3.7). What follows the question, such as the new
// SOA record, is not looked at: the zone's servers are to be asked for that anyway.
func (q *Query) ParseNotify(msg []byte) bool {
	if q.Flags&opcodeMask != opcodeNotify || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return false
	}
	n, off, err := plainName(&q.name, msg, headerLen)
	if err != nil || off+4 > len(msg) ||
		binary.BigEndian.Uint16(msg[off:]) != TypeSOA || binary.BigEndian.Uint16(msg[off+2:]) != ClassIN {
		return false
	}
	q.nameLen, q.Type, q.Class, q.QuestionEnd = n, TypeSOA, ClassIN, off+4
	return true
}

// The options of an OPT record that are known here.
const (
	OptionNSID      uint16 = 3
	OptionSubnet    uint16 = 8
	OptionCookie    uint16 = 10
	OptionKeepalive uint16 = 11
	OptionPadding   uint16 = 12
	OptionEDE       uint16 = 15
)

// The lengths of cookies (RFC 7873 §4).
const (
	ClientCookieLen = 8
	minCookies      = 16 // the client's and the server's
	MaxCookies      = 40
)

// ValidCookies reports whether a COOKIE option may have so many octets.
func ValidCookies(size int) bool {
	return size == ClientCookieLen || size >= minCookies && size <= MaxCookies
}

// parseOptions notes the options of an OPT record, msg[off:end], and reports whether they fill it exactly
// (RFC 6891 §6.1.2) and a cookie has a length that there can be. Of several cookies the first counts.
func (q *Query) parseOptions(msg []byte, off, end int) bool {
	for end-off >= 4 {
		data, size := off+4, int(binary.BigEndian.Uint16(msg[off+2:]))
		if data+size > end {
			return false
		}
		switch binary.BigEndian.Uint16(msg[off:]) {
		case OptionNSID:
			q.NSID = true
		case OptionCookie:
			if !ValidCookies(size) {
				return false
			}
			if q.CookieLen == 0 {
				q.CookieAt, q.CookieLen = data, size
			}
		case OptionSubnet:
			if q.SubnetLen == 0 {
				q.SubnetAt, q.SubnetLen = data, size
			}
		case optionMAC, optionDevice:
			if q.DeviceLen == 0 {
				q.DeviceAt, q.DeviceLen, q.DeviceCode = data, size, binary.BigEndian.Uint16(msg[off:])
			}
		case OptionKeepalive:
			q.Keepalive = true
		case OptionPadding:
			q.Padding = true
		case optionHops:
			q.noteHops(msg[data : data+size])
		}
		off = data + size
	}
	return off == end
}
