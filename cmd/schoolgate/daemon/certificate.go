package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"schoolgate/config"
)

// certificate is the certificate of the encrypted listeners as it is in use. Whoever renews the files need
// tell nobody: they are looked at once a minute. Ones that cannot be used change nothing but /healthz.
type certificate struct {
	log    *slog.Logger
	inUse  atomic.Pointer[tls.Certificate] // nil: there is none
	mu     sync.Mutex
	files  config.KeyPair
	read   [2]stamp // of the files when they were read last
	broken string   // why what was read last is not in use
}

// certificateInterval is how soon renewed files are noticed.
const certificateInterval = time.Minute

// use reads the pair of a configuration.
func (c *certificate) use(files config.KeyPair) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files = files
	c.load()
}

// refresh reads the pair again where the files have changed, or could not be used.
func (c *certificate) refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.stamps(); c.broken == "" && now[0].equal(c.read[0]) && now[1].equal(c.read[1]) {
		return
	}
	c.load()
}

func (c *certificate) stamps() [2]stamp {
	return [2]stamp{stampOf(c.files.Certificate), stampOf(c.files.Key)}
}

func (c *certificate) load() {
	c.read = c.stamps() // before the content: what changes meanwhile is read again
	pair, problems := c.files.Load()
	switch {
	case problems == nil:
		c.broken = ""
		c.inUse.Store(pair)
		if pair != nil {
			c.log.Info("certificate in use", "names", pair.Leaf.DNSNames, "until", pair.Leaf.NotAfter)
		}
	case c.inUse.Load() != nil:
		c.broken = "the certificate of listen.tls has changed and can't be used; the one before serves on: " + refused(problems).brief()
	default:
		c.broken = "there is no certificate, so that encrypted DNS does not work: " + refused(problems).brief()
	}
}

// problems are a line for each thing that is wrong now.
func (c *certificate) problems(now time.Time, zone *time.Location) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	if c.broken != "" {
		out = append(out, c.broken)
	}
	if pair := c.inUse.Load(); pair != nil && now.After(pair.Leaf.NotAfter) {
		out = append(out, "the certificate of listen.tls expired on "+pair.Leaf.NotAfter.In(zone).Format("2006-01-02 15:04")+": clients refuse it")
	}
	return out
}

// watch refreshes until ctx ends.
func (c *certificate) watch(ctx context.Context) {
	tick := time.NewTicker(certificateInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.refresh()
		}
	}
}
