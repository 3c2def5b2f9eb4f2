package dnswire

import (
	"bytes"
	"encoding/binary"
)

// MixCase puts those letters of a name, a key, in upper case for which a bit of bits is set; there must be
// as many bits as the name has octets. A server gives the question back as it came, so that whoever forges an
// answer without having seen the question has to guess the bits too (draft-vixie-dnsext-dns0x20).
func MixCase(name, bits []byte) {
	for i, b := range name {
		if 'a' <= b && b <= 'z' && bits[i/8]>>(i%8)&1 != 0 { // length octets are below 64
			name[i] = b - 'a' + 'A'
		}
	}
}

// KeepsCase reports whether the question of a response has its name in exactly this case. One without a
// question has nothing that could be in another.
func KeepsCase(response, name []byte) bool {
	if len(response) < headerLen || binary.BigEndian.Uint16(response[4:]) == 0 {
		return true
	}
	return bytes.HasPrefix(response[headerLen:], name)
}
