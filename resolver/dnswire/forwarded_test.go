package dnswire_test

import (
	"net/netip"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/resolver/dnswire"
)

func TestSubnetsOfClients(t *testing.T) {
	for data, want := range map[string]string{
		"\x00\x01\x20\x00\x0a\x14\x03\x04":                                                 "10.20.3.4/32",
		"\x00\x01\x18\x00\x0a\x14\x03":                                                     "10.20.3.0/24",
		"\x00\x01\x14\x00\x0a\x14\xff":                                                     "10.20.240.0/20", // bits behind it are not of it
		"\x00\x02\x38\x00\x20\x01\x0d\xb8\x00\x20\x01":                                     "2001:db8:20:100::/56",
		"\x00\x02\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x14\x03\x04": "10.20.3.4/32",
		"\x00\x01\x00\x00":                                                                 "", // not to be told
		"\x00\x01\x18\x00\x0a\x14":                                                         "", // too short
		"\x00\x01\x18\x00\x0a\x14\x03\x04":                                                 "", // too long
		"\x00\x01\x21\x00\x0a\x14\x03\x04\x00":                                             "", // longer than an address
		"\x00\x02\x81\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": "",
		"\x00\x03\x08\x00\x0a":             "", // a family that nobody knows
		"\x00\x01\x20":                     "",
		"":                                 "",
		"\x00\x01\x20\x18\x0a\x14\x03\x04": "", // a query with a scope
	} {
		got, ok := dnswire.ParseSubnet([]byte(data))
		if ok != (want != "") || ok && got != netip.MustParsePrefix(want) {
			t.Errorf("%x: %v %v, want %q", data, got, ok, want)
		}
	}
}

func TestMACsOfClients(t *testing.T) {
	mac := [6]byte{0, 0x1a, 0x22, 0x33, 0x44, 0xff}
	for _, test := range []struct {
		code uint16
		data string
		ok   bool
	}{
		{65001, "\x00\x1a\x22\x33\x44\xff", true},
		{65073, "00:1a:22:33:44:ff", true},
		{65073, "00:1A:22:33:44:FF", true},
		{65073, "ABoiM0T/", true},
		{65001, "\x00\x1a\x22\x33\x44", false},
		{65001, "\x00\x1a\x22\x33\x44\xff\x00", false},
		{65001, "00:1a:22:33:44:ff", false},
		{65073, "00-1a-22-33-44-ff", false},
		{65073, "00:1a:22:33:44:fg", false},
		{65073, "ABoiM0T=", false},
		{65073, "ABoiM0T", false},
		{65073, "", false},
		{65074, "00:1a:22:33:44:ff", false},
	} {
		got, ok := dnswire.ParseDevice(test.code, []byte(test.data))
		if ok != test.ok || ok && got != mac {
			t.Errorf("%d %q: %x %v", test.code, test.data, got, ok)
		}
	}
}

// FuzzSubnet holds the reading of subnets to that of miekg/dns, of whatever it takes.
func FuzzSubnet(f *testing.F) {
	f.Add([]byte("\x00\x01\x20\x00\x0a\x14\x03\x04"))
	f.Add([]byte("\x00\x02\x38\x00\x20\x01\x0d\xb8\x00\x20\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		network, ok := dnswire.ParseSubnet(data)
		_, _ = dnswire.ParseDevice(65073, data)
		if !ok || len(data) > 1000 {
			return
		}
		m := new(dns.Msg).SetQuestion("a.example.", dns.TypeA).SetEdns0(1232, false)
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0SUBNET, Data: data})
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Unpack(packet); err != nil {
			t.Fatalf("%x is %v, and not for miekg/dns: %v", data, network, err)
		}
		o := m.IsEdns0().Option[0].(*dns.EDNS0_SUBNET)
		addr, _ := netip.AddrFromSlice(o.Address)
		if got := network.Addr(); !network.Contains(addr.Unmap()) {
			t.Errorf("%x: %v of %v, miekg/dns has %v", data, got, network, addr)
		}
	})
}
