package daemon

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// AddedException is an exception that was added, and what it does not do.
type AddedException struct {
	Exception
	Notes []string `json:"notes"`
}

// listExceptionsHandler shows the exceptions; with all=true those too that ended lately.
func (d *Daemon) listExceptionsHandler(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, d.Filter().ExceptionStatus(d.now(), r.FormValue("all") == "true"))
}

func (d *Daemon) addExceptionHandler(w http.ResponseWriter, r *http.Request) {
	err := r.ParseForm()
	e := Exception{
		Action: r.Form.Get("action"), Names: r.Form["name"], Group: r.Form.Get("group"), Client: r.Form.Get("client"),
		By: r.Form.Get("by"), Reason: r.Form.Get("reason"),
	}
	if err == nil {
		e.Until, err = time.Parse(time.RFC3339, r.Form.Get("until"))
	}
	if err != nil {
		writeText(w, http.StatusBadRequest, err.Error())
		return
	}
	added, notes, err := d.AddException(context.WithoutCancel(r.Context()), e)
	switch {
	case IsWrongUse(err):
		writeText(w, http.StatusBadRequest, err.Error())
	case err != nil:
		writeText(w, http.StatusUnprocessableEntity, err.Error())
	default:
		added.Until, added.Added = added.Until.In(d.Filter().Config.Timezone), added.Added.In(d.Filter().Config.Timezone)
		writeJSON(w, AddedException{added, notes})
	}
}

func (d *Daemon) removeExceptionHandler(w http.ResponseWriter, r *http.Request) {
	removed, err := d.RemoveException(context.WithoutCancel(r.Context()), r.FormValue("id"), r.FormValue("by"), r.FormValue("reason"))
	switch {
	case IsWrongUse(err):
		writeText(w, http.StatusBadRequest, err.Error())
	case err != nil:
		writeText(w, http.StatusUnprocessableEntity, err.Error())
	default:
		writeJSON(w, removed)
	}
}

// Exceptions asks for the exceptions in force, and with ended for those too that ended lately.
func (c *Client) Exceptions(ctx context.Context, ended bool) ([]ExceptionStatus, error) {
	path := "/exceptions"
	if ended {
		path += "?all=true"
	}
	var all []ExceptionStatus
	err := c.do(ctx, http.MethodGet, path, nil, &all)
	return all, err
}

// AddException stores an exception and puts it in force.
func (c *Client) AddException(ctx context.Context, e Exception) (AddedException, error) {
	var added AddedException
	form := url.Values{
		"action": {e.Action}, "name": e.Names, "group": {e.Group}, "client": {e.Client},
		"until": {e.Until.Format(time.RFC3339)}, "by": {e.By}, "reason": {e.Reason},
	}
	err := c.do(ctx, http.MethodPost, "/exceptions", form, &added)
	return added, err
}

// RemoveException ends an exception at once.
func (c *Client) RemoveException(ctx context.Context, id, by, reason string) (Exception, error) {
	var removed Exception
	err := c.do(ctx, http.MethodPost, "/exceptions/remove", url.Values{"id": {id}, "by": {by}, "reason": {reason}}, &removed)
	return removed, err
}
