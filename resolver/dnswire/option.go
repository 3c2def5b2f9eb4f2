package dnswire

import (
	"bytes"
	"encoding/binary"
)

// Marker names a resolver that a query has passed through, to itself only: octets at random, made anew
// at each start.
type Marker [16]byte

// MaxHops is through how many resolvers a query may have come: more than a school chains, and little
// enough that a loop of resolvers that do not know each other ends soon.
const MaxHops = 8

const (
	// optionHops holds the markers of the resolvers that a query has passed through, behind hopsMagic. It
	// is of the range for local use (RFC 6891 §9), where others use codes as they like, hence the magic.
	optionHops = 65353
	hopsMagic  = "sgl1"
)

// Hops are the markers that the query brought, oldest first. They are of the Query.
func (q *Query) Hops() []Marker { return q.hops[:q.hopCount] }

// noteHops takes the markers of an option. What has another form is somebody else's option.
func (q *Query) noteHops(value []byte) {
	markers, ours := bytes.CutPrefix(value, []byte(hopsMagic))
	if !ours || len(markers)%len(Marker{}) != 0 {
		return
	}
	for ; len(markers) > 0 && q.hopCount < MaxHops; q.hopCount++ {
		markers = markers[copy(q.hops[q.hopCount][:], markers):]
	}
}

// AppendQueryOptions appends options to msg, a query that AppendQuery has just made: the hops and
// the cookies, unless there are none, and padding up to a multiple of block octets (RFC 8467 §4.1), unless that is 0.
func AppendQueryOptions(msg []byte, hops []Marker, cookies []byte, block int) []byte {
	start := len(msg)
	if len(hops) > 0 {
		msg = appendOption(msg, optionHops, len(hopsMagic)+len(hops)*len(Marker{}))
		msg = append(msg, hopsMagic...)
		for _, h := range hops {
			msg = append(msg, h[:]...)
		}
	}
	if len(cookies) > 0 {
		msg = append(appendOption(msg, OptionCookie, len(cookies)), cookies...)
	}
	if block > 0 {
		size := (block - (len(msg)+optionLen)%block) % block
		msg = append(appendOption(msg, OptionPadding, size), make([]byte, size)...)
	}
	binary.BigEndian.PutUint16(msg[start-2:], uint16(len(msg)-start)) // RDLENGTH: the record had no data
	return msg
}

const optionLen = 4 // the code and the length

func appendOption(msg []byte, code uint16, size int) []byte {
	msg = binary.BigEndian.AppendUint16(msg, code)
	return binary.BigEndian.AppendUint16(msg, uint16(size))
}

// IsAnswer reports whether response is one to the question of query, whatever the case of its letters
// and whatever its id.
func IsAnswer(response, query []byte) bool {
	if len(response) < headerLen || len(query) < headerLen || binary.BigEndian.Uint16(response[2:])&FlagQR == 0 {
		return false
	}
	if notUnderstood(response) {
		return true
	}
	var asked, answered [MaxName]byte
	n, end, err := plainName(&asked, query, headerLen)
	m, answeredEnd, err2 := plainName(&answered, response, headerLen)
	return err == nil && err2 == nil && binary.BigEndian.Uint16(response[4:]) == 1 &&
		bytes.Equal(asked[:n], answered[:m]) && end+4 <= len(query) && answeredEnd+4 <= len(response) &&
		bytes.Equal(query[end:end+4], response[answeredEnd:answeredEnd+4])
}

// notUnderstood reports whether a response says that the query was not understood, and has no record
// and not even the question.
func notUnderstood(response []byte) bool {
	rcode := binary.BigEndian.Uint16(response[2:]) & 0xF
	return len(response) == headerLen && binary.BigEndian.Uint64(response[4:]) == 0 &&
		(rcode == RcodeFormErr || rcode == RcodeNotImp)
}

// cookiesIn returns the data of the first COOKIE option, not nil if there is one. Options that are cut off
// are none.
func cookiesIn(options []byte) []byte {
	for len(options) >= optionLen {
		end := optionLen + int(binary.BigEndian.Uint16(options[2:]))
		if end > len(options) {
			return nil
		}
		if binary.BigEndian.Uint16(options) == OptionCookie {
			return options[optionLen:end:end]
		}
		options = options[end:]
	}
	return nil
}

// Has reports whether the packet of which Parse has made q has an option without data. It reads the packet's
// options again, for what is rarely asked.
func (q *Query) Has(msg []byte, option uint16) bool {
	if !q.EDNS {
		return false
	}
	for off := q.QuestionEnd; off < len(msg); {
		rr, err := parseRecord(msg, off)
		if err != nil {
			return false
		}
		for at := rr.Data; rr.Type == TypeOPT && rr.End-at >= optionLen; {
			size := int(binary.BigEndian.Uint16(msg[at+2:]))
			if binary.BigEndian.Uint16(msg[at:]) == option {
				return size == 0
			}
			at += optionLen + size
		}
		off = rr.End
	}
	return false
}

// Known reports whether an option has a meaning here, and so can't have another.
func Known(option uint16) bool {
	switch option {
	case OptionNSID, OptionSubnet, OptionCookie, OptionKeepalive, OptionPadding, OptionEDE, optionMAC, optionDevice, optionHops:
		return true
	}
	return false
}
