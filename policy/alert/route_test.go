package alert

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/policy"
)

// house has a DSL whose own devices are known, and so are those of the one who stands in.
func house(t *testing.T) Config {
	t.Helper()
	pattern := func(s string) policy.ClientPattern {
		p, err := policy.ParseClientPattern(s)
		must(t, err)
		return p
	}
	return Config{
		Site: "winchelsea",
		Calendar: policy.Calendar{Zone: london(t), Periods: []policy.Period{
			{Name: "lessons", Times: []policy.Span{{Days: 0x3e, From: 8*60 + 50, To: 15*60 + 20}}},
			{Name: "lunch", Times: []policy.Span{{Days: 0x3e, From: 12 * 60, To: 13 * 60}}},
			{Name: "night", Times: []policy.Span{{Days: 0x7f, From: 22 * 60, To: 6*60 + 30}}},
		}},
		Receivers: []Receiver{
			{Name: "dsl", Devices: []policy.ClientPattern{pattern("10.1.0.5"), pattern("mac:00:11:22:33:44:55"), pattern("name:dsl-laptop"), pattern("user:dsl")}, Deputy: "head"},
			{Name: "head", Devices: []policy.ClientPattern{pattern("10.1.0.6"), pattern("name:dsl-laptop")}, Deputy: "governor"},
			{Name: "governor"},
			{Name: "night"},
			{Name: "it"},
		},
		Routes: []Route{
			{Severities: []string{"critical", "high"}, To: []string{"dsl"}},
			{Severities: []string{"critical"}, To: []string{"dsl", "head"}},
			{Categories: []string{"gambling", "rule"}, Groups: []string{"boarders"}, To: []string{"dsl", "night"}},
			{Severities: []string{"medium"}, During: []string{"lessons", "night"}, To: []string{"dsl"}},
			{Severities: []string{"medium"}, Outside: []string{"lessons", "night"}, To: []string{"night"}},
			{Severities: []string{"low"}, Sites: []string{"rye"}, To: []string{"dsl"}},
			{Severities: []string{"low"}, To: []string{"dsl"}, Digest: schoolDays},
			{About: AboutSystem, To: []string{"it"}},
		},
	}
}

func TestWhoIsToldByWhatWhoWhereAndWhen(t *testing.T) {
	// 20 November 2026 is a Friday.
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 11, day, hour, minute, 0, 0, time.UTC) }
	client := func(c policy.Client) func(*Subject) { return func(s *Subject) { s.Client = c } }
	for what, c := range map[string]struct {
		subject func(*Subject)
		want    []string
	}{
		"a high one, to the DSL":                        {func(*Subject) {}, []string{"dsl"}},
		"a critical one, to the head too, each once":    {func(s *Subject) { s.Severity = "critical" }, []string{"dsl", "head"}},
		"a category of a group":                         {func(s *Subject) { s.Category, s.Group, s.Severity = "gambling", "boarders", "low" }, []string{"dsl", "night"}},
		"the same category of another group, to nobody": {func(s *Subject) { s.Category, s.Severity = "gambling", "low" }, nil},
		"another category of that group, to nobody":     {func(s *Subject) { s.Group, s.Severity = "boarders", "low" }, nil},
		"in lessons": {func(s *Subject) { s.Severity, s.Time = "medium", at(20, 10, 0) }, []string{"dsl"}},
		"the minute before lessons, out of hours":               {func(s *Subject) { s.Severity, s.Time = "medium", at(20, 8, 49) }, []string{"night"}},
		"the minute when they begin":                            {func(s *Subject) { s.Severity, s.Time = "medium", at(20, 8, 50) }, []string{"dsl"}},
		"the minute when they have ended":                       {func(s *Subject) { s.Severity, s.Time = "medium", at(20, 15, 20) }, []string{"night"}},
		"on a Saturday, out of hours":                           {func(s *Subject) { s.Severity, s.Time = "medium", at(21, 10, 0) }, []string{"night"}},
		"after midnight, in a period that began before":         {func(s *Subject) { s.Severity, s.Time = "medium", at(21, 3, 0) }, []string{"dsl"}},
		"another site, to nobody":                               {func(s *Subject) { s.Severity = "low" }, nil},
		"that site":                                             {func(s *Subject) { s.Severity, s.Site = "low", "rye" }, []string{"dsl"}},
		"alert_to in place of all":                              {func(s *Subject) { s.Severity, s.AlertTo, s.AlertToSet = "critical", []string{"governor"}, true }, []string{"governor"}},
		"alert_to where no route matches":                       {func(s *Subject) { s.Severity, s.AlertTo, s.AlertToSet = "low", []string{"governor"}, true }, nil},
		"the DSL's own address, to the head":                    {client(policy.Client{Addr: netip.MustParseAddr("10.1.0.5")}), []string{"head"}},
		"the DSL's own MAC, at another address":                 {client(policy.Client{Addr: pupil, MAC: "00:11:22:33:44:55"}), []string{"head"}},
		"the DSL signed in at another device":                   {client(policy.Client{Addr: pupil, User: "dsl"}), []string{"head"}},
		"a device of both, to the one after":                    {client(policy.Client{Addr: pupil, Name: "dsl-laptop.school.example"}), []string{"governor"}},
		"the head's own device, which is not the DSL's":         {client(policy.Client{Addr: netip.MustParseAddr("10.1.0.6")}), []string{"dsl"}},
		"the DSL's own, critical: the head once":                {func(s *Subject) { s.Severity, s.Client.User = "critical", "dsl" }, []string{"head"}},
		"the DSL's own, by alert_to":                            {func(s *Subject) { s.Client.User, s.AlertTo, s.AlertToSet = "dsl", []string{"dsl"}, true }, []string{"head"}},
		"the head's own, critical: the governor instead of him": {func(s *Subject) { s.Severity, s.Client.Addr = "critical", netip.MustParseAddr("10.1.0.6") }, []string{"dsl", "governor"}},
		"alert_to to one who is not there is kept":              {func(s *Subject) { s.AlertTo, s.AlertToSet = []string{"gone"}, true }, []string{"gone"}},
		"a device of which nothing is known is nobody's own":    {client(policy.Client{}), []string{"dsl"}},
		"somebody else of a similar name":                       {client(policy.Client{Addr: pupil, User: "dsl2", Name: "dsl-laptop-2"}), []string{"dsl"}},
	} {
		s := Subject{Severity: "high", Category: "pornography", Group: "year7", Site: "winchelsea", Time: at(20, 10, 0), Client: policy.Client{Addr: pupil}}
		c.subject(&s)
		config := house(t)
		if diff := cmp.Diff(c.want, config.Told(s)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestDeputiesWithoutEndTellNobodyAndDoEnd(t *testing.T) {
	config := house(t)
	config.Receivers[1].Deputy = "dsl" // config refuses it
	s := Subject{Severity: "high", Client: policy.Client{Name: "dsl-laptop"}}
	if got := config.Told(s); got != nil {
		t.Errorf("told are %q", got)
	}
}
