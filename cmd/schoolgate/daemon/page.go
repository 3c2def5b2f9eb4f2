package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the page
	"encoding/base64"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"schoolgate/blocklist"
	"schoolgate/policy"
	"schoolgate/policy/breach"
)

// The block page is what a browser shows that is sent to schoolgate's address for a blocked name, over plain HTTP:
// what happened, why, whom to ask, and a form to ask for the site. It says nothing that the device that asks could not
// find out by trying, has no script, sets no cookie, and shows nothing of a confidential category.

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// pagePolicy lets the page be nothing but itself (CSP).
var pagePolicy = func() string {
	style := sha256.Sum256([]byte(pageCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// pageView is what the page says.
type pageView struct {
	Style   template.CSS
	Site    string
	Host    string // as a name, in the letters of its alphabet as they were sent; "" where none was
	Blocked bool
	Reason  string // a category's title, or what else it is
	Until   string // when that changes by itself
	MayAsk  bool
	Sent    bool
	Why     string // what was written into the form
	Problem string // with that
	Contact string
	// ContactLink is where Contact leads: mailto:, tel: or https:.
	ContactLink template.URL
}

const (
	pageRequest = "/.schoolgate/request"
	// maxWhy is how long a reason may be, in octets: the form takes 500 letters.
	maxWhy = 2000
	// pageReaders is how many pages are made at a time, pageConnections how many may be open on an address.
	pageReaders     = 32
	pageConnections = 256
	pageTime        = 10 * time.Second // to send one
)

// pageHandler serves the block page for any host and path.
func (d *Daemon) pageHandler() http.Handler {
	busy := make(chan struct{}, pageReaders)
	page := template.Must(template.New("page").Parse(pageHTML))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case busy <- struct{}{}:
			defer func() { <-busy }()
		default:
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(pageTime)) // it has one
		h := w.Header()
		h.Set("Content-Security-Policy", pagePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		switch {
		case r.Method == http.MethodPost && r.URL.Path == pageRequest:
			d.takeRequest(w, r).write(w, page)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			view, _ := d.pageFor(r)
			view.write(w, page)
		default:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "the page can only be read", http.StatusMethodNotAllowed)
		}
	})
}

// write sends the page: 403 where something is blocked, so that no program takes it for the site.
func (v *pageView) write(w http.ResponseWriter, page *template.Template) {
	if v == nil {
		http.Error(w, "this comes from another page", http.StatusForbidden)
		return
	}
	v.Style = template.CSS(pageCSS) //nolint:gosec // G203: our own
	var body bytes.Buffer
	if err := page.Execute(&body, v); err != nil {
		http.Error(w, "the page can't be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if v.Blocked && !v.Sent {
		w.WriteHeader(http.StatusForbidden)
	}
	_, _ = w.Write(body.Bytes()) // the reader hung up: there is nobody to tell
}

// pageAsked is what a page is about.
type pageAsked struct {
	client      netip.Addr
	name        blocklist.Name
	explanation policy.Explanation
	hidden      bool // the name must not be written down
}

// pageFor judges the host of a request as a question of its sender.
func (d *Daemon) pageFor(r *http.Request) (*pageView, *pageAsked) {
	f := d.Filter()
	contact := f.Config.PageContact
	view := &pageView{Site: f.Config.Site, Contact: contact}
	if scheme, rest, ok := strings.Cut(contact, ":"); ok && (scheme == "mailto" || scheme == "tel" || scheme == "https") {
		view.ContactLink, view.Contact = template.URL(contact), strings.TrimPrefix(rest, "//") //nolint:gosec // G203: the configuration's
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	name, nameErr := blocklist.ParseName(strings.TrimSuffix(host, "."))
	if _, addrErr := netip.ParseAddr(strings.Trim(host, "[]")); err != nil || nameErr != nil || addrErr == nil {
		return view, nil // the address itself was opened
	}
	about := &pageAsked{client: from.Addr().Unmap(), name: name}
	about.explanation = f.Policy.ExplainClient(d.known(about.client), name, d.now().In(f.Config.Timezone))
	about.hidden = f.Policy.Confidential(name)
	view.Host = name.String()
	view.Blocked = about.explanation.Verdict == "block"
	view.MayAsk = view.Blocked && !about.hidden && !f.Policy.Locked(name)
	if view.Reason = "it is not suitable for school"; !about.hidden && about.explanation.Category != "" {
		view.Reason = "it is listed under “" + f.Policy.TitleOf(about.explanation.Category) + "”"
	}
	if at, err := time.Parse(time.RFC3339, about.explanation.ChangesAt); err == nil && at.Sub(d.now()) < 24*time.Hour {
		view.Until = at.In(f.Config.Timezone).Format("15:04")
	}
	return view, about
}

// takeRequest takes the form's question whether a site may be opened. It is written into the audit record, for
// whoever decides. It returns what to show, nil where another page sent the form.
func (d *Daemon) takeRequest(w http.ResponseWriter, r *http.Request) *pageView {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return nil
	}
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	view, about := d.pageFor(r)
	why := strings.TrimSpace(r.PostFormValue("why"))
	view.Why = why
	switch {
	case about == nil || !view.MayAsk:
		view.Problem = "This site can't be asked for."
	case why == "":
		view.Problem = "Please say what you need it for."
	case len(why) > maxWhy || !utf8.ValidString(why):
		view.Problem = "That is too long: a sentence or two are enough."
	case !d.asking.take(about.client, d.now()):
		view.Problem = "You have asked a few times already. Please wait, or ask in person."
	default:
		act := breach.Act{
			Who: "device " + about.client.String(), What: "unblock.request", Why: why,
			Detail: fmt.Sprintf("%s for group %s, blocked as %s", about.name, about.explanation.Group, about.explanation.Category),
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), auditTimeout)
		defer cancel()
		if err := d.record.Audit(ctx, act); err != nil {
			d.log.Error("a request for a site can't be written down", "error", err)
			view.Problem = "This could not be passed on. Please ask in person."
			break
		}
		d.telemetry.unblockRequests.Inc()
		view.Sent = true
	}
	return view
}

// askings bounds the requests of the form: each is a row that somebody reads, and is kept for years.
type askings struct {
	mu    sync.Mutex
	day   int64
	total int
	by    map[netip.Addr]int
}

const (
	maxAskings    = 500 // a day
	maxAskingsOne = 10  // of one address
)

func (a *askings) take(client netip.Addr, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if day := now.Unix() / 86400; day != a.day || a.by == nil {
		a.day, a.total, a.by = day, 0, map[netip.Addr]int{}
	}
	if a.total >= maxAskings || a.by[client] >= maxAskingsOne {
		return false
	}
	a.total++
	a.by[client]++
	return true
}
