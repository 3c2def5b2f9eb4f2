package resolver

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func secretOf(t *testing.T, s string) [2]uint64 {
	t.Helper()
	b := unhex(t, s)
	return [2]uint64{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
}

// The vectors of RFC 9018, appendix A: other servers' cookies are ours.
func TestCookiesAreThoseOfRFC9018(t *testing.T) {
	const first, second, before = "e5e973e5a6b2a43f48e7dc849e37bfcf", "445536bcd2513298075a5d379663c962", "dd3bdf9344b678b185a6f5cb60fca715"
	for name, test := range map[string]struct {
		client, current, previous string
		sent, answered            string
		valid                     bool
		age                       time.Duration
	}{
		"a new one": {
			client: "198.51.100.100", current: first,
			sent: "2464c4abcf10c957", answered: "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
		},
		"renewed after forty minutes": {
			client: "198.51.100.100", current: first, valid: true, age: 40 * time.Minute,
			sent: "2464c4abcf10c957010000005cf79f111f8130c3eee29480", answered: "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
		},
		"another client's, with reserved octets": {
			client: "203.0.113.203", current: first, valid: false, // it is too old by then
			sent: "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", answered: "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
		},
		"over IPv6, made with the secret before": {
			client: "2001:db8:220:1:59de:d0f4:8769:82b8", current: second, previous: before, valid: true, age: 144 * time.Second,
			sent: "22681ab97d52c298010000005cf7c57926556bd0934c72f8", answered: "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			sent, answered, client := unhex(t, test.sent), unhex(t, test.answered), netip.MustParseAddr(test.client)
			now := time.Unix(int64(binary.BigEndian.Uint32(answered[12:])), 0)
			secrets := &cookieSecrets{current: secretOf(t, test.current), since: now}
			if test.previous != "" {
				secrets.previous = secretOf(t, test.previous)
			}
			j := newCookieJar(now)
			j.secrets.Store(secrets)
			if age, ok := j.valid(sent, client, now); ok != test.valid || age != test.age && ok {
				t.Errorf("valid %v at %v, want %v at %v", ok, age, test.valid, test.age)
			}
			var got [cookiesLen]byte
			copy(got[:], sent[:8])
			j.fill(&got, client, now)
			if string(got[:]) != string(answered) {
				t.Errorf("got %x, want %x", got, answered)
			}
			if test.previous == "" && len(sent) == cookiesLen {
				at := time.Unix(int64(binary.BigEndian.Uint32(sent[12:])), 0)
				if _, ok := j.valid(sent, client, at); !ok {
					t.Error("when it was new it was not valid")
				}
			}
		})
	}
}

func TestACookieIsOfItsOwnerAndItsHour(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	j, client := newCookieJar(now), netip.MustParseAddr("10.20.3.4")
	cookies := [cookiesLen]byte{1, 2, 3, 4, 5, 6, 7, 8}
	j.fill(&cookies, client, now)
	changed := func(i int) []byte {
		c := cookies
		c[i] ^= 1
		return c[:]
	}
	for name, test := range map[string]struct {
		cookies []byte
		client  netip.Addr
		after   time.Duration
		want    bool
	}{
		"at once":                 {cookies[:], client, 0, true},
		"after an hour":           {cookies[:], client, time.Hour, true},
		"after more":              {cookies[:], client, time.Hour + time.Second, false},
		"five minutes ahead":      {cookies[:], client, -5 * time.Minute, true},
		"further ahead":           {cookies[:], client, -5*time.Minute - time.Second, false},
		"of another address":      {cookies[:], netip.MustParseAddr("10.20.3.5"), 0, false},
		"of another client":       {changed(0), client, 0, false},
		"of another version":      {changed(8), client, 0, false},
		"with another time":       {changed(15), client, 0, false},
		"with another hash":       {changed(23), client, 0, false},
		"the client's part alone": {cookies[:8], client, 0, false},
		"with an octet more":      {append(cookies[:], 0), client, 0, false},
	} {
		if _, ok := j.valid(test.cookies, test.client, now.Add(test.after)); ok != test.want {
			t.Errorf("%s: valid %v", name, ok)
		}
	}
}

func TestTheSecretOfTheDayBeforeIsStillGood(t *testing.T) {
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	j, client := newCookieJar(start), netip.MustParseAddr("10.20.3.4")
	before := j.secrets.Load().current
	var cookies [cookiesLen]byte
	late := start.Add(secretLife - time.Minute)
	j.fill(&cookies, client, late)
	next := start.Add(secretLife)
	if _, ok := j.valid(cookies[:], client, next); !ok {
		t.Error("a cookie of a minute ago is not taken after the change")
	}
	if s := j.secrets.Load(); s.current == before || s.previous != before {
		t.Error("the secrets did not change after a day")
	}
	if j.at(next.Add(secretLife)).previous == before {
		t.Error("the first secret is still there after two days")
	}
}
