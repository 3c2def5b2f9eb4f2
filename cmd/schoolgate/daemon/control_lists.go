package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"schoolgate/blocklist/feed"
)

// listsMessage is one line of the answer to what takes its time with the lists: how far it is, over and
// over, and at last what came of it.
type listsMessage struct {
	Progress *feed.Progress  `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"` // with a Result, what was not taken up
	Done     bool            `json:"done,omitempty"`
}

func (d *Daemon) listsUpdateHandler(w http.ResponseWriter, r *http.Request) {
	err := r.ParseForm()
	ids := r.Form["list"]
	d.streamLists(r.Context(), w, func(ctx context.Context) (any, error) {
		if err != nil {
			return nil, err
		}
		return d.updateLists(ctx, ids, controlSocket)
	})
}

func (d *Daemon) listsCompileHandler(w http.ResponseWriter, r *http.Request) {
	d.streamLists(r.Context(), w, func(ctx context.Context) (any, error) { return d.compileLists(ctx, controlSocket) })
}

func (d *Daemon) listsConfirmHandler(w http.ResponseWriter, r *http.Request) {
	id, category, by := r.FormValue("list"), r.FormValue("category"), r.FormValue("by")
	d.streamLists(r.Context(), w, func(ctx context.Context) (any, error) {
		if strings.TrimSpace(by) == "" {
			return nil, errors.New("who confirms it?")
		}
		return nil, d.confirmTrial(ctx, id, category, by)
	})
}

// controlSocket is who did it, for the audit, where the command does not say who the user is.
const controlSocket = "control socket"

// streamLists runs do, which takes as long as it takes, and tells the client meanwhile how far it is. It
// ends when ctx does: when the client hangs up.
func (d *Daemon) streamLists(ctx context.Context, w http.ResponseWriter, do func(context.Context) (any, error)) {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Time{}) // where there is none, nothing ends early
	send := func(m listsMessage) {
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_ = json.NewEncoder(w).Encode(m) // the caller hung up: there is nobody to tell
		_ = conn.Flush()
	}
	// What is not read is left out: nobody who is told may hold up the lists.
	news := make(chan feed.Progress, 1)
	stop := d.progress.watch(func(p feed.Progress) {
		select {
		case news <- p:
		default:
		}
	})
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	done := make(chan listsMessage, 1)
	go func() {
		m := listsMessage{Done: true}
		result, err := do(ctx)
		if err != nil {
			m.Error = err.Error()
		}
		if m.Result, err = json.Marshal(result); err != nil {
			m.Error = err.Error()
		}
		done <- m
	}()
	for {
		select {
		case p := <-news:
			send(listsMessage{Progress: &p})
		case m := <-done:
			select {
			case p := <-news:
				send(listsMessage{Progress: &p})
			default:
			}
			send(m)
			return
		}
	}
}

// UpdateLists asks for the lists with the given IDs, or for all that are fetched for none, and puts what
// came in force. progress is told how far it is; nil for nobody.
func (c *Client) UpdateLists(ctx context.Context, ids []string, progress func(feed.Progress)) ([]UpdatedList, error) {
	var updated []UpdatedList
	err := c.lists(ctx, "/lists/update", url.Values{"list": ids}, progress, &updated)
	return updated, err
}

// CompileLists takes the lists up again from disk.
func (c *Client) CompileLists(ctx context.Context, progress func(feed.Progress)) (CompiledLists, error) {
	var compiled CompiledLists
	err := c.lists(ctx, "/lists/compile", nil, progress, &compiled)
	return compiled, err
}

// ConfirmTrial ends the trial of a list. category may be "" where one category only has the list.
func (c *Client) ConfirmTrial(ctx context.Context, id, category, by string) error {
	var none any
	return c.lists(ctx, "/lists/confirm", url.Values{"list": {id}, "category": {category}, "by": {by}}, nil, &none)
}

// lists sends a request that takes as long as it takes, and decodes its result into v.
func (c *Client) lists(ctx context.Context, path string, form url.Values, progress func(feed.Progress), v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://schoolgate"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	patient := *c.http
	patient.Timeout = 0
	resp, err := patient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running schoolgate: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the running schoolgate: it answers %s: is it of another version?", resp.Status)
	}
	for lines := json.NewDecoder(resp.Body); ; {
		var m listsMessage
		if err := lines.Decode(&m); err != nil {
			return fmt.Errorf("understand the running schoolgate's answer: %w", err)
		}
		if m.Progress != nil && progress != nil {
			progress(*m.Progress)
		}
		if !m.Done {
			continue
		}
		if m.Error != "" {
			err = errors.New(m.Error)
		}
		return errors.Join(err, json.Unmarshal(m.Result, v))
	}
}
