package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"schoolgate/policy/alert"
)

// The control socket is how a command speaks to the running schoolgate: HTTP over a Unix socket in
// the data directory, which only its owner can open. What a command was told is in force.
const controlFile = "control.sock"

// controlListener is the socket, with its name in the file system.
type controlListener struct {
	*net.UnixListener
	path string
}

// Close removes the socket's name too.
func (l controlListener) Close() error {
	err := os.Remove(l.path)
	if errors.Is(err, fs.ErrNotExist) { // closed already
		err = nil
	}
	return errors.Join(err, l.UnixListener.Close())
}

// listenControl opens the control socket. The caller holds the data directory's lock, so a socket
// that is there already is one that a killed process left behind.
func listenControl(dir string) (l controlListener, err error) {
	l.path = filepath.Join(dir, controlFile)
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return l, fmt.Errorf("control socket: %w", err)
	}
	err = withSocketPath(l.path, func(path string) error {
		l.UnixListener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return l, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(l.path, 0o600); err != nil {
		return l, errors.Join(fmt.Errorf("control socket: %w", err), l.Close())
	}
	return l, nil
}

// maxSocketPath is what the kernel takes as a socket's name (unix(7)), its final zero not counted.
const maxSocketPath = 107

// withSocketPath calls do with a path to the socket that the kernel takes: a longer one goes by way
// of its directory's descriptor.
func withSocketPath(path string, do func(path string) error) error {
	if len(path) <= maxSocketPath {
		return do(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return do(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

// controlHandler serves the control socket.
func (d *Daemon) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		queue, err := d.record.Queue(r.Context())
		if err != nil {
			d.log.Warn("status: alert queue", "error", err)
		}
		writeJSON(w, d.status(queue)) //nolint:contextcheck // the dispatcher bounds its own wait
	})
	mux.HandleFunc("GET /explain", func(w http.ResponseWriter, r *http.Request) {
		ex, err := d.explain(r.FormValue("name"), r.FormValue("client"), r.FormValue("at"))
		if err != nil {
			writeText(w, http.StatusBadRequest, err.Error())
			return
		}
		writeJSON(w, ex)
	})
	mux.HandleFunc("POST /flush", func(w http.ResponseWriter, r *http.Request) {
		if err := errors.Join(d.record.Flush(r.Context()), d.queries.Flush(r.Context())); err != nil {
			writeText(w, http.StatusInternalServerError, err.Error())
			return
		}
		writeText(w, http.StatusOK, "flushed")
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		warnings, err := d.Reload(context.WithoutCancel(r.Context()), "control socket")
		writeReload(w, warnings, err)
	})
	mux.HandleFunc("POST /lists/update", d.listsUpdateHandler)
	mux.HandleFunc("POST /lists/compile", d.listsCompileHandler)
	mux.HandleFunc("POST /lists/confirm", d.listsConfirmHandler)
	d.handleIncidents(mux)
	mux.HandleFunc("GET /clients", d.clientsHandler)
	mux.HandleFunc("GET /only", d.onlyHandler)
	mux.HandleFunc("GET /exceptions", d.listExceptionsHandler)
	mux.HandleFunc("POST /exceptions", d.addExceptionHandler)
	mux.HandleFunc("POST /exceptions/remove", d.removeExceptionHandler)
	mux.HandleFunc("POST /selftest", d.selfTestHandler)
	mux.HandleFunc("POST /privacy/erase", d.eraseHandler)
	mux.HandleFunc("POST /audit", d.auditHandler)
	mux.HandleFunc("POST /queries/look", d.lookHandler)
	mux.HandleFunc("POST /alert/test", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, d.alerts.Test(r.Context(), r.FormValue("receiver")))
	})
	mux.HandleFunc("POST /alert/retry", func(w http.ResponseWriter, r *http.Request) {
		if err := d.record.Retry(r.Context(), r.FormValue("id")); err != nil {
			writeText(w, http.StatusUnprocessableEntity, err.Error())
			return
		}
		writeText(w, http.StatusOK, "due now")
	})
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(v); err != nil {
		writeText(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body.Bytes()) // the caller hung up: there is nobody to tell
}

// ErrNotRunning says that no schoolgate runs on a data directory.
var ErrNotRunning = errors.New("schoolgate is not running")

// Client speaks to the schoolgate that runs on a data directory.
type Client struct{ http *http.Client }

// Dial finds the schoolgate that runs on a data directory; the error is ErrNotRunning where there
// is none.
func Dial(ctx context.Context, dataDir string) (*Client, error) {
	path := filepath.Join(dataDir, controlFile)
	dial := func(ctx context.Context) (conn net.Conn, err error) {
		err = withSocketPath(path, func(path string) error {
			conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
			return err
		})
		return conn, err
	}
	conn, err := dial(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%w on the data directory %s", ErrNotRunning, dataDir)
	case err != nil:
		return nil, fmt.Errorf("speak to the running schoolgate (as its user, or as root): %w", err)
	}
	conn.Close()
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}
	return &Client{&http.Client{Transport: transport, Timeout: 5 * time.Minute}}, nil
}

// Status asks what runs.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.do(ctx, http.MethodGet, "/status", nil, &s)
	return s, err
}

// Explain asks for a decision of what is in force; at is RFC 3339, "" for now.
func (c *Client) Explain(ctx context.Context, name, client, at string) (Explained, error) {
	var ex Explained
	err := c.do(ctx, http.MethodGet, "/explain?"+url.Values{"name": {name}, "client": {client}, "at": {at}}.Encode(), nil, &ex)
	return ex, err
}

// Flush returns once every breach seen so far is written down, and what the query log keeps of the questions so far.
func (c *Client) Flush(ctx context.Context) error {
	return c.do(ctx, http.MethodPost, "/flush", nil, nil)
}

// TestAlerts sends a test alert to a receiver, or to all for "", and returns how each answered.
func (c *Client) TestAlerts(ctx context.Context, receiver string) ([]alert.TestResult, error) {
	var results []alert.TestResult
	err := c.do(ctx, http.MethodPost, "/alert/test", url.Values{"receiver": {receiver}}, &results)
	return results, err
}

// RetryAlert makes an alert that was given up due again, at once.
func (c *Client) RetryAlert(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodPost, "/alert/retry", url.Values{"id": {id}}, nil)
}

// do sends a request and decodes the answer's JSON into v, unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, form url.Values, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://schoolgate"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running schoolgate: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("ask the running schoolgate: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		err := errors.New(strings.TrimSpace(string(body)))
		if resp.StatusCode == http.StatusBadRequest {
			return errUse{err}
		}
		return err
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("understand the running schoolgate's answer: %w", err)
	}
	return nil
}
