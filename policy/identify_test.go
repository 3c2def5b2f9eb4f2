package policy_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"schoolgate/policy"
)

const mac = "00:11:22:33:44:55"

// placed is the group of a client under the school's policy, after a change of it.
func placed(t testing.TB, c policy.Client, host string, change func(*policy.Spec)) string {
	t.Helper()
	p := school(t, change)
	group, _ := p.Place(&c, host)
	return p.Groups()[group]
}

// group is the group of the school's Spec with a name.
func group(s *policy.Spec, name string) *policy.Group {
	for i := range s.Groups {
		if s.Groups[i].Name == name {
			return &s.Groups[i]
		}
	}
	panic(name)
}

func TestTheMostSpecificThingThatIsKnownOfAClientFindsItsGroup(t *testing.T) {
	t.Parallel()
	everything := func(s *policy.Spec) {
		for _, g := range []struct{ name, mac, device, host string }{
			{"by_mac", mac, "", ""}, {"by_name", "", "y7-ipad-3", ""}, {"by_pattern", "", "y7-ipad-*", ""}, {"by_wider_pattern", "", "y7-*", ""}, {"by_suffix", "", "*.library.school.internal", ""}, {"by_host", "", "", "y7.dns.school.example"},
		} {
			n := policy.Group{Name: g.name, Inherit: "year7"}
			if g.mac != "" {
				n.MACs = []string{g.mac}
			}
			if g.device != "" {
				n.Devices = []string{g.device}
			}
			if g.host != "" {
				n.Hosts = []string{g.host}
			}
			s.Groups = append(s.Groups, n)
		}
		s.Groups = append(s.Groups, policy.Group{Name: "room", Inherit: "year7", Clients: prefixes("10.20.3.0/24")})
	}
	for what, test := range map[string]struct {
		client policy.Client
		host   string
		want   string
	}{
		"a MAC outranks a name":                             {policy.Client{Addr: pupil, MAC: mac, Name: "y7-ipad-3"}, "", "by_mac"},
		"a name outranks a host name":                       {policy.Client{Addr: pupil, Name: "y7-ipad-3"}, "y7.dns.school.example", "by_name"},
		"a host name outranks an address":                   {policy.Client{Addr: pupil}, "y7.dns.school.example", "by_host"},
		"the longest range wins":                            {policy.Client{Addr: pupil}, "", "room"},
		"another host name says nothing":                    {policy.Client{Addr: pupil}, "dns.school.example", "room"},
		"another MAC says nothing":                          {policy.Client{Addr: pupil, MAC: "00:11:22:33:44:56"}, "", "room"},
		"a MAC counts at an address that nobody names":      {policy.Client{Addr: unknown, MAC: mac}, "", "by_mac"},
		"a name outranks a pattern":                         {policy.Client{Addr: pupil, Name: "y7-ipad-3.school.internal"}, "", "by_name"},
		"the pattern that says more wins":                   {policy.Client{Addr: pupil, Name: "y7-ipad-4"}, "", "by_pattern"},
		"else the one that says less":                       {policy.Client{Addr: pupil, Name: "y7-mac-4"}, "", "by_wider_pattern"},
		"a pattern with a dot is for the whole name":        {policy.Client{Addr: pupil, Name: "pc4.library.school.internal"}, "", "by_suffix"},
		"a pattern without a dot is for its first label":    {policy.Client{Addr: pupil, Name: "pc.y7-ipad-3"}, "", "room"},
		"a name that only begins alike says nothing":        {policy.Client{Addr: pupil, Name: "ay7-ipad-4"}, "", "room"},
		"who has signed in says nothing of the group (yet)": {policy.Client{Addr: pupil, User: "y7-ipad-3"}, "", "room"},
		"nothing known and no range is the default group":   {policy.Client{Addr: unknown}, "", "year7"},
		"a zone of a link-local address changes nothing":    {policy.Client{Addr: netip.MustParseAddr("fd00:20::1%eth0"), MAC: mac}, "", "by_mac"},
		"an empty host name is none, as an empty name is":   {policy.Client{Addr: pupil}, "", "room"},
	} {
		if got := placed(t, test.client, test.host, everything); got != test.want {
			t.Errorf("%s: in %s, want %s", what, got, test.want)
		}
	}
}

