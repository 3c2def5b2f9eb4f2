package daemon

import (
	"context"
	"fmt"
	"net"

	"schoolgate/cmd/schoolgate/console"
	"schoolgate/config"
	"schoolgate/policy"
)

// consoleListener is listen.console; its Listener is nil where nothing is served there.
type consoleListener struct {
	net.Listener
	address string // of the configuration that it was opened for
}

// listenConsole opens listen.console: plain on this machine, else with the certificate of listen.tls.
func (d *Daemon) listenConsole(ctx context.Context, address string) (c consoleListener, err error) {
	if address == "" {
		return c, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return c, fmt.Errorf("listen.console: %w%s", err, portTaken(err, "listen.console"))
	}
	certificate := d.tls.inUse.Load
	if config.IsLoopback(address) {
		certificate = nil
	}
	return consoleListener{console.Listen(l, certificate), address}, nil
}

// inForce is the configuration and the policy of this moment.
func (d *Daemon) inForce() (*config.Config, *policy.Policy) {
	f := d.Filter()
	return f.Config, f.Policy
}
