package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"schoolgate/cmd/schoolgate/daemon"
)

// outsideWait bounds each try.
const outsideWait = 2 * time.Second

// outside is a way to a resolver outside.
type outside struct {
	how, network, address string
	dns                   bool // it has to answer a question: over UDP nothing else shows that it is there
}

// outsideResolvers are the best-known ones, by all ways that devices use.
func outsideResolvers() (all []outside) {
	for _, host := range []string{"1.1.1.1", "8.8.8.8", "9.9.9.9", "2606:4700:4700::1111", "2001:4860:4860::8888", "2620:fe::fe"} {
		for _, way := range []outside{
			{"DNS over UDP", "udp", "53", true},
			{"DNS over TCP", "tcp", "53", true},
			{"DNS over TLS", "tcp", "853", false},
			{"DNS over HTTPS", "tcp", "443", false},
		} {
			way.address = net.JoinHostPort(host, way.address)
			all = append(all, way)
		}
	}
	return all
}

// outsideTest is what was found on a device.
type outsideTest struct {
	Time    time.Time       `json:"time"`
	Result  string          `json:"result"` // as Check.Result
	Why     string          `json:"why"`
	Outside []outsideResult `json:"outside"`
}

type outsideResult struct {
	Address   string `json:"address"`
	How       string `json:"how"`
	Reachable bool   `json:"reachable"`
}

// fromClientTest tries all ways out at once. The answer is no where one is open; where none is, online says whether that
// means anything.
func fromClientTest(ctx context.Context, w io.Writer, ways []outside, online func(context.Context) bool, asJSON bool) error {
	found := outsideTest{Time: time.Now(), Result: daemon.CheckOK, Outside: make([]outsideResult, len(ways))}
	var trying sync.WaitGroup
	for i, way := range ways {
		trying.Go(func() { found.Outside[i] = outsideResult{way.address, way.how, way.reachable(ctx)} })
	}
	trying.Wait()
	open := 0
	for _, r := range found.Outside {
		if r.Reachable {
			open++
		}
	}
	switch {
	case open > 0:
		found.Result = daemon.CheckFailed
		found.Why = "devices can get round the filter: let the firewall drop DNS (53, 853) and the addresses of public resolvers from all but schoolgate (deploy/docs/install.md, Firewall)"
	case !online(ctx):
		found.Result, found.Why = daemon.CheckNotTested, "this device looks up no name at all: is it on the school's network?"
	}
	var err error
	if asJSON {
		err = printJSON(w, found)
	} else {
		err = table(w, func(line func(string, ...any)) {
			for _, r := range found.Outside {
				word := "not reachable"
				if r.Reachable {
					word = "REACHABLE"
				}
				line("%s\t%s\t%s", word, r.How, r.Address)
			}
		})
		fmt.Fprintln(w, strings.TrimSuffix("outside resolvers: "+found.Result+": "+found.Why, ": "))
	}
	if err == nil && open > 0 {
		return errNo()
	}
	return err
}

// hasDNS reports whether the device's own resolver answers: without it that nothing outside does proves nothing.
func hasDNS(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*outsideWait)
	defer cancel()
	_, err := net.DefaultResolver.LookupNetIP(ctx, "ip", "www.gov.uk.")
	no, isDNS := errors.AsType[*net.DNSError](err)
	return err == nil || isDNS && no.IsNotFound
}

// reachable reports whether there is an answer: to a question, or to a connection.
func (o outside) reachable(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, outsideWait)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, o.network, o.address)
	if err != nil {
		return false
	}
	defer conn.Close()
	if !o.dns {
		return true
	}
	deadline, _ := ctx.Deadline()
	if conn.SetDeadline(deadline) != nil {
		return false
	}
	// The name servers of the root: every resolver has an answer.
	question := []byte{0x5c, 0x0e, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1}
	if o.network == "tcp" {
		question = append(binary.BigEndian.AppendUint16(nil, uint16(len(question))), question...)
	}
	if _, err := conn.Write(question); err != nil {
		return false
	}
	n, err := io.ReadAtLeast(conn, make([]byte, 4096), 2)
	return err == nil && n > 0
}