// TestADeviceCannotChooseALaxerGroup goes through what a group may block and another not.
func TestADeviceCannotChooseALaxerGroup(t *testing.T) {
	t.Parallel()
	lunch := policy.Period{Name: "lunch", Times: []policy.Span{{Days: 127, From: 12 * 60, To: 13 * 60}}}
	late := policy.Period{Name: "late", Times: []policy.Span{{Days: 127, From: 22 * 60, To: 6 * 60}}}
	during := func(period string, block, unblock []string) []policy.Change {
		return []policy.Change{{During: period, Block: block, Unblock: unblock}}
	}
	one := func(categories ...string) []string { return categories }
	for what, test := range map[string]struct {
		from, to policy.Group // of what is written here
		moves    bool
	}{
		"a group that blocks the same takes it":              {policy.Group{Block: one("gaming")}, policy.Group{Block: one("gaming")}, true},
		"one that blocks more does":                          {policy.Group{Block: one("gaming")}, policy.Group{Block: one("gaming", "pornography")}, true},
		"one that blocks less does not":                      {policy.Group{Block: one("gaming", "pornography")}, policy.Group{Block: one("gaming")}, false},
		"one that blocks another thing does not":             {policy.Group{Block: one("gaming")}, policy.Group{Block: one("pornography")}, false},
		"unless it trusts it":                                {policy.Group{Block: one("gaming")}, policy.Group{TrustIdentity: true, TrustIdentitySet: true}, true},
		"what is locked is blocked anyway":                   {policy.Group{Block: one("iwf")}, policy.Group{}, true},
		"to monitor is not to block":                         {policy.Group{Block: one("gaming")}, policy.Group{Monitor: one("gaming")}, false},
		"what is only monitored there need not be blocked":   {policy.Group{Monitor: one("gaming")}, policy.Group{}, true},
		"one that unblocks it at lunch does not":             {policy.Group{Block: one("gaming")}, policy.Group{Block: one("gaming"), Schedule: during("lunch", nil, one("gaming"))}, false},
		"unless the other does so too":                       {policy.Group{Block: one("gaming"), Schedule: during("lunch", nil, one("gaming"))}, policy.Group{Block: one("gaming"), Schedule: during("lunch", nil, one("gaming"))}, true},
		"at another time is not the same":                    {policy.Group{Block: one("gaming"), Schedule: during("late", nil, one("gaming"))}, policy.Group{Block: one("gaming"), Schedule: during("lunch", nil, one("gaming"))}, false},
		"what is blocked late must be blocked late":          {policy.Group{Schedule: during("late", one("gaming"), nil)}, policy.Group{}, false},
		"and is, where it always is":                         {policy.Group{Schedule: during("late", one("gaming"), nil)}, policy.Group{Block: one("gaming")}, true},
		"or late":                                            {policy.Group{Schedule: during("late", one("gaming"), nil)}, policy.Group{Schedule: during("late", one("gaming"), nil)}, true},
		"but not where lunch could come at the same time":    {policy.Group{Schedule: during("late", one("gaming"), nil)}, policy.Group{Block: one("gaming"), Schedule: during("lunch", nil, one("gaming"))}, false},
		"an allow-list is stricter than any blocking":        {policy.Group{Block: one("extremism", "gaming")}, policy.Group{OnlySet: true, Only: namesOf(t, "bbc.co.uk")}, true},
		"but for what it lets through itself":                {policy.Group{Block: one("gaming")}, policy.Group{OnlySet: true, Only: namesOf(t, "bbc.co.uk", "shop.games.example")}, false},
		"nothing but an allow-list is as strict as one":      {policy.Group{OnlySet: true, Only: namesOf(t, "bbc.co.uk")}, policy.Group{Block: one("pornography", "extremism", "gaming", "doh")}, false},
		"one that has no more is":                            {policy.Group{OnlySet: true, Only: namesOf(t, "bbc.co.uk")}, policy.Group{OnlySet: true, Only: namesOf(t, "cbeebies.bbc.co.uk")}, true},
		"one that has more is not":                           {policy.Group{OnlySet: true, Only: namesOf(t, "bbc.co.uk")}, policy.Group{OnlySet: true, Only: namesOf(t, "bbc.co.uk", "itv.example")}, false},
		"safe search must stay":                              {policy.Group{SafeSearch: policy.SafeSearch{Search: true}, SafeSearchSet: true}, policy.Group{}, false},
		"and does":                                           {policy.Group{SafeSearch: policy.SafeSearch{Search: true}, SafeSearchSet: true}, policy.Group{SafeSearch: policy.SafeSearch{Search: true}, SafeSearchSet: true}, true},
		"YouTube may become stricter":                        {policy.Group{SafeSearch: policy.SafeSearch{YouTube: policy.YouTubeModerate}, SafeSearchSet: true}, policy.Group{SafeSearch: policy.SafeSearch{YouTube: policy.YouTubeStrict}, SafeSearchSet: true}, true},
		"and not less strict":                                {policy.Group{SafeSearch: policy.SafeSearch{YouTube: policy.YouTubeStrict}, SafeSearchSet: true}, policy.Group{SafeSearch: policy.SafeSearch{YouTube: policy.YouTubeModerate}, SafeSearchSet: true}, false},
		"an allow-list without engines needs no safe search": {policy.Group{SafeSearch: policy.SafeSearch{Search: true}, SafeSearchSet: true}, policy.Group{OnlySet: true, Only: namesOf(t, "bbc.co.uk")}, true},
		"one with an engine does":                            {policy.Group{SafeSearch: policy.SafeSearch{Search: true}, SafeSearchSet: true}, policy.Group{OnlySet: true, Only: namesOf(t, "bing.com")}, false},
	} {
		for kind, c := range map[string]policy.Client{"MAC": {MAC: mac}, "name": {Name: "y7-ipad-3"}, "host name": {}} {
			got := placed(t, policy.Client{Addr: unknown, MAC: c.MAC, Name: c.Name}, map[bool]string{true: "y7.dns.school.example"}[kind == "host name"], func(s *policy.Spec) {
				s.Calendar.Periods = []policy.Period{lunch, late}
				from, to := test.from, test.to
				from.Name, to.Name = "from", "to"
				from.Clients = prefixes("192.168.0.0/16")
				to.MACs, to.Devices, to.Hosts = []string{mac}, []string{"y7-*"}, []string{"y7.dns.school.example"}
				s.Groups = append(s.Groups, from, to)
			})
			if moves := got == "to"; moves != test.moves {
				t.Errorf("%s: by its %s it is in %s", what, kind, got)
			}
		}
	}
}

