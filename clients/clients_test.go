package clients_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"schoolgate/clients"
)

// week is a school with its clock, from a Monday morning in November on.
type week struct {
	*clients.Register
	t       testing.TB
	at      time.Time
	school  clients.School
	present map[netip.Addr]clients.Presence
}

func newWeek(t testing.TB) *week {
	t.Helper()
	london, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	w := &week{t: t, at: time.Date(2026, 11, 16, 9, 0, 0, 0, london), present: map[netip.Addr]clients.Presence{}}
	w.Register = clients.New(func() time.Time { return w.at })
	w.school = clients.School{
		Keep: 7 * 24 * time.Hour, Zone: london, Terms: true, Groups: []string{"year7", "staff"},
		SchoolDay: func(at time.Time) bool {
			day := at.In(london).Weekday()
			return day != time.Saturday && day != time.Sunday
		},
	}
	return w
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// pupil is the n-th device of year 7.
func pupil(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 20, byte(n / 250), byte(1 + n%250)}) }

// asks is questions of a client for so many names.
func asks(client netip.Addr, group string, questions uint64, names int) clients.Asked {
	a := clients.Asked{Client: client, Group: group, Questions: questions}
	for n := range names {
		a.Names.Add(rand.New(rand.NewPCG(uint64(n), 7)).Uint64())
	}
	return a
}

// class is n devices of year 7 that each ask 100 questions for 60 names.
func class(n int) (all []clients.Asked) {
	for i := range n {
		all = append(all, asks(pupil(i), "year7", 100, 60))
	}
	return all
}

// pass lets minutes pass in each of which the same is asked.
func (w *week) pass(minutes int, asked ...clients.Asked) {
	for range minutes {
		w.at = w.at.Add(time.Minute)
		w.Merge(asked, 0, w.present, w.school)
	}
}

func (w *week) client(a netip.Addr) clients.Client {
	w.t.Helper()
	list := w.List(w.school)
	i := slices.IndexFunc(list, func(c clients.Client) bool { return c.Addr == a })
	if i < 0 {
		w.t.Fatalf("%v is not in the list", a)
	}
	return list[i]
}

func TestAnAddressThatAsksLikeThirtyIsTold(t *testing.T) {
	router := addr("10.0.0.10")
	for _, c := range []struct {
		what  string
		asked clients.Asked
		class int
		busy  bool
	}{
		{"a router in front of many asks much, for many names", asks(router, "year7", 6000, 900), 20, true},
		{"a device in a loop asks much, for a few names", asks(router, "year7", 6000, 9), 20, false},
		{"one that asks twenty times as much may be a teacher", asks(router, "year7", 2000, 900), 20, false},
		{"of few clients none is like the others", asks(router, "year7", 6000, 900), 8, false},
		{"one that is said to be shared is known", clients.Asked{Client: router, Group: "dc", Shared: true, Questions: 6000, Names: asks(router, "", 0, 900).Names}, 20, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWeek(t)
			w.pass(1, append(class(c.class), c.asked)...)
			if got := w.client(router); got.Busy != c.busy {
				t.Errorf("%+v", got)
			}
			if _, busy := w.Stats(w.school); (len(busy) == 1) != c.busy {
				t.Errorf("status tells of %v", busy)
			}
		})
	}
}

func TestAQuietNightMakesNobodyBusy(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	var quiet []clients.Asked
	for i := range 20 {
		quiet = append(quiet, asks(pupil(i), "year7", 2, 2))
	}
	w.pass(1, append(quiet, asks(addr("10.0.0.10"), "year7", 400, 300))...)
	if c := w.client(addr("10.0.0.10")); c.Busy || c.Times != 200 {
		t.Errorf("400 questions in an hour are no crowd: %+v", c)
	}
}

