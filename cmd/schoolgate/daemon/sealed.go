package daemon

import (
	"context"
	"strings"

	"schoolgate/policy/breach"
)

// actSealed says to whom the names of confidential categories are sealed from then on.
const (
	actSealed    = "sealed.key"
	sealedPrefix = "confidential names are sealed to "
	sealedBefore = ", before to "
)

// auditSealed writes down to whom confidential names are sealed, where that has changed since it was last written down:
// at a reload, or while schoolgate did not run. Called with mu held.
func (d *Daemon) auditSealed(ctx context.Context, f *Filter, who string) {
	now := f.Config.Record.Seal.String()
	if d.sealedTo == "" {
		d.sealedTo = lastSealed(ctx, RecordPath(f.Config))
	}
	if now == d.sealedTo {
		return
	}
	d.audit(ctx, breach.Act{Who: who, What: actSealed, Detail: sealedPrefix + now + sealedBefore + d.sealedTo})
	d.sealedTo = now
	d.log.Warn("confidential names are sealed to somebody else than before", "to", now)
}

// lastSealed is to whom they were sealed when it was last written down; nobody where it never was.
func lastSealed(ctx context.Context, path string) string {
	last := (*breach.Seal)(nil).String()
	r, err := breach.OpenReader(path) //nolint:contextcheck // it has none
	if err != nil {
		return last // the audit says from whom it is not known
	}
	defer r.Close()
	_ = r.Acts(ctx, breach.ActFilter{What: actSealed}, func(a breach.RecordedAct) error { // what can't be read is not known
		last, _, _ = strings.Cut(strings.TrimPrefix(a.Detail, sealedPrefix), sealedBefore)
		return nil
	})
	return last
}