// TestAGroupThatTakesADeviceNeverBlocksLess asks, for random groups, at each hour of a week.
func TestAGroupThatTakesADeviceNeverBlocksLess(t *testing.T) {
	t.Parallel()
	categories := []string{"pornography", "gaming", "doh"}
	listed := map[string]string{"pornography": "porn.example", "gaming": "both.example", "doh": "doh.example"}
	periods := []policy.Period{
		{Name: "a", Times: []policy.Span{{Days: 62, From: 9 * 60, To: 12 * 60}}}, {Name: "b", Times: []policy.Span{{Days: 127, From: 11 * 60, To: 14 * 60}}}, {Name: "c", Times: []policy.Span{{Days: 65, From: 13 * 60, To: 10 * 60}}},
	}
	rapid.Check(t, func(r *rapid.T) {
		some := func(what string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(categories), 0, 2, rapid.ID).Draw(r, what)
		}
		random := func(name string) policy.Group {
			g := policy.Group{Name: name, Block: some(name + " blocks")}
			for i := range rapid.IntRange(0, 2).Draw(r, name+" changes") {
				g.Schedule = append(g.Schedule, policy.Change{
					During: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, fmt.Sprint(name, " during ", i)), Block: some("then"), Unblock: some("not then"),
				})
			}
			return g
		}
		from, to := random("from"), random("to")
		from.Clients, to.MACs = prefixes("192.168.0.0/16"), []string{mac}
		p := school(t, func(s *policy.Spec) {
			s.Calendar.Periods = periods
			s.Groups = append(s.Groups, from, to)
		})
		was, _ := p.Identify(unknown)
		is, by := p.Place(&policy.Client{Addr: unknown, MAC: mac}, "")
		if by != policy.ByMAC {
			return
		}
		for hour := range 7 * 24 * 2 {
			at := noon.Add(time.Duration(hour) * 30 * time.Minute)
			for _, c := range categories {
				n := []byte(name(t, listed[c]))
				if p.Decide(was, n, at).Action == policy.Block && p.Decide(is, n, at).Action != policy.Block {
					r.Fatalf("%s is open to it at %v", c, at)
				}
			}
		}
	})
}

