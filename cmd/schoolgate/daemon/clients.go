package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"schoolgate/clients"
	"schoolgate/config"
	"schoolgate/policy/breach"
)

// clientsFile is where it is kept who asks, in the data directory: mode 0600.
const clientsFile = "clients.json"

const (
	// clientsTick is how often what was asked is taken in, and clientsKept how often that is written down: a power cut
	// costs a quarter of an hour of counts.
	clientsTick = time.Minute
	clientsKept = 15 * time.Minute
)

// clientRecord is who asks, with its place on the disk.
type clientRecord struct {
	*clients.Register
	path string
	told time.Time // when IT was alerted to a group that asks less; only countClients has it
}

// readClients begins with what was kept of who asked before. What is damaged is begun again: nobody's protection depends
// on it.
func (d *Daemon) readClients(cfg *config.Config) {
	d.clients = clientRecord{Register: clients.New(d.now), path: filepath.Join(cfg.DataDir, clientsFile)}
	data, err := os.ReadFile(d.clients.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var before *clients.Register
	if err == nil {
		before, err = clients.Load(data, d.now)
	}
	if err != nil {
		d.log.Warn("who asked before is not known any more: it is counted anew", "error", err)
		return
	}
	d.clients.Register = before
}

// countClients takes in who asks, until ctx ends.
func (d *Daemon) countClients(ctx context.Context) {
	tick := time.NewTicker(clientsTick)
	defer tick.Stop()
	for kept := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.takeClients()
		d.tellOfFall()
		if time.Since(kept) >= clientsKept {
			kept = time.Now()
			d.keepClients()
		}
	}
}

// takeClients takes in what was asked since it was last called.
func (d *Daemon) takeClients() {
	asked, lost := d.resolver.Asked()
	school := schoolOf(d.Filter().Config)
	present := map[netip.Addr]clients.Presence{}
	for addr, p := range d.identities.Present() {
		present[addr] = clients.Presence(p)
	}
	d.clients.Merge(asked, lost, present, school)
}

// tellOfFall alerts IT to the first group of a day that asks far less than usual.
func (d *Daemon) tellOfFall() {
	falls := d.clients.Falls()
	if len(falls) == 0 || falls[0].From.Format(time.DateOnly) == d.clients.told.Format(time.DateOnly) {
		return
	}
	d.clients.told = falls[0].From
	d.tellIT(FallText(falls[0]))
}

// FallText says that a group asks far less than usual, for people.
func FallText(f clients.Fall) string {
	return fmt.Sprintf("group %s asked %d questions on %s from %s, and %d at least at that hour in the %d weeks before: where it is at school as usual, it may have found another resolver (`schoolgate clients list --silent`)",
		f.Group, f.Asked, f.From.Format("Mon 2006-01-02"), f.From.Format("15:04"), f.Least, f.Weeks)
}

// keepClients takes in what was asked up to now, and writes it down. Where nothing is to be kept, nothing is.
func (d *Daemon) keepClients() {
	d.takeClients()
	var err error
	if d.Filter().Config.KeepClients == 0 {
		if err = os.Remove(d.clients.path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = keepRegister(d.clients.Register, d.clients.path)
	}
	if err != nil {
		d.log.Warn("it is not written down who asks", "error", err)
	}
}

// schoolOf is what of a configuration counts for the record of clients.
func schoolOf(cfg *config.Config) clients.School {
	s := clients.School{
		Keep: cfg.KeepClients, Zone: cfg.Timezone, SchoolDay: cfg.Policy.Calendar.SchoolDay, Terms: len(cfg.Policy.Calendar.Terms) > 0,
	}
	for _, g := range cfg.Policy.Groups {
		s.Groups = append(s.Groups, g.Name)
	}
	return s
}

// WhoseOf is of whom an erasure is, for the record of clients: that knows addresses and MACs, and neither names nor users.
func WhoseOf(e breach.Erasure) clients.Whose {
	return clients.Whose{Addr: e.Client.Addr, MAC: e.Client.MAC, From: e.From, To: e.To}
}

// storedClients is who asks as it was last written down, where no schoolgate runs.
func storedClients(cfg *config.Config) (*clients.Register, error) {
	data, err := os.ReadFile(filepath.Join(cfg.DataDir, clientsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return clients.New(time.Now), nil
	}
	if err != nil {
		return nil, err
	}
	return clients.Load(data, time.Now)
}

// ListStoredClients lists them.
func ListStoredClients(cfg *config.Config) ([]clients.Client, error) {
	r, err := storedClients(cfg)
	if err != nil {
		return nil, err
	}
	return r.List(schoolOf(cfg)), nil
}

// ForgetStoredClients forgets a client in what was last written down, and returns how many addresses it had.
func ForgetStoredClients(cfg *config.Config, w clients.Whose) (forgotten int, err error) {
	r, err := storedClients(cfg)
	if err != nil {
		return 0, err
	}
	if forgotten = r.Forget(w); forgotten == 0 {
		return 0, nil
	}
	return forgotten, keepRegister(r, filepath.Join(cfg.DataDir, clientsFile))
}

func keepRegister(r *clients.Register, path string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeWhole(data, path)
}

// ClientList is who asks.
type ClientList struct {
	// Kept is false where query_log is none: nobody is counted.
	Kept    bool             `json:"kept"`
	Clients []clients.Client `json:"clients"`
}

func (d *Daemon) clientsHandler(w http.ResponseWriter, _ *http.Request) {
	d.takeClients()
	cfg := d.Filter().Config
	writeJSON(w, ClientList{Kept: cfg.KeepClients > 0, Clients: d.clients.List(schoolOf(cfg))})
}

// Clients asks who asks.
func (c *Client) Clients(ctx context.Context) (ClientList, error) {
	var list ClientList
	err := c.do(ctx, http.MethodGet, "/clients", nil, &list)
	return list, err
}