func TestTheLastHourSlidesAndTheLastDayEnds(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	a := pupil(1)
	w.pass(59, asks(a, "year7", 100, 5)) // until 09:59
	if c := w.client(a); c.Hour != 5900 || c.Day != 5900 {
		t.Errorf("at 09:59: %+v", c)
	}
	w.pass(31) // until 10:30
	if c := w.client(a); c.Hour != 2950 || c.Day != 5900 || c.Names != 5 {
		t.Errorf("at 10:30: %+v", c)
	}
	w.pass(60)
	if c := w.client(a); c.Hour != 0 || c.Day != 5900 || c.Names != 0 {
		t.Errorf("at 11:30: %+v", c)
	}
	w.pass(23 * 60)
	if c := w.client(a); c.Day != 0 {
		t.Errorf("a day later: %+v", c)
	}
}

// A device asks in the morning as devices do; others of its group go on until the evening.
func silenceOf(w *week, device netip.Addr, mornings int) {
	for range mornings {
		w.pass(4*60, append(class(5), asks(device, "year7", 10, 5))...) // until 13:00
		w.pass(20 * 60)
	}
}

func TestADeviceThatAsksNoMoreIsTold(t *testing.T) {
	device := addr("10.20.9.9")
	mac := "00:11:22:33:44:55"
	for _, c := range []struct {
		what          string
		then          func(*week)
		silent, still bool
	}{
		{"while others of its group go on", func(w *week) { w.pass(4*60, class(5)...) }, true, false},
		{"not within two hours", func(w *week) { w.pass(110, class(5)...) }, false, false},
		{"not where its group has gone home too", func(w *week) { w.pass(4 * 60) }, false, false},
		{"not where only two others go on", func(w *week) { w.pass(4*60, class(2)...) }, false, false},
		{"the kernel reaches it long after it asked last: still there", func(w *week) {
			w.pass(3*60, class(5)...)
			w.present[device] = clients.Presence{MAC: mac, Reached: w.at}
			w.pass(60, class(5)...)
		}, true, true},
		{"it renews its lease long after it asked last: still there", func(w *week) {
			w.pass(3*60, class(5)...)
			w.present[device] = clients.Presence{MAC: mac, Lease: w.at.Add(5 * time.Hour)}
			w.pass(60, class(5)...)
		}, true, true},
		{"a sign-in that is told of again: still there", func(w *week) {
			w.pass(3*60, class(5)...)
			w.present[device] = clients.Presence{MAC: mac, Lease: w.at.Add(2 * time.Hour), SignIn: w.at.Add(12 * time.Hour)}
			w.pass(60, class(5)...)
		}, true, true},
		{"a lease that runs on shows nothing", func(w *week) { w.pass(4*60, class(5)...) }, true, false},
		{"another device that has the address now shows nothing", func(w *week) {
			w.pass(3*60, class(5)...)
			w.present[device] = clients.Presence{MAC: "00:11:22:33:44:66", Reached: w.at, Lease: w.at.Add(9 * time.Hour)}
			w.pass(60, class(5)...)
		}, true, false},
		{"not where it asks from another of its addresses", func(w *week) {
			six := addr("2001:db8::9")
			w.present[six] = clients.Presence{MAC: mac, Reached: w.at}
			w.pass(4*60, append(class(5), asks(six, "year7", 10, 5))...)
		}, false, false},
		{"not where schoolgate did not run meanwhile", func(w *week) {
			w.at = w.at.Add(3 * time.Hour)
			w.pass(60, class(5)...)
		}, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWeek(t)
			w.present[device] = clients.Presence{MAC: mac, Reached: w.at, Lease: w.at.Add(8 * time.Hour), SignIn: w.at.Add(8 * time.Hour)}
			w.pass(4*60, append(class(5), asks(device, "year7", 10, 5))...)
			c.then(w)
			got := w.client(device)
			if got.Silent != c.silent || got.Still != c.still {
				t.Errorf("%s: %+v", w.at.Format("Mon 15:04"), got)
			}
			stats, _ := w.Stats(w.school)
			if stats.Silent != count(c.silent) || stats.Still != count(c.still) {
				t.Errorf("%+v", stats)
			}
		})
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

func TestWhatNeverAskedAsDevicesDoIsNotSilent(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	printer, shared, temporary := addr("10.20.9.1"), addr("10.20.9.2"), addr("2001:db8::77")
	dc := asks(shared, "year7", 50, 5)
	dc.Shared = true
	w.pass(5, append(class(5), asks(printer, "year7", 3, 1), dc)...) // looks for updates
	w.pass(4*60, append(class(5), dc, asks(temporary, "year7", 5, 5))...)
	w.pass(4*60, class(5)...)
	for _, a := range []netip.Addr{printer, shared, temporary} {
		if c := w.client(a); c.Silent {
			t.Errorf("%+v", c)
		}
	}
}

func TestFiveSchoolDaysReachOverTheWeekend(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	device := addr("10.20.9.9")
	silenceOf(w, device, 1) // on a Monday
	w.pass(4 * 24 * 60)     // until Saturday, 09:00
	w.pass(5*60, class(5)...)
	if c := w.client(device); !c.Silent {
		t.Errorf("on Saturday its Monday counts: %+v", c)
	}
	w.pass(43*60, class(5)...) // until Monday
	if c := w.client(device); c.Silent {
		t.Errorf("a week later it does not: %+v", c)
	}
}

func TestClientsAreForgottenAfterTheirTimeAndWhenThereAreTooMany(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	old := addr("10.20.9.9")
	w.pass(1, asks(old, "year7", 1, 1))
	w.pass(7 * 24 * 60)
	if got := w.List(w.school); len(got) != 1 {
		t.Errorf("on the last day: %d", len(got))
	}
	w.pass(1)
	if got := w.List(w.school); len(got) != 0 {
		t.Errorf("a week later: %v", got)
	}
	w.pass(1, asks(old, "year7", 1, 1))
	flood, from := make([]clients.Asked, clients.MaxClients), addr("2001:db8::")
	for i := range flood {
		flood[i] = clients.Asked{Client: from, Group: "year7", Questions: 1}
		from = from.Next()
	}
	w.pass(1, flood...)
	stats, _ := w.Stats(w.school)
	if stats.Clients != clients.MaxClients || stats.Forgotten != 1 {
		t.Errorf("%+v", stats)
	}
	if slices.ContainsFunc(w.List(w.school), func(c clients.Client) bool { return c.Addr == old }) {
		t.Error("the stalest is still there")
	}
}

func TestNothingIsKeptWhereNothingIsToBe(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	w.pass(1, class(5)...)
	w.school.Keep = 0
	w.pass(1, class(5)...)
	if got := w.List(w.school); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestAGroupThatAsksFarLessThanInOtherWeeksIsTold(t *testing.T) {
	// weeks has year 7 ask so much in the hour from 10:00 on each of the Mondays.
	weeks := func(w *week, questions ...uint64) {
		for i, n := range questions {
			if i > 0 {
				w.at = w.at.AddDate(0, 0, 7).Add(-3 * time.Hour)
			}
			w.pass(59)
			w.pass(60, asks(pupil(1), "year7", n/60, 5), asks(addr("10.1.0.1"), "staff", 100, 5)) // from 10:00
			w.pass(61)
		}
	}
	for _, c := range []struct {
		what   string
		change func(*week)
		asked  []uint64
		want   string
	}{
		{"to an eighth", nil, []uint64{6000, 7200, 6600, 840}, "year7 840 of 6000 in 3 weeks from 10:00"},
		{"to a third is no fall", nil, []uint64{6000, 7200, 6600, 2040}, ""},
		{"one week that was as quiet makes it usual", nil, []uint64{6000, 600, 6600, 840}, ""},
		{"a single week before says little", nil, []uint64{6000, 840}, ""},
		{"few questions are chance", nil, []uint64{240, 300, 240, 0}, ""},
		{"without terms nobody knows a holiday", func(w *week) { w.school.Terms = false }, []uint64{6000, 7200, 6600, 840}, ""},
		{"a closed day is none", func(w *week) {
			school := w.school.SchoolDay
			w.school.SchoolDay = func(at time.Time) bool { return school(at) && at.Month() != time.December }
		}, []uint64{6000, 7200, 6600, 840}, ""},
		{"a closed day is not compared with", func(w *week) {
			school := w.school.SchoolDay
			w.school.SchoolDay = func(at time.Time) bool { return school(at) && at.Day() != 23 }
		}, []uint64{6000, 0, 6600, 840}, "year7 840 of 6000 in 2 weeks from 10:00"},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			w := newWeek(t)
			if c.change != nil {
				c.change(w)
			}
			weeks(w, c.asked...)
			got := ""
			for _, f := range w.Falls() {
				got += fmt.Sprintf("%s %d of %d in %d weeks from %s", f.Group, f.Asked, f.Least, f.Weeks, f.From.Format("15:04"))
			}
			if got != c.want {
				t.Errorf("on %s: %q, want %q", w.at.Format(time.DateOnly), got, c.want)
			}
			w.pass(24 * 60)
			if got := w.Falls(); len(got) != 0 {
				t.Errorf("the next day: %v", got)
			}
		})
	}
}

