package daemon

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// Erased is what was erased, and which older copies of the record may still hold it.
type Erased struct {
	breach.Erased
	// Questions is how many there were in the query log.
	Questions int      `json:"questions"`
	Copies    []string `json:"copies"`
	// Clients is how many addresses were forgotten of the record of who asks.
	Clients int `json:"clients"`
}

func (d *Daemon) eraseHandler(w http.ResponseWriter, r *http.Request) {
	e := breach.Erasure{By: r.FormValue("by"), Reason: r.FormValue("reason"), Incidents: r.FormValue("incidents") == "true"}
	var err error
	if e.Client, err = policy.ParseClientPattern(r.FormValue("client")); err == nil {
		e.From, err = time.Parse(time.RFC3339, r.FormValue("from"))
	}
	if err == nil {
		e.To, err = time.Parse(time.RFC3339, r.FormValue("to"))
	}
	if err != nil || e.By == "" {
		writeText(w, http.StatusBadRequest, "what is to be erased is not said well")
		return
	}
	// Whoever asked may go away: what was begun is ended.
	ctx := context.WithoutCancel(r.Context())
	questions, err := d.queries.Erase(ctx, e.Client.String(), e.From, e.To)
	done := breach.Erased{}
	if err == nil {
		done, err = d.record.Erase(ctx, e)
	}
	if err != nil {
		writeText(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	d.takeClients()
	forgotten := d.clients.Forget(WhoseOf(e))
	d.keepClients()
	writeJSON(w, Erased{done, questions, orEmpty(d.record.Copies()), forgotten})
}

// auditHandler writes down what was done by a command that only reads.
func (d *Daemon) auditHandler(w http.ResponseWriter, r *http.Request) {
	act := breach.Act{Who: r.FormValue("who"), What: r.FormValue("what"), Why: r.FormValue("why"), Detail: r.FormValue("detail")}
	if act.Who == "" || act.What == "" {
		writeText(w, http.StatusBadRequest, "who did what?")
		return
	}
	if err := d.record.Audit(r.Context(), act); err != nil {
		writeText(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	writeText(w, http.StatusOK, "recorded")
}

// Erase has the running schoolgate erase what is kept of a client.
func (c *Client) Erase(ctx context.Context, e breach.Erasure) (done Erased, err error) {
	err = c.do(ctx, http.MethodPost, "/privacy/erase", url.Values{
		"client": {e.Client.String()}, "from": {e.From.Format(time.RFC3339)}, "to": {e.To.Format(time.RFC3339)},
		"incidents": {strconv.FormatBool(e.Incidents)}, "by": {e.By}, "reason": {e.Reason},
	}, &done)
	return done, err
}

// Audit has the running schoolgate write down what a command did that only reads, and returns when it is on disk.
// What waited to be recorded before is too.
func (c *Client) Audit(ctx context.Context, act breach.Act) error {
	if err := c.Flush(ctx); err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, "/audit", url.Values{"who": {act.Who}, "what": {act.What}, "why": {act.Why}, "detail": {act.Detail}}, nil)
}
