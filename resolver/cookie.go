package resolver

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"

	"schoolgate/resolver/dnswire"
)

// A server cookie (RFC 9018 §4): a version, three octets of nothing, the time in seconds, and a SipHash-2-4
// of the client's cookie, these eight octets and the client's address, which nobody can make who has not
// the secret. A client that shows one got it at its address not long ago.
const (
	serverCookieLen = 16
	cookiesLen      = dnswire.ClientCookieLen + serverCookieLen
	cookieVersion   = 1

	cookiePast   = time.Hour        // for so long it is taken
	cookieAhead  = 5 * time.Minute  // by clocks that differ
	cookieRenew  = 30 * time.Minute // then the client gets another
	secretLife   = 24 * time.Hour   // the one before is taken for as long again
	cookieOption = 4 + cookiesLen   // what it takes of a response
)

// cookieJar has the secrets. Safe for concurrent use.
type cookieJar struct{ secrets atomic.Pointer[cookieSecrets] }

type cookieSecrets struct {
	current, previous [2]uint64
	since             time.Time // of current
}

func newCookieJar(now time.Time) *cookieJar {
	j := new(cookieJar)
	j.secrets.Store(&cookieSecrets{current: newSecret(), previous: newSecret(), since: now})
	return j
}

func newSecret() [2]uint64 {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand
	return [2]uint64{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
}

// at returns the secrets as of now, new ones where the others have lived long enough.
func (j *cookieJar) at(now time.Time) *cookieSecrets {
	s := j.secrets.Load()
	if now.Sub(s.since) < secretLife {
		return s
	}
	// Whoever is first makes the next.
	j.secrets.CompareAndSwap(s, &cookieSecrets{current: newSecret(), previous: s.current, since: now})
	return j.secrets.Load()
}

// valid reports whether cookies, the client's with the server's behind it, show that we gave the second
// to who is at client. age is how old it is.
func (j *cookieJar) valid(cookies []byte, client netip.Addr, now time.Time) (age time.Duration, ok bool) {
	if len(cookies) != cookiesLen || cookies[8] != cookieVersion {
		return 0, false
	}
	// Serial number arithmetic: the seconds begin again in 2106 (RFC 9018 §4.3).
	age = time.Duration(int32(uint32(now.Unix())-binary.BigEndian.Uint32(cookies[12:]))) * time.Second
	if age > cookiePast || age < -cookieAhead {
		return 0, false
	}
	s := j.at(now)
	for _, secret := range [][2]uint64{s.current, s.previous} {
		var hash [8]byte
		cookieHash(&hash, cookies[:16], client, secret)
		if subtle.ConstantTimeCompare(hash[:], cookies[16:]) == 1 {
			return age, true
		}
	}
	return 0, false
}

// fill writes the server's cookie behind the client's, for who is at client.
func (j *cookieJar) fill(cookies *[cookiesLen]byte, client netip.Addr, now time.Time) {
	binary.BigEndian.PutUint32(cookies[8:], cookieVersion<<24)
	binary.BigEndian.PutUint32(cookies[12:], uint32(now.Unix()))
	cookieHash((*[8]byte)(cookies[16:]), cookies[:16], client, j.at(now).current)
}

func cookieHash(hash *[8]byte, start []byte, client netip.Addr, secret [2]uint64) {
	var input [32]byte
	n := copy(input[:], start)
	if client.Is4() {
		a := client.As4()
		n += copy(input[n:], a[:])
	} else {
		a := client.As16()
		n += copy(input[n:], a[:])
	}
	binary.LittleEndian.PutUint64(hash[:], siphash.Hash(secret[0], secret[1], input[:n]))
}

// readCookie is the part of stage 2 that makes use of a cookie: q.cookie says that the response is to have one,
// q.proved that the address is not forged. Only who may ask gets one.
func (r *Resolver) readCookie(q *query) {
	n := q.msg.CookieLen
	if n == 0 || q.status == dnswire.StatusFormErr || q.status == dnswire.StatusBadVers {
		return
	}
	q.cookie = true
	cookies := q.in[q.msg.CookieAt:][:n]
	age, ok := r.cookies.valid(cookies, q.client, q.received)
	q.proved = ok
	if ok && age < cookieRenew {
		copy(q.cookies[:], cookies)
		return
	}
	copy(q.cookies[:], cookies[:dnswire.ClientCookieLen])
	r.cookies.fill(&q.cookies, q.client, q.received)
}
