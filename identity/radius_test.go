package identity

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"schoolgate/policy"
)

var radiusSecret = []byte("a secret between two")

// attribute is one of a packet.
type attribute struct {
	kind  byte
	value []byte
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func address(addr netip.Addr) attribute {
	if addr.Is4() {
		return attribute{8, addr.AsSlice()}
	}
	return attribute{168, addr.AsSlice()}
}

// accounting is an Accounting-Request, written down from RFC 2866 §3 and §4.1.
func accounting(id byte, secret []byte, attributes ...attribute) []byte {
	packet := []byte{4, id, 0, 0}
	packet = append(packet, make([]byte, 16)...)
	for _, a := range attributes {
		packet = append(append(packet, a.kind, byte(2+len(a.value))), a.value...)
	}
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
	sum := md5.Sum(append(bytes.Clone(packet), secret...))
	copy(packet[4:], sum[:])
	return packet
}

// teller tells a store of sign-ins.
type teller struct {
	*Store
	t    *testing.T
	at   string
	conn net.Conn
	id   byte
}

func newTeller(t *testing.T, from string) *teller {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t, Config{})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		_ = s.serveRADIUS(ctx, socket, RADIUS{Secret: radiusSecret, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/31")}, Session: time.Hour})
		close(ended)
	}()
	t.Cleanup(func() { stop(); <-ended })
	r := &teller{Store: s, t: t, at: socket.LocalAddr().String()}
	r.conn = r.dial(from)
	return r
}

func (r *teller) dial(from string) net.Conn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
	conn, err := d.Dial("udp", r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// tell sends a packet and returns the answer's attributes, having checked the answer.
func (r *teller) tell(status uint32, attributes ...attribute) []byte {
	r.t.Helper()
	r.id++
	request := accounting(r.id, radiusSecret, append(attributes, attribute{40, number(status)})...)
	if _, err := r.conn.Write(request); err != nil {
		r.t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := r.conn.Read(buf)
	if err != nil {
		r.t.Fatal(err)
	}
	answer := buf[:n]
	// RFC 2866 §3: MD5 of the answer with the request's authenticator in place of its own, and the secret.
	signed := bytes.Clone(answer)
	copy(signed[4:20], request[4:20])
	sum := md5.Sum(append(signed, radiusSecret...))
	if answer[0] != 5 || answer[1] != r.id || int(binary.BigEndian.Uint16(answer[2:])) != n || !bytes.Equal(answer[4:20], sum[:]) {
		r.t.Fatalf("answer %x to %x", answer, request)
	}
	return answer[20:]
}

func user(name string) attribute { return attribute{1, []byte(name)} }

func session(id string) attribute { return attribute{44, []byte(id)} }

func station(mac string) attribute { return attribute{31, []byte(mac)} }

func TestASignInIsInForceOnceItIsAnswered(t *testing.T) {
	t.Parallel()
	r := newTeller(t, "127.0.0.2")
	r.tell(1, user("a.pupil"), session("1"), address(ipad))
	sameClient(t, "by its address", r.whoIs(ipad), policy.Client{User: "a.pupil"})
	r.tell(3, user("a.pupil"), session("1"), address(ipad), address(ipad6), station("00-11-22-33-44-55:Pupils"))
	known := policy.Client{MAC: "00:11:22:33:44:55", User: "a.pupil"}
	for _, addr := range []netip.Addr{ipad, ipad6} {
		sameClient(t, "by an interim report", r.whoIs(addr), known)
	}
	r.tell(3, user("a.pupil"), session("1"))
	sameClient(t, "by one that says less", r.whoIs(ipad), known)
	r.tell(2, user("a.pupil"), session("2"), address(ipad))
	sameClient(t, "another session's end is none of this one's", r.whoIs(ipad), known)
	r.tell(2, user("a.pupil"), session("1"))
	sameClient(t, "after its end", r.whoIs(ipad), policy.Client{})
}

func TestASignInWithAMACOnlyIsThatOfTheDevice(t *testing.T) {
	t.Parallel()
	r := newTeller(t, "127.0.0.2")
	for _, form := range []string{"00-11-22-33-44-55", "00:11:22:33:44:55", "0011.2233.4455", "001122334455", "00-11-22-33-44-55:eduroam"} {
		r.tell(1, user("a.pupil"), session("1"), station(form))
		r.near(ipad, ipadMAC)
		sameClient(t, form, r.whoIs(ipad), policy.Client{MAC: "00:11:22:33:44:55", User: "a.pupil"})
		r.tell(2, session("1"))
	}
}

func TestASenderThatStartsAnewEndsItsSessionsAndNobodyElses(t *testing.T) {
	t.Parallel()
	r := newTeller(t, "127.0.0.2")
	other := &teller{Store: r.Store, t: t, conn: r.dial("127.0.0.3")}
	r.tell(1, user("a.pupil"), session("1"), address(ipad))
	other.tell(1, user("a.teacher"), session("1"), address(laptop))
	r.tell(7)
	sameClient(t, "its own", r.whoIs(ipad), policy.Client{})
	sameClient(t, "the other's", r.whoIs(laptop), policy.Client{User: "a.teacher"})
}

func TestWhatProxiesAddComesBackAndWhatIsAboutNobodyIsAnswered(t *testing.T) {
	t.Parallel()
	r := newTeller(t, "127.0.0.2")
	if got := r.tell(1, attribute{33, []byte("one")}, user("a"), address(ipad), attribute{33, []byte("two")}); string(got) != "\x21\x05one\x21\x05two" {
		t.Errorf("Proxy-State: %q", got)
	}
	for what, told := range map[string][]attribute{
		"a machine":                       {user("host/pc3.school.internal"), address(laptop)},
		"a machine as Windows writes it":  {user(`SCHOOL\PC3$`), address(laptop)},
		"nobody":                          {address(laptop)},
		"nowhere":                         {user("b")},
		"an address that is for another":  {user("b"), address(netip.MustParseAddr("255.255.255.254"))},
		"an address that is none":         {user("b"), {8, []byte{10, 20}}},
		"a station that is none":          {user("b"), station("ap3")},
		"a name with control characters":  {user("b\x00"), address(laptop)},
		"an attribute that nobody knows":  {{200, []byte("x")}},
		"a status that is of other kinds": {{40, []byte{9}}},
	} {
		r.tell(1, told...)
		sameClient(t, what, r.whoIs(laptop), policy.Client{})
	}
}

func TestWhoKnowsNotTheSecretOrIsNotListedIsNotHeard(t *testing.T) {
	t.Parallel()
	r := newTeller(t, "127.0.0.2")
	start := []attribute{user("a.pupil"), session("1"), address(ipad), {40, number(1)}}
	good := accounting(1, radiusSecret, start...)
	for _, packet := range [][]byte{
		accounting(1, []byte("another secret, as long"), start...), good[:19], good[:len(good)-1], append([]byte{1}, good[1:]...),
		{},
		append(bytes.Clone(good[:len(good)-1]), 2),
	} {
		if _, err := r.conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	stranger := r.dial("127.0.0.9")
	if _, err := stranger.Write(good); err != nil {
		t.Fatal(err)
	}
	// One socket's packets are read in the order in which they came, whoever sent them.
	r.tell(2, session("9"))
	sameClient(t, "after all of them", r.whoIs(ipad), policy.Client{})
	if got, want := r.Stats().RADIUS, (RADIUSStats{Taken: 1, Refused: 7}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestASocketThatIsTakenIsSaidAndNothingElseSuffers(t *testing.T) {
	t.Parallel()
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.LocalAddr().(*net.UDPAddr).AddrPort()
	s := newStore(t, Config{RADIUS: RADIUS{Listen: at, Secret: radiusSecret, Clients: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	for len(s.Problems()) == 0 && t.Context().Err() == nil {
		runtime.Gosched()
	}
	want := "identity.radius: sign-ins are not heard of: listen udp " + at.String() + ": bind: address already in use"
	if got := s.Problems(); len(got) != 1 || got[0] != want {
		t.Errorf("problems %q, want %q", got, want)
	}
	stop()
	<-ended
}

func FuzzAccount(f *testing.F) {
	f.Add(accounting(1, radiusSecret, user("a.pupil"), session("1"), address(ipad), address(ipad6), station("00-11-22-33-44-55"), attribute{40, number(1)}, attribute{33, []byte("p")})[20:])
	f.Add([]byte{1, 1})
	f.Add([]byte{1, 0, 0})
	f.Fuzz(func(t *testing.T, attributes []byte) {
		if len(attributes) > maxRADIUS-radiusHeader {
			return
		}
		packet := append([]byte{4, 7, 0, 0}, make([]byte, 16)...)
		packet = append(packet, attributes...)
		binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)))
		sum := md5.Sum(append(bytes.Clone(packet), radiusSecret...))
		copy(packet[4:], sum[:])
		a, err := parseAccount(packet, radiusSecret)
		if err != nil {
			return
		}
		if answer := a.answer(radiusSecret); len(answer) > len(packet) {
			t.Errorf("the answer to %d octets has %d", len(packet), len(answer))
		}
		for _, addr := range a.addrs {
			if !addr.IsValid() {
				t.Error("an address that is none")
			}
		}
		s := newStore(t, Config{})
		_ = s.account(a, ipad, time.Hour)
	})
}
