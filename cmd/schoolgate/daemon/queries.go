package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"schoolgate/config"
	"schoolgate/policy/breach"
	"schoolgate/querylog"
)

// newQueryLog makes the query log. Of the resolver, which is made later, it reads the counters while it runs.
func (d *Daemon) newQueryLog(cfg *config.Config) (*querylog.Log, error) {
	return querylog.New(querylog.Options{
		DataDir: cfg.DataDir, Settings: cfg.QueryLog, Now: d.now, Counts: d.counted,
		Deleted: func(ctx context.Context, what, why, detail string) {
			d.audit(ctx, breach.Act{Who: "schoolgate", What: what, Why: why, Detail: detail})
		},
		MayDelete: d.clockTrusted.Load, Logger: d.log, Registerer: d.telemetry.registry,
	})
}

// counted is what the resolver has counted since the start.
func (d *Daemon) counted() []querylog.Count {
	var counts []querylog.Count
	for _, t := range d.resolver.Totals() {
		counts = append(counts, querylog.Count(t))
	}
	return counts
}

// auditQueryLog writes down that a reload changed what is kept of questions.
func (d *Daemon) auditQueryLog(ctx context.Context, who string, before, now querylog.Settings) {
	if before == now {
		return
	}
	detail := fmt.Sprintf("query_log %s, before %s; retention.queries %s, before %s; store.query_log_mb %d, before %d", now.Mode, before.Mode,
		span(now.Retention), span(before.Retention), now.MaxBytes>>20, before.MaxBytes>>20)
	if before.Mode == querylog.Full && now.Mode != querylog.Full {
		detail += "; the questions that are written down stay until retention.queries has passed"
	}
	d.audit(ctx, breach.Act{Who: who, What: "query_log.change", Detail: detail})
}

// Look is a look at what a client asked: who looks, and why.
type Look struct{ Client, From, To, By, Why string }

// Act is the look as it is audited.
func (l Look) Act() breach.Act {
	detail := "client " + l.Client
	if l.From != "" {
		detail += ", from " + l.From
	}
	if l.To != "" {
		detail += ", to " + l.To
	}
	return breach.Act{Who: l.By, What: "queries.list", Why: l.Why, Detail: detail}
}

// lookHandler audits a look at the query log, and has what is in memory written down. Where it can't be audited there is
// no look.
func (d *Daemon) lookHandler(w http.ResponseWriter, r *http.Request) {
	look := Look{r.FormValue("client"), r.FormValue("from"), r.FormValue("to"), r.FormValue("by"), r.FormValue("why")}
	if strings.TrimSpace(look.By) == "" || strings.TrimSpace(look.Why) == "" || look.Client == "" {
		writeText(w, http.StatusBadRequest, "a look at the query log needs a client, by whom, and why")
		return
	}
	if err := d.record.Audit(r.Context(), look.Act()); err != nil {
		writeText(w, http.StatusInternalServerError, "the look can't be audited, so nothing is shown: "+err.Error())
		return
	}
	if err := d.queries.Flush(r.Context()); err != nil {
		writeJSON(w, looked{NotWritten: err.Error()})
		return
	}
	writeJSON(w, looked{})
}

// looked is the answer to a look that was audited.
type looked struct {
	// NotWritten is why the newest questions are not in the files; "" where they are.
	NotWritten string `json:"not_written"`
}

// ErrNotWritten says that the newest questions are not in the files.
var ErrNotWritten = errors.New("the newest questions are not yet written down")

// Look has a look at the query log audited, and what is in memory written down. After an ErrNotWritten it was
// audited all the same.
func (c *Client) Look(ctx context.Context, l Look) error {
	var answer looked
	form := url.Values{"client": {l.Client}, "from": {l.From}, "to": {l.To}, "by": {l.By}, "why": {l.Why}}
	if err := c.do(ctx, http.MethodPost, "/queries/look", form, &answer); err != nil {
		return err
	}
	if answer.NotWritten != "" {
		return fmt.Errorf("%w: %s", ErrNotWritten, answer.NotWritten)
	}
	return nil
}
