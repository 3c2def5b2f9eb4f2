package feed

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestASignedTransferIsTaken(t *testing.T) {
	records := make([]string, 250)
	for i := range records {
		records[i] = fmt.Sprintf("n%d.rpz.example. IN CNAME .", i)
	}
	for _, algorithm := range TSIGAlgorithms() {
		t.Run(algorithm, func(t *testing.T) {
			key := testKey()
			key.Algorithm = algorithm
			p := startPrimary(t, key, zoneVersion{1, records})
			p.perMessage = 300
			if result, _ := mustTake(t, p.zone(), ""); result.Records != 250 {
				t.Errorf("%+v", result)
			}
		})
	}
	for _, every := range []int{1, 2, 7, 96, 100} { // 100: 99 in a row are not signed
		t.Run(fmt.Sprintf("one message of %d signed", every), func(t *testing.T) {
			p := startPrimary(t, testKey(), zoneVersion{1, records})
			p.perMessage, p.signEvery = 1, every
			if result, _ := mustTake(t, p.zone(), ""); result.Records != 250 {
				t.Errorf("%+v", result)
			}
		})
	}
}

func TestWhatIsNotSignedAsItShouldIsNotTaken(t *testing.T) {
	records := make([]string, 250)
	for i := range records {
		records[i] = fmt.Sprintf("n%d.rpz.example. IN CNAME .", i)
	}
	change := func(typ uint16, message int, from, to string) func(*primary) {
		return func(p *primary) {
			p.packet = func(at uint16, i int, packet []byte) []byte {
				if at == typ && i == message {
					return bytes.Replace(packet, []byte(from), []byte(to), 1)
				}
				return packet
			}
		}
	}
	notAuth := "the answer is NOTAUTH BADSIG: does the server know this machine and the key (name, algorithm, secret, time of day), and has it the zone?"
	for name, test := range map[string]struct {
		change func(*primary)
		key    func(*TSIG)
		err    string
	}{
		"the serial was changed on the way": {change(dns.TypeSOA, 0, "\x00\x00\x00\x01\x00\x00\x0e\x10", "\x00\x00\x00\x02\x00\x00\x0e\x10"), nil, "ask for the serial: signature of the answer: dns: bad signature"},
		"a record was changed on the way":   {change(dns.TypeAXFR, 3, "n2", "m2"), nil, "signature of the answer: dns: bad signature"},
		"a record of an unsigned message was changed": {func(p *primary) {
			change(dns.TypeAXFR, 8, "n7", "m7")(p)
			p.signEvery = 5
		}, nil, "signature of the answer: dns: bad signature"},
		"nothing is signed":                 {func(p *primary) { p.unsigned = map[uint16]int{dns.TypeSOA: 1} }, nil, "ask for the serial: the answer is not signed: has the server the key?"},
		"the end is not signed":             {func(p *primary) { p.unsigned = map[uint16]int{dns.TypeAXFR: 1} }, nil, "the end of the answer is not signed"},
		"a hundred in a row are not signed": {func(p *primary) { p.signEvery = 101 }, nil, "the answer is not signed: has the server the key?"},
		"the server has another secret":     {nil, func(k *TSIG) { k.Secret = []byte("other") }, "ask for the serial: " + notAuth},
		"the server has another key":        {nil, func(k *TSIG) { k.Name = "other.key" }, "ask for the serial: " + notAuth},
		"an algorithm that there is not":    {nil, func(k *TSIG) { k.Algorithm = "hmac-md5" }, `ask for the serial: key schoolgate.key: "hmac-md5" is no algorithm for TSIG (use one of hmac-sha256, hmac-sha512, hmac-sha384, hmac-sha224, hmac-sha1)`},
		"the server's clock is wrong":       {func(p *primary) { p.skew = -time.Hour }, nil, "ask for the serial: signature of the answer: dns: bad time"},
		"another key signs": {func(p *primary) {
			p.signAs = &TSIG{Name: "other.key", Algorithm: "hmac-sha256", Secret: p.key.Secret}
		}, nil, "ask for the serial: signature of the answer: it was made with another key or algorithm"},
		"another algorithm signs": {func(p *primary) {
			p.signAs = &TSIG{Name: p.key.Name, Algorithm: "hmac-sha1", Secret: p.key.Secret}
		}, nil, "ask for the serial: signature of the answer: it was made with another key or algorithm"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startPrimary(t, testKey(), zoneVersion{1, records})
			p.perMessage = 1
			if test.change != nil {
				test.change(p)
			}
			z := p.zone()
			key := *z.TSIG
			z.TSIG = &key
			if test.key != nil {
				test.key(&key)
			}
			_, _, err := take(t, z, "")
			if want := fmt.Sprintf("zone transfer: server %s: %s", p.addr, test.err); err == nil || err.Error() != want {
				t.Errorf("%v\nwant %s", err, want)
			}
		})
	}
}

func TestAKeyDoesNotShowItsSecret(t *testing.T) {
	key := TSIG{Name: "schoolgate.key", Algorithm: "hmac-sha256", Secret: []byte("hidden")}
	for _, text := range []string{fmt.Sprint(key), fmt.Sprint(&key), fmt.Sprintf("%+v", key), fmt.Sprintf("%+v", Zone{TSIG: &key})} {
		if bytes.Contains([]byte(text), key.Secret) || bytes.Contains([]byte(text), []byte("104 105")) {
			t.Error(text)
		}
	}
}
