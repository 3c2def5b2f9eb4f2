package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
)

func TestFromAClientAnOutsideResolverThatAnswersIsFound(t *testing.T) {
	t.Parallel()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	go func() {
		buf := make([]byte, 512)
		if n, from, err := udp.ReadFrom(buf); err == nil {
			_, _ = udp.WriteTo(buf[:n], from)
		}
	}()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	shut := outside{"DNS over HTTPS", "tcp", gone.Addr().String(), false}

	var out bytes.Buffer
	err = fromClientTest(t.Context(), &out, []outside{
		{"DNS over UDP", "udp", udp.LocalAddr().String(), true}, {"DNS over TLS", "tcp", tcp.Addr().String(), false}, shut,
	}, func(context.Context) bool { return false }, false)
	if exit, ok := errors.AsType[exitError](err); !ok || exit.code != 1 {
		t.Errorf("%v, want exit 1", err)
	}
	for _, want := range []string{"\nREACHABLE      DNS over TLS", "REACHABLE      DNS over UDP", "\nnot reachable  DNS over HTTPS", "FAILED: devices can get round the filter"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
	for online, want := range map[bool]string{true: "outside resolvers: ok\n", false: "outside resolvers: not tested: this device looks up no name at all"} {
		out.Reset()
		if err := fromClientTest(t.Context(), &out, []outside{shut}, func(context.Context) bool { return online }, false); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("nothing is reachable, online %v: %v\n%s", online, err, &out)
		}
	}
}
