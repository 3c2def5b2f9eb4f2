package breach

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// goes are names asked for at seconds after ten past ten, once each.
func goes(names string, seconds ...float64) []turnOf {
	all := strings.Fields(names)
	var g []turnOf
	for i, s := range seconds {
		g = append(g, turnOf{all[i%len(all)] + ".", tenPast.Add(time.Duration(s * float64(time.Second))), 1})
	}
	return g
}

// clockwork is a name asked for n times at an interval, each time off by up to jitter.
func clockwork(name string, n int, interval, jitter time.Duration) []turnOf {
	random := rand.New(rand.NewPCG(6, 28))
	var g []turnOf
	for i := range n {
		off := time.Duration(0)
		if jitter > 0 {
			off = time.Duration(random.Int64N(int64(2*jitter))) - jitter
		}
		g = append(g, turnOf{name + ".", tenPast.Add(time.Duration(i)*interval + off), 2})
	}
	return g
}

func TestWhatAnIncidentLooksLike(t *testing.T) {
	day := func(time.Time) bool { return true }
	somebody := goes("a.example b.example c.example d.example", 0, 9, 60, 200, 215)
	beacon := clockwork("ads.example", 37, 5*time.Minute, time.Second)
	steadily := func(each func(minute int) int64) (g []turnOf) {
		for m := range 100 {
			g = append(g, turnOf{"ads.example.", tenPast.Truncate(time.Minute).Add(time.Duration(m)*time.Minute + 50*time.Second), each(m)})
		}
		return g
	}
	asleep := append(clockwork("ads.example", 20, 5*time.Minute, 0)[:9], clockwork("ads.example", 20, 5*time.Minute, 0)[11:]...)
	const tooLittle, neither = "too little of it to tell", "its times and names look neither like somebody's nor like a machine's"
	for title, c := range map[string]struct {
		p    pattern
		want LooksLike
	}{
		"a beacon is background, and why is said": {
			pattern{goes: beacon},
			LooksLike{LooksBackground, []string{"ads.example was asked for every 5 min, give or take 2 s, for 3 h"}},
		},
		"a beacon that was missed while the device slept": {
			pattern{goes: asleep}, LooksLike{LooksBackground, []string{"ads.example was asked for every 5 min, give or take 1 s, for 95 min"}},
		},
		"as often each minute, for more than an hour": {
			pattern{goes: steadily(func(m int) int64 { return 12 + int64(m%2) })},
			LooksLike{LooksBackground, []string{"ads.example was asked for 12 to 13 times in each minute of 98 min"}},
		},
		"names that devices ask for by themselves, each said once": {
			pattern{goes: goes("v10.events.data.microsoft.com eu.events.data.microsoft.com app-measurement.com", 0, 100, 130)},
			LooksLike{LooksBackground, []string{
				"v10.events.data.microsoft.com is known: Windows and Office report how they are used", "app-measurement.com is known: apps report how they are used",
			}},
		},
		"on a day without school that is said too": {
			pattern{goes: goes("doubleclick.net", 0), nobodyIn: day},
			LooksLike{LooksBackground, []string{"doubleclick.net is known: adverts in pages and apps", "it was on a day without school"}},
		},
		"one thing after the other looks like somebody": {
			pattern{goes: somebody},
			LooksLike{LooksPerson, []string{"4 different names in 5 goes, 9 s to 140 s apart, as somebody does who tries one thing after the other"}},
		},
		"also with what each page pulls in": {
			pattern{goes: goes("a.example ads.example b.example ads.example c.example ads.example d.example ads.example", 0, 1, 60, 61, 69, 69.5, 200, 201)},
			LooksLike{LooksPerson, []string{"4 different names in 4 goes, 9 s to 131 s apart, as somebody does who tries one thing after the other"}},
		},
		"but on a day without school nobody can tell": {
			pattern{goes: somebody, nobodyIn: day},
			LooksLike{LooksUnclear, []string{
				"4 different names in 5 goes, 9 s to 140 s apart, as somebody does who tries one thing after the other", "but it was on a day without school",
			}},
		},
		"what one page pulls in is not somebody's": {
			pattern{goes: goes("a.example b.example c.example d.example", 0, 0.2, 0.4, 1.9)},
			LooksLike{LooksUnclear, []string{"4 names were asked for within 2 s of each other, a.example first: as when one page or app pulls them in"}},
		},
		"nor is the same page opened again and again": {
			pattern{goes: goes("a.example b.example c.example", 0, 0.2, 0.4, 30, 30.1, 30.2, 200, 200.2, 200.3, 230, 231, 231.5)},
			LooksLike{LooksUnclear, []string{"3 names were asked for within 2 s of each other, a.example first: as when one page or app pulls them in"}},
		},
		"one question is too little": {pattern{goes: goes("a.example", 0)}, LooksLike{LooksUnclear, []string{tooLittle}}},

		// Those who must not be taken for a machine.
		"a child who waits as long each time, by chance, for an hour": {
			pattern{goes: clockwork("a.example", 12, 6*time.Minute, time.Second)}, LooksLike{LooksUnclear, []string{neither}},
		},
		"a child at the same break each half hour": {
			pattern{goes: clockwork("a.example", 13, 30*time.Minute, 40*time.Second)}, LooksLike{LooksUnclear, []string{neither}},
		},
		"a child who reloads a page by hand as regularly as a hand can": {
			pattern{goes: clockwork("a.example", 60, 2*time.Minute, 6*time.Second)}, LooksLike{LooksUnclear, []string{neither}},
		},
		"a child who presses reload, more often now and less often then": {
			pattern{goes: steadily(func(m int) int64 { return 2 + int64(m%5) })}, LooksLike{LooksUnclear, []string{neither}},
		},
		"a beacon, and a name that is none": {
			pattern{goes: append(clockwork("ads.example", 37, 5*time.Minute, 0), goes("a.example", 10_900)...)},
			LooksLike{LooksUnclear, []string{"ads.example was asked for every 5 min, give or take 1 s, for 3 h", "but not all that was asked for is like that"}},
		},
		"a beacon while something else was tried": {
			pattern{goes: beacon, elsewhere: true},
			LooksLike{LooksUnclear, []string{
				"ads.example was asked for every 5 min, give or take 2 s, for 3 h", "but at the same time the device asked for something in another incident",
			}},
		},
		"adverts, and a name that only ends like theirs": {
			pattern{goes: goes("doubleclick.net notdoubleclick.net doubleclick.net.example", 0, 5, 9)},
			LooksLike{LooksUnclear, []string{"doubleclick.net is known: adverts in pages and apps", "but not all that was asked for is like that"}},
		},
		"a beacon in a critical category": {
			pattern{goes: beacon, critical: true},
			LooksLike{LooksUnclear, []string{"in what is critical nothing is put down to background traffic: look at it as if it were a person"}},
		},
		"adverts in a confidential category": {
			pattern{goes: goes("doubleclick.net", 0), confidential: true},
			LooksLike{LooksUnclear, []string{"the names are not written down, and nothing here is put down to background traffic: look at it as if it were a person"}},
		},
		"of which there is more than was read": {
			pattern{goes: beacon, partial: true}, LooksLike{LooksUnclear, []string{"there is too much of it to be judged by its pattern"}},
		},

		// Those who must not be taken for a person.
		"many people at one address": {
			pattern{goes: somebody, shared: true},
			LooksLike{LooksUnclear, []string{"many people are behind this address: what one did can't be told from what another did"}},
		},
		"a program that waits longer each time": {
			pattern{goes: goes("a.example b.example c.example d.example e.example f.example", 0, 5, 15, 35, 75, 155)}, LooksLike{LooksUnclear, []string{neither}},
		},
		"a program that goes through its list": {
			pattern{goes: func() (g []turnOf) {
				for i := range 100 {
					g = append(g, goes(fmt.Sprintf("s%d.example", i), float64(i*i%7+i*10))...)
				}
				return g
			}()},
			LooksLike{LooksUnclear, []string{neither}},
		},
		"nothing is left": {pattern{}, LooksLike{LooksUnclear, []string{"nothing of its times is left"}}},
	} {
		t.Run(title, func(t *testing.T) {
			if diff := cmp.Diff(c.want, looksLike(c.p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestChanceMakesNoMachine plays ten thousand children who ask for one name at times that are theirs: by chance, in a
// rhythm that a person can keep, by the bell.
func TestChanceMakesNoMachine(t *testing.T) {
	random := rand.New(rand.NewPCG(2026, 11))
	for child := range 10_000 {
		base := time.Duration(60+random.IntN(1200)) * time.Second
		spread := float64(base) * (0.05 + 0.5*random.Float64())
		at := tenPast
		var g []turnOf
		for range 3 + random.IntN(60) {
			at = at.Add(max(time.Second, base+time.Duration(random.NormFloat64()*spread)))
			g = append(g, turnOf{"a.example.", at, 1 + int64(random.IntN(3))})
		}
		if l := looksLike(pattern{goes: g}); l.Kind == LooksBackground {
			t.Fatalf("child %d, every %v or so, is taken for a machine: %q", child, base, l.Why)
		}
	}
}
