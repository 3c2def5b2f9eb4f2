package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"schoolgate/resolver/dnswire"
)

func TestTheDemoServesOnUntilItIsStoppedAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan int, 1)
	var stderr bytes.Buffer
	go func() {
		done <- run(ctx, []string{"demo", "--length", "1s"}, nil, w, &stderr, func(string) string { return "" })
		w.Close()
	}()
	server, invited := "", false
	var own []string
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := lines.Text()
		if server == "" && strings.HasPrefix(line, "DNS on ") {
			server, _, _ = strings.Cut(strings.TrimPrefix(line, "DNS on "), ",")
		}
		if strings.HasPrefix(line, "Still serving") {
			go func() {
				for _, c := range []struct {
					from, network, name string
					rcode               int
				}{
					{"127.0.0.7", "udp", "www.adult-videos.example", dns.RcodeNameError},
					{"127.0.0.10", "tcp", "legal-highs.example", dns.RcodeSuccess},
				} {
					client := &dns.Client{Net: c.network, Timeout: 5 * time.Second, Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(c.from)}}}
					if c.network == "tcp" {
						client.Dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(c.from)}
					}
					answer, _, err := client.ExchangeContext(ctx, new(dns.Msg).SetQuestion(dns.Fqdn(c.name), dns.TypeA), server)
					if err != nil || answer.Rcode != c.rcode {
						t.Errorf("%s asks for %s: %v %v", c.from, c.name, answer, err)
						stop()
					}
				}
			}()
			invited = true
		}
		if invited && strings.HasPrefix(line, "15:30 ") {
			own = append(own, line)
			if strings.HasPrefix(line, "15:30 monitored") {
				stop()
			}
		}
		if utf8.RuneCountInString(line) > lineWidth && !strings.Contains(line, " --config ") {
			t.Errorf("does not fit a terminal: %q", line)
		}
	}
	wantOwn := []string{
		"15:30 blocked   year7       127.0.0.7   www.adult-videos.example   pornography",
		"15:30 monitored year10      127.0.0.10  legal-highs.example        drugs:",
	}
	own = slices.DeleteFunc(own, func(line string) bool { return !strings.Contains(line, " 127.0.0.") })
	if diff := cmp.Diff(wantOwn, own); diff != "" {
		t.Errorf("the user's own questions (-want +got):\n%s", diff)
	}
	if code := <-done; code != 0 || !invited || stderr.Len() > 0 {
		t.Errorf("exit %d, invited %v, %q", code, invited, stderr.String())
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	stop()
}

func TestALongLineGoesOnInTheNext(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                {""},
		"one two":         {"one two"},
		"one two three":   {"one two", "three"},
		"one     three  ": {"one", "three"},
		"abcdefghijk":     {"abcdefgh", "ijk"},
		"äöüäöüäö üä":     {"äöüäöüäö", "üä"},
	} {
		if diff := cmp.Diff(want, wrap(text, 8)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestTheDemosUpstreamAnswersEveryName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		typ  uint16
		want string
	}{
		{dns.TypeA, "a.example.\t300\tIN\tA\t203.0.113.29"},
		{dns.TypeAAAA, "a.example.\t300\tIN\tAAAA\t2001:db8::f20b:42ca"},
		{dns.TypeHTTPS, ""},
	} {
		ask := new(dns.Msg).SetQuestion("a.example.", c.typ)
		packet, err := ask.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var q dnswire.Query
		if status := q.Parse(packet); status != dnswire.StatusOK {
			t.Fatal(status)
		}
		answer := new(dns.Msg)
		if err := answer.Unpack(demoAnswer(&q, packet[:q.QuestionEnd])); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, rr := range answer.Answer {
			got += rr.String()
		}
		if got != c.want || answer.Id != ask.Id || !answer.Response || answer.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: got %q, want %q\n%v", dns.TypeToString[c.typ], got, c.want, answer)
		}
	}
	if a, b := demoAddress([]byte("\x01a\x00"), false), netip.MustParsePrefix("203.0.113.0/24"); !b.Contains(a) {
		t.Errorf("%v is not an address for documentation", a)
	}
}

func TestTheDemosReceiverTakesOnlyWhatIsSigned(t *testing.T) {
	t.Parallel()
	signer, err := webhooks.NewWebhook(demoSecret())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	body := []byte(`{"type":"test"}`)
	signature, err := signer.Sign("msg_1", now, body)
	if err != nil {
		t.Fatal(err)
	}
	r := &demoReceiver{key: []byte(demoKey)}
	got := map[string]bool{}
	for name, change := range map[string]func(http.Header){
		"as it was signed":      func(http.Header) {},
		"with another one too":  func(h http.Header) { h.Set("webhook-signature", "v1,AAAA "+signature) },
		"another id":            func(h http.Header) { h.Set("webhook-id", "msg_2") },
		"an old one":            func(h http.Header) { h.Set("webhook-timestamp", fmt.Sprint(now.Add(-time.Hour).Unix())) },
		"no signature":          func(h http.Header) { h.Del("webhook-signature") },
		"a signature of no key": func(h http.Header) { h.Set("webhook-signature", fmt.Sprintf("v1,%x", sha256.Sum256(body))) },
	} {
		h := http.Header{}
		h.Set("webhook-id", "msg_1")
		h.Set("webhook-timestamp", fmt.Sprint(now.Unix()))
		h.Set("webhook-signature", signature)
		change(h)
		got[name] = r.verify(h, body, now) == nil
	}
	want := map[string]bool{
		"as it was signed": true, "with another one too": true,
		"another id": false, "an old one": false, "no signature": false, "a signature of no key": false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
}
