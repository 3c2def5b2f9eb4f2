package identity

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"schoolgate/policy"
)

const iscFile = `# The format of this file is documented in the dhcpd.leases(5) manual page.
# This lease file was written by isc-dhcp-4.4.3
authoring-byte-order little-endian;
server-duid "\000\001\000\001,z\272\222";

lease 10.20.3.4 {
  starts 5 2026/11/20 07:00:00;
  ends 5 2026/11/20 11:00:00;
  binding state active;
  hardware ethernet 00:11:22:33:44:66;
  client-hostname "old";
}
lease 10.20.3.4 {
  starts 5 2026/11/20 11:00:00;
  ends 5 2026/11/20 20:00:00;
  cltt 5 2026/11/20 11:00:00;
  binding state active;
  next binding state free;
  rewind binding state free;
  hardware ethernet 00:11:22:33:44:55;
  uid "\001\000\021\"3DU";
  set vendor-class-identifier = "a } in a \" string;";
  client-hostname "Y7-iPad-3";
  on expiry { if (1) { execute("x", "{"); } }
}
lease 10.20.3.5 {
  ends epoch 1795204800; # Fri Nov 20 20:00:00 2026
  hardware ethernet 00:11:22:33:44:66;
}
lease 10.20.3.6 {
  ends never;
  binding state active;
  hardware ethernet 00:11:22:33:44:77;
  client-hostname "for ever";
}
lease 10.20.3.7 { binding state active; ends 5 2026/11/20 20:00:00; hardware ethernet 00:11:22:33:44:88; }
lease 10.20.3.7 { binding state free; ends 5 2026/11/20 10:00:00; hardware ethernet 00:11:22:33:44:88; }
lease 10.20.3.8 { binding state active; hardware token-ring 00:11:22:33:44:99; }
host printer { hardware ethernet 00:11:22:33:44:aa; fixed-address 10.20.3.9; }
ia-na "\001" { iaaddr 2001:db8::1 { binding state active; } }
lease 10.20.3.10 { binding state active; hardware ethernet 00:11:22:33:44:bb; client-hostname "half`

const keaFile = `address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
10.20.3.4,00:11:22:33:44:66,01:00,3600,1795172400,1,0,0,old,0,,0
10.20.3.4,00:11:22:33:44:55,01:00,36000,1795204800,1,0,0,Y7-iPad-3.school.internal.,0,{ "a": "b&#x2c c" },0
10.20.3.5,00:11:22:33:44:66,,36000,1795204800,1,0,0,,0,,0
10.20.3.6,00:11:22:33:44:77,,4294967295,1795204800,1,0,0,,0,,0
10.20.3.7,00:11:22:33:44:88,,36000,1795204800,1,0,0,gone,0,,0
10.20.3.7,00:11:22:33:44:88,,36000,1795204800,1,0,0,gone,2,,0
10.20.3.8,00:11:22:33:44:99,,36000,1795204800,1,0,0,deleted,0,,0
10.20.3.8,00:11:22:33:44:99,,0,1795204800,1,0,0,deleted,0,,0
damaged
10.20.3.9,,,36000,soon,1,0,0,damaged,0,,0
10.20.3.10,00:11:22:33:44:bb,,36000,1795204800,1,0,0,half`

const kea6File = `address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id
2001:db8:20::4,00:01:00:01:2c,4000,1795204800,1,3000,0,1,128,0,0,y7-ipad-3,00:11:22:33:44:55,0,,1,2,0
2001:db8:20:100::,00:01:00:01:2c,4000,1795204800,1,3000,2,1,56,0,0,router,00:11:22:33:44:66,0,,1,2,0
`

const dnsmasqFile = `1795204800 00:11:22:33:44:55 10.20.3.4 Y7-iPad-3 01:00:11:22:33:44:55
1795204800 00:11:22:33:44:66 10.20.3.5 * *
0 06-00:11:22:33:44:77 10.20.3.6 ring *
1795204800 00:11:22:33:44:88 10.20.3.7 bad"name *
duid 00:01:00:01:2c:7a
1795204800 1193046 2001:db8:20::4 y7-ipad-3 00:01:00:01
1795204800 00:11:22:33:44:99 10.20.3.8 half`

