package feed

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"schoolgate/blocklist"
)

// target is a dst: what is there after a transfer is what its last writer took.
type target struct {
	bytes.Buffer
	tries int
}

func (d *target) open() (io.Writer, error) {
	d.tries++
	d.Reset()
	return d, nil
}

// take transfers z, and returns the text.
func take(t testing.TB, z Zone, old string) (transferred, string, error) {
	t.Helper()
	var dst target
	var from io.Reader
	if old != "" {
		from = strings.NewReader(old)
	}
	result, err := transfer(t.Context(), z, from, dst.open)
	return result, dst.String(), err
}

func mustTake(t testing.TB, z Zone, old string) (transferred, string) {
	t.Helper()
	result, text, err := take(t, z, old)
	if err != nil {
		t.Fatal(err)
	}
	return result, text
}

func sorted(text string) []string {
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	return lines
}

func testKey() *TSIG {
	return &TSIG{Name: "schoolgate.key", Algorithm: "hmac-sha256", Secret: []byte("0123456789abcdef0123456789abcdef")}
}

func TestAZoneIsTransferredWhole(t *testing.T) {
	p := startPrimary(t, nil, zoneVersion{7, []string{
		"rpz.example. IN NS ns.example.",
		"Porn.Example.rpz.example. IN CNAME .",
		"*.porn.example.rpz.example. IN CNAME .",
		"fine.porn.example.rpz.example. IN CNAME rpz-PASSTHRU.",
		"nodata.example.rpz.example. IN CNAME *.",
		"local.example.rpz.example. IN A 192.0.2.1",
		"local.example.rpz.example. IN AAAA 2001:db8::1",
		`text.example.rpz.example. IN TXT "` + strings.Repeat("long ", 40) + `"`,
		`we\.ird\$\032\200.example.rpz.example. IN CNAME .`,
		"32.1.2.0.192.rpz-ip.rpz.example. IN CNAME .",
		"porn.example.rpz.example. IN RRSIG CNAME 8 3 60 20300101000000 20200101000000 1 rpz.example. AAAA",
		"outside.example. IN CNAME .",
	}})
	result, text := mustTake(t, p.zone(), "")
	want := `rpz.example. SOA ns.example. host.example. 7 3600 600 86400 60
porn.example.rpz.example. CNAME .
*.porn.example.rpz.example. CNAME .
fine.porn.example.rpz.example. CNAME rpz-passthru.
nodata.example.rpz.example. CNAME *.
local.example.rpz.example. TYPE1 \# 4 c0000201
local.example.rpz.example. TYPE28 \# 16 20010db8000000000000000000000001
text.example.rpz.example. TYPE16 \# 32 9e25bcb40aaf1d08d9c73d742465522da0425ca71cd0f2267aebf338d9a044a9
we\046ird\036\032\200.example.rpz.example. CNAME .
32.1.2.0.192.rpz-ip.rpz.example. CNAME .
`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if want := (transferred{Serial: 7, Records: 9, Wire: result.Wire}); result != want || result.Wire < 500 {
		t.Errorf("%+v, want %+v", result, want)
	}
	list, err := blocklist.Parse(strings.NewReader(text), blocklist.Options{Format: blocklist.FormatRPZ})
	if err != nil {
		t.Fatal(err)
	}
	if list.Enforceable != 6 || list.Exceptions != 1 || list.Unenforceable != 1 || list.Skipped != 0 {
		t.Errorf("list: %d enforceable, %d exceptions, %d unenforceable, %d skipped %v",
			list.Enforceable, list.Exceptions, list.Unenforceable, list.Skipped, list.Problems)
	}
	if asked := p.types(); !slices.Equal(asked, []string{"SOA", "AXFR"}) {
		t.Errorf("asked for %v", asked)
	}
}

func TestAnUnchangedZoneIsNotTransferred(t *testing.T) {
	p := startPrimary(t, testKey(), zoneVersion{7, []string{"a.rpz.example. IN CNAME ."}})
	_, text := mustTake(t, p.zone(), "")
	var dst target
	result, err := transfer(t.Context(), p.zone(), strings.NewReader(text), dst.open)
	if err != nil || !result.Unchanged || result.Serial != 7 || dst.tries != 0 {
		t.Errorf("%+v, %v, %d tries to write", result, err, dst.tries)
	}
	if asked := p.types(); !slices.Equal(asked, []string{"SOA", "AXFR", "SOA"}) {
		t.Errorf("asked for %v", asked)
	}
}

