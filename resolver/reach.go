package resolver

import (
	"sync"
	"time"

	"schoolgate/resolver/dnswire"
)

// Servers, and what stands between them and us, do not all bear EDNS or its options: some say so, others
// are silent, or let nothing through. A server that says so is asked in a lower form at once, and then for a
// while. One that is silent may be so for many reasons, a lost packet among them: the question is asked again in
// lower forms, so that the client has its answer, and what the server bears is found out by asking it the same
// thing in every form at one time, again and again (see examine).

const (
	// lowerAfter is after what time of silence a lower form is tried, where there was silence before; where
	// there was none it is shortTry.
	lowerAfter = 400 * time.Millisecond
	// examineRounds is how often a server must agree with itself.
	examineRounds = 3
	// examineEvery is how often that is looked at, at most.
	examineEvery = 30 * time.Second
)

// reach asks a server until deadline, in the form that it bears.
func (f *forwarder) reach(c *call, s *server, deadline time.Time) (dnswire.Answer, error) {
	m, came := s.manner(time.Now()), cameNothing
	usual, wait := m.form, shortTry
	if s == c.tried {
		came = c.came
	}
	said := came == cameNotKnown // that it does not understand
	switch {
	case said:
		m = m.in(c.form)
	case c.tried != nil && c.came == cameNothing:
		wait = min(lowerAfter, time.Until(deadline)/2)
		if s == c.tried && m.form < c.lowest() {
			m = m.in(m.form + 1)
		}
	}
	for {
		answer, form, err := s.descend(c, m, came, wait, deadline)
		if err != nil {
			return answer, err
		}
		if lower := s.complains(answer, form); lower != form {
			m, came, said = m.in(lower), cameNothing, true
			continue
		}
		switch {
		case form == usual:
		case !said:
			f.examine(c, s)
		case !misunderstood(answer):
			s.bears(form, time.Now())
		}
		return answer, nil
	}
}

// lowest is the lowest form in which the question makes sense: who asks for DNSSEC's records could do
// nothing with an answer that lacks them.
func (c *call) lowest() form {
	if c.do {
		return formBare
	}
	return formPlain
}

// complains returns the form in which to ask again where an answer to a question in another says that it was
// not understood, else the same: without EDNS where the server does not know it (RFC 6891 §6.2.2), without
// options where it does, and should have passed them over (§6.1.2).
func (s *server) complains(a dnswire.Answer, asked form) form {
	switch {
	case asked == formPlain || !misunderstood(a):
	case !a.EDNS:
		return formPlain
	case asked == formWhole && !s.Encrypted(): // there the padding is worth more
		return formBare
	}
	return asked
}

// misunderstood reports whether an answer says that the question was not understood.
func misunderstood(a dnswire.Answer) bool {
	return a.Rcode == dnswire.RcodeFormErr || a.Rcode == dnswire.RcodeNotImp || a.Rcode == dnswire.RcodeBadVers
}

// descend asks s and, where it is silent over UDP for a while, in the next lower form, and so on. One after
// the other: a dead server must not cost more than one question at a time. form is that of the question to
// which it is the answer.
func (s *server) descend(c *call, m manner, came outcomeOfTry, wait time.Duration, deadline time.Time) (answer dnswire.Answer, form form, err error) {
	for {
		heard := came != cameNothing && came != cameNotKnown // so it is not silent
		if s.protocol != plainUDP || heard || m.form >= c.lowest() {
			answer, err = s.exchange(c, m, came, deadline)
			return answer, m.form, err
		}
		until := time.Now().Add(wait)
		if until.After(deadline) {
			until = deadline
		}
		answer, err = s.exchange(c, m, came, until)
		if err == nil || !isTimeout(err) || until.Equal(deadline) {
			return answer, m.form, err
		}
		m, came, wait = m.in(m.form+1), cameNothing, min(lowerAfter, time.Until(deadline)/2)
	}
}

// examine has it found out in which form s answers, after it has answered c's question in another than the
// usual one.
func (f *forwarder) examine(c *call, s *server) {
	if !s.beginExamination(time.Now()) {
		return
	}
	question := &call{name: c.name, typ: c.typ, cd: c.cd}
	if !f.start(func() { f.bearsAtLeast(question, s); s.endExamination() }) {
		s.endExamination()
	}
}

// bearsAtLeast asks s in all forms at one time, some times over, and takes note of the first in which it
// always answers, where it never does in the usual one.
func (f *forwarder) bearsAtLeast(c *call, s *server) {
	m := s.manner(time.Now())
	var answered [formCount]int
	for range examineRounds {
		if f.isClosed() {
			return
		}
		deadline := time.Now().Add(shortTry)
		var asking sync.WaitGroup
		var heard [formCount]bool
		for form := m.form; form < formCount; form++ {
			asking.Go(func() {
				_, err := s.exchange(c, m.in(form), cameNothing, deadline)
				heard[form] = err == nil
			})
		}
		asking.Wait()
		if heard[m.form] {
			return // a packet was lost, or it was slow
		}
		for form := range heard {
			if heard[form] {
				answered[form]++
			}
		}
	}
	for form := m.form + 1; form < formCount; form++ {
		if answered[form] == examineRounds {
			s.bears(form, time.Now())
			return
		}
	}
}

func (s *server) beginExamination(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.examining || now.Sub(s.examinedAt) < examineEvery {
		return false
	}
	s.examining, s.examinedAt = true, now
	return true
}

func (s *server) endExamination() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.examining = false
}
