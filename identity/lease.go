package identity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// lease is what a DHCP server knows of the device to which it gave an address.
type lease struct {
	mac  MAC       // zero: the file does not say
	name string    // lower case, without a final dot; "" for none
	ends time.Time // zero: never
}

func (l lease) current(now time.Time) bool { return l.ends.IsZero() || now.Before(l.ends) }

// leases are those of all lease files. Each file's are a map that is replaced as a whole.
type leases struct {
	files []leaseFile
	byMAC map[MAC]lease // of each MAC the one that ends last of those that have a name
}

type leaseFile struct {
	path   string
	stamps []stamp // of the files that it consists of, as they were read last
	read   bool
	byAddr map[netip.Addr]lease
}

// stamp tells one content of a file from another without reading it.
type stamp struct {
	path string
	size int64
	time time.Time
	info fs.FileInfo
}

func (s stamp) equal(t stamp) bool {
	return s.path == t.path && s.size == t.size && s.time.Equal(t.time) && os.SameFile(s.info, t.info)
}

// use goes on with other files; of those that stay what was read stays.
func (l *leases) use(paths []string) {
	files := make([]leaseFile, 0, len(paths))
	for _, path := range paths {
		if i := slices.IndexFunc(l.files, func(f leaseFile) bool { return f.path == path }); i >= 0 {
			files = append(files, l.files[i])
			continue
		}
		files = append(files, leaseFile{path: path})
	}
	l.files = files
	l.index()
}

// index finds the leases of each MAC.
func (l *leases) index() {
	l.byMAC = map[MAC]lease{}
	for _, f := range l.files {
		for _, one := range f.byAddr {
			old, known := l.byMAC[one.mac]
			if one.mac == (MAC{}) || one.name == "" || known && (old.ends.IsZero() || !one.ends.IsZero() && one.ends.Before(old.ends)) {
				continue
			}
			l.byMAC[one.mac] = one
		}
	}
}

// all yields every lease, those that have ended too; an address that several files have comes several times.
func (l *leases) all() func(yield func(netip.Addr, lease) bool) {
	return func(yield func(netip.Addr, lease) bool) {
		for _, f := range l.files {
			for addr, one := range f.byAddr {
				if !yield(addr, one) {
					return
				}
			}
		}
	}
}

// at returns the lease of an address, the zero one where there is none: of several files' the one that ends last.
func (l *leases) at(addr netip.Addr, now time.Time) (best lease) {
	found := false
	for _, f := range l.files {
		one, ok := f.byAddr[addr]
		if ok && one.current(now) && (!found || !best.ends.IsZero() && (one.ends.IsZero() || one.ends.After(best.ends))) {
			best, found = one, true
		}
	}
	return best
}

// nameOf is the name of the device with a MAC.
func (l *leases) nameOf(mac MAC, now time.Time) string {
	if one, ok := l.byMAC[mac]; ok && one.current(now) {
		return one.name
	}
	return ""
}

// names are those of each MAC.
func (l *leases) names(now time.Time) map[MAC]string {
	out := make(map[MAC]string, len(l.byMAC))
	for mac, one := range l.byMAC {
		if one.current(now) {
			out[mac] = one.name
		}
	}
	return out
}

func (l *leases) count() (n int) {
	for _, f := range l.files {
		n += len(f.byAddr)
	}
	return n
}

// leaseSource stands before a file's path where it is said what is wrong with it.
const leaseSource = "lease "

// leaseTick is how often the files are looked at.
const leaseTick = 500 * time.Millisecond

// watchLeases reads the lease files whenever they have changed, until ctx ends.
func (s *Store) watchLeases(ctx context.Context) {
	tick := time.NewTicker(leaseTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		began := time.Now()
		if s.readLeases() {
			s.rebuild()
		}
		// A large file that is written to all the time must not take the processor.
		rest := time.NewTimer(tableShare * time.Since(began))
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case <-rest.C:
		}
	}
}