func TestTheSameClientInTwoGroupsIsAnError(t *testing.T) {
	t.Parallel()
	for kind, add := range map[string]func(g *policy.Group){
		"mac:" + mac:  func(g *policy.Group) { g.MACs = []string{mac} },
		"name:y7-*":   func(g *policy.Group) { g.Devices = []string{"y7-*"} },
		"name:y7":     func(g *policy.Group) { g.Devices = []string{"y7"} },
		"host:y7.dns": func(g *policy.Group) { g.Hosts = []string{"y7.dns"} },
	} {
		spec := policy.Spec{DefaultGroup: "a", Groups: []policy.Group{{Name: "a"}, {Name: "b"}}}
		add(&spec.Groups[0])
		add(&spec.Groups[1])
		_, err := policy.Compile(spec, nil, false)
		if want := `groups "a" and "b" both have the clients ` + kind; err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", kind, err, want)
		}
	}
}

func TestWhatIsKnownIsPlacedAnewByEachPolicy(t *testing.T) {
	known := &policy.Known{Client: policy.Client{Addr: pupil, MAC: mac}}
	before := school(t, nil)
	after := school(t, func(s *policy.Spec) { group(s, "guests").MACs = []string{mac} })
	for generation, p := range []*policy.Policy{before, after, after, before} {
		want := map[*policy.Policy]string{before: "year7", after: "guests"}[p]
		if got := p.Groups()[known.Group(p, uint32(generation+1))]; got != want {
			t.Errorf("under policy %d it is in %s, want %s", generation, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { known.Group(before, 4) }); n != 0 {
		t.Errorf("%v allocations for a known client", n)
	}
}

func TestANetworkHasTheGroupOfTheRangeThatHoldsIt(t *testing.T) {
	t.Parallel()
	p := school(t, nil)
	for network, want := range map[string]string{"10.1.2.0/24": "staff", "10.1.0.0/16": "staff", "10.0.0.0/8": "year7", "172.16.9.0/25": "guests", "198.51.100.0/24": "year7"} {
		if got := p.Groups()[p.OfNetwork(netip.MustParsePrefix(network))]; got != want {
			t.Errorf("%s is in %s, want %s", network, got, want)
		}
	}
}

func TestExplainSaysByWhatAGroupWasFound(t *testing.T) {
	t.Parallel()
	p := school(t, func(s *policy.Spec) {
		group(s, "guests").MACs, group(s, "guests").Devices = []string{mac}, []string{"guest-*"}
		group(s, "staff").Devices = []string{"office-?"}
	})
	for _, test := range []struct {
		client policy.Client
		want   string
	}{
		{policy.Client{Addr: pupil, MAC: mac}, "1. access: 10.20.3.4 may ask, and is in group guests by its MAC 00:11:22:33:44:55"},
		{policy.Client{Addr: pupil, Name: "guest-1"}, "1. access: 10.20.3.4 may ask, and is in group guests by its name guest-1"},
		{policy.Client{Addr: pupil}, "1. access: 10.20.3.4 may ask, and is in group year7 by its address"},
		{policy.Client{Addr: unknown}, "1. access: 192.168.77.1 may ask, and is in group year7 as an unknown client (default_group)"},
		{
			policy.Client{Addr: pupil, Name: "office-1"},
			"1. access: 10.20.3.4 may ask, and is in group year7 by its address; by its name office-1 it would be in group staff, which does not block all that group year7 blocks and does not say trust_identity",
		},
		{policy.Client{Addr: outside, MAC: mac}, "1. access: 203.0.113.9 is not in access.allow: refused"},
	} {
		ex := p.ExplainClient(test.client, name(t, "museum.example"), noon)
		if ex.Steps[0] != test.want {
			t.Errorf("%v:\n got %s\nwant %s", test.client, ex.Steps[0], test.want)
		}
	}
}

func TestGlobs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "anything", true},
		{"y7-?", "y7-1", true},
		{"y7-?", "y7-", false},
		{"y7-?", "y7-12", false},
		{"*-ipad-*", "y7-ipad-3", true},
		{"*-ipad-*", "ipad-3", false},
		{"a*b*c", "aXbXbXc", true},
		{"a*b*c", "aXbXbX", false},
		{"**", "x", true},
		{strings.Repeat("*a", 30) + "b", strings.Repeat("a", 250), false},
	} {
		if got := placed(t, policy.Client{Addr: pupil, Name: test.text}, "", func(s *policy.Spec) {
			group(s, "guests").Devices = []string{test.pattern}
		}) == "guests"; got != test.want {
			t.Errorf("%s matches %s: %v", test.pattern, test.text, got)
		}
	}
}