// The clocks go back on 25 October: the same lesson is another hour in UTC.
func TestAFallIsFoundByTheClockOnTheWall(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	w.at = time.Date(2026, 10, 12, 8, 0, 0, 0, w.school.Zone)
	for week := range 3 {
		w.pass(120)
		questions := uint64(100)
		if week == 2 {
			questions = 10
		}
		w.pass(60, asks(pupil(1), "year7", questions, 5)) // from 10:00
		w.pass(60)
		w.at = time.Date(2026, 10, 12+7*(week+1), 8, 0, 0, 0, w.school.Zone)
	}
	w.at = time.Date(2026, 10, 26, 12, 0, 0, 0, w.school.Zone)
	if got := w.Falls(); len(got) != 1 || got[0].From.Format("15:04") != "10:00" {
		t.Errorf("%v", got)
	}
}

func TestTheRecordSurvivesARestart(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	device := addr("10.20.9.9")
	w.present[device] = clients.Presence{MAC: "00:11:22:33:44:55", Reached: w.at}
	w.pass(4*60, append(class(12), asks(device, "year7", 10, 5))...)
	before := w.client(device)
	w.restart()
	if after := w.client(device); after.First != before.First || !after.Last.Equal(before.Last) || after.Day != before.Day || after.MAC != before.MAC || !after.Seen.Equal(before.Seen) {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	w.pass(4*60, class(12)...)
	if c := w.client(device); !c.Silent {
		t.Errorf("%+v", c)
	}
}

func (w *week) restart() {
	w.t.Helper()
	data, err := json.Marshal(w.Register)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.Register, err = clients.Load(data, func() time.Time { return w.at }); err != nil {
		w.t.Fatal(err)
	}
}

func TestAClockThatWasWrongLeavesNothingOfTheFuture(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	now := w.at
	w.at = now.AddDate(5, 0, 0)
	w.pass(1, class(3)...)
	w.at = now
	w.restart()
	if got := w.List(w.school); len(got) != 0 {
		t.Errorf("%v", got)
	}
	w.pass(1, class(3)...)
	if got := w.List(w.school); len(got) != 3 || got[0].Hour != 100 {
		t.Errorf("%v", got)
	}
}

func TestWhatIsDamagedIsNotLoaded(t *testing.T) {
	t.Parallel()
	for _, data := range []string{
		"", "[]", "{", `{"version":2}`, `{"version":1,"clients":{"10.20.0.1":null}}`, `{"version":1,"clients":{"x":{}}}`,
		`{"version":1,"clients":{"10.20.0.1":{"hour":-1}}}`, `{"version":1,"history":{"groups":{"a":null}}}`,
	} {
		if _, err := clients.Load([]byte(data), time.Now); err == nil {
			t.Errorf("%q is loaded", data)
		}
	}
}

func FuzzLoad(f *testing.F) {
	w := newWeek(f)
	w.pass(3, class(2)...)
	data, err := json.Marshal(w.Register)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1,"clients":{"10.20.0.1":{"hour":9,"day":9}},"history":{"hour":9,"groups":{"a":[1]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWeek(t)
		r, err := clients.Load(data, func() time.Time { return w.at })
		if err != nil {
			return
		}
		w.Register = r
		w.pass(2, class(2)...)
		if len(w.List(w.school)) < 2 {
			t.Error("who asks now is not in the list")
		}
		w.Stats(w.school)
		w.restart()
	})
}

func TestATallyCountsEachClientAndIsBounded(t *testing.T) {
	t.Parallel()
	var tally clients.Tally
	for n := range uint64(100) {
		tally.Note(pupil(1), "year7", false, 2, n+1)
	}
	tally.Note(pupil(2), "year7", true, 1, 0)
	asked, lost := tally.Take()
	if len(asked) != 2 || asked[0].Questions != 200 || asked[1].Questions != 1 || !asked[1].Shared || asked[1].Names.Count() != 0 || lost != 0 {
		t.Errorf("%+v, %d lost", asked, lost)
	}
	from := addr("2001:db8::")
	for range 10_000 {
		tally.Note(from, "year7", false, 3, 1)
		from = from.Next()
	}
	if asked, lost = tally.Take(); len(asked) != 8192 || lost != 3*(10_000-8192) {
		t.Errorf("%d clients, %d lost", len(asked), lost)
	}
	if asked, lost = tally.Take(); len(asked) != 0 || lost != 0 {
		t.Errorf("once taken: %v, %d lost", asked, lost)
	}
}

func TestASketchIsRightGiveOrTakeAThird(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 10, 50, 100, 200, 1000, 10_000, 1_000_000} {
		var one, two, both clients.Sketch
		for i := range n {
			hash := random.Uint64()
			both.Add(hash)
			both.Add(hash)
			if i%2 == 0 {
				one.Add(hash)
			} else {
				two.Add(hash)
			}
		}
		if got := both.Count(); math.Abs(float64(got-n)) > float64(n)/3 {
			t.Errorf("%d names are %d", n, got)
		}
		if one.Merge(&two); one != both {
			t.Errorf("%d names in two halves are others", n)
		}
	}
}