// readLeases reads the lease files that have changed, and reports whether there were any.
func (s *Store) readLeases() (changed bool) {
	s.mu.Lock()
	files := slices.Clone(s.leases.files)
	s.mu.Unlock()
	for i := range files {
		f := &files[i]
		stamps := stampsOf(f.path)
		if f.read && slices.EqualFunc(stamps, f.stamps, stamp.equal) {
			continue
		}
		byAddr, err := readLeaseFiles(stamps)
		if f.byAddr != nil && !slices.EqualFunc(stamps, stampsOf(f.path), stamp.equal) {
			continue // it is being written: what was read before stays until the next look
		}
		f.stamps, f.read, changed = stamps, true, true
		problem := ""
		switch {
		case len(stamps) == 0:
			problem = fmt.Sprintf("the lease file %s is not there", f.path)
		case err != nil:
			problem = fmt.Sprintf("the lease file %s can't be used: %v", f.path, err)
		default:
			f.byAddr = byAddr
		}
		s.fault(leaseSource+f.path, problem)
	}
	if !changed {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A configuration that has come meanwhile has its own files.
	for i := range s.leases.files {
		if j := slices.IndexFunc(files, func(f leaseFile) bool { return f.path == s.leases.files[i].path }); j >= 0 {
			s.handedOn(s.leases.files[i].byAddr, files[j].byAddr)
			s.leases.files[i] = files[j]
		}
	}
	s.leases.index()
	return true
}

// handedOn forgets what was known of addresses that another device has now. The caller holds mu.
func (s *Store) handedOn(before, after map[netip.Addr]lease) {
	for addr, was := range before {
		if is, there := after[addr]; there && was.mac != is.mac {
			s.moved(addr)
		}
	}
}

// stampsOf finds the files that a lease file consists of, oldest first. Kea begins a new one now and then, and
// tidies up the ones before meanwhile: what is in the later ones goes before (Kea's Lease File Cleanup).
func stampsOf(path string) []stamp {
	var stamps []stamp
	add := func(path string) bool {
		info, err := os.Stat(path)
		if err != nil {
			return false
		}
		stamps = append(stamps, stamp{path, info.Size(), info.ModTime(), info})
		return true
	}
	if strings.HasSuffix(path, ".csv") && !add(path+".completed") {
		add(path + ".2")
		add(path + ".1")
	}
	if !add(path) {
		return nil
	}
	return stamps
}

// maxLeaseFile bounds what is read of one file: a lease takes some 100 to 400 octets.
const maxLeaseFile = 64 << 20

var errNoLeases = errors.New("it is none of ISC dhcpd, Kea or dnsmasq")

// readLeaseFiles reads files of one server, of which the later go before.
func readLeaseFiles(stamps []stamp) (map[netip.Addr]lease, error) {
	all := map[netip.Addr]lease{}
	for _, s := range stamps {
		data, err := readBounded(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just been tidied up
		}
		if err != nil {
			return nil, err
		}
		if err := parseLeases(data, all); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(all, func(_ netip.Addr, l lease) bool { return l.mac == MAC{} && l.name == "" })
	return all, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxLeaseFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxLeaseFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", filepath.Base(path), maxLeaseFile>>20)
	}
	return data, nil
}

// parseLeases reads the leases of one file into all. Its format is found by looking.
// The last line or lease may be cut short, where it is just being written.
func parseLeases(data []byte, all map[netip.Addr]lease) error {
	for line := range bytes.Lines(data) {
		first := bytes.TrimSpace(line)
		words := bytes.Fields(first)
		switch {
		case len(words) == 0, first[0] == '#':
			continue
		case bytes.HasPrefix(first, []byte("address,")):
			return parseKea(data, all)
		case string(words[0]) == "duid", isNumber(words[0]) && (len(words) == 4 || len(words) == 5):
			parseDnsmasq(data, all)
			return nil
		case bytes.ContainsAny(first, "{;"):
			parseISC(data, all)
			return nil
		}
		return errNoLeases
	}
	return nil // empty: no lease yet
}

func isNumber(word []byte) bool {
	return len(word) > 0 && len(bytes.Trim(word, "0123456789")) == 0
}

// put notes a lease, or, where it is none, that there is none any more.
func put(all map[netip.Addr]lease, addr netip.Addr, l lease, active bool) {
	switch _, known := all[addr]; {
	case !active:
		delete(all, addr)
	case known || len(all) < maxDevices:
		all[addr] = l
	}
}

// ParseMAC reads a MAC of Ethernet's form; zero where it is none.
func ParseMAC(text string) MAC {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != len(MAC{}) {
		return MAC{}
	}
	return MAC(mac)
}

const maxName = 253

// deviceName brings a name into the form in which names are compared; "" where it is none. A device chooses it.
func deviceName(text string) string {
	name := strings.ToLower(strings.TrimRight(text, "."))
	if len(name) > maxName || strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	}) {
		return ""
	}
	return name
}