func TestAZoneWithoutRecordsIsTransferred(t *testing.T) {
	p := startPrimary(t, nil, zoneVersion{7, nil})
	result, text := mustTake(t, p.zone(), "")
	if result.Records != 0 || text != "rpz.example. SOA ns.example. host.example. 7 3600 600 86400 60\n" {
		t.Errorf("%+v %q", result, text)
	}
}

func TestASerialIsComparedAcrossItsWrap(t *testing.T) {
	for _, test := range []struct {
		a, b  uint32
		newer bool
	}{
		{2, 1, true},
		{1, 2, false},
		{1, 1, false},
		{0, 1<<32 - 1, true},
		{1<<32 - 1, 0, false},
		{1<<31 - 1, 0, true},
		{1 << 31, 0, false},
		{0, 1 << 31, false},
		{1<<31 + 1, 0, false},
		{5, 1<<31 + 6, true},
	} {
		if newerSerial(test.a, test.b) != test.newer {
			t.Errorf("%d newer than %d: %v", test.a, test.b, !test.newer)
		}
	}
}

// From every version that a server still has the differences to, the outcome is the zone itself,
// however its records are spread over messages and whatever was added and deleted on the way.
func TestDifferencesGiveTheZoneThatAWholeTransferGives(t *testing.T) {
	p := startPrimary(t, testKey())
	rapid.Check(t, func(r *rapid.T) {
		records := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
			"a.rpz.example. IN CNAME .", "*.a.rpz.example. IN CNAME .", "b.rpz.example. IN CNAME .", "b.rpz.example. IN A 192.0.2.1",
			"c.rpz.example. IN CNAME rpz-passthru.", "c.rpz.example. IN TXT \"x\"", "d.rpz.example. IN CNAME .", "rpz.example. IN NS ns.example.",
		}), 0, 8, rapid.ID[string])
		var all []zoneVersion
		serial := rapid.Uint32().Draw(r, "serial")
		for range rapid.IntRange(1, 5).Draw(r, "versions") {
			all = append(all, zoneVersion{serial, records.Draw(r, "records")})
			serial += rapid.Uint32Range(1, 1<<28).Draw(r, "step")
		}
		from := rapid.IntRange(0, len(all)-1).Draw(r, "from")
		perMessage := rapid.IntRange(1, 9).Draw(r, "per message")
		p.set(func() { p.versions, p.perMessage = all[:from+1], perMessage })
		_, old := mustTake(t, p.zone(), "")
		p.set(func() { p.versions = all })
		result, text := mustTake(t, p.zone(), old)
		if from == len(all)-1 {
			if !result.Unchanged {
				r.Fatalf("%+v", result)
			}
			return
		}
		_, want := mustTake(t, p.zone(), "")
		if diff := cmp.Diff(sorted(want), sorted(text)); diff != "" || !result.Incremental || result.Serial != all[len(all)-1].serial {
			r.Fatalf("%+v (-want +got):\n%s", result, diff)
		}
		if result.Records != strings.Count(text, "\n")-1 {
			r.Fatalf("%+v for\n%s", result, text)
		}
	})
}

