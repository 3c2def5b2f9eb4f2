package console

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"schoolgate/config"
	"schoolgate/identity"
	"schoolgate/policy"
)

// taken says which of several were taken, by their index in what was sent, and why others were not.
type taken struct {
	Taken   []int     `json:"taken"`
	Refused []refusal `json:"refused"`
}

// logins takes note of who has signed in, and out, where. Who is said to be at an address is who breaches from there are
// put down to: what is doubtful is refused, each by itself.
func (s *Server) logins(w http.ResponseWriter, r *http.Request, token config.Token) {
	if !isJSON(r) {
		problem{Status: http.StatusUnsupportedMediaType, Detail: "send application/json, not compressed"}.write(w)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLoginsBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body has more than %d octets", maxLoginsBody)}.write(w)
		return
	}
	if err != nil {
		problem{Status: http.StatusBadRequest, Detail: "the body did not come whole"}.write(w)
		return
	}
	logins, wrong := parseLogins(body)
	if wrong != nil {
		wrong.write(w)
		return
	}
	result := s.tell(logins, token)
	if len(result.Taken) == 0 {
		problem{Status: http.StatusUnprocessableEntity, Detail: "nothing was taken: " + result.Refused[0].Reason, Refused: result.Refused}.write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, http.StatusOK, result)
}

// told is an event, and which of what was sent it is.
type told struct {
	event identity.Event
	index int
}

// tell puts in force what is good of logins, in the order of their times.
func (s *Server) tell(logins []login, token config.Token) taken {
	result := taken{Taken: []int{}, Refused: []refusal{}}
	var all []told
	c, p := s.inForce()
	j := judge{config: c, policy: p, known: s.identities.Known, source: identity.LoginSource + token.Name, now: s.now()}
	for i, l := range logins {
		event, err := j.event(l)
		if err != nil {
			result.Refused = append(result.Refused, refusal{i, err.Error()})
			continue
		}
		all = append(all, told{event, i})
	}
	slices.SortStableFunc(all, func(a, b told) int { return a.event.Since.Compare(b.event.Since) })
	events := make([]identity.Event, 0, len(all))
	for _, t := range all {
		events = append(events, t.event)
	}
	for i, err := range s.identities.Tell(events) {
		if err != nil {
			result.Refused = append(result.Refused, refusal{all[i].index, err.Error()})
		} else {
			result.Taken = append(result.Taken, all[i].index)
		}
	}
	s.stats.taken.Add(uint64(len(result.Taken)))
	s.stats.refused.Add(uint64(len(result.Refused)))
	slices.Sort(result.Taken)
	slices.SortFunc(result.Refused, func(a, b refusal) int { return cmp.Compare(a.Index, b.Index) })
	return result
}

// judge says which logins are believed.
type judge struct {
	config *config.Config
	policy *policy.Policy
	known  func(netip.Addr) *policy.Known
	source string
	now    time.Time
}

// skew is how far a teller's clock may be ahead.
const skew = time.Minute

const maxSession = 253 // as long as that of RADIUS may be

// event is what a login tells, or an error that says why it is not believed.
func (j judge) event(l login) (identity.Event, error) {
	since, err := j.since(l.Time)
	if err != nil {
		return identity.Event{}, err
	}
	addr, err := netip.ParseAddr(l.IP)
	if err != nil {
		return identity.Event{}, fmt.Errorf("ip: %q is not an address", short(l.IP))
	}
	addr = addr.Unmap().WithZone("")
	mac := identity.ParseMAC(l.MAC)
	switch {
	case l.Event != "login" && l.Event != "logout":
		return identity.Event{}, fmt.Errorf("event: %q is neither login nor logout", short(l.Event))
	case l.MAC != "" && mac == identity.MAC{}:
		return identity.Event{}, fmt.Errorf("mac: %q is not a MAC", short(l.MAC))
	case len(l.Session) > maxSession:
		return identity.Event{}, fmt.Errorf("session: longer than %d octets", maxSession)
	case l.User == "":
		return identity.Event{}, errors.New("user: nobody is named")
	}
	// Without a session's name a sign-in is that of a user at an address, so that a late logout ends nobody else's.
	e := identity.Event{Out: l.Event == "logout"}
	e.ID = fmt.Sprintf("%s session %s", j.source, l.Session)
	if l.Session == "" {
		e.ID = fmt.Sprintf("%s user %s %s", j.source, addr, l.User)
	}
	e.User, e.MAC, e.Source = l.User, mac, j.source
	e.Addrs, e.Since, e.Until = []netip.Addr{addr}, since, since.Add(j.config.Sources.Logins.Session)
	if e.Out {
		return e, nil // wherever that was: nobody is accused of it
	}
	return e, j.mayBeAt(policy.Client{Addr: addr, MAC: macText(mac)}, l.User)
}

// since is when a login was.
func (j judge) since(text string) (time.Time, error) {
	if text == "" {
		return j.now, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	session := j.config.Sources.Logins.Session
	switch {
	case err != nil:
		return t, fmt.Errorf("time: %q is not a time like 2026-11-20T10:14:03Z", short(text))
	case t.Sub(j.now) > skew:
		return t, errors.New("time: it is in the future; see the clocks of both machines")
	case j.now.Sub(t) >= session:
		return t, fmt.Errorf("time: it is older than identity.logins.session, %s", session)
	case t.After(j.now):
		return j.now, nil
	}
	return t, nil
}

// mayBeAt says why a user can't be put down for what comes from a device.
func (j judge) mayBeAt(device policy.Client, user string) error {
	addr := device.Addr
	if k := j.known(addr); k != nil {
		device = k.Client
	}
	of, _ := j.policy.Place(&device, "")
	among := func(ranges []netip.Prefix) bool {
		return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
	switch {
	case identity.IsMachine(user):
		return errors.New("user: a machine, which signs in before anybody does")
	case !j.policy.MayAsk(addr):
		return fmt.Errorf("ip: %s is not in access.allow", addr)
	case j.policy.Shared(j.policy.OfAddress(addr)), j.policy.Shared(of):
		return fmt.Errorf("ip: %s is of a group that says shared: there are many people behind it", addr)
	case among(j.config.Access.TrustedForwarders), among(j.config.Access.Proxies):
		return fmt.Errorf("ip: %s asks for others (access.trusted_forwarders, access.proxies): there are many people behind it", addr)
	}
	return nil
}

// macText is a MAC as the policy writes it; "" for none.
func macText(mac identity.MAC) string {
	if mac == (identity.MAC{}) {
		return ""
	}
	return net.HardwareAddr(mac[:]).String()
}
