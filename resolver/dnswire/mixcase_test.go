package dnswire_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"schoolgate/resolver/dnswire"
)

func TestMixCaseChangesLettersOnlyAndEachByItsBit(t *testing.T) {
	key := []byte("\x05a-z09\x03com\x00")
	name := bytes.Clone(key)
	dnswire.MixCase(name, []byte{0xff, 0xff})
	if got, want := string(name), "\x05A-Z09\x03COM\x00"; got != want {
		t.Errorf("all bits: %q, want %q", got, want)
	}
	for i := range key {
		bits := make([]byte, 2)
		bits[i/8] = 1 << (i % 8)
		name := bytes.Clone(key)
		dnswire.MixCase(name, bits)
		want := bytes.Clone(key)
		want[i] = strings.ToUpper(string(key[i]))[0]
		if !bytes.Equal(name, want) {
			t.Errorf("bit %d: %q, want %q", i, name, want)
		}
	}
}

func TestKeepsCaseWantsEachLetterAsItWas(t *testing.T) {
	m := new(dns.Msg).SetQuestion("wWw.Example.", dns.TypeA)
	packet := pack(t, m)
	for name, want := range map[string]bool{"\x03wWw\x07Example\x00": true, "\x03www\x07example\x00": false, "\x03wWw\x07example\x00": false} {
		if got := dnswire.KeepsCase(packet, []byte(name)); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	m.Question = nil
	if !dnswire.KeepsCase(pack(t, m), []byte("\x01a\x00")) || !dnswire.KeepsCase(nil, nil) {
		t.Error("without a question it cannot be in another case")
	}
}

// What the server made of the case in which it was asked must not be what a client gets, and a cache keeps.
func TestTheCaseInWhichItWasAskedIsNotInTheAnswer(t *testing.T) {
	m := new(dns.Msg).SetQuestion("wWw.oLd.ExamPLe.", dns.TypeA)
	m.Response, m.Compress = true, true
	for _, text := range []string{
		"old.example. 300 IN DNAME New.example.", "wWw.oLd.ExamPLe. 300 IN CNAME wWw.New.example.", // RFC 6672 §3.1
		"wWw.New.example. 300 IN A 192.0.2.1",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	a, err := dnswire.ParseAnswer(pack(t, m), m.Id, []byte("\x03www\x03old\x07example\x00"), dns.TypeA, false)
	if err != nil {
		t.Fatal(err)
	}
	got := new(dns.Msg)
	if err := got.Unpack(a.Msg); err != nil {
		t.Fatal(err)
	}
	if text := got.String(); strings.Contains(text, "wWw") || strings.Contains(text, "oLd") || strings.Contains(text, "ExamPLe") || len(got.Answer) != 3 {
		t.Errorf("got %s", text)
	}
}
