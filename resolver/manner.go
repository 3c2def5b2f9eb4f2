package resolver

import (
	"sync/atomic"
	"time"
)

// manner is how a server is asked: whatever it, or something on the way to it, does not bear is left out.
// What is learnt of that is forgotten after a while, so that a server that was repaired is asked like others.
type manner struct {
	form    form
	mixed   bool    // the letters of the name in upper and lower case at random, over UDP
	cookies cookies // over UDP; there are none without EDNS
}

// form is how much of EDNS there is.
type form uint8

const (
	formWhole form = iota
	formBare       // no options
	formPlain      // no EDNS at all, and so no DNSSEC
	formCount
)

// in returns the manner in another form.
func (m manner) in(f form) manner {
	if m.form = f; f != formWhole {
		m.cookies = cookies{}
	}
	return m
}

const (
	// inLowerForm is how long a server that does not bear EDNS, or its options, is asked without.
	inLowerForm = time.Hour
	// withoutCase is how long a server that does not give names back in the case in which it was asked is
	// asked in lower case.
	withoutCase = time.Hour
	// doubts is how many questions in a row it must have been.
	doubts = 3
)

// habits are what is known of a server's ways. What is not atomic is guarded by the server's mu.
type habits struct {
	form       form         // in which it is asked
	formUntil  time.Time    // until then
	examining  bool         // it is being found out in which form it answers
	examinedAt time.Time    // when that was last begun
	lowerUntil time.Time    // asked in lower case until then
	otherCase  atomic.Int32 // questions in a row that were answered in another case, and by the server itself

	cookies     cookies
	cookiesMade time.Time    // when our part was; the zero time: it has not been
	cookiesFrom time.Time    // asked without cookies until then
	noCookies   atomic.Int32 // questions in a row that were answered without, and by the server itself
}

// manner returns how the server is asked now.
func (s *server) manner(now time.Time) manner {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := manner{mixed: s.protocol == plainUDP && !now.Before(s.lowerUntil)}
	if s.protocol == plainUDP {
		m.cookies = s.cookiesAt(now)
	}
	return m.in(s.formAt(now))
}

// formAt is the form in which the server is asked. mu must be held.
func (s *server) formAt(now time.Time) form {
	if now.Before(s.formUntil) {
		return s.form
	}
	return formWhole
}

// bears takes note that the server answers only in a lower form.
func (s *server) bears(f form, now time.Time) {
	s.mu.Lock()
	known := s.formAt(now) == f
	s.form, s.formUntil = f, now.Add(inLowerForm)
	s.mu.Unlock()
	switch {
	case known:
	case f == formBare:
		s.fellBack(lacksOptions, inLowerForm)
	case f == formPlain:
		s.fellBack(lacksEDNS, inLowerForm)
	}
}

// keptCase takes note that the server gave a name back as it was asked.
func (s *server) keptCase() {
	if s.otherCase.Load() != 0 {
		s.otherCase.Store(0)
	}
}

// changedCase takes note that the server itself answers a question of which there was an answer in another
// case. After some in a row it is asked in lower case. A forger who wants that would have to guess id and
// port of as many questions, and no answer as it should be may come between them.
func (s *server) changedCase(now time.Time) {
	if s.otherCase.Add(1) < doubts {
		return
	}
	s.otherCase.Store(doubts - 1) // when it is tried again one is enough
	s.mu.Lock()
	known := now.Before(s.lowerUntil)
	s.lowerUntil = now.Add(withoutCase)
	s.mu.Unlock()
	if !known {
		s.fellBack(lacksCase, withoutCase)
	}
}

// fellBack says that the server is asked without something for a while.
func (s *server) fellBack(what int, until time.Duration) {
	s.metrics.fallbacks[what].Inc()
	s.log.Warn("upstream is asked without what it does not bear", "upstream", s.String(), "without", withoutNames[what], "for", until)
}

// without names what the server is asked without. mu must be held.
func (s *server) without(now time.Time) []string {
	var names []string
	switch s.formAt(now) {
	case formWhole, formCount:
	case formBare:
		names = append(names, withoutNames[lacksOptions])
	case formPlain:
		names = append(names, withoutNames[lacksEDNS])
	}
	if now.Before(s.lowerUntil) {
		names = append(names, withoutNames[lacksCase])
	}
	return names
}

// What a server may have to be asked without.
const (
	lacksEDNS = iota
	lacksOptions
	lacksCase
	lackCount
)

// withoutNames are the words of metrics and status.
var withoutNames = [lackCount]string{lacksEDNS: "edns", lacksOptions: "edns_options", lacksCase: "0x20"}
