package resolver

import (
	"net"
	"net/netip"
	"strings"

	"schoolgate/policy"
	"schoolgate/resolver/dnswire"
)

// Identities says what is known of clients beside their addresses. Its methods are called from many goroutines and
// must not block; what they return is nil where nothing is known.
type Identities interface {
	// Known is for the client at an address, which is in the Known.
	Known(client netip.Addr) *policy.Known
	// KnownMAC is for a device behind a forwarder: the Known has no address.
	KnownMAC(mac [6]byte) *policy.Known
}

// recognise finds out who asks, whether they may, and their group: by the address, and by what is known beside it.
// What is not known yet is not waited for.
func (r *Resolver) recognise(q *query) {
	p := q.snapshot.policy
	q.who.Client.Addr = q.client
	if q.known = p.MayAsk(q.client); !q.known {
		q.who.Group, _ = p.Identify(q.client)
		return
	}
	if q.msg.SubnetLen+q.msg.DeviceLen > 0 && q.status == dnswire.StatusOK && among(q.snapshot.Access.TrustedForwarders, q.client) {
		r.recogniseBehind(q)
		return
	}
	r.recogniseAt(q, q.client)
	if q.host != "" && p.KnowsHosts() {
		q.who.Group, _ = p.Place(&q.who.Client, strings.ToLower(q.host))
	}
}

// recogniseAt is recognise for the client at an address.
func (r *Resolver) recogniseAt(q *query, addr netip.Addr) {
	p := q.snapshot.policy
	if r.identities != nil {
		if known := r.identities.Known(addr.WithZone("")); known != nil {
			q.who.Client, q.who.Group = known.Client, known.Group(p, q.snapshot.generation)
			return
		}
	}
	q.who.Client = policy.Client{Addr: addr}
	q.who.Group = p.OfAddress(addr)
}

// recogniseBehind is recognise for a query that a trusted forwarder passes on, with what it says of the client: its
// address, or the network that it is in, and its MAC. Where it says no address its own stands for it. A network's
// address is no device's: nothing is known of it.
func (r *Resolver) recogniseBehind(q *query) {
	p := q.snapshot.policy
	var network netip.Prefix
	if q.msg.SubnetLen > 0 {
		network, q.subnet = dnswire.ParseSubnet(q.in[q.msg.SubnetAt:][:q.msg.SubnetLen])
	}
	mac, named := dnswire.ParseDevice(q.msg.DeviceCode, q.in[q.msg.DeviceAt:][:q.msg.DeviceLen])
	switch {
	case q.subnet && network.IsSingleIP():
		r.recogniseAt(q, network.Addr())
	case q.subnet:
		q.network = true
		q.who.Client = policy.Client{Addr: network.Addr()}
		q.who.Group = p.OfNetwork(network)
	case named:
		q.who.Group = p.OfAddress(q.client)
	default:
		r.recogniseAt(q, q.client)
	}
	if !named {
		return
	}
	group := p.OfAddress(q.who.Client.Addr)
	if q.subnet && !network.IsSingleIP() {
		group = q.who.Group
	}
	q.who.Client = r.device(mac, q.who.Client)
	q.who.Group = p.Move(group, &q.who.Client)
}

// device is the client with a MAC, as far as it is known. What is known of its address is of it unless that is of
// another device.
func (r *Resolver) device(mac [6]byte, at policy.Client) policy.Client {
	var c policy.Client
	if r.identities != nil {
		if known := r.identities.KnownMAC(mac); known != nil {
			c = known.Client
		}
	}
	if c.MAC == "" {
		c.MAC = net.HardwareAddr(mac[:]).String()
	}
	c.Addr = at.Addr
	if at.MAC == "" || at.MAC == c.MAC {
		if c.Name == "" {
			c.Name = at.Name
		}
		if at.User != "" {
			c.User = at.User
		}
	}
	return c
}