func TestLeaseFiles(t *testing.T) {
	t.Parallel()
	evening := time.Unix(1795204800, 0)
	if !evening.Equal(time.Date(2026, 11, 20, 20, 0, 0, 0, time.UTC)) {
		t.Fatalf("the leases end at %v", evening.UTC())
	}
	mac := func(last byte) MAC { return MAC{0, 0x11, 0x22, 0x33, 0x44, last} }
	addr := netip.MustParseAddr
	for what, test := range map[string]struct {
		text string
		want map[netip.Addr]lease
	}{
		"ISC dhcpd": {iscFile, map[netip.Addr]lease{
			ipad: {mac(0x55), "y7-ipad-3", evening}, laptop: {mac(0x66), "", evening}, addr("10.20.3.6"): {mac(0x77), "", time.Time{}}, addr("10.20.3.8"): {},
		}},
		"Kea": {keaFile, map[netip.Addr]lease{
			ipad: {mac(0x55), "y7-ipad-3.school.internal", evening}, laptop: {mac(0x66), "", evening}, addr("10.20.3.6"): {mac(0x77), "", time.Time{}},
		}},
		"Kea, IPv6": {kea6File, map[netip.Addr]lease{ipad6: {mac(0x55), "y7-ipad-3", evening}}},
		"dnsmasq": {dnsmasqFile, map[netip.Addr]lease{
			ipad: {mac(0x55), "y7-ipad-3", evening}, laptop: {mac(0x66), "", evening}, addr("10.20.3.6"): {MAC{}, "ring", time.Time{}},
			addr("10.20.3.7"): {mac(0x88), "", evening}, ipad6: {MAC{}, "y7-ipad-3", evening},
		}},
		"dnsmasq, IPv6 only":       {"duid 00:01:00:01:2c:7a\n0 T1193046 2001:db8:20::4 y7-ipad-3 00:01\n", map[netip.Addr]lease{ipad6: {MAC{}, "y7-ipad-3", time.Time{}}}},
		"no lease yet":             {"", map[netip.Addr]lease{}},
		"no lease yet but remarks": {"# a remark\n\n", map[netip.Addr]lease{}},
	} {
		got := map[netip.Addr]lease{}
		if err := parseLeases([]byte(test.text), got); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(lease{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	for what, text := range map[string]string{
		"a list of names": "games.example\n", "a page": "<html>\n", "Kea without its columns": "address,hwaddr\n10.20.3.4,00:11:22:33:44:55\n", "numbers": "1 2 3\n",
	} {
		if err := parseLeases([]byte(text), map[netip.Addr]lease{}); err == nil {
			t.Errorf("%s is taken for a lease file", what)
		}
	}
}

func TestALeaseFileIsReadAgainWhenItChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "dnsmasq.leases")
	s := newStore(t, Config{Leases: []string{path}})
	if got := s.Problems(); len(got) != 1 || got[0] != "the lease file "+path+" is not there" {
		t.Errorf("problems without a file: %v", got)
	}
	look := func() {
		if s.readLeases() {
			s.rebuild()
		}
	}
	write(t, path, ipadLease)
	look()
	if got := s.Problems(); len(got) != 0 {
		t.Errorf("problems with a file: %v", got)
	}
	sameClient(t, "once it is there", s.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:55", Name: "y7-ipad-3"})
	if s.readLeases() {
		t.Error("it was read again without a change")
	}

	// Another file under the same name, as servers write it.
	write(t, path+".new", strings.ReplaceAll(ipadLease, "y7-ipad-3", "y8-ipad-3"))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	look()
	sameClient(t, "with another name", s.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:55", Name: "y8-ipad-3"})

	write(t, path, "<html>")
	look()
	if got := s.Problems(); len(got) != 1 || got[0] != "the lease file "+path+" can't be used: it is none of ISC dhcpd, Kea or dnsmasq" {
		t.Errorf("problems with another file: %v", got)
	}
	sameClient(t, "with what was read before", s.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:55", Name: "y8-ipad-3"})
	write(t, path, "")
	look()
	sameClient(t, "once the lease is gone", s.whoIs(ipad), policy.Client{})
}

func TestALeaseCountsUntilItEnds(t *testing.T) {
	t.Parallel()
	now := noon
	path := filepath.Join(t.TempDir(), "dnsmasq.leases")
	write(t, path, dnsmasqFile)
	s := newStore(t, Config{})
	s.now = func() time.Time { return now }
	s.Apply(Config{Leases: []string{path}})
	sameClient(t, "before its end", s.whoIs(laptop), policy.Client{MAC: "00:11:22:33:44:66"})
	now = now.Add(8 * time.Hour)
	s.rebuild()
	sameClient(t, "at its end", s.whoIs(laptop), policy.Client{})
}

// TestKeasFilesWhileItTidiesUp has a lease in each of the files that there may be, the newer ones with the newer name.
func TestKeasFilesWhileItTidiesUp(t *testing.T) {
	t.Parallel()
	head, _, _ := strings.Cut(keaFile, "\n")
	line := func(name string) string {
		return head + "\n10.20.3.4,00:11:22:33:44:55,,36000,4102444800,1,0,0," + name + ",0,,0\n"
	}
	for what, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"one file":                      {map[string]string{"": line("now")}, "now"},
		"what was tidied up before":     {map[string]string{"": head + "\n", ".2": line("before")}, "before"},
		"what is being tidied up":       {map[string]string{"": head + "\n", ".1": line("lately"), ".2": line("before")}, "lately"},
		"the present one goes before":   {map[string]string{"": line("now"), ".1": line("lately"), ".2": line("before")}, "now"},
		"what has just been tidied up":  {map[string]string{"": head + "\n", ".completed": line("tidied"), ".1": line("lately"), ".2": line("before")}, "tidied"},
		"what is written meanwhile not": {map[string]string{"": head + "\n", ".output": line("half"), ".2": line("before")}, "before"},
	} {
		path := filepath.Join(t.TempDir(), "kea-leases4.csv")
		for end, text := range test.files {
			write(t, path+end, text)
		}
		s := newStore(t, Config{Leases: []string{path}})
		sameClient(t, what, s.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:55", Name: test.want})
	}
}

func FuzzLeases(f *testing.F) {
	for _, text := range []string{iscFile, keaFile, kea6File, dnsmasqFile} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all := map[netip.Addr]lease{}
		if err := parseLeases(data, all); err != nil {
			return
		}
		for addr, l := range all {
			if !addr.IsValid() || deviceName(l.name) != l.name {
				t.Errorf("%v: %+v", addr, l)
			}
		}
	})
}
