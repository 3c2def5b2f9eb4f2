package config

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// machine is what a configuration leaves to the machine that it is loaded on.
type machine struct {
	hostname   string
	prefixes   []netip.Prefix // of the network interfaces, with the machine's own address
	resolvConf string         // path of resolv.conf
	getenv     func(string) string
	now        time.Time
}

func thisMachine() machine {
	hostname, err := os.Hostname()
	if err != nil || hostname == "" {
		hostname = "schoolgate"
	}
	// Without its addresses the machine is only less known: "private" lacks its networks.
	addrs, _ := net.InterfaceAddrs()
	var prefixes []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	return machine{hostname, prefixes, "/etc/resolv.conf", os.Getenv, time.Now()}
}

// stateDir is where a server without a configuration keeps its data: after the XDG base directory
// specification, and the directory for temporary files where the user has no home.
func (m machine) stateDir() string {
	if dir := m.getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "schoolgate")
	}
	if home := m.getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "schoolgate")
	}
	return filepath.Join(os.TempDir(), "schoolgate")
}

// nameservers are the resolvers of resolv.conf(5), none where it can't be read.
func (m machine) nameservers() []netip.Addr {
	f, err := os.Open(m.resolvConf)
	if err != nil {
		return nil
	}
	defer f.Close()
	var servers []netip.Addr
	for lines := bufio.NewScanner(f); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			servers = append(servers, a.Unmap())
		}
	}
	return servers
}

// sockets are the addresses that one of listen.dns stands for. A wildcard address is of one family,
// and the zero Addr those of every family that the machine has.
func (m machine) sockets(a netip.AddrPort) []netip.AddrPort {
	if a.Addr().IsValid() {
		return []netip.AddrPort{a}
	}
	all := []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())}
	if slices.ContainsFunc(m.prefixes, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		all = append(all, netip.AddrPortFrom(netip.IPv6Unspecified(), a.Port()))
	}
	return all
}

// isOwn reports whether an address is one of the machine's.
func (m machine) isOwn(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	for _, p := range m.prefixes {
		if p.Addr().Unmap() == a.WithZone("") {
			return true
		}
	}
	return false
}
