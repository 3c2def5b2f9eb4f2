package resolver

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// proxyHeader makes a header of a command and family, with the data behind its length.
func proxyHeader(command, family byte, data ...byte) []byte {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

var (
	proxied4 = []byte{10, 20, 3, 4, 10, 0, 0, 1, 0x30, 0x39, 0, 53}
	proxied6 = append(append([]byte{0x20, 0x01, 0x0d, 0xb8, 15: 7}, make([]byte, 16)...), 0x30, 0x39, 0, 53)
)

func TestAProxyHeaderNamesTheClient(t *testing.T) {
	mapped := append(append(make([]byte, 10), 0xff, 0xff, 10, 20, 3, 4), make([]byte, 20)...)
	unix := make([]byte, 216)
	for name, test := range map[string]struct {
		packet []byte
		want   string // "": an error; "itself": the proxy
	}{
		"IPv4 over UDP":                       {proxyHeader(0x21, 0x12, proxied4...), "10.20.3.4:12345"},
		"IPv4 over TCP":                       {proxyHeader(0x21, 0x11, proxied4...), "10.20.3.4:12345"},
		"IPv6 over UDP":                       {proxyHeader(0x21, 0x22, proxied6...), "[2001:db8::7]:12345"},
		"IPv6 over TCP":                       {proxyHeader(0x21, 0x21, proxied6...), "[2001:db8::7]:12345"},
		"IPv4 written as IPv6":                {proxyHeader(0x21, 0x22, mapped...), "10.20.3.4:0"},
		"more behind the addresses":           {proxyHeader(0x21, 0x12, append(bytes.Clone(proxied4), 3, 0, 4, 1, 2, 3, 4)...), "10.20.3.4:12345"},
		"the proxy's own question":            {proxyHeader(0x20, 0x00), "itself"},
		"the proxy's own, with addresses":     {proxyHeader(0x20, 0x12, proxied4...), "itself"},
		"of an unknown family":                {proxyHeader(0x21, 0x00, proxied4...), ""},
		"of a unix socket":                    {proxyHeader(0x21, 0x31, unix...), ""},
		"of version 1":                        {[]byte("PROXY TCP4 10.20.3.4 10.0.0.1 12345 53\r\n"), ""},
		"of version 3":                        {proxyHeader(0x31, 0x12, proxied4...), ""},
		"with an unknown command":             {proxyHeader(0x22, 0x12, proxied4...), ""},
		"addresses that are cut off":          {proxyHeader(0x21, 0x12, proxied4[:11]...), ""},
		"IPv6 with the addresses of IPv4":     {proxyHeader(0x21, 0x22, proxied4...), ""},
		"a length that goes beyond the end":   {proxyHeader(0x21, 0x12, proxied4...)[:27], ""},
		"a header of more than 512":           {proxyHeader(0x21, 0x12, append(bytes.Clone(proxied4), make([]byte, 500)...)...), ""},
		"another signature":                   {append([]byte("\r\n\r\n\x00\r\nQUIT\r"), 0x21, 0x12, 0, 0), ""},
		"half a signature":                    {[]byte("\r\n\r\n"), ""},
		"nothing":                             {nil, ""},
		"a query of DNS, which it is for now": {make([]byte, 40), ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, rest, err := parseProxy(append(test.packet, "rest"...))
			got := ""
			switch {
			case err == nil && !client.IsValid():
				got = "itself"
			case err == nil:
				got = client.String()
			}
			if name == "a length that goes beyond the end" || name == "half a signature" || name == "nothing" {
				_, _, err = parseProxy(test.packet)
				if err == nil {
					t.Error("was taken")
				}
				return
			}
			if got != test.want || err == nil && string(rest) != "rest" {
				t.Errorf("client %q, rest %q, error %v, want %q", got, rest, err, test.want)
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, header := range [][]byte{
		proxyHeader(0x21, 0x12, proxied4...), proxyHeader(0x21, 0x22, proxied6...), proxyHeader(0x20, 0), proxyHeader(0x21, 0x31, make([]byte, 216)...),
	} {
		f.Add(header)
		f.Add(append(header, "a query"...))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		client, rest, err := parseProxy(packet)
		streamed, streamErr := readProxy(bytes.NewReader(packet))
		if (err == nil) != (streamErr == nil) || err == nil && streamed != client {
			t.Fatalf("a packet names %v (%v), a stream %v (%v)", client, err, streamed, streamErr)
		}
		if err != nil {
			return
		}
		// Written anew, it is what was read.
		size := int(binary.BigEndian.Uint16(packet[14:]))
		if !bytes.Equal(rest, packet[16+size:]) {
			t.Fatalf("%d octets are left of %d behind a header of %d", len(rest), len(packet), 16+size)
		}
		switch {
		case packet[12] == 0x20:
			if client.IsValid() {
				t.Fatalf("the proxy itself is %v", client)
			}
		case packet[13]>>4 == 1:
			if a := client.Addr().As4(); !bytes.Equal(a[:], packet[16:20]) {
				t.Fatalf("%v is not %x", client, packet[16:20])
			}
		default:
			if a, _ := netip.AddrFromSlice(packet[16:32]); client.Addr() != a.Unmap() {
				t.Fatalf("%v is not %v", client, a)
			}
		}
	})
}