// BenchmarkNote is what it costs to note a client that is known.
func BenchmarkNote(b *testing.B) {
	var tally clients.Tally
	client := pupil(1)
	b.ReportAllocs()
	for i := uint64(1); b.Loop(); i++ {
		tally.Note(client, "year7", false, 1, i*0x9e3779b97f4a7c15)
	}
}

// BenchmarkMerge is a minute of a large school.
func BenchmarkMerge(b *testing.B) {
	w := newWeek(b)
	asked := class(5000)
	b.ReportAllocs()
	for b.Loop() {
		w.pass(1, asked...)
	}
}

func TestADeviceIsForgottenWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWeek(t)
	four, six, other := addr("10.20.9.9"), addr("2001:db8::9"), addr("10.20.9.8")
	for _, a := range []netip.Addr{four, six} {
		w.present[a] = clients.Presence{MAC: "00:11:22:33:44:55"}
	}
	w.pass(5, asks(four, "year7", 1, 1), asks(six, "year7", 1, 1), asks(other, "year7", 1, 1))
	day := func(back int) (from, to time.Time) { return w.at.AddDate(0, 0, -back), w.at.AddDate(0, 0, 1-back) }
	from, to := day(2)
	if n := w.Forget(clients.Whose{Addr: four, From: from, To: to}); n != 0 {
		t.Errorf("of a time when it did not ask: %d", n)
	}
	from, to = day(0)
	if n := w.Forget(clients.Whose{From: from, To: to}); n != 0 {
		t.Errorf("of nobody: %d", n)
	}
	if n := w.Forget(clients.Whose{MAC: "00:11:22:33:44:55", From: from, To: to}); n != 2 {
		t.Errorf("by its MAC: %d addresses", n)
	}
	if n := w.Forget(clients.Whose{Addr: other, From: from, To: to}); n != 1 || len(w.List(w.school)) != 0 {
		t.Errorf("by its address: %d", n)
	}
}
