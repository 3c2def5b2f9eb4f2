package breach

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"schoolgate/policy"
)

func TestADeviceWhoseNameIsFoundOutIsStillTheSame(t *testing.T) {
	r, p := open(t), school(t, nil)
	breach := func(client policy.Client, name string) {
		e := ask(t, p, pupil, name, r.clock.Now())
		client.Addr = pupil
		e.Client = client
		r.Record(e)
		r.tick(t, time.Second)
	}
	named := policy.Client{Addr: pupil, MAC: "00:11:22:33:44:55", Name: "y7-ipad-3"}
	breach(policy.Client{MAC: named.MAC}, "pornography.example")
	breach(named, "pornography.example")
	breach(named, "www.pornography.example")
	r.tick(t, 10*time.Minute)
	notices := r.router.take()
	if len(notices) != 2 || notices[1].Kind != IncidentContinued || notices[1].Count != 3 || notices[1].Incident != notices[0].Incident {
		t.Fatalf("notices: %+v", notices)
	}
	if diff := cmp.Diff(named, notices[1].Client, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("the notice's client (-want +got):\n%s", diff)
	}
	for what, other := range map[string]policy.Client{
		"another device at the address": {MAC: "00:11:22:33:44:66"}, "somebody who has signed in there": {MAC: named.MAC, User: "a.pupil"},
	} {
		breach(other, "pornography.example")
		if got := r.told(); len(got) != 1 || got[0].Kind != IncidentOpened {
			t.Errorf("%s: %v", what, got)
		}
	}
	verify(t, r.path)
}