func TestWhereDifferencesDoNotServeTheZoneIsTransferredWhole(t *testing.T) {
	a, b, c := "a.rpz.example. IN CNAME .", "b.rpz.example. IN CNAME .", "c.rpz.example. IN CNAME ."
	v1, v2 := zoneVersion{1, []string{a, b}}, zoneVersion{2, []string{b, c}}
	held := "rpz.example. SOA ns.example. host.example. 1 3600 600 86400 60\na.rpz.example. CNAME .\nb.rpz.example. CNAME .\n"
	ixfr := func(change func([]dns.RR) []dns.RR) func(*primary) {
		return func(p *primary) {
			p.answer = func(typ uint16, rrs []dns.RR) []dns.RR {
				if typ == dns.TypeIXFR {
					return change(rrs)
				}
				return rrs
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*primary)
		old    string
		asked  string
	}{
		"the server has them from other versions only": {func(p *primary) { p.versions = p.versions[1:] }, held, "SOA IXFR"},
		"the server does not know IXFR": {func(p *primary) {
			p.message = func(typ uint16, _ int, m *dns.Msg) {
				if typ == dns.TypeIXFR {
					m.Answer, m.Rcode = nil, dns.RcodeNotImplemented
				}
			}
		}, held, "SOA IXFR AXFR"},
		"they delete what is not there": {nil, strings.Replace(held, "a.rpz.example. CNAME .\n", "", 1), "SOA IXFR AXFR"},
		"they add what is there":        {nil, held + "c.rpz.example. CNAME .\n", "SOA IXFR AXFR"},
		"they delete a record twice": {ixfr(func(rrs []dns.RR) []dns.RR {
			return slices.Insert(rrs, 2, mustRR(a))
		}), held, "SOA IXFR AXFR"},
		"they add a record twice": {ixfr(func(rrs []dns.RR) []dns.RR {
			return slices.Insert(rrs, len(rrs)-1, mustRR(c))
		}), held, "SOA IXFR AXFR"},
		"they begin with another version": {ixfr(func(rrs []dns.RR) []dns.RR {
			rrs[1] = zoneVersion{serial: 5}.soa()
			return rrs
		}), held, "SOA IXFR AXFR"},
		"they leave a version out": {ixfr(func(rrs []dns.RR) []dns.RR {
			return slices.Insert(rrs, len(rrs)-1, zoneVersion{serial: 5}.soa(), zoneVersion{serial: 6}.soa())
		}), held, "SOA IXFR AXFR"},
		"they lead back": {ixfr(func(rrs []dns.RR) []dns.RR {
			rrs[3] = zoneVersion{serial: 0}.soa()
			return rrs
		}), held, "SOA IXFR AXFR"},
		"they are for another zone": {ixfr(func(rrs []dns.RR) []dns.RR {
			rrs[3].Header().Name = "example."
			return rrs
		}), held, "SOA IXFR AXFR"},
		"they have an old serial": {ixfr(func([]dns.RR) []dns.RR {
			return []dns.RR{v1.soa()}
		}), held, "SOA IXFR AXFR"},
		"the connection ends before they do": {func(p *primary) {
			p.perMessage = 2
			p.packet = func(typ uint16, i int, packet []byte) []byte {
				if typ == dns.TypeIXFR && i == 2 {
					return nil
				}
				return packet
			}
		}, held, "SOA IXFR AXFR"},
		"records follow their end":        {ixfr(func(rrs []dns.RR) []dns.RR { return append(rrs, mustRR(a)) }), held, "SOA IXFR AXFR"},
		"they are not signed to the end":  {func(p *primary) { p.perMessage, p.unsigned = 1, map[uint16]int{dns.TypeIXFR: 1} }, held, "SOA IXFR AXFR"},
		"what is held is of another zone": {nil, strings.Replace(held, "rpz.example. SOA", "other.example. SOA", 1), "SOA AXFR"},
		"what is held is not a zone":      {nil, "<html>\n", "SOA AXFR"},
		"what is held is a cut SOA":       {nil, held[:40], "SOA AXFR"},
		"what is held is cut":             {nil, held[:len(held)-2], "SOA IXFR AXFR"},
		"what is held has no serial":      {nil, strings.Replace(held, " 1 ", " x ", 1), "SOA AXFR"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPrimary(t, testKey(), v1, v2)
			if test.change != nil {
				test.change(p)
			}
			result, text := mustTake(t, p.zone(), test.old)
			want := "rpz.example. SOA ns.example. host.example. 2 3600 600 86400 60\nb.rpz.example. CNAME .\nc.rpz.example. CNAME .\n"
			if result.Incremental || text != want || result.Serial != 2 || result.Records != 2 {
				t.Errorf("%+v\n%s", result, text)
			}
			if asked := strings.Join(p.types(), " "); asked != test.asked {
				t.Errorf("asked for %s, want %s", asked, test.asked)
			}
		})
	}
}

func TestMoreDifferencesThanFitInMemoryAreNotTaken(t *testing.T) {
	d := difference{records: map[string]change{}, size: maxDifference - 10}
	if err := d.note([]byte("a CNAME ."), true); err != nil {
		t.Error(err)
	}
	if err := d.note([]byte("b CNAME ."), true); err == nil || err.Error() != "more differences than are taken" {
		t.Error(err)
	}
}
