package identity

import (
	"crypto/md5" //nolint:gosec // RFC 2866 §3 has no other: it shows that who sent the packet knows the secret
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
)

// RADIUS accounting (RFC 2866): what a switch, an access point or a captive portal says of who has signed in.

// The codes of packets and the attributes that are read (RFC 2865 §5, RFC 2866 §5, RFC 6911 §3).
const (
	accountingRequest  = 4
	accountingResponse = 5

	attributeUserName         = 1
	attributeFramedIP         = 8
	attributeCallingStationID = 31
	attributeProxyState       = 33
	attributeStatusType       = 40
	attributeSessionID        = 44
	attributeFramedIPv6       = 168

	statusStart   = 1
	statusStop    = 2
	statusInterim = 3
	statusOn      = 7 // the sender has started: no session of before goes on
	statusOff     = 8

	radiusHeader = 20
	maxRADIUS    = 4096
)

// account is what an Accounting-Request says.
type account struct {
	status    uint32
	user      string
	session   string
	addrs     []netip.Addr
	mac       MAC
	proxied   []byte // Proxy-State attributes as they came: the answer repeats them
	id        byte
	signature [16]byte
}

var (
	errRADIUS    = errors.New("not an Accounting-Request")
	errSignature = errors.New("not signed with the secret")
)

// parseAccount reads an Accounting-Request and checks its authenticator. What is behind its length is padding.
func parseAccount(packet, secret []byte) (account, error) {
	var a account
	if len(packet) < radiusHeader || packet[0] != accountingRequest {
		return a, errRADIUS
	}
	size := int(binary.BigEndian.Uint16(packet[2:]))
	if size < radiusHeader || size > min(len(packet), maxRADIUS) {
		return a, errRADIUS
	}
	packet = packet[:size]
	a.id, a.signature = packet[1], [16]byte(packet[4:])
	signature := sign(packet[:4], make([]byte, 16), packet[radiusHeader:], secret)
	if subtle.ConstantTimeCompare(signature[:], a.signature[:]) != 1 {
		return a, errSignature
	}
	for rest := packet[radiusHeader:]; len(rest) > 0; {
		if len(rest) < 2 || int(rest[1]) < 2 || int(rest[1]) > len(rest) {
			return a, errRADIUS
		}
		attribute := rest[:rest[1]]
		a.read(attribute[0], attribute[2:], attribute)
		rest = rest[rest[1]:]
	}
	return a, nil
}

// read takes one attribute in. One that is not as it should be says nothing.
func (a *account) read(kind byte, value, whole []byte) {
	switch kind {
	case attributeUserName:
		a.user = string(value)
	case attributeSessionID:
		a.session = string(value)
	case attributeStatusType:
		if len(value) == 4 {
			a.status = binary.BigEndian.Uint32(value)
		}
	case attributeFramedIP:
		// 255.255.255.255 and .254 say that somebody else chooses (RFC 2865 §5.8).
		if len(value) == 4 && binary.BigEndian.Uint32(value) < 0xFFFFFFFE && value[0] != 0 {
			a.addrs = append(a.addrs, netip.AddrFrom4([4]byte(value)))
		}
	case attributeFramedIPv6:
		if len(value) == 16 {
			a.addrs = append(a.addrs, netip.AddrFrom16([16]byte(value)))
		}
	case attributeCallingStationID:
		a.mac = stationMAC(string(value))
	case attributeProxyState:
		a.proxied = append(a.proxied, whole...)
	}
}

// stationMAC reads a Calling-Station-Id: 00-11-22-33-44-55 as RFC 3580 has it, and as others write it, some with the
// network's name behind. Zero where it is none.
func stationMAC(text string) (mac MAC) {
	digits := strings.NewReplacer("-", "", ":", "", ".", "").Replace(text)
	if len(digits) < 12 {
		return MAC{}
	}
	if _, err := hex.Decode(mac[:], []byte(digits[:12])); err != nil {
		return MAC{}
	}
	return mac
}

// answer is the Accounting-Response.
func (a *account) answer(secret []byte) []byte {
	packet := make([]byte, radiusHeader, radiusHeader+len(a.proxied))
	packet[0], packet[1] = accountingResponse, a.id
	packet = append(packet, a.proxied...)
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	signature := sign(packet[:4], a.signature[:], a.proxied, secret)
	copy(packet[4:], signature[:])
	return packet
}

// sign is the authenticator of a packet (RFC 2866 §3).
func sign(head, before, attributes, secret []byte) [16]byte {
	h := md5.New() //nolint:gosec // as above
	for _, part := range [][]byte{head, before, attributes, secret} {
		h.Write(part) // never fails
	}
	return [16]byte(h.Sum(nil))
}

// IsMachine reports whether a user is a machine, which signs in before anybody does: Windows writes host/ before
// the names of machines, and $ behind them.
func IsMachine(user string) bool {
	return strings.HasPrefix(strings.ToLower(user), "host/") || strings.HasSuffix(user, "$")
}
