package resolver

import (
	"net"
	"net/netip"
	"sync"
)

// The bounds of one listener that has connections (RFC 7766 §6, RFC 9210 §4.2, RFC 9250 §5.5). One
// address, of IPv6 one /64, may have a sixteenth, so that sixteen must conspire before others wait.
const (
	maxConnections           = 2048
	maxConnectionsPerAddress = maxConnections / 16
	// Requests over HTTPS and QUIC, which come many at a time over one connection: read and not answered yet.
	maxRequests           = 8192
	maxRequestsPerAddress = maxRequests / 16
)

// crowd is the connections of one listener, and who may come in.
type crowd struct {
	transport transport
	refused   *refusals
	requests  sync.WaitGroup // those begun and not ended; nobody begins once stopping

	mu         sync.Mutex
	open       map[*guest]struct{}
	perAddress map[netip.Addr]*share
	answering  int
	stopping   bool
}

// share is what one address has of a crowd.
type share struct{ connections, answering int }

func newCrowd(t transport, refused *refusals) *crowd {
	return &crowd{transport: t, refused: refused, open: make(map[*guest]struct{}), perAddress: make(map[netip.Addr]*share)}
}

// guest is one connection. Its fields are set by whoever lets it in; those below mu's line are the crowd's.
type guest struct {
	crowd *crowd
	from  netip.AddrPort
	conn  net.Conn    // of TCP, without TLS; nil for QUIC
	idle  func() bool // nil: none of its requests is being answered
	proxy bool        // comes for others: the share of its own address does not bound it

	// Under the crowd's mu.
	shut      func() // ends the connection at once and waits for nothing; nil: it cannot be yet
	pause     func() // lets nothing more be read; nil: it need not be told
	answering int
	evicted   bool
}

// enter lets g in, or counts why not.
func (c *crowd) enter(g *guest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := host(g.from.Addr())
	s := c.perAddress[client]
	switch {
	case c.stopping:
		return false
	case s != nil && s.connections >= maxConnectionsPerAddress && !g.proxy:
		c.refused.add(c.transport, refusedPerAddress)
		return false
	case len(c.open) >= maxConnections && !c.makeRoom():
		c.refused.add(c.transport, refusedFull)
		return false
	}
	if s == nil {
		s = new(share)
		c.perAddress[client] = s
	}
	s.connections++
	g.crowd = c
	c.open[g] = struct{}{}
	return true
}

// rename lets a proxy's connection count as that of the client whom it names, or counts why not.
func (c *crowd) rename(g *guest, client netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, in := c.open[g]; !in || c.stopping {
		return false
	}
	s := c.perAddress[host(client.Addr())]
	if s != nil && s.connections >= maxConnectionsPerAddress {
		c.refused.add(c.transport, refusedPerAddress)
		return false
	}
	proxy := host(g.from.Addr())
	c.perAddress[proxy].connections--
	c.tidy(proxy)
	if s = c.perAddress[host(client.Addr())]; s == nil {
		s = new(share)
		c.perAddress[host(client.Addr())] = s
	}
	s.connections++
	g.from = client
	return true
}

// makeRoom closes a connection that has nothing outstanding, so that those who hold many idle ones keep
// nobody else out: it is most likely one of theirs (RFC 7766 §6.2.3 lets a server close any that is idle).
func (c *crowd) makeRoom() bool {
	for g := range c.open { // in no particular order
		if !g.evicted && g.shut != nil && g.isIdle() {
			g.evicted = true
			c.refused.add(c.transport, refusedEvicted)
			g.shut()
			return true
		}
	}
	return false
}

func (g *guest) isIdle() bool {
	if g.idle != nil {
		return g.idle()
	}
	return g.answering == 0
}

// host is what counts as one client: an IPv4 address, or the /64 of an IPv6 one, of which a device has
// as many addresses as it likes. The /64 of link-local addresses is everybody's: there it is the address.
func host(addr netip.Addr) netip.Addr {
	if addr.Is4() || addr.IsLinkLocalUnicast() {
		return addr.WithZone("")
	}
	prefix, err := addr.Prefix(64)
	if err != nil {
		return addr
	}
	return prefix.Addr()
}

// leave gives the place of g back. Only the first call does.
func (g *guest) leave() {
	c := g.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, in := c.open[g]; !in {
		return
	}
	delete(c.open, g)
	client := host(g.from.Addr())
	c.perAddress[client].connections--
	c.tidy(client)
}

func (c *crowd) tidy(client netip.Addr) {
	if *c.perAddress[client] == (share{}) {
		delete(c.perAddress, client)
	}
}

// begin takes a place for a request of g, which end gives back; false where there is none.
func (g *guest) begin() bool {
	c := g.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, in := c.open[g]; !in || c.stopping {
		return false
	}
	s := c.perAddress[host(g.from.Addr())]
	if c.answering >= maxRequests || s.answering >= maxRequestsPerAddress {
		c.refused.add(c.transport, refusedBusy)
		return false
	}
	c.answering++
	s.answering++
	g.answering++
	c.requests.Add(1)
	return true
}

func (g *guest) end() {
	c := g.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	client := host(g.from.Addr())
	c.answering--
	c.perAddress[client].answering--
	g.answering--
	c.tidy(client)
	c.requests.Done()
}

// lost counts a connection that came to nothing, unless that is our own doing.
func (g *guest) lost(why refusal) {
	c := g.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopping && !g.evicted {
		c.refused.add(c.transport, why)
	}
}

// unlessStopping calls do and returns true, or false once the crowd is to go home.
func (c *crowd) unlessStopping(do func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return false
	}
	do()
	return true
}

// stop lets nobody in any more and calls do, with mu held, for each who is.
func (c *crowd) stop(do func(*guest)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	for g := range c.open {
		do(g)
	}
}

// close ends every connection.
func (c *crowd) close() {
	c.stop(func(g *guest) {
		if g.shut != nil {
			g.shut()
		}
	})
}

// crowded reports whether an address that nobody has proved to be its own must prove it: there is more
// than a school's usual coming and going.
func (c *crowd) crowded(addr netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.perAddress[host(addr)]
	return len(c.open) >= maxConnections/4 || s != nil && s.connections >= maxConnectionsPerAddress/4
}
