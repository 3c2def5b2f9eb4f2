package dnswire

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
)

// The options by which dnsmasq says which device asked it (add-mac), of the range for local use: the six octets
// themselves, or as text, in hexadecimal with colons or in base64.
const (
	optionMAC    uint16 = 65001
	optionDevice uint16 = 65073
)

// The families of an address in a client subnet option (RFC 7871 §6).
const (
	familyIPv4 = 1
	familyIPv6 = 2
)

const subnetFixed = 4 // octets before the address: family and both prefix lengths

// ParseSubnet reads the data of a client subnet option (RFC 7871 §6). ok is false where it names no network: it is
// malformed, such as with a scope, which is for answers, or says by a length of 0 that the client's is not to be told (§7.1.2).
func ParseSubnet(data []byte) (network netip.Prefix, ok bool) {
	if len(data) < subnetFixed {
		return netip.Prefix{}, false
	}
	bits := int(data[2])
	address := data[subnetFixed:]
	if bits == 0 || data[3] != 0 || len(address) != (bits+7)/8 {
		return netip.Prefix{}, false
	}
	var octets [16]byte
	switch family := binary.BigEndian.Uint16(data); {
	case family == familyIPv4 && bits <= 32:
		copy(octets[:4], address)
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(octets[:4])), bits).Masked(), true
	case family == familyIPv6 && bits <= 128:
		copy(octets[:], address)
		network := netip.PrefixFrom(netip.AddrFrom16(octets), bits).Masked()
		if bits > 96 && network.Addr().Is4In6() {
			network = netip.PrefixFrom(network.Addr().Unmap(), bits-96)
		}
		return network, true
	}
	return netip.Prefix{}, false
}

// ParseDevice reads the MAC of an option of dnsmasq.
func ParseDevice(code uint16, data []byte) (mac [6]byte, ok bool) {
	switch {
	case code == optionMAC && len(data) == len(mac):
		return [6]byte(data), true
	case code == optionDevice && len(data) == base64.StdEncoding.EncodedLen(len(mac)):
		n, err := base64.StdEncoding.Decode(mac[:], data)
		return mac, err == nil && n == len(mac)
	case code == optionDevice && len(data) == 3*len(mac)-1:
		for i := range mac {
			if i > 0 && data[3*i-1] != ':' {
				return mac, false
			}
			if _, err := hex.Decode(mac[i:i+1], data[3*i:3*i+2]); err != nil {
				return mac, false
			}
		}
		return mac, true
	}
	return mac, false
}
