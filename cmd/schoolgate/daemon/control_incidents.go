package daemon

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"schoolgate/policy/breach"
)

// Registrar writes down what is done about incidents: the record itself, or the Client of a schoolgate that runs.
type Registrar interface {
	// LookAt, NoteIncident and CloseIncident are as those of breach.Log.
	LookAt(ctx context.Context, id string, act breach.Act, seen bool) error
	NoteIncident(ctx context.Context, id, by, text string) error
	CloseIncident(ctx context.Context, id, by, outcome, text string) error
}

// handleIncidents serves what is done about incidents.
func (d *Daemon) handleIncidents(mux *http.ServeMux) {
	handle := func(path string, do func(ctx context.Context, r *http.Request, id string) error) {
		mux.HandleFunc("POST /incidents/"+path, func(w http.ResponseWriter, r *http.Request) {
			err := do(context.WithoutCancel(r.Context()), r, r.FormValue("id"))
			switch {
			case errors.Is(err, breach.ErrNoIncident):
				writeText(w, http.StatusNotFound, err.Error())
			case err != nil:
				writeText(w, http.StatusUnprocessableEntity, err.Error())
			default:
				writeText(w, http.StatusOK, "written down")
			}
		})
	}
	handle("look", func(ctx context.Context, r *http.Request, id string) error {
		act := breach.Act{Who: r.FormValue("by"), What: r.FormValue("what"), Why: r.FormValue("why"), Detail: r.FormValue("detail")}
		return d.record.LookAt(ctx, id, act, r.FormValue("seen") == "true")
	})
	handle("note", func(ctx context.Context, r *http.Request, id string) error {
		return d.record.NoteIncident(ctx, id, r.FormValue("by"), r.FormValue("text"))
	})
	handle("close", func(ctx context.Context, r *http.Request, id string) error {
		return d.record.CloseIncident(ctx, id, r.FormValue("by"), r.FormValue("outcome"), r.FormValue("text"))
	})
}

// LookAt implements Registrar.
func (c *Client) LookAt(ctx context.Context, id string, act breach.Act, seen bool) error {
	form := url.Values{"id": {id}, "by": {act.Who}, "what": {act.What}, "why": {act.Why}, "detail": {act.Detail}}
	if seen {
		form.Set("seen", "true")
	}
	return c.do(ctx, http.MethodPost, "/incidents/look", form, nil)
}

// NoteIncident implements Registrar.
func (c *Client) NoteIncident(ctx context.Context, id, by, text string) error {
	return c.do(ctx, http.MethodPost, "/incidents/note", url.Values{"id": {id}, "by": {by}, "text": {text}}, nil)
}

// CloseIncident implements Registrar.
func (c *Client) CloseIncident(ctx context.Context, id, by, outcome, text string) error {
	return c.do(ctx, http.MethodPost, "/incidents/close", url.Values{"id": {id}, "by": {by}, "outcome": {outcome}, "text": {text}}, nil)
}
