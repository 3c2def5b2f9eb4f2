package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"schoolgate/resolver/dnswire"
)

// notifier tells systemd how the service is (sd_notify(3)). Without systemd it tells nobody.
type notifier struct{ log *slog.Logger }

// ready says that the service serves, with a line for `systemctl status`. It ends a reload too.
func (n notifier) ready(status string) { n.notify(sd.SdNotifyReady + "\nSTATUS=" + status) }

func (n notifier) reloading() {
	n.notify(sd.SdNotifyReloading + "\nMONOTONIC_USEC=" + sd.SdNotifyMonotonicUsec())
}

func (n notifier) stopping() { n.notify(sd.SdNotifyStopping) }

func (n notifier) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		n.log.Debug("notify systemd", "error", err)
	}
}

// watchdog tells systemd that the resolver is alive for as long as it answers a question. One that
// hangs is started anew by systemd (WatchdogSec=).
func (d *Daemon) watchdog(ctx context.Context) {
	defer d.systemd.stopping()
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		<-ctx.Done()
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := d.askSelf(ctx, interval/4); err != nil {
			d.log.Error("the resolver does not answer its own question", "error", err)
			continue
		}
		d.systemd.notify(sd.SdNotifyWatchdog)
	}
}

// askSelf puts a question to the resolver that it answers by itself (RFC 6761 §6.3): neither an
// upstream nor a list has a part in it.
func (d *Daemon) askSelf(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	packet := dnswire.AppendQuery(nil, 1, []byte("\x09localhost\x00"), dnswire.TypeA, dnswire.ClassIN, 1232, false, false)
	_, err := d.Ask(ctx, packet, netip.MustParseAddrPort("127.0.0.1:53"), "udp", true)
	return err
}
