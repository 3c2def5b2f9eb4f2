package config

import (
	"net/netip"
	"strings"
)

// listenOn checks the sockets. Two on one address would fail only when they are opened.
func (c *checker) listenOn() {
	taken := map[string]string{}
	take := func(p place, network, address string) {
		a, err := netip.ParseAddrPort(address)
		if err != nil || a.Port() == 0 {
			return
		}
		socket := network + " " + address
		if other, again := taken[socket]; again {
			c.fail(p, "", "%s is taken by %s", address, other)
			return
		}
		taken[socket] = p.path
	}
	for _, a := range c.listen.dns.all {
		for _, socket := range c.machine.sockets(a.v) {
			take(a.place, "udp", socket.String())
			if !c.failed(a.place) {
				take(a.place, "tcp", socket.String())
			}
			c.cfg.Listen = append(c.cfg.Listen, socket)
		}
	}
	if len(c.listen.dns.all) == 0 && !c.failed(place{path: "listen"}) && c.listen.written() {
		c.fail(c.listen.dns.place, `write ["127.0.0.1:5300"], or [":53"]`, "there is no address to listen on")
	}
	var encrypted []place
	for _, l := range []struct {
		written values[netip.AddrPort]
		network string
		sockets *[]netip.AddrPort
	}{
		{c.listen.dot, "tcp", &c.cfg.DoT}, {c.listen.doh, "tcp", &c.cfg.DoH}, {c.listen.doq, "udp", &c.cfg.DoQ}, {c.listen.page, "tcp", &c.cfg.Page},
	} {
		for _, a := range l.written.all {
			for _, socket := range c.machine.sockets(a.v) {
				take(a.place, l.network, socket.String())
				*l.sockets = append(*l.sockets, socket)
			}
			if l.sockets != &c.cfg.Page {
				encrypted = append(encrypted, a.place)
			}
		}
	}
	console := c.listen.console
	if console.v != "" && !IsLoopback(console.v) {
		encrypted = append(encrypted, console.place)
	}
	c.keyPair(encrypted)
	for _, s := range []value[string]{c.listen.console, c.listen.metrics} {
		address := s.v
		if s.path == "listen.console" && !s.written() && len(c.api.tokens) == 0 {
			continue // nothing listens there
		}
		if strings.HasPrefix(address, ":") {
			address = "[::]" + address
		}
		take(s.place, "tcp", strings.Replace(address, "localhost:", "127.0.0.1:", 1))
	}
	c.cfg.Metrics = c.listen.metrics.v
}

// keyPair takes the files of listen.tls, which the encrypted listeners need.
func (c *checker) keyPair(listeners []place) {
	files := &c.listen.tls
	c.regularFile(files.certificate)
	c.regularFile(files.key)
	switch cert, key := files.certificate.v, files.key.v; {
	case c.failed(files.place):
	case cert == "" && key != "":
		c.fail(files.key.place, "write listen.tls.certificate", "there is a key and no certificate")
	case cert != "" && key == "":
		c.fail(files.certificate.place, "write listen.tls.key", "there is a certificate and no key")
	case cert == "" && len(listeners) > 0:
		c.fail(listeners[0], "write listen.tls: {certificate: …, key: …}", "there is no certificate for %s", forWhat(listeners[0]))
	case cert != "":
		c.cfg.TLS = KeyPair{
			Certificate: c.path(files.certificate), Key: c.path(files.key),
			CertificateAt: c.problem(files.certificate.place, "", ""), KeyAt: c.problem(files.key.place, "", ""),
		}
	}
}

// forWhat says what a listener needs a certificate for.
func forWhat(listener place) string {
	if listener.path == "listen.console" {
		return "the console: off loopback its tokens would be readable on the way"
	}
	return "encrypted DNS"
}
