package resolver

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"schoolgate/resolver/dnswire"
)

func TestAServerThatIsBackIsFoundWithinFiveSeconds(t *testing.T) {
	s, now := testPool(t, "ordered").servers[0], time.Now()
	for range 20 { // down for ever longer, as questions are concerned
		s.didNotAnswer(now)
	}
	if !s.healthy(now.Add(downMost)) || s.healthy(now.Add(downMost-1)) {
		t.Fatal("not left alone for the longest time")
	}
	last := now
	for range 10 {
		due := last
		for !s.probeDue(due) {
			due = due.Add(10 * time.Millisecond)
		}
		if s.probeDue(due) {
			t.Fatal("two probes at one time")
		}
		if wait := due.Sub(last) + probeTick + probeTime; wait > 5*time.Second {
			t.Errorf("found after %v", wait)
		}
		last = due
		s.probed(last, false)
	}
	for !s.probeDue(last) {
		last = last.Add(10 * time.Millisecond)
	}
	s.probed(last, true)
	if !s.healthy(last) {
		t.Error("left alone though it answers")
	}
}

func TestAServerThatAnswersProbesOnlyIsLeftAloneAllTheSame(t *testing.T) {
	s, now := testPool(t, "ordered").servers[0], time.Now()
	for range failuresToDown {
		s.didNotAnswer(now)
	}
	var pauses []time.Duration
	for range 6 {
		due := now
		for !s.probeDue(due) {
			due = due.Add(10 * time.Millisecond)
		}
		pauses = append(pauses, due.Sub(now).Round(time.Second))
		s.probed(due, true)
		now = due
		s.didNotAnswer(now) // the first question is enough
		if s.healthy(now) {
			t.Fatal("asked on")
		}
	}
	want := []time.Duration{1, 2, 4, 8, 16, 30}
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(pauses, want) {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
}

func TestWhatIsUsualFollowsRFC6298WithinBounds(t *testing.T) {
	s := testPool(t, "ordered").servers[0]
	if got := s.usual(); got != shortTry {
		t.Errorf("%v of a server of which nothing is known", got)
	}
	for _, test := range []struct{ rtt, want time.Duration }{
		{40 * time.Millisecond, 120 * time.Millisecond},  // 40 + 4·20
		{40 * time.Millisecond, 100 * time.Millisecond},  // 40 + 4·15
		{120 * time.Millisecond, 175 * time.Millisecond}, // 50 + 4·31.25
		{10 * time.Second, shortTry},                     // never more than it is given
	} {
		s.answered(test.rtt)
		if got := s.usual(); got != test.want {
			t.Errorf("after %v: %v, want %v", test.rtt, got, test.want)
		}
	}
	quick := testPool(t, "ordered").servers[0]
	for range 30 {
		quick.answered(time.Millisecond)
	}
	if got := quick.usual(); got != leastUsual {
		t.Errorf("of a quick server: %v", got)
	}
}

func TestOneQuestionInTenIsHedgedAtMost(t *testing.T) {
	var b budget
	spent := 0
	for range 1000 {
		b.earn()
		if b.spend() {
			spent++
		}
	}
	if spent != 100 {
		t.Errorf("%d of 1000", spent)
	}
	for range 10_000 {
		b.earn()
	}
	for spent = 0; b.spend(); spent++ {
	}
	if spent != hedgeBurst {
		t.Errorf("%d saved up, want %d", spent, hedgeBurst)
	}
}

// bootstrapOf is one whose servers say what answers holds for a type.
func bootstrapOf(answers map[uint16]string, asked *int) *bootstrap {
	return newBootstrap(func(name []byte, typ uint16) (dnswire.Answer, bool) {
		if typ == dnswire.TypeA {
			*asked++
		}
		text, ok := answers[typ]
		if !ok {
			return dnswire.Answer{}, false
		}
		addr := netip.MustParseAddr(text)
		query := dnswire.AppendQuery(nil, 0, name, typ, dnswire.ClassIN, 0, false, false)
		query[2] |= 0x80
		query[7] = 1
		answer, err := dnswire.ParseAnswer(dnswire.AppendRecord(query, typ, 60, addr.AsSlice()), 0, name, typ, false)
		if err != nil {
			panic(err)
		}
		return answer, true
	}, func(f func()) bool { go f(); return true })
}

func TestBootstrapAnswersAreKeptAndRenewedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		answers := map[uint16]string{dnswire.TypeA: "192.0.2.1", dnswire.TypeAAAA: "2001:db8::1"}
		b := bootstrapOf(answers, &asked)
		look := func() string {
			addrs, err := b.lookUp(t.Context(), "dns.example")
			if err != nil {
				return err.Error()
			}
			var texts []string
			for _, a := range addrs {
				texts = append(texts, a.String())
			}
			return strings.Join(texts, " ")
		}
		steps := []struct {
			name  string
			after time.Duration
			want  string
			asked int
		}{
			{"looked up at first", 0, "2001:db8::1 192.0.2.1", 1},
			{"kept for its time to live", 59 * time.Second, "2001:db8::1 192.0.2.1", 1},
			{"used once more while it is asked for anew", 2 * time.Second, "2001:db8::1 192.0.2.1", 2},
			{"renewed", time.Second, "2001:db8::1 192.0.2.9", 2},
			{"kept when nobody answers", 2 * time.Minute, "2001:db8::1 192.0.2.9", 3},
			{"and not asked for at once again", 4 * time.Second, "2001:db8::1 192.0.2.9", 3},
			{"but soon", 2 * time.Second, "2001:db8::1 192.0.2.9", 4},
		}
		for i, step := range steps {
			time.Sleep(step.after) // of the bubble's clock
			switch i {
			case 2:
				answers[dnswire.TypeA] = "192.0.2.9"
			case 4:
				clear(answers)
			}
			if diff := cmp.Diff(step.want, look()); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", step.name, diff)
			}
			synctest.Wait()
			if asked != step.asked {
				t.Errorf("%s: asked %d times, want %d", step.name, asked, step.asked)
			}
		}
	})
}

func TestBootstrapWithoutAnAnswerIsAnErrorForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		b := bootstrapOf(nil, &asked)
		for range 3 {
			if _, err := b.lookUp(t.Context(), "dns.example"); err == nil || err.Error() != "look up dns.example: the bootstrap servers gave no address" {
				t.Errorf("error %v", err)
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times", asked)
		}
		time.Sleep(bootstrapAgain)
		_, _ = b.lookUp(t.Context(), "dns.example")
		if asked != 2 {
			t.Errorf("asked %d times after a while", asked)
		}
	})
}
