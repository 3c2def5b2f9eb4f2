package main

import (
	"bytes"
	"strings"
	"testing"

	"schoolgate/cmd/schoolgate/daemon"
)

func TestStatusSaysWhatAnUpstreamIsAskedWithout(t *testing.T) {
	var out bytes.Buffer
	if err := printStatus(&invocation{stdout: &out}, daemon.Status{Upstreams: []daemon.UpstreamStatus{
		{Server: "udp://192.0.2.1:53", Healthy: true, RTTMillis: 1, Queries: 9, Without: []string{"edns", "0x20"}},
		{Server: "udp://192.0.2.2:53", Healthy: true, RTTMillis: 1, Queries: 9},
	}}); err != nil {
		t.Fatal(err)
	}
	said := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"udp://192.0.2.1:53 answers, asked without edns and 0x20 1.0 ms", "udp://192.0.2.2:53 answers 1.0 ms"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %s", want, out.String())
		}
	}
}
