package breachtest

import (
	"testing"
	"time"

	"schoolgate/policy/breach"
)

func TestAPastThatWasLivedIsARecordThatVerifies(t *testing.T) {
	past := Lived{Start: time.Date(2025, 11, 29, 0, 0, 0, 0, time.UTC), Days: 40, Breaches: 3000, Devices: 120, Groups: 8}
	path, err := past.Write(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := breach.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	breaches, clients, groups := 0, map[breach.Client]bool{}, map[string]bool{}
	err = r.Breaches(t.Context(), breach.Filter{}, func(b breach.Breach) error {
		breaches++
		clients[b.Client], groups[b.Group] = true, true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if breaches < 2900 || breaches > 3000 || len(clients) < 30 || len(groups) != 8 {
		t.Errorf("%d breaches of %d devices in %d groups", breaches, len(clients), len(groups))
	}
	states := map[string]int{}
	err = r.Incidents(t.Context(), breach.Filter{}, func(i breach.Incident) error {
		states[i.State]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if states[breach.StateNew] == 0 || states[breach.StateClosed] == 0 {
		t.Errorf("nobody dealt with them: %v", states)
	}
}
